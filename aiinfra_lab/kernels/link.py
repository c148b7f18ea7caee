"""The owner's end of the stream: one link that stays while connections come and go.

What clients send is written down before it goes, and what the kernel has sent before it is said to be safe here: so
each message arrives once, in order, however often the connection breaks, and whichever of the two processes is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import Unavailable
from ..host.frames import Frame, Kind, Message, MessageChannel, frame, pack, unpack
from ..host.journal import Journal, JournalEntry
from ..host.spec import HostState
from ..host.stream import Stream
from ..leftovers import temporary
from .exchanges import FOLDER, Exchanges
from .reach import ByteStream, LocalReach, Reach

_BACK_OFF_S = (0.0, 0.1, 0.3, 0.5, 1.0)
_SILENT = 3  # keep-alives without an answer, after which a connection counts as broken
_LITTLE_BYTES = 1 << 18
_LOOK_S = 0.02


class Gap(Message):
    """Messages of the kernel that are lost, since the host could not keep them; its one part is their number."""


class Link:
    """To one core, by one way. reach: None until `go_by` says which; what is sent until then waits. folder: what it
    writes down; keep_bytes: of what the kernel has sent, at most."""

    def __init__(self, reach: Reach | None, folder: Path, *, keep_bytes: int) -> None:
        self._reach = reach
        self.sent = Journal(folder / "sent")
        self.received = Journal(folder / "received", limit_bytes=keep_bytes)
        self.is_over = False  # whether the host has said that there is no core any more
        self.problem = ""  # why it is not connected
        self.broken_at: float | None = time.time()
        self.sent_before_break = 0  # the last message that may have been brought to the host before it broke
        self.exchanges = Exchanges(folder / FOLDER)
        self._lease: tuple[float | None, str, float | None] | None = None
        self._connection: ByteStream | None = None
        self._stream: Stream | None = None
        self._attempt = 0
        self._again_at = 0.0
        self._opening: _Opening | None = None
        self._heard_at = self._asked_at = 0.0

    @property
    def is_connected(self) -> bool:
        return self._stream is not None and self._stream.is_greeted

    def go_by(self, reach: Reach | None) -> None:
        """Connect by another way, to another core; None for no way, for now."""
        self._broken("its machine is another one")
        if self._opening is not None:
            self._opening.forget()
            self._opening = None
        self._reach, self.is_over, self._attempt, self._again_at = reach, False, 0, 0.0

    def send(self, channel: MessageChannel, parts: Sequence[bytes]) -> None:
        """Have a message brought to the host: a client's, or for `COMMAND` one of ours."""
        payload = pack(channel, parts, time.time())
        with contextlib.suppress(OSError):  # a full disk: it goes now or never, and its number is used up
            self.sent.append(payload)
        if self._stream is not None:
            self._stream.pass_on(JournalEntry(self.sent.last, payload))

    def lease(self, left_s: float | None, reason: str, idle_s: float | None = None) -> None:
        """Set the lease anew. It is told as it is at that moment, also after a break: it never waits in line."""
        until = None if left_s is None else time.monotonic() + left_s
        self._lease = (until, reason, idle_s)
        self._send_lease()

    def descriptors(self) -> dict[int, bool]:
        """What to wait for: file descriptors, and whether also for room to write."""
        if self._opening is not None:
            return {self._opening.reads: False}
        if self._stream is None:
            return {}
        waits = self._stream.is_behind(self.sent)
        if self._stream.reads == self._stream.writes:
            return {self._stream.reads: waits}
        return {self._stream.reads: False, **({self._stream.writes: True} if waits else {})}

    def patience_s(self) -> float | None:
        """After how long `serve` has to be called though nothing has come; None for whenever."""
        if self.is_over or self._reach is None:
            return None
        if self._stream is None:
            return None if self._opening else max(0.0, self._again_at - time.monotonic())
        if self._reach.keepalive_s is None:
            return None
        return max(0.0, max(self._heard_at, self._asked_at) + self._reach.keepalive_s - time.monotonic())

    def serve(self) -> Iterator[Message]:
        """Do what is due, without waiting; gives what the kernel has sent, each written down here before."""
        if self.is_over or self._reach is None:
            return
        if self._stream is None:
            self._connect(self._reach)
        if self._stream is None:
            return
        try:
            yield from self._receive(self._stream)
            self._ask(self._stream)
            self.exchanges.serve(self._stream)
            self._stream.acknowledge(self.received.last)
            self._stream.send(self.sent)
        except (OSError, ValueError) as problem:
            self._broken(str(problem))

    def close(self) -> None:
        """Let go of the connection; the core stays."""
        self._broken("closed")
        if self._opening is not None:
            self._opening.forget()
        self.exchanges.close()
        self.sent.close()
        self.received.close()

    def _receive(self, stream: Stream) -> Iterator[Message]:
        for found in stream.receive():
            self._heard_at = time.monotonic()
            if found.kind == Kind.WELCOME:
                self._welcome(stream, json.loads(found.payload))
            elif found.kind == Kind.RECEIVED:
                self.sent.drop(found.number)
            elif found.kind == Kind.MESSAGE:
                yield from self._message(found)
            elif found.kind in (Kind.HAS, Kind.PIECE):
                self.exchanges.take(found)

    def _message(self, found: Frame) -> Iterator[Message]:
        if found.number <= self.received.last:  # it was sent again, since nobody knew that it had arrived
            return
        message = unpack(found.payload)
        if lost := found.number - self.received.last - 1:
            self.received.skip_to(found.number - 1)
            yield Gap(0, message.at, [str(lost).encode()])
        with contextlib.suppress(OSError):  # a full disk here must not keep it from who is connected
            self.received.append(found.payload)
        yield message

    def _welcome(self, stream: Stream, welcome: dict[str, Any]) -> None:
        self.sent.skip_to(int(welcome["received"]))  # of an owner before, whose journal is gone
        stream.go_on_after(int(welcome["received"]))
        self.sent.drop(int(welcome["received"]))
        self._attempt, self.problem, self.broken_at = 0, "", None
        self._send_lease()
        self.exchanges.greet(welcome.get("exchange"), is_here=isinstance(self._reach, LocalReach))

    def _send_lease(self) -> None:
        if self._stream is not None and self._stream.is_greeted and self._lease is not None:
            until, reason, idle_s = self._lease
            left_s = None if until is None else max(0.0, until - time.monotonic())
            self._stream.put(
                frame(Kind.LEASE, 0, json.dumps({"left_s": left_s, "reason": reason, "idle_s": idle_s}).encode())
            )

    def _ask(self, stream: Stream) -> None:
        """Whether a silent connection still is one: a cut shows by nothing else."""
        keepalive_s, now = self._reach.keepalive_s if self._reach else None, time.monotonic()
        if keepalive_s is None:
            return
        if now - self._heard_at > _SILENT * keepalive_s:
            raise ConnectionError(f"no sign of life for {now - self._heard_at:.0f} s")
        if now - max(self._heard_at, self._asked_at) >= keepalive_s:
            self._asked_at = now
            stream.put(frame(Kind.PING))

    def _connect(self, reach: Reach) -> None:
        """Have a connection opened beside this thread, since a far one takes its time; take it when it is there."""
        if self._opening is None:
            if time.monotonic() < self._again_at:
                return
            self._opening = _Opening(reach)
        opening = self._opening
        if not opening.is_done.is_set():
            return
        self._opening = None
        opening.forget()
        if isinstance(opening.result, ByteStream):
            self._connection = opening.result
            self._stream = Stream(opening.result.reads, opening.result.writes, opening.result.close)
            self._heard_at = time.monotonic()
            self._stream.put(frame(Kind.HELLO, 0, json.dumps({"received": self.received.last}).encode()))
        else:
            self._broken(str(opening.result))

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
        self._again_at = time.monotonic() + _BACK_OFF_S[min(self._attempt, len(_BACK_OFF_S) - 1)]
        self._attempt += 1


class _Opening:
    """One attempt to connect, in a thread of its own. reads: readable once it is done."""

    def __init__(self, reach: Reach) -> None:
        self.result: ByteStream | Exception | None = None
        self.is_done = threading.Event()
        self.reads, self._writes = os.pipe()
        self._is_forgotten = False
        self._lock = threading.Lock()
        threading.Thread(target=self._run, args=(reach,), daemon=True).start()

    def _run(self, reach: Reach) -> None:
        try:
            found: ByteStream | Exception = reach.connect()
        except Exception as problem:  # noqa: BLE001  # told where the connection is waited for
            found = problem
        with self._lock:
            if self._is_forgotten:
                if isinstance(found, ByteStream):
                    found.close()
                return
            self.result = found
            self.is_done.set()
            os.write(self._writes, b".")

    def forget(self) -> None:
        """Whatever comes of it is of no use any more, unless it was taken."""
        with self._lock:
            self._is_forgotten = True
            os.close(self.reads)
            os.close(self._writes)


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
