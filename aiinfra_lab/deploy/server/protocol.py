"""HTTP on a socket: one parser for each connection, answers in the order of the requests, and limits on everything.

llhttp (httptools) parses. A body that is announced as too long is refused before it is read, a request that does
not arrive in time is dropped, and a client that does not read its answers is not read from. When all connections are
taken, a few more are there for questions after the endpoint's health alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import NoReturn, cast

import httptools
import msgspec

from ...config import Settings
from ...errors import UsageProblem
from . import encodings
from .heads import RepeatedHead, RequestHead
from .refusals import RefusalLog, form_of, written
from .tallies import Tallies

BODY_MIB, MOST_BODY_MIB = 1.0, 64.0
MAX_BODY = int(BODY_MIB * 2**20)
MAX_HEAD = 16 << 10
MOST_KEY = 256
HEAD_S = 5.0
BODY_S = 15.0
IDLE_S = 75.0
LINGER_S = 1.0
SWEEP_S = 0.5
MAX_CONNECTIONS = 512
MAX_PIPELINED = 64
# Beyond MAX_CONNECTIONS: whoever watches the endpoint must hear of its health most of all when it is overrun.
RESERVED = 16
RESERVED_S = 1.0
HEALTH = frozenset((b"/healthz", b"/readyz", b"/v2/health/live", b"/v2/health/ready"))

_REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 413: "Content Too Large", 415: "Unsupported Media Type", 417: "Expectation Failed",
    422: "Unprocessable Content", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
_HEADS = {status: f"HTTP/1.1 {status} {reason}\r\ncontent-type: ".encode() for status, reason in _REASONS.items()}
_LONG_HEAD = (431, "head", f"the head of a request may have at most {MAX_HEAD} bytes")
_TAKEN = (503, "full", "all connections are in use; what is left is for questions after the endpoint's health")
JSON, ARROW_STREAM = b"application/json", b"application/vnd.apache.arrow.stream"
TENSORS = b"application/octet-stream"  # behind the JSON that describes them
_YES, _NO = frozenset((b"yes", b"true", b"1")), frozenset((b"no", b"false", b"0"))

_log = logging.getLogger(__name__)

Handler = Callable[["Request"], None]


def body_bytes(where: Settings) -> int:
    """How long a request's body may be. UsageProblem for a setting that is no such size."""
    mib = where.get("deploy.body_mib", BODY_MIB)
    if not 0.01 <= mib <= MOST_BODY_MIB:
        raise UsageProblem(f"deploy.body_mib = {mib:g} is no size of a body", f"give it 0.01 to {MOST_BODY_MIB:g} MiB")
    return int(mib * 2**20)


class Request(msgspec.Struct, eq=False):
    """One request, complete, and the place of its answer in the connection's order.

    keep: whether the connection stays open afterwards.
    """

    connection: Connection
    head: RequestHead
    body: bytes
    keep: bool
    answer: bytes = b""

    def respond(self, status: int, body: bytes, kind: bytes = JSON, extra: bytes = b"") -> None:
        """Answer it, a HEAD without the body; to be called once. It is sent when those before it have been answered."""
        head, connection = self.head, self.connection
        if status == 503:
            extra += b"retry-after: 1\r\n"
        if not self.keep or connection.ends_with(self):
            extra += b"connection: close\r\n"
        elif head.names_keep:
            extra += b"connection: keep-alive\r\n"
        server = connection.server
        server.answers.add(status)
        if status >= 400:
            server.log_refusal(self, status, body)
        sent = b"" if head.method == b"HEAD" else body
        self.answer = b"%b%b\r\ncontent-length: %d\r\n%b\r\n%b" % (_HEADS[status], kind, len(body), extra, sent)
        connection.flush()


class Server:
    """All connections of one listening socket. `handler` gets each complete request, of at most `max_body` bytes.

    It counts in `tallies`. answers: how many answers of each status were given. refused: those among them that the
    protocol itself gave; a handler may go on counting in it. faults: what was wrong with requests that never got to the
    handler, or in it, by kind. dropped: connections that were closed without an answer that was due or might have come,
    by reason.

    unused, idle, heads: the connections that have never asked anything, that wait for another request, and whose
    request has begun; the oldest first.
    """

    def __init__(
        self,
        handler: Handler,
        loop: asyncio.AbstractEventLoop,
        tallies: Tallies | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        self.handler = handler
        self.max_body = max_body
        self.loop = loop
        self.tallies = tallies or Tallies()
        self.answers, self.refused = self.tallies.answers, self.tallies.refused
        self.faults, self.dropped = self.tallies.faults, self.tallies.dropped
        self.connections: set[Connection] = set()
        self.reserve: deque[Connection] = deque()
        self.unused: dict[Connection, None] = {}
        self.idle: dict[Connection, None] = {}
        self.heads: dict[Connection, None] = {}
        self.draining = False
        self._log = RefusalLog()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    def connect(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    def log_refusal(self, request: Request, status: int, body: bytes) -> None:
        """Log it; not one of readiness, which is asked for all the time."""
        if request.head.path not in HEALTH:
            self._log.add(status, request.head.method, request.head.path, body)

    def admit(self, connection: Connection) -> bool:
        """Take a new connection; False when it may ask for nothing but the endpoint's health."""
        if len(self.connections) < MAX_CONNECTIONS or self.make_room():
            self.connections.add(connection)
            self.unused[connection] = None
            return True
        # The oldest goes: it has had its time, however short, and nobody may keep the last places.
        if len(self.reserve) >= RESERVED:
            self.reserve.popleft().cut("full")
        self.reserve.append(connection)
        return False

    def release(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self.connections.discard(connection)
        for among in (self.unused, self.idle, self.heads):
            among.pop(connection, None)
        with contextlib.suppress(ValueError):
            self.reserve.remove(connection)

    def make_room(self) -> bool:
        """Close a connection that nobody may miss; False when there is none.

        The oldest that has never asked anything, which no client sends a request on at this moment; else the one that
        has been idle for longest; else one whose head is slow.
        """
        found = next(iter(self.unused), None) or next(iter(self.idle), None) or next(iter(self.heads), None)
        if found is None or (found in self.heads and not found.has_slow_head):
            return False
        self.release(found)  # its `connection_lost` comes later, and its place is taken now
        found.displace()
        return True

    def publish(self) -> None:
        """Write how many connections are open into the tallies."""
        self.tallies.set("connections", len(self.connections) + len(self.reserve))

    def drain(self) -> None:
        """Close idle connections now, and every other one after its last answer."""
        self.draining = True
        for connection in self._all:
            connection.close_when_idle()

    def close(self) -> None:
        """Cut what is left."""
        self._sweeper.cancel()
        for connection in self._all:
            connection.cut("closed")

    @property
    def _all(self) -> list[Connection]:
        return [*self.connections, *self.reserve]

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in self._all:
            connection.expire(now)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._parser = httptools.HttpRequestParser(self)
        self._pending: deque[Request] = deque()
        self._transport: asyncio.Transport | None = None
        self._deadline = 0.0
        self._refused = self._last = self._choked = self._reserved = self._paused = False
        self._is_unused = True
        self._complete = 0
        self._fault: tuple[int, str, str] | None = None
        self._repeated: RepeatedHead | None = None
        self._clear()

    def _clear(self) -> None:
        self._url = self._host = self._origin = self._encoding = b""
        self._body: bytes | bytearray = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = self._head_parts = 0
        self._head = RequestHead()
        self._started = self._in_head = self._expects = False

    # ---- what the event loop calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's transport always: uvloop's has no common base class with asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        if self.server.draining:
            self.cut("draining")
            return
        self._reserved = not self.server.admit(self)
        self._deadline = self.server.loop.time() + self._head_s

    def connection_lost(self, problem: Exception | None) -> None:
        if self._pending and self._transport:
            self.server.dropped.add("left")  # by the client, before it was answered
        self.server.release(self)
        self._transport = None
        self._pending.clear()

    def data_received(self, data: bytes) -> None:
        if self._refused or self._last:
            return  # what still comes is let go, so that the client can read its answer
        is_between, complete = not self._started, self._complete
        if is_between and self._repeated and not self._pending and not self.server.draining:
            body = self._repeated.body_of(data, self.server.max_body)
            if body is not None:
                self.server.idle.pop(self, None)
                self._take(Request(self, self._repeated.head, body, keep=True))
                return
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._fault = self._fault or (400, "syntax", "this is no HTTP request")
        if self._in_head and self._complete == complete:
            # All of the data belongs to a head that has not ended: a header without an end never gets to on_header.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._fault = self._fault or _LONG_HEAD
        if self._fault and not self._last:
            self._refuse(*self._fault)
        elif len(self._pending) > MAX_PIPELINED:
            self._pace()
        elif is_between and self._complete == complete + 1 and not (self._started or self._last):
            self._remember(data)

    def eof_received(self) -> bool:
        self._last = True
        if self._started and not self._refused:
            self._refuse(400, "incomplete", "the request ends in its middle")
        return bool(self._pending)  # answers that are due are sent before the close

    def pause_writing(self) -> None:
        self._choked = True
        self._pace()

    def resume_writing(self) -> None:
        self._choked = False
        self._pace()

    # ---- what the parser calls; an exception ends its work on the data ----

    def on_message_begin(self) -> None:
        self._clear()
        self._started = self._in_head = True
        if not self._reserved:
            (self.server.unused if self._is_unused else self.server.idle).pop(self, None)
            self.server.heads[self] = None
            self._is_unused = False
        self._deadline = self.server.loop.time() + self._head_s

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        if not self._in_head:
            return  # what stands behind a body describes it, and changes nothing in how it is read
        self._fields.append((name, value))
        if take := _FIELDS.get(name.lower()):
            take(self, value)

    def on_headers_complete(self) -> None:
        if self._offers_upgrade:
            return  # it is read again
        version = self._parser.get_http_version()
        self._head.names_keep = version == "1.0"
        if not self._host and version == "1.1":
            self._stop(400, "host", "a request of HTTP/1.1 has a Host")
        if self._reserved and self._target()[0].partition(b"?")[0] not in HEALTH:
            self._stop(*_TAKEN)
        self._in_head = False
        self.server.heads.pop(self, None)
        self._deadline = self.server.loop.time() + BODY_S
        # Not while an answer is due: it would come before that one, and seem to belong to its request. And not to
        # HTTP/1.0, which knows no answers that another follows.
        if self._expects and version != "1.0" and not self._pending and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if len(self._body) + len(body) > self.server.max_body:
            self._stop_long_body()
        if not self._body:
            self._body = body
            return
        # In one piece, for a list of small ones would take many times the memory of what is in them.
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += body

    def on_message_complete(self) -> None:
        if self._offers_upgrade:
            return  # it is read again
        self._started = False
        self._complete += 1
        body = self._whole_body()  # before `_last`, after which no fault is answered
        keep = self._parser.should_keep_alive() and not self._parser.should_upgrade() and not self.server.draining
        keep = keep and not self._reserved
        self._last = not keep
        head = self._head
        head.method, (head.path, head.host) = self._parser.get_method(), self._target()
        # The endpoint's own page may ask it: whoever serves a page under that name is the endpoint.
        head.from_page = bool(self._origin) and self._origin.lower() != b"http://" + head.host.lower()
        self._take(Request(self, head, body, keep))

    # ---- ours ----

    def _take(self, request: Request) -> None:
        self._pending.append(request)
        try:
            self.server.handler(request)
        except Exception:  # noqa: BLE001  # a fault of ours must reach the log and the client, not end the server
            _log.exception("a request failed")
            self.server.faults.add("handler")
            if not request.answer:
                self.server.refused.add(500)
                request.respond(500, written(form_of(request.head.path), "the endpoint failed; its log says more"))

    def _remember(self, data: bytes) -> None:
        """Know the head again that this whole request began with."""
        if not (self._encoding or self._expects):
            self._repeated = RepeatedHead.of(self._head, data, len(self._body))

    def _parse(self, data: bytes) -> None:
        """Have data parsed; a request that offers another protocol as if it did not (RFC 9110, 7.8).

        httptools takes such a request to end with its head, so its head is read again without the offer.
        """
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if not self._offers_upgrade:
                    return  # CONNECT was answered as it is; what would follow is of another protocol
                data = self._head_without_offer() + data[offer.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            else:
                return

    @property
    def _offers_upgrade(self) -> bool:
        return self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"

    def _head_without_offer(self) -> bytes:
        version = self._parser.get_http_version().encode()
        fields = (b"%b: %b\r\n" % field for field in self._fields if field[0].lower() != b"upgrade")
        return b"%b %b HTTP/%b\r\n%b\r\n" % (self._parser.get_method(), self._url, version, b"".join(fields))

    def flush(self) -> None:
        """Send every answer whose turn it is."""
        pending, ready = self._pending, []
        while pending and (answer := pending[0].answer):
            ready.append(answer)
            pending.popleft()
        if self._transport is None or not ready:
            return
        self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if not pending and not self._started:
            self._rest()
        elif len(pending) <= MAX_PIPELINED:
            self._pace()

    @property
    def has_slow_head(self) -> bool:
        """Whether a head has begun and did not end within RESERVED_S: long enough where others wait for its place."""
        left_s = self._deadline - self.server.loop.time()
        return self._in_head and not self._pending and left_s < HEAD_S - RESERVED_S

    def displace(self) -> None:
        """Close it for another one."""
        if self._in_head:
            self.cut("slow")
        elif self._transport:
            self.server.dropped.add("displaced")
            self._transport.close()

    def ends_with(self, request: Request) -> bool:
        """Whether the connection is closed after that answer; then it is settled, and nothing more is taken."""
        if not (self._last or self.server.draining):
            return False
        is_last = bool(self._pending) and request is self._pending[-1]
        if self.server.draining and is_last and not self._started:
            self._last = True
        return self._last and is_last

    def close_when_idle(self) -> None:
        """Close now, or after the answers that are due."""
        if not self._pending and not self._started and self._transport:
            self._transport.close()

    def cut(self, reason: str) -> None:
        """Close without an answer."""
        if self._transport:
            self.server.dropped.add(reason)
            self._transport.abort()
            self._transport = None

    def expire(self, now: float) -> None:
        """Drop the connection when its time for what it is doing is over."""
        # While an answer is due, it is the endpoint that takes time, not the client.
        if self._pending or now < self._deadline:
            return
        if self._refused or not self._started:
            self.cut("unread" if self._refused else "idle")
        else:
            self._refuse(408, "slow", f"the head must arrive within {HEAD_S:g} s and the body within {BODY_S:g} s")

    def _rest(self) -> None:
        """Everything is answered: wait for more, or end."""
        assert self._transport is not None
        if self._refused and not self._last:
            # Closing now would reset the connection, and the client would lose the answer it has not read yet.
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()
            self._deadline = self.server.loop.time() + LINGER_S
        elif self._last or self.server.draining:
            self._transport.close()
        else:
            self.server.idle[self] = None
            self._deadline = self.server.loop.time() + IDLE_S
            if self._paused:
                self._pace()

    def _target(self) -> tuple[bytes, bytes]:
        """Path and host. What is sent as to a proxy, `http://host/path`, names its host there."""
        if self._url.startswith(b"/") or b"://" not in self._url:
            return self._url, self._host
        host, _, path = self._url.partition(b"://")[2].partition(b"/")
        return b"/" + path, host

    def _count_head(self, length: int) -> None:
        # Counted by its parts too: head and body may come in one piece of data.
        self._head_parts += length
        if self._head_parts > MAX_HEAD:
            self._stop(*_LONG_HEAD)

    def _take_expectation(self, value: bytes) -> None:
        if value.lower() != b"100-continue":
            self._stop(417, "expectation", "only 100-continue can be expected")
        self._expects = True

    def _take_length(self, value: bytes) -> None:
        # llhttp lets only digits through; what a longer number announces is refused there, or counted as it comes.
        if len(value) < 20 and int(value) > self.server.max_body:
            self._stop_long_body()

    def _take_origin(self, value: bytes) -> None:
        # A browser sets it on what a page posts, and the page cannot take it away.
        self._origin = value

    def _take_host(self, value: bytes) -> None:
        if self._host:
            self._stop(400, "host", "a request has one Host")
        self._host = value

    def _take_kind(self, value: bytes) -> None:
        self._head.kind = value

    def _take_accept(self, value: bytes) -> None:
        self._head.accept = value

    def _take_model(self, value: bytes) -> None:
        self._head.model = value

    def _take_key(self, value: bytes) -> None:
        if not 0 < len(value) <= MOST_KEY:
            self._stop(400, "option", f"X-Aiinfra-Key has 1 to {MOST_KEY} bytes")
        self._head.key = value

    def _take_judged(self, value: bytes) -> None:
        if (said := value.lower()) not in _YES | _NO:
            self._stop(400, "option", "X-Aiinfra-Judged is no, or yes as without it")
        self._head.is_judged = said in _YES

    def _take_json_bytes(self, value: bytes) -> None:
        if not value.isdigit() or len(value) > len(str(self.server.max_body)):
            self._stop(400, "syntax", "Inference-Header-Content-Length is the number of the JSON's bytes")
        self._head.json_bytes = int(value)

    def _take_encoding(self, value: bytes) -> None:
        if (encoding := value.lower()) == b"identity":
            return
        if self._encoding or encoding not in encodings.NAMES:
            self._stop(415, "encoding", f"a body is plain JSON, or that in one of {', '.join(encodings.SHOWN)}")
        self._encoding = encoding

    def _whole_body(self) -> bytes:
        if not self._encoding:
            return bytes(self._body)
        try:
            found = encodings.decode(bytes(self._body), self._encoding, self.server.max_body + 1)
        except ValueError as problem:
            self._stop(400, "encoding", f"the body is not what its Content-Encoding says: {problem}")
        if len(found) > self.server.max_body:
            self._stop_long_body()
        return found

    @property
    def _head_s(self) -> float:
        return RESERVED_S if self._reserved else HEAD_S

    def _stop_long_body(self) -> NoReturn:
        most = self.server.max_body
        self._stop(413, "body", f"a body may have at most {most} bytes; send the rows in several requests")

    def _stop(self, status: int, kind: str, what: str) -> NoReturn:
        self._fault = (status, kind, what)
        raise httptools.HttpParserError(what)

    def _refuse(self, status: int, kind: str, what: str) -> None:
        """Answer with the refusal after what is due, and take nothing more from this client."""
        # `flush` ends a connection only when no request has begun, and the one that has will never be complete.
        self._refused, self._started, self._in_head = True, False, False
        self.server.heads.pop(self, None)
        request = Request(self, RequestHead(), b"", keep=False)
        self._pending.append(request)
        self.server.refused.add(status)
        self.server.faults.add(kind)
        more = {"most_bytes": self.server.max_body} if status == 413 else {}
        request.respond(status, written(form_of(self._target()[0]), what, **more))

    def _pace(self) -> None:
        """Read from the client only while it reads its answers and has not asked too much at once."""
        is_paused = self._choked or len(self._pending) > MAX_PIPELINED
        if is_paused == self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = is_paused
        if is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


# The fields of a head that mean something here.
_FIELDS: dict[bytes, Callable[[Connection, bytes], None]] = {
    b"content-length": Connection._take_length,
    b"origin": Connection._take_origin,
    b"host": Connection._take_host,
    b"expect": Connection._take_expectation,
    b"content-encoding": Connection._take_encoding,
    b"content-type": Connection._take_kind,
    b"accept": Connection._take_accept,
    b"inference-header-content-length": Connection._take_json_bytes,
    b"x-aiinfra-model": Connection._take_model,
    b"x-aiinfra-key": Connection._take_key,
    b"x-aiinfra-judged": Connection._take_judged,
}
