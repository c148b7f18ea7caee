"""The core's loop: between one kernel and one owner, until the lease, a command, loneliness or the kernel ends it.

What the kernel sends is written down first and then sent, so that an owner that is away misses nothing. What the owner
sends has numbers too, and is passed on once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import files, processes
from .exchange import HostFiles, unpack_piece
from .frames import UNREADABLE, Frame, Kind, MessageChannel, TooLargeError, frame, pieces, unpack
from .idle import IdleWatch
from .journal import Journal
from .kernel import Kernel, Start, exit_text
from .notice import NoticeWatch, wake_loop
from .spec import LOG, MACHINE_ENDS, HostSpec, HostState, last_line, write_state
from .stream import Stream

FIRST_OWNER_S = 30.0
POLITE_S = 2.0  # for the kernel's exit handlers
LAST_WORDS_S = 3.0  # for the owner to hear the end
STABLE_S = 10.0  # a kernel that lives so long may die again and be started again
MOST_CRASHES = 5
_LOOK_S = 30.0  # a machine that slept wakes late: its monotonic clock stood still, that of the lease did not
_ACKNOWLEDGE_AFTER_S = 0.05
_ALONE_LOOK_S = 1.0
_NOTICE_S = 5.0  # between two looks at whether somebody has said that the machine is taken
_GUESTS = 8  # connections that have not said HELLO: an owner may try several, and a cut leaves some half open
_SEAL_S = 0.05  # without anything to do, until what is written down is compressed
_BRIEF_BYTES, _BRIEF_PARTS = 1 << 20, 1000  # what says that a message was too large is not too large itself
_MOST_AT = 1 << 62  # in a file: what the system takes
_EXCHANGE_S = 10.0  # after a piece of a file, until it counts as one that nobody waits for


def clock() -> float:
    """Seconds that count sleep too: nobody can set this clock, and a lease goes on while the machine is suspended."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Core:
    """One kept kernel. listener: where an owner connects. sockets: the folder of that socket and of the kernel's.
    start: what starts the kernel's process."""

    def __init__(
        self,
        spec: HostSpec,
        sockets: Path,
        listener: socket.socket,
        state: HostState,
        start: Start = subprocess.Popen,
    ) -> None:
        import zmq

        self._start_process = start
        self.spec, self.sockets, self.listener = spec, sockets, listener
        self.folder = Path(spec.folder)
        self.context = zmq.Context()
        self.journal = Journal(self.folder / "journal", limit_bytes=spec.journal_bytes)
        self.journal.skip_to(spec.journal_after)
        self.state = state
        self.kernel: Kernel | None = None
        self.streams: list[Stream] = []  # connections, of which one is the owner's
        self.stream: Stream | None = None
        self.greeted: dict[str, int] = {}  # of each owner that there has been, its latest connection
        self.received = spec.owner_after  # the owner's last message
        self.heard = 0  # the last of ours that the owner has
        self.crashes: list[float] = []
        self.files, self.exchanged_at = HostFiles(self.folder / "exchange"), -_EXCHANGE_S
        self.waiting: list[tuple[MessageChannel, list[bytes]]] = []  # for the next kernel
        if spec.first:
            self.waiting.append((MessageChannel.SHELL, [part.encode() for part in spec.first]))
        self.after_end: Callable[[], None] | None = None  # what follows once the kernel has ended
        self.kill_at = 0.0
        self.alone_since: float | None = clock()
        self.has_had_owner = False
        self.over = ""  # why it ends, once that is certain
        self.end_at: float | None = None
        self.notice = NoticeWatch(self.folder, wake_loop) if spec.rented else None
        self.idle = IdleWatch(spec.idle_s, whole=spec.whole, clock=clock)
        self._lease(spec.left_s, spec.reason)
        self.poller = zmq.Poller()
        self.asked = [""]  # why it is to end; a signal, or the thread that watches the guard, writes it
        self.wakeup = _wakeup(self.asked, MACHINE_ENDS if spec.rented else "stopped")
        self.poller.register(listener, zmq.POLLIN)
        self.poller.register(self.wakeup, zmq.POLLIN)

    # ---- the loop ----

    def run(self) -> HostState:
        """Keep the kernel until it is over; the last state, which is written down already."""
        self._start()
        while not self._is_over():
            ready = dict(self.poller.poll(int(self._patience_s() * 1000) + 1))
            self._serve(ready)
        self._last_words()
        return self.state

    def _serve(self, ready: dict[Any, int]) -> None:
        if self.asked[0]:
            self._finish(self.asked[0])
        if self.wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self.wakeup, 4096)
            processes.reap(spare=self.kernel.process.pid if self.kernel else 0)
        if self.listener.fileno() in ready:
            self._accept()
        for stream in [each for each in self.streams if each.reads in ready]:
            if stream in self.streams:  # another one has not just taken its place
                self._read(stream)
        if self.kernel is not None:
            self._from_kernel(self.kernel, ready)
            self._watch(self.kernel)
        self._keep_time()
        if self.stream is not None:
            self._write()
        if not ready:
            self.journal.seal_one()

    def _patience_s(self) -> float:
        """How long nothing has to be done unless something comes."""
        now, until = clock(), [_LOOK_S]
        if self.over:
            until.append(0.1)  # nothing but the kernel's end is waited for
        if self.end_at is not None and not self.over:
            until.append(self.end_at - now)
        if not self.over and self.alone_since is not None:
            until.append(min(_ALONE_LOOK_S, self.spec.alone_s or _ALONE_LOOK_S))
        if not self.over and (due_s := self.idle.due_in()) is not None:
            until.append(due_s)
        if self.notice is not None and not self.state.notice_at:
            until.append(_NOTICE_S)
        if self.kill_at:
            until.append(self.kill_at - time.monotonic())
        elif self.kernel is not None:
            until.append(self.kernel.due_s())
        if self.stream is not None and self.stream.acknowledged < self.received:
            until.append(_ACKNOWLEDGE_AFTER_S)
        if self.journal.is_sealable:
            until.append(_SEAL_S)
        return max(0.0, min(until))

    def _keep_time(self) -> None:
        now = clock()
        if self.end_at is not None and now >= self.end_at:
            self._finish(self.reason)
        elif self.alone_since is not None:
            if self.spec.alone_s is not None and now >= self.alone_since + self._alone_s():
                self._finish("its owner is gone", min(POLITE_S, self.spec.alone_s))
            elif not self.folder.is_dir():
                self._finish("its folder is gone")
        if self.notice is not None and self.notice.heard != self.state.notice_at:
            self._report(notice_at=self.notice.heard)
            with contextlib.suppress(OSError):  # for code on the machine, wherever it was heard
                files.write(self.folder / "notice", str(self.notice.heard).encode())
        if not self.over and self.kernel is not None and self.idle.due_in() == 0:
            self._look_for_use(self.kernel)
        if self.kill_at and time.monotonic() >= self.kill_at:
            self.kill_at = 0.0
            if self.kernel is not None:
                self.kernel.signal(signal.SIGKILL)

    def _look_for_use(self, kernel: Kernel) -> None:
        is_exchanging = clock() - self.exchanged_at < _EXCHANGE_S
        self.idle.look(kernel.work or ("variables come and go" if is_exchanging else ""))
        # How much it is changes all the time, and is not reported.
        reported, now = self.state.use.partition(",")[0], self.idle.use.partition(",")[0]
        if reported != now or not self.state.used_at:
            self._report(use=self.idle.use, used_at=time.time() - self.idle.idle_for_s())
        if self.idle.is_idle():
            self._finish("idle")

    def _alone_s(self) -> float:
        """How long it may be alone now: its first owner has to find it, as long as that lives."""
        alone_s = self.spec.alone_s or 0.0
        if self.has_had_owner or (self.spec.owner_pid and not processes.is_alive(self.spec.owner_pid)):
            return alone_s
        return max(alone_s, FIRST_OWNER_S)

    def _is_over(self) -> bool:
        return bool(self.over) and self.kernel is None

    # ---- the kernel ----

    def _start(self) -> None:
        """Start a kernel."""
        import zmq

        incarnation = self.state.incarnation + 1
        try:
            self.kernel = Kernel(self.spec, self.sockets, incarnation, self.context, self._start_process)
        except OSError as problem:
            self.over = f"its kernel cannot be started: {problem}"
            return
        for each in self.kernel.handles():
            self.poller.register(each, zmq.POLLIN)
        self._report(phase="starting", incarnation=incarnation, kernel_pid=self.kernel.process.pid)

    def _from_kernel(self, kernel: Kernel, ready: dict[Any, int]) -> None:
        """Write down what it sent. Outputs come before replies: a reply is what says that all is there."""
        for channel in (MessageChannel.IOPUB, MessageChannel.SHELL, MessageChannel.STDIN, MessageChannel.CONTROL):
            if kernel.is_due(channel, ready):
                for parts in kernel.receive(channel):
                    self._record(channel, parts)
        if kernel.is_heard and self.state.phase == "starting":
            self._report(phase="ready")
            waiting, self.waiting = self.waiting, []
            for channel, parts in waiting:
                kernel.send(channel, parts)

    def _watch(self, kernel: Kernel) -> None:
        """See to a kernel that has ended, or does not answer."""
        status = kernel.process.poll()
        if status is not None:
            self._gone(kernel, status)
            return
        kernel.ask()
        if not kernel.is_heard and time.monotonic() - kernel.started_at > self.spec.ready_s:
            self._finish(f"its kernel did not answer within {self.spec.ready_s:.0f} s")

    def _gone(self, kernel: Kernel, status: int) -> None:
        """The kernel has ended: write down its last outputs, end what it left, and do what comes next."""
        was_ready, after = kernel.is_heard, self.after_end
        for channel in (MessageChannel.IOPUB, MessageChannel.SHELL):
            for parts in kernel.rest(channel):
                self._record(channel, parts)
        for each in kernel.handles():
            self.poller.unregister(each)
        self.kernel, self.after_end, self.kill_at = None, None, 0.0
        processes.reap()  # else what has ended would be looked for among all processes
        processes.end_descendants(self.spec.spare)
        processes.reap()
        if after is None and not self.over:
            how = f"its kernel ended {exit_text(status)}"
            if not was_ready and (line := last_line(self.folder / LOG)):
                how = f"{how}: {line}"
            if unseen := kernel.unseen():
                self._record(MessageChannel.IOPUB, unseen)
            self._report(crashed=self.state.incarnation, crash=how)
            self.crashes = [at for at in self.crashes if at > time.monotonic() - STABLE_S * MOST_CRASHES]
            self.crashes.append(time.monotonic())
            if not was_ready or not self.spec.restarts or len(self.crashes) > MOST_CRASHES:
                self.over = how
            else:
                self._record(MessageChannel.IOPUB, kernel.published("status", {"execution_state": "restarting"}))
                after = self._start
        kernel.close()
        if self.over:
            self.state = self.state.but(exit_code=status)
        elif after is not None:
            after()

    def _end_kernel(self, then: Callable[[], None] | None, polite_s: float = POLITE_S) -> None:
        """Have the kernel end, killed when it takes its time; `then` follows once it has."""
        if self.kernel is None:
            return
        self.after_end = then
        if not self.kill_at:
            self.kernel.ask_to_end()
            self.kill_at = time.monotonic() + polite_s

    def _finish(self, why: str, polite_s: float = POLITE_S) -> None:
        """Begin the end of it all; what was the first reason stays."""
        if not self.over:
            self.over = why
            self._end_kernel(None, polite_s)

    # ---- the owner ----

    def _accept(self) -> None:
        """Hear a connection; it is the owner's once it says so."""
        import zmq

        connection, _ = self.listener.accept()
        guests = [each for each in self.streams if each is not self.stream]
        if len(guests) >= _GUESTS:
            self._forget(guests[0])
        self.streams.append(Stream(connection.fileno(), connection.fileno(), connection.close))
        self.poller.register(connection.fileno(), zmq.POLLIN)

    def _forget(self, stream: Stream) -> None:
        self.poller.unregister(stream.reads)
        self.streams.remove(stream)
        stream.close()
        if stream is self.stream:
            self.stream, self.alone_since = None, clock()

    def _read(self, stream: Stream) -> None:
        try:
            for found in stream.receive():
                self._from_owner(stream, found)
        except (OSError, *UNREADABLE):  # it has gone, or is none of this version
            if stream in self.streams:
                self._forget(stream)

    def _greet(self, stream: Stream, hello: dict[str, Any]) -> None:
        """A new owner takes the place of one that may be half dead, but for a HELLO that a cut has kept until now."""
        owner, number, received = hello.get("owner", ""), hello.get("connection", math.inf), int(hello["received"])
        if number < self.greeted.get(owner, 0):
            raise ConnectionAbortedError("its owner has another connection by now")
        self.greeted[owner] = number
        if self.stream is not None and self.stream is not stream:
            self._forget(self.stream)
        self.stream, self.alone_since, self.has_had_owner = stream, None, True
        stream.go_on_after(received)
        self.journal.drop(received)
        welcome = {"received": self.received, "first": self.journal.first, "last": self.journal.last}
        more = {"state": json.loads(self.state.dump()), "exchange": str(self.files.folder)}
        stream.put(frame(Kind.WELCOME, 0, json.dumps({**welcome, **more}).encode()))

    def _from_owner(self, stream: Stream, found: Frame) -> None:
        if found.kind == Kind.HELLO:
            self._greet(stream, json.loads(found.payload))
        elif stream is not self.stream:
            raise ValueError("it has not said HELLO")
        elif found.kind == Kind.MESSAGE and found.number > self.received:
            self.received = found.number
            message = unpack(found.payload)
            self._obey(MessageChannel(message.channel), message.parts)
        elif found.kind == Kind.RECEIVED:
            self.heard = found.number
            self.journal.drop(found.number)
        elif found.kind == Kind.LEASE:
            lease = json.loads(found.payload)
            left_s, idle_s = _seconds(lease["left_s"]), _seconds(lease["idle_s"])
            self._lease(left_s, str(lease["reason"]))
            self.idle.idle_s = idle_s
        elif found.kind == Kind.PING:
            stream.put(frame(Kind.PONG, found.number))
        else:
            self._exchange(stream, found)

    def _exchange(self, stream: Stream, found: Frame) -> None:
        """A file that comes or goes. Its pieces wait until no message does."""
        if found.kind == Kind.KEEP:
            self.files.keep(json.loads(found.payload))
        elif found.kind in (Kind.PUT, Kind.GET):
            self.exchanged_at = clock()
            head, data = unpack_piece(found.payload)
            path, at = self.files.path(head["name"]), int(head["at"])
            if not 0 <= at <= _MOST_AT:
                raise ValueError(f"no place in a file: {at}")
            if found.kind == Kind.PUT:
                stream.put(self.files.write(path, at, data))
            else:
                stream.put_later(lambda: self.files.read(path, at))

    def _obey(self, channel: MessageChannel, parts: list[bytes]) -> None:
        if channel is not MessageChannel.COMMAND:
            if self.kernel is None or not self.kernel.is_heard or self.after_end is not None:
                self.waiting.append((channel, parts))
            else:
                self.kernel.send(channel, parts)
        elif parts[0] == b"end":
            self._finish(parts[1].decode() if len(parts) > 1 else "stopped")
        elif parts[0] == b"restart":
            self._end_kernel(self._start)
        elif parts[0] == b"alone":
            self.spec = replace(self.spec, alone_s=float(parts[1]))
            self.journal.forget(self.heard)
        elif parts[0] == b"signal" and self.kernel is not None:
            self.kernel.signal(int(parts[1]))

    def _lease(self, left_s: float | None, reason: str) -> None:
        self.reason = reason
        self.end_at = None if left_s is None else clock() + left_s
        if left_s is not None:
            processes.run_apart(self.spec.at_lease, f"{left_s:.0f}")

    def _write(self) -> None:
        """Send what is due, as far as the owner takes it, and keep the poller to what is waited for."""
        import zmq

        assert self.stream is not None
        try:
            self.stream.acknowledge(self.received)
            self.stream.send(self.journal)
        except OSError:
            self._forget(self.stream)
            return
        wanted = zmq.POLLIN | (zmq.POLLOUT if self.stream.is_behind(self.journal) else 0)
        self.poller.modify(self.stream.reads, wanted)

    # ---- what is reported ----

    def _record(self, channel: MessageChannel, parts: list[bytes]) -> None:
        try:
            payload = pieces(channel, parts, time.time())
        except TooLargeError as problem:
            self._record_instead(channel, parts, str(problem))
            return
        try:
            number = self.journal.append(*payload)
        except OSError as problem:
            number = self.journal.last
            self.state = self.state.but(problem=f"its host writes nothing down: {problem.strerror}")
        if self.stream is not None:
            self.stream.pass_on(number, *payload)

    def _record_instead(self, channel: MessageChannel, parts: list[bytes], problem: str) -> None:
        """A message that no frame holds: another says so in its place, or its number is missing, which is a gap."""
        found = self.kernel.instead(parts, problem) if self.kernel is not None else None
        if found is not None and sum(map(len, found)) < _BRIEF_BYTES and len(found) < _BRIEF_PARTS:
            self._record(channel, found)
        else:
            self.journal.skip_to(self.journal.last + 1)

    def _report(self, **changes: Any) -> None:
        """Change the state, for whoever looks at the file and for the owner."""
        self.state = self.state.but(at=time.time(), **changes)
        write_state(self.folder, self.state)
        self._record(MessageChannel.STATE, [self.state.dump()])

    def _last_words(self) -> None:
        """Write the end down, and give the owner the time to hear it."""
        import zmq

        self.context.destroy(linger=0)
        # The file at the very end: who reads there that it has ended finds nothing of it left.
        self.state = self.state.but(phase="ended", why=self.over, kernel_pid=0, socket="", at=time.time())
        self._record(MessageChannel.STATE, [self.state.dump()])
        until = time.monotonic() + LAST_WORDS_S
        while self.stream is not None and self.journal.first <= self.journal.last and time.monotonic() < until:
            self._write()
            if self.stream is not None:
                wanted = select.POLLIN | (select.POLLOUT if self.stream.is_behind(self.journal) else 0)
                poller = select.poll()
                poller.register(self.stream.reads, wanted)
                if any(event & zmq.POLLIN for _, event in poller.poll(100)):
                    self._read(self.stream)


def _seconds(value: object) -> float | None:
    """A duration that an owner has sent; ValueError or TypeError when it is none."""
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise TypeError(f"no duration: {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"no duration: {value!r}")
    return float(value)


def _wakeup(asked: list[str], why: str) -> int:
    """A file descriptor that can be read when a signal has come: an ended child, or a request to end, and why then."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def on_term(_number: int, _frame: object) -> None:
        asked[0] = asked[0] or why

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read
