"""Something that takes its time, done in a thread beside a loop that must not wait for it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


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
