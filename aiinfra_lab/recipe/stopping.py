"""Ctrl-C, SIGTERM and SIGHUP as a request. Raised in the middle of a library they would leave its work undone; so they
are only taken note of, and whoever runs a notebook interrupts the notebook's kernel instead."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from .. import jobs, signals


class StopRequests:
    """How urgently somebody asked for the end: 0 nobody did, 1 once, 2 again, by a key or a signal: at once.

    signals: those that came, in their order.
    """

    def __init__(self, job: jobs.Here) -> None:
        self.signals: list[int] = []
        self._job = job

    def __call__(self) -> int:
        return min(2, len(self.signals)) or int(self._job.stop_requested())

    @property
    def word(self) -> Literal["stopped", "interrupted"]:
        """How what was asked for its end has ended. Whoever asks for the end of a job has a signal sent to it."""
        return "interrupted" if self.signals and not self._job.stop_requested() else "stopped"


@contextmanager
def stop_requests(job: jobs.Here) -> Iterator[StopRequests]:
    """The requests by Stop and, while this lasts, by Ctrl-C, SIGTERM or SIGHUP."""
    requests = StopRequests(job)
    with _on_ctrl_c(requests.signals.append), signals.taken(requests.signals.append):
        yield requests


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
