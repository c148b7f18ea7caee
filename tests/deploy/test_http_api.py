"""What an endpoint answers over a socket: who may ask, in which forms, and that every answer is counted."""

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import uvloop

from aiinfra_lab.deploy.ports import bind
from aiinfra_lab.deploy.server.http_api import HttpApi
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog
from aiinfra_lab.deploy.server.predictor import Predictor
from aiinfra_lab.deploy.server.protocol import MAX_BODY, Server
from tests.conftest import PATIENCE_S


@pytest.fixture
def raw(tmp_path) -> Iterator:
    """Gives `raw(bytes)`: all that an endpoint without a version answers before it closes the connection."""
    loop, listener = uvloop.new_event_loop(), bind(0)
    predictor = Predictor(PredictionsLog(tmp_path / "log", 1e9), loop)
    api = HttpApi("delay", "deploy-delay-1", predictor, lambda done: done())
    server = Server(api.handle, loop, predictor.refused)
    loop.run_until_complete(loop.create_server(server.connect, sock=listener))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def asked(data: bytes) -> bytes:
        with socket.create_connection(listener.getsockname(), timeout=PATIENCE_S) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    asked.api, asked.server = api, server
    yield asked
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    predictor.log.close()
    loop.close()


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


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/status", "/nowhere"])
def test_head_is_answered_as_get_without_the_body(raw, path):
    (head, body), whole = raw(get(path, method="HEAD")).split(b"\r\n\r\n", 1), raw(get(path))
    assert (status(head), body) == (status(whole), b"")
    assert int(re.search(rb"content-length: (\d+)", head)[1]) > 0


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
