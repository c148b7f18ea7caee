"""The owner's end of the stream: one link that stays while connections come and go.

What clients send is written down before it goes, and what the kernel has sent before it is said to be safe here: so
each message arrives once, in order, however often the connection breaks, and whichever of the two processes is killed.
"""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import Unavailable
from ..host.frames import UNREADABLE, Frame, Kind, Message, MessageChannel, frame, pack, unpack
from ..host.journal import Journal
from ..host.spec import HostState
from ..host.stream import Stream
from ..leftovers import temporary
from .connecting import Connecting
from .exchanges import FOLDER, Exchanges
from .reach import ByteStream, LocalReach, Reach

_SILENT = 3  # keep-alives without an answer, after which a connection counts as broken
# While messages pass, silence is asked sooner. One question without an answer makes a connection doubtful: another is
# opened beside it, and the first of the two that is heard stays.
_LIVELY_S, _LIVELY_ASK_S = 30.0, 1.0
_DOUBT_S = 1.5
_REST_S = 0.05  # without anything that comes, until what is written down is compressed
_LITTLE_BYTES = 1 << 18
_LOOK_S = 0.02


class Gap(Message):
    """Messages of the kernel that are lost, since the host could not keep them; its one part is their number."""


class Link:
    """To one core, by one way. reach: None until `go_by` says which; what is sent until then waits. folder: what it
    writes down; keep_bytes: of what the kernel has sent, at most."""

    def __init__(self, reach: Reach | None, folder: Path, *, keep_bytes: int) -> None:
        self.sent = Journal(folder / "sent")
        self._inherited: int | None = self.sent.last  # of an owner before; None once the host has said what it has
        self.received = Journal(folder / "received", limit_bytes=keep_bytes)
        self.is_over = False  # whether the host has said that there is no core any more
        self.problem = ""  # why it is not connected
        self.broken_at: float | None = time.time()
        self.delivered = 0  # the last message that the host has said it has
        self.sent_before_break = 0  # the last message that may have been brought to the host before it broke
        self.exchanges = Exchanges(folder / FOLDER)
        self._lease: tuple[float | None, str, float | None] | None = None
        self._connection: ByteStream | None = None
        self._stream: Stream | None = None
        self._connecting = None if reach is None else Connecting(reach)
        self._id, self._greetings = secrets.token_hex(8), 0  # for the core to know the latest connection of an owner
        self._lively_at = self._asked_at = 0.0

    @property
    def is_connected(self) -> bool:
        return self._stream is not None and self._stream.is_greeted

    def go_by(self, reach: Reach | None) -> None:
        """Connect by another way, to another core; None for no way, for now."""
        self._broken("its machine is another one")
        if self._connecting is not None:
            self._connecting.close()
        self._connecting, self.is_over = None if reach is None else Connecting(reach), False

    def send(self, channel: MessageChannel, parts: Sequence[bytes]) -> None:
        """Have a message brought to the host: a client's, or for `COMMAND` ours. TooLargeError when it cannot."""
        payload, self._lively_at = pack(channel, parts, time.time()), time.monotonic()
        with contextlib.suppress(OSError):  # a full disk: it goes now or never, and its number is used up
            self.sent.append(payload)
        if self._stream is not None:
            self._stream.pass_on(self.sent.last, payload)

    def lease(self, left_s: float | None, reason: str, idle_s: float | None = None) -> None:
        """Set the lease anew. It is told as it is at that moment, also after a break: it never waits in line."""
        until = None if left_s is None else time.monotonic() + left_s
        self._lease = (until, reason, idle_s)
        self._send_lease()

    def descriptors(self) -> dict[int, bool]:
        """What to wait for: file descriptors, and whether also for room to write."""
        found = {}
        if self._connecting is not None and (self._stream is None or self._is_doubtful(self._stream)):
            found[self._connecting.wakeup.reads] = False
        if self._stream is not None:
            found[self._stream.reads] = False
            if self._stream.is_behind(self.sent):
                found[self._stream.writes] = True
        return found

    def patience_s(self) -> float | None:
        """After how long `serve` has to be called though nothing has come; None for whenever."""
        if self.is_over or self._connecting is None:
            return None
        now, due = time.monotonic(), [math.inf]
        if self.received.is_sealable or self.sent.is_sealable:
            due.append(now + _REST_S)
        if self._stream is None or self._is_doubtful(self._stream):
            due.append(now + self._connecting.due_s())
        elif self._asked_at > self._stream.moved_at:
            due.append(self._asked_at + self._doubt_s)
        else:
            due.append(self._stream.moved_at + self._ask_after_s())
        if self._stream is not None:
            due.append(self._stream.moved_at + _SILENT * self._keepalive_s)
        return None if min(due) == math.inf else max(0.0, min(due) - now)

    def serve(self) -> Iterator[Message]:
        """Do what is due, without waiting; gives what the kernel has sent, each written down here before."""
        if self._stream is not None and not self.is_over:
            try:
                yield from self._receive(self._stream)
                self._ask(self._stream)
                self.exchanges.serve(self._stream)
                self._stream.acknowledge(self.received.last)
                self._stream.send(self.sent)
            except (OSError, *UNREADABLE) as problem:  # it has gone, or is none of this version
                self._broken(str(problem))
        if self._connecting is not None and not self.is_over:
            if self._stream is None or self._is_doubtful(self._stream):
                self._connect(self._connecting)
            else:
                self._connecting.stop()
        self._compress()

    def close(self) -> None:
        """Let go of the connection; the core stays."""
        self._broken("closed")
        if self._connecting is not None:
            self._connecting.close()
        self.exchanges.close()
        self.sent.close()
        self.received.close()

    def _receive(self, stream: Stream) -> Iterator[Message]:
        for found in stream.receive():
            if found.kind == Kind.WELCOME:
                self._welcome(stream, json.loads(found.payload))
            elif found.kind == Kind.RECEIVED:
                self.delivered = found.number
                self.sent.drop(found.number)
            elif found.kind == Kind.MESSAGE:
                yield from self._message(found)
            elif found.kind in (Kind.HAS, Kind.PIECE):
                self.exchanges.take(found)

    def _message(self, found: Frame) -> Iterator[Message]:
        if found.number <= self.received.last:  # it was sent again, since nobody knew that it had arrived
            return
        message, self._lively_at = unpack(found.payload), time.monotonic()
        if lost := found.number - self.received.last - 1:
            self.received.skip_to(found.number - 1)
            yield Gap(0, message.at, [str(lost).encode()])
        with contextlib.suppress(OSError):  # a full disk here must not keep it from who is connected
            self.received.append(found.payload)
        yield message

    def _welcome(self, stream: Stream, welcome: dict[str, Any]) -> None:
        self.delivered = int(welcome["received"])
        self._number_behind(self.delivered)
        stream.go_on_after(self.delivered)
        self.sent.drop(self.delivered)
        assert self._connecting is not None
        self._connecting.succeeded()
        self.problem, self.broken_at = "", None
        self._send_lease()
        self.exchanges.greet(welcome.get("exchange"), is_here=isinstance(self._connecting.reach, LocalReach))

    def _number_behind(self, received: int) -> None:
        """Have what waits here come behind what the host has of an owner before, whose journal is gone: by the numbers
        that it has got, the host would take it for that."""
        waiting = []
        if self._inherited is not None and self._inherited < received:
            waiting = [bytes(each.payload) for each in self.sent.after(self._inherited)]
            self.sent.forget(self.sent.last)
        self._inherited = None
        self.sent.skip_to(received)
        for payload in waiting:
            with contextlib.suppress(OSError):  # a full disk
                self.sent.append(payload)

    def _send_lease(self) -> None:
        if self._stream is not None and self._stream.is_greeted and self._lease is not None:
            until, reason, idle_s = self._lease
            left_s = None if until is None else max(0.0, until - time.monotonic())
            self._stream.put(
                frame(Kind.LEASE, 0, json.dumps({"left_s": left_s, "reason": reason, "idle_s": idle_s}).encode())
            )

    @property
    def _keepalive_s(self) -> float:
        """Infinite where a broken connection shows by itself."""
        found = self._connecting.reach.keepalive_s if self._connecting is not None else None
        return math.inf if found is None else found

    def _ask_after_s(self) -> float:
        if self._keepalive_s == math.inf or time.monotonic() - self._lively_at > _LIVELY_S:
            return self._keepalive_s
        return min(self._keepalive_s, _LIVELY_ASK_S)

    def _ask(self, stream: Stream) -> None:
        """Whether a silent connection still is one: a cut shows by nothing else."""
        now = time.monotonic()
        silent_s = now - stream.moved_at
        if silent_s > _SILENT * self._keepalive_s:
            raise ConnectionError(f"no sign of life for {silent_s:.0f} s")
        if silent_s >= self._ask_after_s() and self._asked_at <= stream.moved_at:
            self._asked_at = now
            stream.put(frame(Kind.PING))

    def _is_doubtful(self, stream: Stream) -> bool:
        """Whether it was asked for a sign of life, and has not given one yet."""
        return self._asked_at > stream.moved_at and time.monotonic() - self._asked_at >= self._doubt_s

    @property
    def _doubt_s(self) -> float:
        """No sooner than another connection could be open: a slow host would be kept busy by those alone."""
        return max(_DOUBT_S, self._connecting.took_s) if self._connecting is not None else _DOUBT_S

    def _connect(self, connecting: Connecting) -> None:
        """Take a connection when one is there; a doubtful one is kept until then."""
        found = connecting.take()
        if found is not None:
            if self._stream is not None:
                self._broken("it did not answer")
            self._connection, self._stream = found, Stream(found.reads, found.writes, found.close)
            self._greetings, self._lively_at = self._greetings + 1, time.monotonic()
            hello = {"received": self.received.last, "owner": self._id, "connection": self._greetings}
            self._stream.put(frame(Kind.HELLO, 0, json.dumps(hello).encode()))
        elif self._stream is None:
            self.problem = connecting.problem or self.problem

    def _broken(self, problem: str) -> None:
        """The connection has broken: another one is opened after a while."""
        if self._stream is not None and self._connection is not None:
            self._stream.close()
            self.is_over = self.is_over or self._connection.is_last()
            problem = self._connection.problem() or problem
        self._stream = self._connection = None
        if self.broken_at is None:
            self.broken_at, self.sent_before_break = time.time(), self.sent.last
        self.problem = problem
        if self._connecting is not None:
            self._connecting.failed(problem)

    def _compress(self) -> None:
        """Compress what is written down, a file at a time, while nothing else is to be done."""
        if self._stream is None or time.monotonic() - self._stream.moved_at >= _REST_S:
            (self.received if self.received.is_sealable else self.sent).seal_one()


def end_core(reach: Reach, within_s: float) -> str:
    """Have a core end that nobody keeps any more, with its kernel; why it has ended, empty where its host cannot tell.
    Unavailable when it is not reached in that time."""
    end_at, why = time.monotonic() + within_s, ""
    with temporary() as folder:
        link, is_sent = Link(reach, folder, keep_bytes=_LITTLE_BYTES), False
        try:
            while not why and not link.is_over:
                if time.monotonic() > end_at:
                    raise Unavailable(f"its host is not reached: {link.problem}", "try again when it is")
                for message in link.serve():
                    if message.channel == MessageChannel.STATE:
                        state = HostState.load(message.parts[0])
                        why = (state.why or "stopped") if state.phase == "ended" else why
                if link.is_connected and not is_sent:
                    link.send(MessageChannel.COMMAND, [b"end", b"stopped"])
                    is_sent = True
                time.sleep(_LOOK_S)
        finally:
            link.close()
    return why
