"""The endpoint's end of its fork server: it is asked for processes, started when needed, and told of their ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from ...errors import Unavailable
from ...jobs import process
from ...train.environments import Environment
from .messages import Ended, Open

_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Ended).decode

MODULE = "aiinfra_lab.deploy.server.fork_server"
END_S = 2.0
# More than one thread in the server would make a fork unsafe, and a model's process predicts on one.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# pyarrow's own reserves 1 GiB at the first array, of what a process may take at most.
_MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system"}


class Forks:
    """Starts the fork server at once, so that it imports while the endpoint does. To be used on one thread."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", MODULE)) -> None:
        self._command = command
        self._loop: asyncio.AbstractEventLoop | None = None
        self._of: dict[Environment, Forks] = {}
        self.has_made = False  # since its start: before that it may still be importing
        self._process, self._orders = self._start()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear what it tells on that loop."""
        self._loop = loop
        loop.add_reader(self._orders, self._hear)

    def of(self, environment: Environment | None) -> Forks:
        """The fork server of that environment, which lives as long as this one; this one where there is none.

        To be asked on one thread, which may be another than the loop's. Unavailable when none can be started.
        """
        if environment is None:
            return self
        if environment not in self._of:
            try:
                found = Forks(environment.command(MODULE))
            except OSError as problem:
                what = f"no process can be started with {environment.names}: {problem}"
                raise Unavailable(what, "end what else runs here, or raise the limits, and repeat") from None
            self._of[environment] = found
            if self._loop:
                self._loop.call_soon_threadsafe(found.attach, self._loop)
        return self._of[environment]

    def open(self, order: Open, end: socket.socket) -> None:
        """Have a process made that gets this socket, which is closed here. Returns at once."""
        try:
            with end:
                for _ in range(2):
                    with contextlib.suppress(OSError):
                        socket.send_fds(self._orders, [_encode(order)], [end.fileno()])
                        return
                    self._restart()
        except OSError as problem:
            _log.error("no process can be started for %s: %s", order.uri, problem)

    def replace(self) -> None:
        """End one that does not answer: what it was asked for is lost with it, and the next order starts another."""
        self.has_made = False
        self._end()

    def close(self) -> None:
        """Have it end, and those of other environments; the processes that they made end by their own sockets."""
        for each in self._of.values():
            each.close()
        self._close()

    def _close(self) -> None:
        if self._loop:
            self._loop.remove_reader(self._orders)
        self._orders.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._end()
            self._process.wait()

    def _end(self) -> None:
        process.end_child(self._process)

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if not hasattr(os, "memfd_create"):
            raise Unavailable("endpoints on this machine need Linux", "serve it on a Linux machine, or in WSL")
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            command = [*self._command, str(there.fileno())]
            started = subprocess.Popen(command, pass_fds=[there.fileno()], env={**os.environ, **_ONE_THREAD, **_MEMORY})
        here.setblocking(False)
        return started, here

    def _restart(self) -> None:
        _log.warning("the fork server is gone (%s): another is started", self._process.poll())
        self._close()
        self.has_made = False
        self._process, self._orders = self._start()
        if self._loop:
            self.attach(self._loop)

    def _hear(self) -> None:
        try:
            message = self._orders.recv(1 << 12)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            assert self._loop is not None  # this was called by it
            self._loop.remove_reader(self._orders)  # the next order finds it gone
            return
        ended = _decode(message)
        if ended.signal or ended.code:
            how = signal.Signals(ended.signal).name if ended.signal else f"exit code {ended.code}"
            _log.warning("the process %d of a model ended: %s", ended.pid, how)
