"""Something that takes its time, done in a thread beside a loop that must not wait for it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


class Wakeup:
    """A file descriptor that can be read once some thread has rung; `reads` is what to wait for."""

    def __init__(self) -> None:
        self.reads, self._writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()  # what is closed has a number that is somebody else's soon

    def ring(self) -> None:
        """From any thread, also when nobody waits any more."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._writes >= 0:
                os.write(self._writes, b".")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.reads, 4096)

    def close(self) -> None:
        with self._lock:
            if self._writes >= 0:
                os.close(self.reads)
                os.close(self._writes)
            self._writes = -1


def send_off(work: Callable[[], Result], wakeup: int | None = None) -> Future[Result]:
    """Begin it at once. wakeup: a file descriptor that gets a byte when it is done.

    Not by an executor: its threads are waited for when the process ends.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as problem:  # noqa: BLE001  # told to whoever asks for the result
            future.set_exception(problem)
        with contextlib.suppress(OSError):  # nobody waits any more, or there are many bytes already
            if wakeup is not None:
                os.write(wakeup, b".")

    threading.Thread(target=run, daemon=True).start()
    return future
