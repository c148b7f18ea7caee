"""What an endpoint answers over a socket: who may ask, in which forms, and that every answer is counted."""

import gzip
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from aiinfra_lab.deploy.server.protocol import MAX_BODY

from . import serving
from .conftest import ROW
from .serving import SocketEndpoint


@pytest.fixture
def raw(tmp_path) -> Iterator[SocketEndpoint]:
    """An endpoint without a version."""
    with serving.endpoint(tmp_path / "log") as found:
        yield found


@pytest.fixture
def served(tmp_path, artifacts) -> Iterator[SocketEndpoint]:
    """An endpoint that predicts."""
    with serving.endpoint(tmp_path / "log", artifacts("plain")) as found:
        yield found


def get(path: str, head: str = "host: localhost\r\n", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def fault(request) -> None:
    raise RuntimeError("a fault")


def test_every_answer_is_counted_by_its_status(raw):
    raw.api._paths[b"/fault"] = (b"GET", fault)
    long = f"host: localhost\r\ncontent-length: {MAX_BODY + 1}\r\n"
    heads = [get("/healthz"), get("/nowhere"), get("/predict"), get("/readyz"), get("/fault"), b"nonsense\r\n\r\n",
             get("/predict", long, "POST"), get("/healthz", "a: " + "b" * 20_000 + "\r\n")]  # fmt: skip
    given = Counter(status(raw(data)) for data in heads)
    assert set(given) == {200, 404, 405, 503, 500, 400, 413, 431}
    text = raw(get("/metrics")).decode()
    counted = {int(code): int(n) for code, n in re.findall(r'answers_total\{.*status="(\d+)"\} (\d+)', text)}
    assert counted == given
    refused = {int(code) for code in re.findall(r'refused_total\{.*status="(\d+)"\}', text)}
    assert refused == {404, 405, 500, 400, 413, 431}
    faults = {kind: int(n) for kind, n in re.findall(r'faults_total\{.*kind="(\w+)"\} (\d+)', text)}
    assert faults == {"handler": 1, "syntax": 1, "body": 1, "head": 1}
    assert "aiinfra_endpoint_connections" in text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/status", "/nowhere"])
def test_head_is_answered_as_get_without_the_body(raw, path):
    (head, body), whole = raw(get(path, method="HEAD")).split(b"\r\n\r\n", 1), raw(get(path))
    assert (status(head), body) == (status(whole), b"")
    assert int(re.search(rb"content-length: (\d+)", head)[1]) > 0


@pytest.mark.parametrize(("path", "allowed"), [("/healthz", "GET, HEAD, OPTIONS"), ("/predict", "POST, OPTIONS")])
def test_options_tells_what_a_path_takes(raw, path, allowed):
    answer = raw(get(path, method="OPTIONS"))
    assert (status(answer), f"\r\nallow: {allowed}\r\n".encode() in answer) == (200, True)
    assert f"\r\nallow: {allowed}\r\n".encode() in raw(get(path, method="DELETE"))


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "GET"])
def test_a_page_of_another_origin_gets_nothing(raw, method):
    assert status(raw(get("/predict", "host: localhost\r\norigin: http://evil.example\r\n", method))) == 403


@pytest.mark.parametrize("path", ["/predict", "/flush"])
def test_head_is_for_what_can_be_got(raw, path):
    assert status(raw(get(path, method="HEAD"))) == 405


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:8123", "127.1.2.3", "[::1]:9", "delay.localhost"]
)
def test_the_names_of_this_machine_alone_are_served(raw, host):
    assert status(raw(get("/healthz", f"host: {host}\r\n"))) == 200
    assert status(raw(get(f"http://{host}/healthz?x=1", "host: whatever\r\n"))) == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1"])
def test_another_host_is_refused_with_the_reason(raw, host):
    for data in (get("/status", f"host: {host}\r\n"), get(f"http://{host}/status")):
        answer = raw(data)
        assert status(answer) == 403
        assert b"localhost" in answer


def test_http_1_0_needs_no_host(raw):
    assert status(raw(b"GET /healthz HTTP/1.0\r\n\r\n")) == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"rows":[{"carrier":"AA","temp":NaN,"distance":3}]}', 400),
        (b'{"rows":[{"carrier":"AA","temp":-Infinity,"distance":3}]}', 400),
        (b'{"rows":[{"carrier":"\\ud800","temp":1,"distance":3}]}', 400),
        (b'{"rows":[{"carrier":"\xff","temp":1,"distance":3}]}', 400),
        (b'{"rows":[{"carrier":"AA","temp":1,"distance":3,"temp":2}]}', 422),
        (b'{"rows":[{"carrier":"AA","temp":1,"distance":3}],"key":1,"key":2}', 422),
        (b'{"rows":' + b"[" * 400_000, 400),
        (b'{"rows":[{"' + b"x" * 900_000 + b'":1}]}', 422),
        (b"", 400),
    ],
    ids=range(9),
)
def test_a_malformed_body_is_refused_counted_and_logged_in_one_bounded_line(served, caplog, body, code):
    caplog.set_level(logging.INFO, "aiinfra_lab")
    status, answer = served.ask("/predict", body)
    assert (status, list(answer)) == (code, ["error"])
    assert served.server.answers[code] == served.api.predictor.refused[code] == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{code} POST /predict: ")
    assert len(line) < 600
    assert "\n" not in line
    assert served.ask("/predict", {"rows": [ROW]})[0] == 200


def test_a_compressed_body_is_predicted_as_the_plain_one(served):
    plain = json.dumps({"rows": [ROW]}).encode()
    answers = [
        served.ask("/predict", plain),
        served.ask("/predict", gzip.compress(plain), "content-encoding: gzip\r\n"),
    ]
    assert answers[0][1]["predictions"][0]["score"] == answers[1][1]["predictions"][0]["score"]


def test_a_page_of_the_endpoint_itself_may_ask_it(served):
    assert served.ask("/predict", {"rows": [ROW]}, "origin: http://localhost\r\n")[0] == 200
    assert served.ask("/predict", {"rows": [ROW]}, "origin: http://localhost:1\r\n")[0] == 403
