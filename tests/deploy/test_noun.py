"""What the noun tells of endpoints to lab, cost, audit and the panel."""

import os
import time

import pytest

from aiinfra_lab import deploy, jobs, lab, nouns
from aiinfra_lab.deploy.record import EndpointRecord, EndpointSpan, Rollback, VersionCounts
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.models.record import LastCheck
from aiinfra_lab.nouns import Reference
from aiinfra_lab.store import Event, Record, open_store
from tests import records
from tests.conftest import until

HOUR = 3600.0


@pytest.fixture
def noun(workspace):
    return nouns.find("deploy")


def put(name, **fields):
    """An endpoint's record, committed."""
    return open_store().commit([Record.new(name, EndpointRecord(**fields))])[0]


def job(workspace, name, beat_at=None):
    """A job's folder, with its last heartbeat."""
    folder = workspace / ".aiinfra" / "jobs" / name
    folder.mkdir(parents=True)
    if beat_at is not None:
        (folder / "heartbeat").touch()
        os.utime(folder / "heartbeat", (beat_at, beat_at))
    return name


def test_a_live_endpoint_is_observed_with_its_job_until_it_ends(noun, workspace):
    running = jobs.start("deploy:delay", ["sleep", "60"])
    until(lambda: jobs.poll(running.id).state == "running")
    put("delay", job=running.id, started_at=5.0)
    [seen] = noun.watched()
    assert (seen.uri, seen.state, seen.is_live, seen.can_stop, seen.job) == (
        "deploy:delay", "running", True, True, running.id,
    )  # fmt: skip
    assert list(noun.stop("deploy:delay")) == [running.id]
    jobs.wait(running.id, timeout_s=30)
    [seen] = noun.watched()
    assert (seen.state, seen.is_live, seen.ended_at is not None) == ("stopped", False, True)


@pytest.mark.parametrize("is_earlier", [True, False])
def test_freeing_a_jobs_folder_does_not_change_when_its_endpoint_ended(noun, workspace, is_earlier):
    started, at = 1000.0, {"started_at": 1000.0, "ended_at": 1000.0 + 9 * HOUR}
    name = job(workspace, "x", beat_at=started + HOUR)
    open_store().commit([Record.new(name, JobRecord(subject="deploy:delay", state="lost", **at))])
    earlier = (EndpointSpan(started, None, name),)
    put("delay", outcome="lost", **({"earlier_spans": earlier} if is_earlier else {"job": name, **at}))
    before = [span.duration_s for span in noun.spans()]
    assert [file.uri for file in lab.rm(expired=True).files] == ["deploy:delay"]
    assert [span.duration_s for span in noun.spans()] == before
    assert HOUR in before


def test_an_end_is_written_once_for_all(noun, monkeypatch):
    for name in ("a", "b"):
        put(name, job=f"gone-{name}")
    before = open_store().changed()[0].rev
    assert [item.state for item in noun.watched()] == ["lost", "lost"]
    assert {record.body.outcome for record in open_store().list(EndpointRecord)} == {"lost"}
    written = open_store().changed()[0].rev
    assert [item.detail for item in noun.watched()] == ["its process vanished without a word"] * 2
    assert open_store().changed()[0].rev == written > before
    assert open_store().list(EndpointRecord, is_open=True) == []


def test_how_it_failed_is_kept(noun, workspace):
    failed = jobs.start("deploy:delay", ["sh", "-c", "exit 3"])
    until(lambda: jobs.poll(failed.id).ended_at)
    put("delay", job=failed.id)
    for _ in range(2):
        assert [(item.state, item.detail) for item in noun.watched()] == [("failed", "exit code 3")]


def test_a_rollback_is_part_of_the_detail(noun):
    put("delay", outcome="stopped", rolled_back=Rollback("models:delay@2", "errors > 1%", 1.0, "rule"))
    assert noun.watched()[0].detail == "models:delay@2 was rolled back: errors > 1%"


def test_what_does_not_live_cannot_be_stopped(noun):
    put("delay", outcome="lost")
    with pytest.raises(NotFound, match="nothing called deploy:delay lives"):
        noun.stop("deploy:delay")
    with pytest.raises(NotFound):
        noun.stop("deploy:other")


def test_both_versions_are_needed_until_it_was_stopped(noun):
    put("delay", champion="models:delay@1", canary="models:delay@2", outcome="lost")
    put("over", champion="models:delay@3", stopped_at=1.0)
    release = "stop it first: `%deploy stop delay`"
    assert list(noun.references()) == [
        Reference(f"models:delay@{version}", "deploy:delay serves", release) for version in (1, 2)
    ]


def test_each_start_is_a_span_with_its_rows(noun):
    earlier = EndpointSpan(started_at=0.0, ended_at=HOUR, job="", count=5, busy_ms=500.0)
    versions = {"models:delay@1": VersionCounts(rows=7, busy_ms=2000.0)}
    put(
        "delay", outcome="stopped", started_at=2 * HOUR, ended_at=3 * HOUR, count=7, versions=versions,
        earlier_spans=(earlier,),
    )  # fmt: skip
    found = [(span.started_at, span.ended_at, span.rows, span.busy_s, span.is_live) for span in noun.spans()]
    assert found == [(2 * HOUR, 3 * HOUR, 7, 2.0, False), (0.0, HOUR, 5, 0.5, False)]


@pytest.mark.parametrize(("written", "ended"), [(HOUR + 60, HOUR + 60), (9 * HOUR, HOUR), (None, HOUR)])
def test_an_end_that_was_noticed_late_is_the_last_heartbeat(noun, workspace, written, ended):
    put("delay", outcome="lost", ended_at=written, job=job(workspace, "x", beat_at=HOUR))
    assert [span.ended_at for span in noun.spans()] == [ended]


def test_what_lives_costs_until_now(noun, workspace):
    running = jobs.start("deploy:delay", ["sleep", "60"])
    put("delay", job=running.id, started_at=time.time() - 10)
    [span] = noun.spans()
    assert (span.is_live, span.on_machine, span.usd_per_hour) == (True, True, None)
    assert span.ended_at - span.started_at >= 10


def test_what_runs_as_a_job_takes_this_machines_time_whatever_its_target(noun):
    put("delay", on="moon", job=jobs.start("deploy:delay", ["sleep", "60"]).id)
    put("far", on="moon", job="a-claim")
    assert {span.uri: span.on_machine for span in noun.spans()} == {"deploy:delay": True, "deploy:far": False}


def test_what_should_serve_and_does_not_is_a_notice_until_it_is_stopped(noun):
    put("delay", champion="models:delay@1", outcome="lost")
    put("over", champion="models:delay@1", outcome="stopped", stopped_at=1.0)
    (notice,) = noun.notices()
    assert (notice.uri, notice.detail) == ("deploy:delay", "its process vanished without a word")
    assert "`%deploy start delay --model models:delay@1`" in notice.fix
    deploy.stop("delay")
    assert noun.notices() == []


def test_one_that_is_gone_is_not_to_be_started_again_with_a_version_that_is_refused(noun):
    records.model("delay@1", checked=LastCheck("bad"))
    put("delay", champion="models:delay@1", outcome="lost")
    gone, bad = noun.notices()
    assert bad.detail == "was to serve models:delay@1, which was checked and found bad"
    assert gone.fix == "no other version is there to serve; end it: `%deploy stop delay`"
    records.model("delay@2")
    gone, bad = noun.notices()
    assert gone.fix == "let another version serve: `%deploy start delay --model models:delay@2`"
    assert bad.fix.startswith(gone.fix)


def test_an_endpoint_that_lives_and_does_not_answer_is_a_notice(noun):
    running = jobs.start("deploy:delay", ["sleep", "60"])
    until(lambda: jobs.poll(running.id).state == "running")
    record = put("delay", job=running.id, started_at=time.time(), champion="models:delay@1")
    assert noun.notices() == []
    open_store().commit([record.with_(started_at=time.time() - HOUR)])
    assert [notice.detail for notice in noun.notices()] == ["it does not answer"]


def test_an_endpoint_whose_target_cannot_be_asked_is_a_notice(noun):
    put("delay", on="moon", job="x")
    (notice,) = noun.notices()
    assert (notice.state, notice.text.startswith("cannot tell: "), notice.fix != "") == ("cannot tell", True, True)


def test_names_are_what_may_be_written(noun):
    put("delay", outcome="stopped")
    assert list(noun.names()) == ["delay"]
    assert [(thing.uri, thing.state) for thing in noun.things()] == [("deploy:delay", "stopped")]
    assert noun.first("x") == "train one first: %%train run x --rows features:…"
    records.model("delay@2")
    assert noun.first("x") == "`%deploy start x --model models:delay@2` starts it"
    assert deploy.show("deploy:delay").uri == "deploy:delay"


def test_what_lives_has_counted_until_its_record_was_written(noun, workspace):
    running = jobs.start("deploy:delay", ["sleep", "60"])
    until(lambda: jobs.poll(running.id).state == "running")
    written = put("delay", job=running.id, started_at=time.time(), count=5)
    assert [span.counted_at for span in noun.spans()] == [written.updated_at]
    jobs.cancel(running.id)
    jobs.wait(running.id, timeout_s=30)
    assert [span.counted_at for span in noun.spans()] == [None]


@pytest.fixture
def history(noun):
    """An endpoint with 100 events of its own, each followed by two that only name it."""
    put("delay", outcome="stopped", stopped_at=1.0)
    for number in range(100):
        open_store().commit([], Event("deploy start", "deploy:delay", detail={"reason": f"no. {number}"}))
        for _ in range(2):
            open_store().commit([], Event("drift check", "drift:delay@1", ("deploy:delay",)))


def test_its_log_shows_the_newest_events_and_says_that_there_are_more(history):
    log = deploy.log("delay")
    assert [line.rpartition(" ")[2] for line in log.events] == [str(number) for number in range(99, 79, -1)]
    assert log.more == "these are the latest 20 events: `%deploy log delay --events 80` shows more"
    assert log.more in log.card().text()
    assert [len(deploy.log("delay", events=most).events) for most in (3, 100, 500)] == [3, 100, 100]
    assert deploy.log("delay", events=100).more == ""
    with pytest.raises(UsageProblem):
        deploy.log("delay", events=0)


def test_its_log_reads_no_more_of_the_audit_log_than_it_shows(history, monkeypatch):
    read, kind = [], type(open_store())
    events = kind.events
    monkeypatch.setattr(
        kind, "events", lambda *words, **named: (read.append(item) or item for item in events(*words, **named))
    )
    deploy.log("delay", events=5)
    assert len(read) <= 30
