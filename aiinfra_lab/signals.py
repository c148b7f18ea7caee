"""SIGTERM and SIGHUP as Ctrl-C, for what works in this process: it is interrupted, and writes down its end.

By default either ends a process at once: its record would say that it runs, and its children would live on. A command
takes Ctrl-C as well, since its exit code says what ended it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

_NUMBERS: tuple[int, ...] = (signal.SIGTERM, signal.SIGHUP)
# systemd and terminals that close send both, one right after the other.
_ONE_REQUEST_S = 5.0


class Requests:
    """The signals that came while somebody takes them. `is_quiet`: from now on they are only taken note of."""

    def __init__(self, act: Callable[[int], None], around: Mapping[int, object]) -> None:
        self.came: list[int] = []
        self.is_quiet = False
        self._act = act
        self._around = around
        self._acted_at = float("-inf")

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """The handler itself."""
        self.came.append(number)
        note(number, self._around[number])  # at once: which of two was the first decides how the process ends
        # Who presses Ctrl-C again means it: a library may have swallowed the first one.
        is_new = number == signal.SIGINT or time.monotonic() - self._acted_at >= _ONE_REQUEST_S
        if not self.is_quiet and is_new:
            self._acted_at = time.monotonic()
            self._act(number)


def interrupt(_number: int) -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


@contextmanager
def taken(act: Callable[[int], None] = interrupt, *, is_final: bool = False) -> Iterator[Requests]:
    """While this lasts, call `act` in the main thread when one of the two comes.

    Afterwards the process ends by what came, as it would have ended at once; unless this lies within another `taken`,
    which then knows of it, or `is_final`: then the caller ends the process itself. Ctrl-C is taken too by who is final,
    and within it. In another thread, and of a signal that is ignored or that somebody else handles, nothing is taken.
    """
    before = {number: signal.getsignal(number) for number in (*_NUMBERS, signal.SIGINT)}
    requests = Requests(act, before)
    defaults = (signal.SIG_DFL, signal.default_int_handler) if is_final else (signal.SIG_DFL,)
    free = [number for number, handler in before.items() if handler in defaults or isinstance(handler, Requests)]
    if threading.current_thread() is not threading.main_thread():
        free = []
    for number in free:
        signal.signal(number, requests)
    try:
        yield requests
    finally:
        for number in free:
            signal.signal(number, before[number])
        for number in requests.came[:1]:
            if not isinstance(before[number], Requests) and not is_final:
                signal.raise_signal(number)


def note(number: int, outer: object) -> None:
    """Let the handler from around know of a signal that came within, if it is one of ours."""
    if isinstance(outer, Requests):
        outer.came.append(number)
        note(number, outer._around[number])
