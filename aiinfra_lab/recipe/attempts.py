"""One step as it is executed: within its time, and again where its declaration allows that."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import LabError
from ..files import publish
from ..units import counted, show_duration
from .base import FAILURES, Executor, Outcome, RecipeStep, Value

_GRACE_S = 5.0  # between the interrupt that a step gets whose time is over and its kill
_FIRST_PAUSE_S, _MOST_PAUSE_S = 1.0, 60.0  # before another attempt, each twice as long as the one before
_LOOK_S = 0.2

Stop = Callable[[], int]


@dataclass(frozen=True)
class Attempts:
    """How a step ended, and how often it was begun."""

    outcome: Outcome
    number: int


def attempt(
    executor: Executor,
    step: RecipeStep,
    values: Mapping[str, Value],
    archive: Path,
    env: Mapping[str, str],
    stop: Stop,
) -> Attempts:
    """Execute it until it is done, was stopped, or has failed once more than it may be repeated.

    What an attempt before has executed is kept beside the archive, as `STEP.1.ipynb`.
    """
    number = 1
    while True:
        outcome = _within_time(executor, step, values, archive, env, stop)
        if outcome.state not in FAILURES or number > step.retries or not _waited(number, stop):
            return Attempts(_counted(outcome, number), number)
        if archive.exists():
            with contextlib.suppress(LabError):  # a full disk is told of by what comes next
                publish(archive, archive.with_suffix(f".{number}.ipynb"), replace=True, flush=False)
        number += 1


def _within_time(
    executor: Executor,
    step: RecipeStep,
    values: Mapping[str, Value],
    archive: Path,
    env: Mapping[str, str],
    stop: Stop,
) -> Outcome:
    began = time.monotonic()

    def over() -> int:
        """0, 1 or 2, as a stop request, by the step's own time."""
        if step.timeout_s is None:
            return 0
        late_s = time.monotonic() - began - step.timeout_s
        return (late_s >= 0) + (late_s >= _GRACE_S)

    try:
        outcome = executor.run(step.notebook, values, archive, env, lambda: stop() or over())
    except LabError as problem:
        return Outcome("failed", str(problem))
    if outcome.state == "stopped" and step.timeout_s is not None and not stop() and over():
        limit = f"it may take {show_duration(step.timeout_s)}, as `timeout` of the step says"
        return replace(outcome, state="timeout", error=limit)
    return outcome


def _waited(number: int, stop: Stop) -> bool:
    """Whether the pause before the next attempt has gone by; not when somebody asked for the end."""
    until = time.monotonic() + min(_FIRST_PAUSE_S * 2 ** (number - 1), _MOST_PAUSE_S)
    while time.monotonic() < until and not stop():
        time.sleep(_LOOK_S)
    return not stop()


def _counted(outcome: Outcome, number: int) -> Outcome:
    if number == 1 or outcome.state not in FAILURES:
        return outcome
    # Of an error of ours the fix comes behind the first line, and stays as it is.
    what, line_end, rest = outcome.error.partition("\n")
    return replace(outcome, error=f"{what} ({counted(number, 'attempt')})".strip() + line_end + rest)
