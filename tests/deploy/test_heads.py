"""A head that comes again is known without parsing it, and nothing that a client may send is read otherwise by that."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from aiinfra_lab.deploy.server.heads import RepeatedHead, RequestHead
from aiinfra_lab.deploy.server.protocol import MAX_BODY
from tests.conftest import PATIENCE_S

from .test_protocol import Answers, Running, compressed, post

FIRST = post("/", b"first", "Accept: */*\r\n")
GZIP = post("/", compressed(b"packed", "gzip"), "content-encoding: gzip\r\n")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    found = Running()
    yield found
    found.stop()


@pytest.fixture
def connect(running) -> Iterator:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(("127.0.0.1", running.port), PATIENCE_S))


def remembered(data: bytes, body: bytes) -> RepeatedHead | None:
    return RepeatedHead.of(RequestHead(), data, len(body))


@pytest.mark.parametrize(
    "length", ["content-length: 5", "Content-Length:5", "CONTENT-LENGTH:  5 ", "content-length:05"]
)
@pytest.mark.parametrize("form", ["{}\r\nhost: x\r\n", "host: x\r\n{}\r\n"])
def test_a_head_is_known_whatever_the_length_of_the_body(length, form):
    head = f"POST /a HTTP/1.1\r\n{form.format(length)}\r\n".encode()
    found = remembered(head + b"first", b"first")
    assert found is not None
    for body in (b"again", b"a longer one of which the number has more digits"):
        number = b"%d" % len(body)
        again = head.replace(b"05", number).replace(b"5", number) + body
        assert found.body_of(again, MAX_BODY) == body
        assert found.body_of(again + b"!", MAX_BODY) is None
        assert found.body_of(again[:-1], MAX_BODY) is None
        assert found.body_of(again, len(body) - 1) is None


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\nx-content-length: 5\r\n\r\nfirst",
        post("/", b"other") + post("/", b"first"),
    ],
    ids=["chunked", "another field", "two requests"],
)
def test_what_is_no_single_request_of_an_announced_length_is_not_remembered(data):
    assert remembered(data, b"first") is None


SECOND = {
    "the same": FIRST,
    "longer": post("/", b"the second", "Accept: */*\r\n"),
    "empty": post("/", b"", "Accept: */*\r\n"),
    "two": FIRST + FIRST,
    "a tail": FIRST + b"POST",
    "short": FIRST[:-1],
    "another path": post("/other", b"", "Accept: */*\r\n"),
    "one field more": post("/", b"first", "Accept: */*\r\norigin: http://evil.example\r\n"),
    "no length": b"POST / HTTP/1.1\r\nhost: x\r\nAccept: */*\r\n\r\n",
    "no number": FIRST.replace(b": 5", b": "),
    "a sign": FIRST.replace(b": 5", b": +5"),
    "two numbers": FIRST.replace(b": 5", b": 5 5"),
    "two lengths": FIRST.replace(b": 5", b": 5\r\ncontent-length: 5"),
    "other digits": FIRST.replace(b": 5", ": \u0665".encode()),
    "negative": FIRST.replace(b": 5", b": -5"),
    "too long": FIRST.replace(b": 5", b": %d" % (MAX_BODY + 1)),
    "far too long": FIRST.replace(b": 5", b": " + b"9" * 30),
    "zeros before": FIRST.replace(b": 5", b": " + b"0" * 30 + b"5"),
    "chunked": FIRST.replace(b"content-length: 5", b"transfer-encoding: chunked"),
    "chunked and a length": FIRST.replace(b": 5", b": 5\r\ntransfer-encoding: chunked"),
    "empty lines before": b"\r\n\r\n" + FIRST,
    "closing": post("/", b"first", "connection: close\r\n"),
    "old": FIRST.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "packed": GZIP,
}


def answered(connection: socket.socket, data: bytes) -> tuple:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    answers = Answers(connection, 3)
    return answers.statuses, answers.bodies, answers.closed


@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND)
@pytest.mark.parametrize("first", [FIRST, GZIP, b"\r\n" + FIRST], ids=["plain", "packed", "empty line"])
def test_what_follows_is_answered_as_on_a_connection_of_its_own(connect, first, second):
    used = connect()
    for _ in range(2):
        used.sendall(first)
        assert Answers(used).statuses == [200]
    assert answered(used, second) == answered(connect(), second)


def test_requests_with_the_same_head_share_it_and_others_do_not(connect, running):
    used, seen = connect(), []
    for data in (FIRST, FIRST, post("/", b"longer than that", "Accept: */*\r\n"), post("/", b"first"), FIRST):
        used.sendall(data)
        assert Answers(used).statuses == [200]
        seen.append(running.echo.last.head)
    assert seen[0] is seen[1] is seen[2]
    assert len({id(head) for head in seen}) == 3
    assert seen[0].accept == b"*/*"


def test_a_head_that_is_known_counts_as_any_other(connect, running):
    used = connect()
    before = running.server.answers[200]
    for _ in range(5):
        used.sendall(FIRST)
        assert Answers(used).bodies == [b"first"]
    assert running.server.answers[200] == before + 5
    assert len(running.server.connections) == len(running.server.idle) + len(running.server.unused)


def test_a_fault_of_ours_after_a_known_head_is_answered_too(connect):
    used = connect()
    for _ in range(2):
        used.sendall(post("/broken", b"first"))
        assert Answers(used).statuses == [500]
