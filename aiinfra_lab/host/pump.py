"""Passes what a kernel publishes on to our socket for it, as bytes, and stays little ahead of who reads them.

A socket of zmq bounds what waits in it by messages, at this end and at the kernel's, and the kernel drops what finds no
room: so this end has no bound, else a moment's work would cost small messages, and without one large ones fill the
memory. Here the bytes are counted. What is not passed on yet waits in the kernel, whose end has no bound either.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading

AHEAD_BYTES = 1 << 25
_PIECE_BYTES = 1 << 18
_AGAIN_S = 0.02


class Pump(threading.Thread):
    """source: the kernel's unix socket, which may not be there yet. path: of the one to connect to instead. stalled: a
    file descriptor that can be read while it waits for its reader; then nothing whole may be there, in the middle of a
    message that is larger than all that may wait. passed: bytes, so far. has_ended: whether that is all there will be,
    and until it is connected. is_taken: whether its reader has also read all of it."""

    def __init__(self, source: str, path: str) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(1)
        self._until, self.passed = AHEAD_BYTES, 0  # how far it may go, and has gone
        self._is_stalled = self._is_closed = self._is_shown = False
        self.has_ended = self.is_taken = True
        self.stalled, self._stall = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.start()

    def has_read(self, size: int) -> None:
        """A part of so many bytes was read."""
        self._until += size + (2 if size < 256 else 9)  # the frame around it, by the protocol of zmq
        if self._is_stalled and self._until - self.passed > AHEAD_BYTES // 2:
            self._ring()

    def has_read_all(self) -> None:
        """Nothing whole is left to be read: one message may be larger than all that may wait."""
        self._until = self.passed + AHEAD_BYTES
        if self._is_stalled:
            self._ring()

    def close(self) -> None:
        """Let go of both ends."""
        self._is_closed = True
        self._ring()
        self.join()
        for each in (self._wakeup, self._wake, self.stalled, self._stall):
            os.close(each)

    def run(self) -> None:
        try:
            with self._listener, contextlib.suppress(OSError):
                self._serve()
                self.is_taken = True  # not of one that is broken: what it was given before may be on its way still
        finally:
            self.has_ended = True

    def _serve(self) -> None:
        if not self._is_readable(self._listener):
            return
        reader, _ = self._listener.accept()
        with reader, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as kernel:
            while kernel.connect_ex(self._source) and not self._is_closed:
                select.select([self._wakeup], [], [], _AGAIN_S)
            self.has_ended = self.is_taken = False
            self._pass(reader, kernel)

    def _pass(self, reader: socket.socket, kernel: socket.socket) -> None:
        poller = select.poll()
        for each in (reader.fileno(), self._wakeup):
            poller.register(each, select.POLLIN)
        is_there = True
        while not self._is_closed:
            may = self._may() and is_there
            if may:
                poller.register(kernel, select.POLLIN)
            ready = {each for each, _ in poller.poll()}
            if may:
                poller.unregister(kernel)
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup, 4096)
            if reader.fileno() in ready:
                if not (data := reader.recv(_PIECE_BYTES)):
                    return
                with contextlib.suppress(OSError):
                    kernel.sendall(data)
            if kernel.fileno() in ready:
                data = kernel.recv(_PIECE_BYTES)
                is_there = bool(data)  # else it has ended; what it has sent is still to be read
                reader.sendall(data)
                self.passed += len(data)
                self.has_ended = not is_there
                if not is_there:  # the reader closes its end once it has read up to here
                    reader.shutdown(socket.SHUT_WR)

    def _may(self) -> bool:
        """Whether it may go on. Whoever reads looks at the flag after it has read."""
        self._is_stalled = True
        self._is_stalled = self.passed >= self._until
        if self._is_stalled is not self._is_shown:
            self._is_shown = not self._is_shown
            os.write(self._stall, b".") if self._is_shown else os.read(self.stalled, 1)
        return not self._is_stalled

    def _ring(self) -> None:
        """Have it look again at how far it may go."""
        self._is_stalled = False
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b".")

    def _is_readable(self, found: socket.socket) -> bool:
        select.select([found.fileno(), self._wakeup], [], [])
        return not self._is_closed
