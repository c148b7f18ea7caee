"""Ctrl-C, SIGTERM and SIGHUP as a request. Raised in the middle of a library they would leave its work undone; so they
are only taken note of, and whoever runs a notebook interrupts the notebook's kernel instead."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .. import jobs, signals


@contextmanager
def stop_requests(job: jobs.Here) -> Iterator[Callable[[], int]]:
    """How urgently somebody asked for the end, by Stop or, while this lasts, by Ctrl-C, SIGTERM or SIGHUP.

    0: nobody did. 1: once. 2: again, by a key or a signal, for it was not over yet: at once.
    """
    pressed: list[int] = []
    with _on_ctrl_c(pressed.append), signals.taken(pressed.append):
        yield lambda: min(2, len(pressed)) or int(job.stop_requested())


@contextmanager
def _on_ctrl_c(take: Callable[[int], None]) -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    # Only the main thread hears it, and a process that was told to ignore it goes on doing so.
    # None is a handler that Python did not install, and could not put back.
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return

    def heard(number: int, _frame: FrameType | None) -> None:
        take(number)
        signals.note(number, before)

    signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
