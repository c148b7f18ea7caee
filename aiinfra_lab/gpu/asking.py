"""Asking several providers one question each, all at the same time: one that cannot be asked hides no other."""

from __future__ import annotations

import contextvars
import multiprocessing
import time
from collections.abc import Callable, Collection
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar

from ..errors import LabError, Unavailable
from ..units import show_duration

# A provider that has not answered by then is left out: its own limits are shorter.
ASK_S = 60.0

Given = TypeVar("Given")


def ask_each(
    providers: Collection[str], question: Callable[[str], Given], within_s: float = ASK_S
) -> dict[str, Given | LabError]:
    """What each gave, or why it could not be asked."""

    def of(provider: str) -> Given | LabError:
        try:
            return question(provider)
        except LabError as problem:
            return problem

    until = time.monotonic() + within_s
    # Its threads are daemons: whoever asks must be able to go while one hangs.
    pool = ThreadPool(max(1, len(providers)))
    asked = {name: pool.apply_async(contextvars.copy_context().run, (of, name)) for name in providers}
    pool.close()
    return {name: _given(name, result, until - time.monotonic(), within_s) for name, result in asked.items()}


def _given(provider: str, result: AsyncResult[Given | LabError], left_s: float, within_s: float) -> Given | LabError:
    try:
        return result.get(max(0.0, left_s))
    except multiprocessing.TimeoutError:
        what = f"{provider} has not answered within {show_duration(within_s)}"
        return Unavailable(what, "repeat in a moment")
