"""Webhooks, against a real server on loopback."""

import base64
import datetime as dt
import email.utils
import hashlib
import hmac
import json
import time

import pytest

from aiinfra_lab import providers
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Denied, Missing, Unavailable, UsageProblem
from aiinfra_lab.testing.alerts import SinkContract, alert, written_of
from tests.fakes.web_receiver import RESET, SILENT, TRICKLE, Answer, WebReceiver

PATH = "/hooks/T0SECRET0/B9secret9?token=qSECRETq"
SECRETS = (
    "T0SECRET0",
    "B9secret9",
    "qSECRETq",
    "uSECRETu",
    "pSECRETp",
    base64.b64encode(b"uSECRETu:pSECRETp").decode(),
)
GONE = Answer(410, body=PATH.encode())


def url(port, path=PATH):
    return f"http://uSECRETu:pSECRETp@127.0.0.1:{port}{path}"


@pytest.fixture
def sink(workspace):
    return providers.make("alerts.sink", "webhook")


@pytest.fixture
def address(web, monkeypatch):
    monkeypatch.setenv("ALERT_URL", url(web.port))
    return "ALERT_URL"


class TestWebhook(SinkContract):
    @pytest.fixture
    def received(self, web):
        return lambda: [json.dumps(json.loads(each.body), ensure_ascii=False) for each in web.posted]

    @pytest.fixture
    def refuses(self, web, monkeypatch):
        web.by_path["/gone"] = GONE
        monkeypatch.setenv("GONE_URL", url(web.port, "/gone"))
        return "GONE_URL"

    @pytest.fixture
    def away(self, monkeypatch):
        monkeypatch.setenv("AWAY_URL", url(1))
        return "AWAY_URL"

    @pytest.fixture
    def no_address(self):
        return "https://127.0.0.1/T0SECRET0"

    @pytest.fixture
    def secrets(self):
        return SECRETS


def test_what_is_posted_has_a_form_that_programs_can_read(sink, address, web):
    given = alert()
    sink.send(given, address)
    (posted,) = web.posted
    assert json.loads(posted.body) == {
        "version": 1,
        "id": given.id,
        "kind": "failed",
        "subject": "recipe:nightly@41",
        "what": "the step train failed",
        "fix": "%recipe log nightly@41",
        "at": dt.datetime.fromtimestamp(given.at, dt.UTC).isoformat(timespec="seconds"),
        "facts": {"cost": "0.12 USD", "took": "3 min"},
        "link": "https://example.org/runs/41?a=1&b=2",
    }
    assert (posted.path, posted.headers["Content-Type"]) == (PATH, "application/json")
    assert posted.headers["Authorization"] == f"Basic {SECRETS[-1]}"
    assert "webhook-signature" not in posted.headers


@pytest.mark.parametrize(("secret", "key"), [("plain", b"plain"), (f"whsec_{base64.b64encode(b'k').decode()}", b"k")])
def test_with_a_secret_it_is_signed_as_standard_webhooks_has_it(web, address, workspace, monkeypatch, secret, key):
    (workspace / "aiinfra.toml").write_text('[alerts]\nwebhook_secret = "ALERT_SECRET"')
    monkeypatch.setenv("ALERT_SECRET", secret)
    given = alert()
    providers.make("alerts.sink", "webhook").send(given, address)
    (posted,) = web.posted
    id, at, signature = (posted.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    mac = hmac.digest(key, f"{id}.{at}.".encode() + posted.body, hashlib.sha256)
    assert (id, signature) == (given.id, f"v1,{base64.b64encode(mac).decode()}")
    assert abs(int(at) - time.time()) < 60


def test_a_secret_that_stands_in_the_settings_is_refused_and_not_repeated(web, address, workspace):
    (workspace / "aiinfra.toml").write_text('[alerts]\nwebhook_secret = "hunter-SECRET"')
    with pytest.raises(UsageProblem) as problem:
        providers.make("alerts.sink", "webhook").send(alert(), address)
    assert "SECRET-" not in written_of(problem.value)
    assert "hunter" not in written_of(problem.value)
    assert web.posted == web.refused == []


def test_a_secret_in_broken_base64_is_refused_and_not_repeated(address, workspace, monkeypatch):
    (workspace / "aiinfra.toml").write_text('[alerts]\nwebhook_secret = "ALERT_SECRET"')
    monkeypatch.setenv("ALERT_SECRET", "whsec_qSECRETq!")
    with pytest.raises(UsageProblem) as problem:
        providers.make("alerts.sink", "webhook").send(alert(), address)
    assert "qSECRETq" not in written_of(problem.value)


@pytest.mark.parametrize("first", [429, 500, 503, 408, RESET])
def test_what_passes_is_tried_again(sink, address, web, first):
    web.answers = [Answer(first), Answer(first)]
    sink.send(alert(), address)
    assert (len(web.posted), len(web.refused)) == (1, 2)
    assert web.posted[0].body == web.refused[0].body


def test_what_does_not_pass_is_tried_three_times(sink, address, web):
    web.answers = [Answer(503)] * 9
    with pytest.raises(Unavailable, match="503"):
        sink.send(alert(), address)
    assert len(web.refused) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_asks_to_wait_is_waited_for(sink, address, web, form):
    later = dt.datetime.fromtimestamp(int(time.time()) + 3, dt.UTC)
    wait = "1" if form == "seconds" else email.utils.format_datetime(later, usegmt=True)
    web.answers = [Answer(429, {"Retry-After": wait})]
    start_at = time.monotonic()
    sink.send(alert(), address)
    assert time.monotonic() - start_at >= 0.9
    assert len(web.posted) == 1


@pytest.mark.parametrize("wait", ["3600", "9" * 30])
def test_one_that_asks_to_wait_for_too_long_is_left_for_later(sink, address, web, wait):
    web.answers = [Answer(429, {"Retry-After": wait})]
    with pytest.raises(Unavailable, match="429"):
        sink.send(alert(), address)
    assert (len(web.posted), len(web.refused)) == (0, 1)


@pytest.mark.parametrize("wait", ["soon", "-1", "", "Tue, 99 Foo"])
def test_a_wait_that_cannot_be_read_is_none(sink, address, web, wait):
    web.answers = [Answer(429, {"Retry-After": wait})]
    sink.send(alert(), address)
    assert len(web.posted) == 1


@pytest.mark.parametrize("how", [SILENT, TRICKLE])
def test_one_that_is_slow_is_given_up_in_time(web, address, workspace, monkeypatch, how):
    monkeypatch.setenv("AIINFRA_ALERTS_TIMEOUT_S", "0.3")
    web.answers = [Answer(how)] * 3
    with pytest.raises(Unavailable, match="in time"):
        providers.make("alerts.sink", "webhook").send(alert(), address)
    assert len(web.refused) == 3


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(sink, address, web, status):
    with WebReceiver().running() as other:
        web.answers = [Answer(status, {"Location": f"http://127.0.0.1:{other.port}/qSECRETq"})]
        with pytest.raises(Denied, match="redirect") as problem:
            sink.send(alert(), address)
        assert other.posted == web.posted == []
    assert "qSECRETq" not in written_of(problem.value)
    assert "ALERT_URL" in problem.value.fix


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
def test_a_refusal_is_not_tried_again(sink, address, web, status):
    web.answers = [Answer(status)]
    with pytest.raises(Denied, match=str(status)):
        sink.send(alert(), address)
    assert (len(web.posted), len(web.refused)) == (0, 1)


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(sink, tls, monkeypatch):
    with WebReceiver(tls).running() as receiver:
        monkeypatch.setenv("ALERT_URL", f"https://127.0.0.1:{receiver.port}{PATH}")
        with pytest.raises(Denied, match="certificate") as problem:
            sink.send(alert(), "ALERT_URL")
        assert receiver.posted == []
    assert "SSL_CERT_FILE" in problem.value.fix
    assert [secret for secret in SECRETS if secret in written_of(problem.value)] == []


def test_the_fix_for_it_works(sink, tls, trusted, monkeypatch):
    with WebReceiver(tls).running() as receiver:
        monkeypatch.setenv("ALERT_URL", f"https://127.0.0.1:{receiver.port}{PATH}")
        sink.send(alert(), "ALERT_URL")
        assert [each.path for each in receiver.posted] == [PATH]


def test_a_proxy_of_the_environment_is_used(sink, web, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://user:xSECRETx@127.0.0.1:{web.port}")
    monkeypatch.setenv("ALERT_URL", f"http://hooks.example.org:8080{PATH}")
    sink.send(alert(), "ALERT_URL")
    (posted,) = web.posted
    assert (posted.path, posted.headers["Host"]) == (f"http://hooks.example.org:8080{PATH}", "hooks.example.org:8080")
    assert posted.headers["Proxy-Authorization"] == f"Basic {base64.b64encode(b'user:xSECRETx').decode()}"


def test_a_proxy_sees_nothing_of_what_is_encrypted(sink, web, tls, trusted, monkeypatch):
    with WebReceiver(tls).running() as receiver:
        web.tunnels_to = receiver.port
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:xSECRETx@127.0.0.1:{web.port}")
        monkeypatch.setenv("ALERT_URL", f"https://hooks.example.org{PATH}")
        sink.send(alert(), "ALERT_URL")
        (asked,) = web.tunneled
        (posted,) = receiver.posted
    assert (asked.path, posted.path) == ("hooks.example.org:443", PATH)
    assert ("Proxy-Authorization" in asked.headers, "Proxy-Authorization" in posted.headers) == (True, False)


@pytest.mark.parametrize("name", ["NO_PROXY", ""])
def test_this_machine_and_what_the_environment_excepts_is_asked_directly(sink, address, web, monkeypatch, name):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    if name:
        monkeypatch.setenv(name, "127.0.0.1")
    sink.send(alert(), address)
    assert len(web.posted) == 1


@pytest.mark.parametrize("proxy", ["http://user:xSECRETx@127.0.0.1:1", "http://user:xSECRETx@[x", "http://xSECRETx@:y"])
def test_a_proxy_that_is_away_or_none_is_an_error_that_does_not_repeat_it(sink, monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("ALERT_URL", f"https://hooks.example.org{PATH}")
    with pytest.raises((Unavailable, UsageProblem)) as problem:
        sink.send(alert(), "ALERT_URL")
    assert [secret for secret in ("xSECRETx", *SECRETS) if secret in written_of(problem.value)] == []


def test_a_variable_that_is_not_set_is_missing(sink, monkeypatch):
    monkeypatch.delenv("ALERT_URL", raising=False)
    with pytest.raises(Missing, match="ALERT_URL"):
        sink.send(alert(), "ALERT_URL")


@pytest.mark.parametrize(
    "wrong",
    ["qSECRETq", "ftp://host/qSECRETq", "http:///qSECRETq", "http://host:99999/qSECRETq", "http://host:x/qSECRETq",
     "http://[::1/qSECRETq", "https://host/qSECRETq\nX: y", "https://hö..st/qSECRETq", "file:///qSECRETq"],
)  # fmt: skip
def test_a_variable_that_holds_no_url_is_a_usage_problem_that_does_not_repeat_it(sink, monkeypatch, wrong):
    monkeypatch.setenv("ALERT_URL", wrong)
    with pytest.raises(UsageProblem) as problem:
        sink.send(alert(), "ALERT_URL")
    assert "qSECRETq" not in written_of(problem.value)


@pytest.mark.parametrize("text", ["0", "-1", "31", "nan", "inf"])
def test_a_time_that_is_none_is_refused(workspace, monkeypatch, text):
    monkeypatch.setenv("AIINFRA_ALERTS_TIMEOUT_S", text)
    with pytest.raises(UsageProblem, match="timeout_s"):
        providers.make("alerts.sink", "webhook", settings())
