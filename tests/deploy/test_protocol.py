"""HTTP on real sockets: order, limits and patience. The server runs in a thread; what answers is a few lines."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httptools
import pyarrow as pa
import pytest
import uvloop

from aiinfra_lab.deploy.ports import bind
from aiinfra_lab.deploy.server import protocol
from aiinfra_lab.deploy.server.protocol import MAX_BODY, MAX_HEAD, Request, Server
from tests.conftest import PATIENCE_S, until

# How long the answer to `/slow` takes: enough that this thread may be kept waiting for half of it.
SLOW_S = 1.5


class Echo:
    """Answers with the body; `/slow` later than what comes after it, `/broken` not at all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.seen = 0

    def __call__(self, request: Request) -> None:
        self.seen += 1
        self.last = request
        if request.head.path == b"/broken":
            raise RuntimeError("a fault in the handler")
        if request.head.path == b"/slow":
            self.loop.call_later(SLOW_S, request.respond, 200, request.body)
        else:
            request.respond(200, request.body or request.head.path)


class Running:
    """A server in a thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        listener = bind(0)
        self.port = listener.getsockname()[1]
        self.echo = Echo(self.loop)
        self.server = Server(self.echo, self.loop)
        self.loop.run_until_complete(self.loop.create_server(self.server.connect, sock=listener))
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def call(self, function):
        self.loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        self.call(self.server.close)
        self.call(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    found = Running()
    yield found
    found.stop()


@pytest.fixture
def talk(running):
    """Opens connections to the server; each is closed at the end."""
    opened = []

    def connect() -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S))
        return opened[-1]

    yield connect
    for item in opened:
        item.close()


class Answers:
    """Reads answers off a socket until there are `count`, or the other side closes."""

    def __init__(self, connection: socket.socket, count: int = 1) -> None:
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.closed = False
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        while len(self.statuses) < count and not self.closed:
            data = connection.recv(65_536)
            self.closed = not data
            if data:
                self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.statuses.append(self._parser.get_status_code())
        self.bodies.append(self._body)
        self._body = b""


def post(path: str, body: bytes, head: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body


def compressed(body: bytes, encoding: str) -> bytes:
    return pa.compress(body, codec="zstd" if encoding == "zstd" else "gzip", asbytes=True)


def ended(connection: socket.socket) -> bool:
    """Whether the other side closes without a word, in either of the ways that there are."""
    try:
        return connection.recv(10) == b""
    except ConnectionResetError:
        return True


def read_to_the_end(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(65_536):
        found += data
    return found


def what(answers: Answers) -> str:
    return json.loads(answers.bodies[-1])["error"]["what"]


def test_answers_keep_the_order_of_pipelined_requests(talk):
    connection = talk()
    connection.sendall(post("/slow", b"first") + post("/", b"second") + post("/", b"third"))
    assert Answers(connection, 3).bodies == [b"first", b"second", b"third"]


def test_a_thousand_pipelined_requests_are_all_answered(talk):
    connection = talk()
    threading.Thread(target=connection.sendall, args=(b"".join(post("/", b"%d" % at) for at in range(1000)),)).start()
    assert Answers(connection, 1000).bodies == [b"%d" % at for at in range(1000)]


def test_a_request_may_come_byte_by_byte(talk):
    connection = talk()
    for at in range(len(data := post("/", b"slowly"))):
        connection.sendall(data[at : at + 1])
    assert Answers(connection).bodies == [b"slowly"]


def test_a_chunked_body_is_put_together(talk):
    connection = talk()
    connection.sendall(
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert Answers(connection).bodies == [b"abcde"]


def test_an_announced_long_body_is_refused_before_it_is_sent(talk, running):
    connection, before = talk(), running.echo.seen
    connection.sendall(f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY + 1}\r\n\r\n".encode())
    answers = Answers(connection)
    assert answers.statuses == [413]
    assert "several requests" in what(answers)
    assert running.echo.seen == before


def test_a_long_body_without_announcement_is_refused_and_the_client_can_read_why(talk):
    connection = talk()
    connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(MAX_BODY // 0x10000 + 2):
        connection.sendall(chunk)
    assert Answers(connection).statuses == [413]


def test_a_body_of_the_longest_size_is_taken(talk):
    connection = talk()
    connection.sendall(post("/", b"x" * MAX_BODY))
    assert len(Answers(connection).bodies[0]) == MAX_BODY


@pytest.mark.parametrize("step", [200_000, 30_000, 4096])
def test_long_headers_are_refused(talk, step):
    connection, data = talk(), b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000
    for at in range(0, MAX_HEAD * 3, step):
        connection.sendall(data[at : at + step])
    assert Answers(connection).statuses == [431]


def test_many_headers_are_refused(talk):
    connection = talk()
    connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"name: value\r\n" * 2000 + b"\r\n")
    assert Answers(connection).statuses == [431]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_plain_request_is_refused(talk, data):
    connection = talk()
    connection.sendall(data)
    assert Answers(connection).statuses == [400]


JAVA = (
    "Connection: Upgrade, HTTP2-Settings\r\nContent-Length: 5\r\nHost: 127.0.0.1:8000\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n"
    "User-Agent: Java-http-client/17.0.9\r\nContent-Type: application/json\r\n"
)
CURL = (
    "Host: 127.0.0.1:8000\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: 5\r\n"
)
CHUNKED = "host: x\r\nupgrade: h2c\r\nconnection: upgrade\r\ntransfer-encoding: chunked\r\n"


@pytest.mark.parametrize("step", [1, 1 << 16])
@pytest.mark.parametrize(("head", "body"), [(JAVA, b"hello"), (CURL, b"hello"), (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n")])
def test_an_offer_of_another_protocol_is_passed_over_and_the_request_answered_as_it_is(talk, running, head, body, step):
    connection, before = talk(), running.echo.seen
    data = f"POST / HTTP/1.1\r\n{head}\r\n".encode() + body + post("/", b"next")
    for at in range(0, len(data), step):
        connection.sendall(data[at : at + step])
    assert Answers(connection, 2).bodies == [b"hello", b"next"]
    assert running.echo.seen == before + 2


def test_hundreds_of_offers_in_one_piece_are_passed_over(talk):
    connection = talk()
    connection.sendall(b"GET /a HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n" * 700)
    assert Answers(connection, 700).bodies == [b"/a"] * 700


def test_one_who_offers_another_protocol_is_told_to_continue_once(talk):
    connection = talk()
    connection.sendall(f"POST / HTTP/1.1\r\n{CURL}Expect: 100-continue\r\n\r\n".encode())
    told = connection.recv(100)
    connection.sendall(b"hello")
    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert Answers(connection).bodies == [b"hello"]


def test_a_tunnel_is_not_begun(talk):
    connection = talk()
    connection.sendall(b"CONNECT /plain HTTP/1.1\r\nhost: x\r\n\r\n\x00\x01")
    assert Answers(connection).bodies == [b"/plain"]
    assert ended(connection)


def test_a_request_before_nonsense_is_answered(talk):
    connection = talk()
    connection.sendall(post("/slow", b"fine") + b"\x00\x00\r\n\r\n")
    answers = Answers(connection, 2)
    assert (answers.statuses, answers.bodies[0]) == ([200, 400], b"fine")


def test_connection_close_is_honoured(talk):
    connection = talk()
    connection.sendall(post("/", b"last", "connection: close\r\n"))
    assert Answers(connection).bodies == [b"last"]
    assert ended(connection)


def test_http_1_0_gets_its_answer_and_the_end(talk):
    connection = talk()
    connection.sendall(b"GET /old HTTP/1.0\r\n\r\n")
    assert Answers(connection).bodies == [b"/old"]
    assert ended(connection)


def test_http_1_0_is_told_that_its_connection_is_kept(talk):
    connection = talk()
    for _ in range(2):
        connection.sendall(b"GET /old HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert b"\r\nconnection: keep-alive\r\n" in connection.recv(1000)


@pytest.mark.parametrize(
    ("head", "status", "word"),
    [
        ("", 400, "Host"),
        ("host: x\r\nhost: y\r\n", 400, "Host"),
        ("host: x\r\nexpect: a-miracle\r\n", 417, "100-continue"),
        ("host: x\r\ncontent-encoding: br\r\n", 415, "gzip, zstd"),
        ("host: x\r\ncontent-encoding: gzip, gzip\r\n", 415, "gzip, zstd"),
        ("host: x\r\ncontent-encoding: gzip\r\ncontent-encoding: zstd\r\n", 415, "gzip, zstd"),
        ("host: x\r\ncontent-encoding: gzip\r\n", 400, "Content-Encoding"),
    ],
)
def test_a_head_that_asks_for_what_there_is_not_is_refused_with_the_reason(talk, head, status, word):
    connection = talk()
    connection.sendall(f"POST / HTTP/1.1\r\ncontent-length: 3\r\n{head}\r\nabc".encode())
    answers = Answers(connection)
    assert answers.statuses == [status]
    assert word in what(answers)


def test_http_1_0_is_never_told_to_continue(talk):
    connection = talk()
    connection.sendall(b"POST / HTTP/1.0\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\nok")
    assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "zstd"])
def test_a_compressed_body_is_inflated(talk, encoding):
    connection = talk()
    for text in (b"plain " * 1000, b"x" * MAX_BODY, b"next"):
        connection.sendall(post("/", compressed(text, encoding), f"content-encoding: {encoding}\r\n"))
        assert Answers(connection).bodies == [text]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_that_inflates_beyond_the_limit_is_refused_at_once(talk, encoding):
    bomb = compressed(bytes(1 << 29), encoding)
    assert len(bomb) < MAX_BODY
    connection, began = talk(), time.process_time()
    connection.sendall(post("/", bomb, f"content-encoding: {encoding}\r\n"))
    assert Answers(connection).statuses == [413]
    assert time.process_time() - began < 1


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "spoil", [lambda body: body[:-3], lambda body: b"", lambda body: b"{}", lambda body: body + b"x"]
)
def test_a_damaged_compressed_body_is_the_clients_fault(talk, encoding, spoil):
    connection = talk()
    connection.sendall(post("/", spoil(compressed(b"text " * 99, encoding)), f"content-encoding: {encoding}\r\n"))
    assert Answers(connection).statuses == [400]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("body", "status"), [(b"garbage", 400), (compressed(bytes(MAX_BODY + 1), "gzip"), 413)], ids=["damaged", "long"]
)
def test_a_bad_compressed_body_is_refused_at_once_also_where_nothing_is_to_follow(talk, running, version, body, status):
    connection, before, began = talk(), running.server.refused[status], time.monotonic()
    head = f"POST / HTTP/{version}\r\nhost: x\r\nconnection: close\r\ncontent-encoding: gzip\r\n"
    connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    assert Answers(connection).statuses == [status]
    assert time.monotonic() - began < protocol.BODY_S / 2
    assert running.server.refused[status] == before + 1


@pytest.mark.parametrize(
    "field", ["content-encoding: gzip", "x-aiinfra-model: m:x@9", "x-aiinfra-judged: no", "host: y", "origin: http://y"]
)
def test_a_trailer_is_no_header(talk, running, field):
    connection = talk()
    head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.sendall(f"{head}2\r\nab\r\n0\r\n{field}\r\n\r\n".encode())
    assert Answers(connection).bodies == [b"ab"]
    head = running.echo.last.head
    assert (head.model, head.is_judged, head.host, head.from_page) == (b"", True, b"x", False)


@pytest.mark.parametrize(
    ("value", "is_judged"),
    [("no", False), ("False", False), ("0", False), ("yes", True), ("TRUE", True), ("1", True)],
)
def test_whether_a_request_is_judged_is_said_in_the_usual_ways(talk, running, value, is_judged):
    connection = talk()
    connection.sendall(post("/", b"x", f"X-Aiinfra-Judged: {value}\r\n"))
    assert Answers(connection).statuses == [200]
    assert running.echo.last.head.is_judged is is_judged


@pytest.mark.parametrize("value", ["", "never", "nope", "\u00e9"])
def test_what_says_neither_is_refused(talk, value):
    connection = talk()
    connection.sendall(post("/", b"x", f"X-Aiinfra-Judged: {value}\r\n"))
    answers = Answers(connection)
    assert (answers.statuses, "X-Aiinfra-Judged" in what(answers)) == ([400], True)


def test_small_pieces_of_a_body_take_no_more_memory_than_what_is_in_them(talk):
    connection = talk()
    connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    connection.sendall(b"2\r\nab\r\n" * 50_000 + b"0\r\n\r\n")
    assert Answers(connection).bodies == [b"ab" * 50_000]


@pytest.mark.parametrize(
    ("origin", "is_foreign"),
    [
        ("http://x", False),
        ("HTTP://X", False),
        ("http://evil.example", True),
        ("https://x", True),
        ("http://x:81", True),
        ("null", True),
    ],
)
def test_a_page_of_another_origin_is_told_from_the_endpoints_own(talk, running, origin, is_foreign):
    for head in (f"origin: {origin}\r\nhost: x\r\n", f"host: x\r\norigin: {origin}\r\n"):
        connection = talk()
        connection.sendall(f"GET / HTTP/1.1\r\n{head}\r\n".encode())
        Answers(connection)
        assert running.echo.last.head.from_page is is_foreign


def test_a_half_closed_client_still_gets_its_answer(talk):
    connection = talk()
    connection.sendall(post("/slow", b"late"))
    connection.shutdown(socket.SHUT_WR)
    assert Answers(connection).bodies == [b"late"]
    assert ended(connection)


def test_expect_continue_is_answered_first(talk):
    connection = talk()
    connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
    assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
    connection.sendall(b"ok")
    assert Answers(connection).bodies == [b"ok"]


def test_a_fault_of_the_handler_is_a_500_and_the_server_goes_on(talk, caplog):
    connection = talk()
    connection.sendall(post("/broken", b"") + post("/", b"next"))
    answers = Answers(connection, 2)
    assert (answers.statuses, answers.bodies[1]) == ([500, 200], b"next")
    faults = [record for record in caplog.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in faults] == ["a fault in the handler"]


def test_a_client_that_reads_nothing_is_not_read_from(talk):
    connection, sent, rest = talk(), 0, b""
    connection.setblocking(False)
    last = time.monotonic()
    while time.monotonic() - last < 0.5 and sent < 1 << 30:
        rest = rest or post("/", b"x" * 50_000)
        try:
            done = connection.send(rest)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            sent, rest, last = sent + done, rest[done:], time.monotonic()
    assert sent < 100 << 20  # what the sockets hold, and not all of it


def test_slow_heads_and_slow_bodies_are_dropped(talk, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S", 1.0)
    monkeypatch.setattr(protocol, "BODY_S", 1.0)
    silent, head, body = talk(), talk(), talk()
    head.sendall(b"POST / HTTP/1.1\r\nhost")
    body.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
    assert Answers(head).statuses == [408]
    assert Answers(body).statuses == [408]
    assert ended(silent)


def test_a_slow_answer_is_not_mistaken_for_a_slow_client(talk, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S", SLOW_S / 2)
    connection = talk()
    connection.sendall(post("/slow", b"patient"))
    assert Answers(connection).bodies == [b"patient"]


def test_a_new_connection_takes_the_place_of_the_longest_idle_and_of_no_busy_one(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
    running = Running()
    first, second, third, fourth = (socket.socket() for _ in range(4))
    for connection in (second, first, third):
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", running.port))
        connection.sendall(post("/", b"in"))
        assert Answers(connection).bodies == [b"in"]
    assert ended(second)
    first.sendall(post("/slow", b"busy"))
    third.sendall(post("/slow", b"busy"))
    until(lambda: running.echo.seen == 5)
    fourth.settimeout(PATIENCE_S)
    fourth.connect(("127.0.0.1", running.port))
    fourth.sendall(post("/", b"one too many"))
    assert Answers(fourth).statuses == [503]
    assert ended(fourth)
    assert Answers(first).bodies == Answers(third).bodies == [b"busy"]
    running.stop()
    for connection in (first, second, third, fourth):
        connection.close()


@pytest.mark.parametrize("head", [b"", b"GET /slow HTTP/1.1\r\nhost"], ids=["idle", "slow"])
def test_health_is_answered_while_all_connections_and_the_reserve_are_taken(monkeypatch, head):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(protocol, "HEAD_S", PATIENCE_S)  # nothing goes for its slowness, however slow this machine is
    monkeypatch.setattr(protocol, "RESERVED_S", PATIENCE_S)
    running = Running()
    with contextlib.ExitStack() as stack:

        def connect(data: bytes) -> socket.socket:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), PATIENCE_S))
            connection.sendall(data)
            return connection

        for _ in range(20 + 3 * protocol.RESERVED):
            connect(head)
            health = connect(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert Answers(health).bodies == [b"/healthz"]
        answers = Answers(connect(b"GET /other HTTP/1.1\r\nhost: x\r\n\r\n"))
        assert answers.statuses == ([503] if head else [200])
        assert len(running.server.connections) + len(running.server.reserve) <= 20 + protocol.RESERVED
        assert running.server.dropped["full" if head else "displaced"] > protocol.RESERVED
    until(lambda: not running.server.connections and not running.server.reserve)
    running.stop()


@pytest.mark.parametrize("data", [post("/", b"whole")[:-1], b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"])
def test_a_request_that_ends_in_its_middle_is_refused_and_counted(talk, running, data):
    connection, before = talk(), running.server.faults["incomplete"]
    connection.sendall(post("/", b"before") + data)
    connection.shutdown(socket.SHUT_WR)
    assert Answers(connection, 2).statuses == [200, 400]
    assert ended(connection)
    assert running.server.faults["incomplete"] == before + 1


def test_a_head_that_never_stands_still_is_dropped_by_the_clock(talk, monkeypatch, running):
    monkeypatch.setattr(protocol, "HEAD_S", 1.0)
    connection, began, before = talk(), time.monotonic(), running.server.faults["slow"]
    with contextlib.suppress(ConnectionError):
        while running.server.faults["slow"] == before and time.monotonic() - began < PATIENCE_S:
            connection.sendall(b"\r\n" if time.monotonic() - began < 0.5 else b"G")
            time.sleep(0.05)
    assert time.monotonic() - began < 1.0 + PATIENCE_S / 2


def test_every_fault_and_every_dropped_connection_is_counted_by_its_kind(talk, running):
    before, gone = Counter(running.server.faults), running.server.dropped["left"]
    for data in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", post("/", b"x", "content-encoding: br\r\n"),
                 post("/", b"x", "expect: wonders\r\n"), post("/broken", b"", "connection: close\r\n"),
                 post("/", b"x", "a: " + "b" * MAX_HEAD + "\r\n"), post("/", b"x" * (MAX_BODY + 1))):  # fmt: skip
        connection = talk()
        connection.sendall(data)
        Answers(connection)
    kinds = ("syntax", "host", "encoding", "expectation", "handler", "head", "body")
    assert Counter(running.server.faults) - before == dict.fromkeys(kinds, 1)
    leaving, seen = talk(), running.echo.seen
    leaving.sendall(post("/slow", b""))
    until(lambda: running.echo.seen > seen)
    leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # so that the close is a reset
    leaving.close()
    until(lambda: running.server.dropped["left"] == gone + 1)


def test_draining_answers_what_was_taken_and_closes(monkeypatch):
    running = Running()
    busy, idle = (socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) for _ in range(2))
    idle.sendall(post("/", b"x"))
    Answers(idle)
    busy.sendall(post("/slow", b"taken"))
    until(lambda: running.echo.seen == 2)
    running.call(running.server.drain)
    assert ended(idle)
    answer = read_to_the_end(busy)
    assert answer.endswith(b"\r\n\r\ntaken")
    assert b"\r\nconnection: close\r\n" in answer
    running.stop()
    busy.close()
    idle.close()
