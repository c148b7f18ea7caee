"""To every sink, whatever becomes of the others; nothing twice; what is left goes with the next alert."""

import json
import logging
import subprocess
import sys
import time

import msgspec
import pytest

from aiinfra_lab.alerts import Alert, deliver, delivery, record
from aiinfra_lab.alerts.record import AlertRecord
from aiinfra_lab.config import settings
from aiinfra_lab.errors import StoreUnavailable
from aiinfra_lab.store import open_store, update
from tests.fakes.mail_server import MailServer
from tests.fakes.web_receiver import Answer


@pytest.fixture
def url(web, monkeypatch):
    """Where the receiver is; `web.answers` decides what becomes of an alert."""
    monkeypatch.setenv("ALERT_URL", f"http://127.0.0.1:{web.port}/qSECRETq")
    return "webhook:ALERT_URL"


def failed(what="it broke", subject="recipe:nightly", **more):
    return Alert("failed", subject, what, **more)


def recovered(subject="recipe:nightly", **more):
    return Alert("recovered", subject, "it runs again", **more)


def arrived(web):
    return [json.loads(each.body)["what"] for each in web.posted]


def unsent():
    return record.unsent(open_store(settings()))


GONE = Answer(410)


# ---- all of them ----


def test_an_alert_goes_to_all_that_the_settings_name(web, url, workspace):
    (workspace / "aiinfra.toml").write_text(f'[alerts]\nto = ["{url}", "file:alerts.jsonl"]')
    done = deliver(failed())
    assert (done.is_new, done.delivered, done.undelivered) == (True, (url, "file:alerts.jsonl"), ())
    assert arrived(web) == ["it broke"]
    assert json.loads((workspace / "alerts.jsonl").read_text())["id"] == done.alert.id
    assert unsent() == []


def test_without_a_sink_nothing_is_done_and_no_store_is_made(workspace):
    assert deliver(failed()).delivered == ()
    assert not (workspace / ".aiinfra").exists()


def test_a_sink_that_fails_neither_stops_another_nor_the_caller(web, url, workspace, caplog):
    web.answers = [GONE]
    to = ["slack:NO_SUCH_VARIABLE", url, "webhok:X", "webhook:https://x/qSECRETq", "smtp:a@b", "file:a.jsonl"]
    with caplog.at_level(logging.WARNING):
        done = deliver(failed(), to)
    assert done.delivered == ("file:a.jsonl",)
    assert {each.destination for each in done.undelivered} == {"", "slack:NO_SUCH_VARIABLE", url, "smtp:a@b"}
    assert all(each.what and each.fix for each in done.undelivered)
    assert len(done.undelivered) == 5
    assert "qSECRETq" not in caplog.text + repr(done)


def test_settings_that_cannot_be_read_do_not_fail_the_caller(workspace):
    (workspace / "aiinfra.toml").write_text("[alerts]\nto = nonsense")
    assert deliver(failed()).undelivered[0].fix
    (workspace / "aiinfra.toml").write_text("")


def test_a_mistake_in_a_sink_does_not_fail_the_caller(workspace, monkeypatch, caplog):
    from aiinfra_lab.alerts.file import FileSink

    def send(self, alert, address):
        raise ZeroDivisionError("qSECRETq")

    monkeypatch.setattr(FileSink, "send", send)
    done = deliver(failed(), ["file:a.jsonl"])
    assert "ZeroDivisionError" in done.undelivered[0].what
    assert "qSECRETq" not in repr(done) + caplog.text


def test_when_the_store_is_away_it_is_sent_all_the_same(web, url, workspace, monkeypatch):
    def away(where):
        raise StoreUnavailable("the store is away", "start it")

    monkeypatch.setattr(delivery, "open_store", away)
    assert deliver(failed(), [url]).delivered == (url,)
    assert arrived(web) == ["it broke"]


# ---- nothing twice ----


def test_the_same_trouble_is_sent_once_until_it_is_time_again(web, url, workspace):
    now = time.time()
    for minute in range(5):
        done = deliver(failed(at=now + 60 * minute), [url])
        assert (done.is_new, done.delivered) == (minute == 0, (url,) if minute == 0 else ())
    assert deliver(failed(at=now - 60), [url]).is_new is False  # a clock that was set back
    assert deliver(failed(at=now + 6 * 3600), [url]).is_new
    assert len(web.posted) == 2


def test_the_settings_say_after_how_long(web, url, workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_ALERTS_REPEAT", "10m")
    now = time.time()
    assert [deliver(failed(at=now + after_s), [url]).is_new for after_s in (0, 599, 600)] == [True, False, True]


def test_another_trouble_kind_or_subject_is_sent(web, url, workspace):
    given = [
        failed(),
        failed("it broke there"),
        Alert("late", "recipe:nightly", "it broke"),
        failed(subject="recipe:b"),
    ]
    assert [deliver(each, [url]).is_new for each in (*given, *given)] == [True] * 4 + [False] * 4
    assert len(web.posted) == 4


def test_recovered_is_sent_once_after_a_failure_which_may_then_come_again(web, url, workspace):
    given = [recovered(), failed(), failed("and more"), recovered(), recovered(), failed()]
    assert [deliver(each, [url]).is_new for each in given] == [False, True, True, True, False, True]
    assert arrived(web) == ["it broke", "and more", "it runs again", "it broke"]


def test_a_run_that_succeeds_does_not_bring_its_money_back(web, url, workspace):
    spent = Alert("over budget", "recipe:nightly", "it has spent its budget")
    assert [deliver(each, [url]).is_new for each in (spent, recovered(), spent)] == [True, False, False]


def test_troubles_that_are_never_the_same_do_not_fill_the_record(url, workspace):
    for number in range(60):
        deliver(failed(f"number {number}"), [url])
    (found,) = open_store(settings()).list(AlertRecord)
    assert (len(found.body.troubles), found.body.unsent) == (50, ())


# ---- what is left ----


def test_what_did_not_get_through_goes_with_the_next_one_and_first(web, url, workspace):
    web.answers = [GONE, GONE]
    assert deliver(failed("one"), [url, "file:a.jsonl"]).delivered == ("file:a.jsonl",)
    deliver(failed("two", "recipe:b"), [url, "file:a.jsonl"])
    assert deliver(failed("three"), [url, "file:a.jsonl"]).delivered == (url, "file:a.jsonl")
    assert arrived(web) == ["two", "one", "three"]
    assert (workspace / "a.jsonl").read_text().count("\n") == 3
    assert unsent() == []


def test_an_old_one_goes_also_with_an_alert_that_is_no_news(web, url, workspace):
    web.answers = [GONE]
    deliver(failed(), [url])
    assert deliver(failed(), [url]).is_new is False
    assert (arrived(web), unsent()) == (["it broke"], [])


def test_one_that_is_away_is_asked_once_in_a_call(web, url, workspace):
    now = time.time()
    web.answers = [GONE] * 6
    for number in range(3):
        deliver(failed(f"number {number}", at=now + number), [url])
    asked = len(web.refused)
    web.answers = [Answer(429, {"Retry-After": "999"})]
    done = deliver(failed("the last", at=now + 9), [url, "file:a.jsonl"])
    assert len(web.refused) == asked + 1
    assert (done.delivered, [each.destination for each in done.undelivered]) == (("file:a.jsonl",), [url])
    deliver(failed("and now", at=now + 10), [url])
    assert arrived(web) == ["number 0", "number 1", "number 2", "the last", "and now"]


def test_only_so_many_old_ones_go_with_a_new_one_the_oldest_first(web, url, workspace):
    now, away = time.time(), Answer(429, {"Retry-After": "999"})
    for number in range(delivery.MOST_OLD + 5):
        web.answers = [away]
        deliver(failed(f"number {number}", at=now + number), [url])
    deliver(failed("new", at=now + 999), [url])
    assert arrived(web) == [*(f"number {number}" for number in range(delivery.MOST_OLD)), "new"]
    deliver(failed("newer", at=now + 1000), [url])
    assert len(web.posted) == delivery.MOST_OLD + 5 + 2


def test_what_one_that_is_away_lacks_does_not_keep_another_waiting(web, url, workspace, monkeypatch):
    now = time.time()
    for number in range(delivery.MOST_OLD + 5):
        deliver(failed(f"number {number}", at=now + number), ["slack:NO_SUCH_VARIABLE"])
    web.answers = [GONE]
    deliver(failed("for the other", at=now + 100), [url])
    deliver(failed("new", at=now + 101), [url])
    assert arrived(web) == ["for the other", "new"]


def test_one_that_is_refused_again_and_again_is_given_up(web, url, workspace, caplog):
    web.answers = [GONE] * 99
    given = failed()
    for number in range(record.MOST_REFUSALS):
        assert len(unsent()) == (number > 0)
        deliver(given, [url])
    assert (unsent(), len(web.refused)) == ([], record.MOST_REFUSALS)
    assert f"{given.id} is given up for {url}" in caplog.text


def test_one_that_is_away_for_days_is_given_up(web, url, workspace):
    deliver(failed(at=time.time() - record.KEPT_S - 1), ["slack:NO_SUCH_VARIABLE"])
    assert unsent() == []
    deliver(failed("another"), ["slack:NO_SUCH_VARIABLE"])
    assert len(unsent()) == 1


def test_only_those_who_were_refused_get_a_mail_again(workspace):
    refusals = {"full@example.org": "452 4.2.2 full"}
    to = ["smtp:team@example.org, full@example.org"]
    with MailServer(refusals=refusals).running() as mail:
        lines = ["[alerts]", 'smtp_host = "127.0.0.1"', f"smtp_port = {mail.port}", 'smtp_security = "none"']
        (workspace / "aiinfra.toml").write_text("\n".join(lines))
        assert "full@example.org" in deliver(failed(), to).undelivered[0].what
        deliver(failed(), to)
        mail.refusals = {}
        deliver(failed(), to)
        assert [each.recipients for each in mail.mails] == [("team@example.org",), ("full@example.org",)]
    assert unsent() == []


def test_no_secret_is_in_a_record(web, url, workspace, monkeypatch):
    web.answers = [GONE, GONE]
    monkeypatch.setenv("SLACK_URL", f"http://127.0.0.1:{web.port}/qSECRETq")
    deliver(failed(), [url, "slack:SLACK_URL", "webhook:http://x/qSECRETq"])
    found = open_store(settings()).list(AlertRecord)
    assert len(found[0].body.unsent) == 2
    assert "qSECRETq" not in str(found)
    assert [path for path in workspace.rglob("*") if path.is_file() and b"qSECRETq" in path.read_bytes()] == []


# ---- several at once ----

RACE = """
import sys, time
from aiinfra_lab.alerts import Alert, deliver
print("ready", flush=True)
sys.stdin.readline()
for number in range(6):
    deliver(Alert("failed", f"recipe:r{number % 2}", f"number {number}"), ["webhook:ALERT_URL", "file:a.jsonl"])
"""


def test_processes_that_deliver_at_once_send_each_alert_once_to_each_sink(web, url, workspace):
    away = Answer(429, {"Retry-After": "999"})
    for number in range(5):
        web.answers = [away]
        deliver(failed(f"before {number}", f"recipe:r{number % 3}"), [url])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen([sys.executable, "-c", RACE], **pipes) for _ in range(3)]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 3
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        racer.communicate()
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    expected = sorted([*(f"before {number}" for number in range(5)), *(f"number {number}" for number in range(6))])
    assert sorted(arrived(web)) == expected
    written = [json.loads(line)["what"] for line in (workspace / "a.jsonl").read_text().splitlines()]
    assert sorted(written) == [f"number {number}" for number in range(6)]
    assert unsent() == []


def test_what_another_sends_just_now_is_left_to_it_until_it_must_be_dead(web, url, workspace):
    web.answers = [GONE]
    given = failed()
    deliver(given, [url])
    store = open_store(settings())
    (waiting,) = unsent()
    lease = record.lease(store, waiting)
    assert (bool(lease), record.lease(store, waiting)) == (True, "")
    deliver(failed("another"), [url])
    assert arrived(web) == ["another"]

    def expire(body):
        return msgspec.structs.replace(
            body, unsent=tuple(msgspec.structs.replace(each, leased_until=time.time() - 1) for each in body.unsent)
        )

    update(store, AlertRecord, record.name_of(given.subject), expire)
    deliver(failed("a third"), [url])
    assert arrived(web) == ["another", "it broke", "a third"]
    record.settle(store, waiting, lease, None)  # whoever was slow is late, and changes nothing
    assert unsent() == []
