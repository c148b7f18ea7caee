"""A front in a process of its own, as the agent sees it: started, written to, and started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import msgspec

from ...jobs import process
from .channel import Channel
from .front import Front
from .front_messages import Drain, FromFront, RoutesServed, ToFront

_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FromFront).decode

MODULE = "aiinfra_lab.deploy.server.front_process"
LONG_S = 60.0  # one that lived so long is started again at once
LEAST_PAUSE_S, MOST_PAUSE_S = 0.1, 5.0
HANGS_S = 15.0  # without a sign
BEGINS_S = 60.0  # until the first one, on a machine that is busy


class FurtherFront:
    """To be used on the event loop's thread. While it does not serve, the agent's own front takes its connections.

    number: which front it is. listener: its socket, which is kept open. memory: the descriptor of the counts.
    front: the agent's own. first: what a new process is sent. heard, ended: called with what it sends, and at its end.
    """

    def __init__(
        self,
        number: int,
        listener: socket.socket,
        memory: int,
        front: Front,
        first: Callable[[int], Iterable[ToFront]],
        heard: Callable[[FurtherFront, FromFront], None],
        ended: Callable[[FurtherFront], None],
    ) -> None:
        self.number = number
        self._listener, self._memory, self._front = listener, memory, front
        self._first, self._heard, self._ended = first, heard, ended
        self._loop = asyncio.get_running_loop()
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._taking: asyncio.Task[None] | None = None
        self._taken: asyncio.Server | None = None  # its socket, as long as the agent's own front answers there
        self._started_at, self._deaths = 0.0, 0
        self._is_closing = self.serves = False

    @property
    def is_live(self) -> bool:
        """Whether there is a process."""
        return self._channel is not None

    @property
    def pid(self) -> int:
        """Of its process; 0 where there is none."""
        return self._process.pid if self._process and self._channel else 0

    async def begin(self) -> None:
        """Take its connections, and start its process, which takes them over."""
        await self._take_connections()
        self._start()

    def send(self, message: ToFront) -> None:
        """Write to it; to one that ends, or reads nothing any more, it is of no use."""
        if self._channel:
            try:
                self._channel.send(_encode(message))
            except OSError as problem:
                self.end(f"takes no message: {problem}")

    def check(self, beat_at: float) -> None:
        """End it when it hangs. beat_at: its last sign, on the clock that all processes share."""
        if self._channel and time.monotonic() > (beat_at + HANGS_S if beat_at else self._started_at + BEGINS_S):
            self.end(f"gave no sign for {HANGS_S if beat_at else BEGINS_S:g} s")

    def end(self, why: str) -> None:
        """End its process at once; another follows."""
        _log.warning("front %d (pid %d) %s: it is ended", self.number, self.pid, why)
        self._kill()

    def drain(self) -> None:
        """Have it answer what it has taken, write its log and end, for good."""
        self._is_closing = True
        self.send(Drain())
        self._listener.close()  # who comes now is refused, and does not wait in vain

    async def close(self, most_s: float) -> None:
        """Wait for its end; after so many seconds it is ended."""
        until_at = self._loop.time() + most_s
        while self._channel and self._loop.time() < until_at:
            await asyncio.sleep(0.02)
        if self._channel:
            self._kill()

    def _start(self) -> None:
        if self._is_closing:
            return
        try:
            self._channel, there = Channel.pair()
            with there:
                descriptors = [there.fileno(), self._memory, self._listener.fileno()]
                command = [sys.executable, "-m", MODULE, *map(str, descriptors)]
                self._process = subprocess.Popen(command, pass_fds=descriptors)
        except OSError as problem:
            _log.warning("front %d cannot be started: %s", self.number, problem)
            if self._channel:
                self._channel.close()
                self._channel = None
            self._start_later()
            return
        self._channel.socket.setblocking(False)
        self._started_at = time.monotonic()
        self._loop.add_reader(self._channel.socket, self._hear)
        for message in self._first(self.number):
            self.send(message)

    def _start_later(self) -> None:
        pause_s = min(MOST_PAUSE_S, LEAST_PAUSE_S * 2**self._deaths)
        self._deaths += 1
        self._loop.call_later(pause_s, self._start)

    def _hear(self) -> None:
        assert self._channel is not None
        try:
            message = self._channel.receive()
        except BlockingIOError:
            return
        if message is None:
            self._lost()
            return
        found = _decode(message)
        if isinstance(found, RoutesServed) and not self.serves:
            self.serves = True
            self._hand_over()
        self._heard(self, found)

    def _lost(self) -> None:
        assert self._channel is not None
        self._loop.remove_reader(self._channel.socket)
        self._channel.close()
        self._kill()
        self._channel, self.serves = None, False
        self._ended(self)
        if self._is_closing:
            return
        lived_s = time.monotonic() - self._started_at
        _log.warning("front %d has ended after %.0f s: another is started", self.number, lived_s)
        self._deaths = 0 if lived_s > LONG_S else self._deaths
        self._taking = self._loop.create_task(self._take_connections())
        self._start_later()

    async def _take_connections(self) -> None:
        if self._taken is None:
            self._taken = await self._front.listen(self._listener.dup())
        if self.serves:  # it was faster
            self._hand_over()

    def _hand_over(self) -> None:
        if self._taken:
            self._front.leave(self._taken)
            self._taken = None

    def _kill(self) -> None:
        """End the process, if it has not ended, and have it reaped."""
        if (ending := self._process) and ending.poll() is None:
            with contextlib.suppress(OSError):
                process.end_child(ending)
            self._loop.run_in_executor(None, ending.wait)
