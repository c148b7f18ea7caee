"""One step as it is executed: within its time, and again where its declaration allows that."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import dataclass, replace

from ..errors import LabError, Unavailable
from ..files import lab_errors, make_folder, publish
from ..units import counted, show_duration
from . import archives
from .base import FAILURES, Executor, MayBeAwaited, MayWait, NotebookTask, Outcome, RecipeStep, TaskHandle
from .made_files import Leftovers

_log = logging.getLogger(__name__)

_UNREACHED_S = 600.0  # without an answer of the executor, until a step is given up
GRACE_S = 5.0  # between the interrupt that a step gets whose time is over and its kill
_FIRST_PAUSE_S, _MOST_PAUSE_S = 1.0, 60.0  # before another attempt, each twice as long as the one before


@dataclass(frozen=True)
class Attempts:
    """How a step ended, and how often it was begun. began_at: the last time, in epoch seconds."""

    outcome: Outcome
    number: int
    began_at: float


class StepExecution:
    """A step from the begin of its first attempt to the end of its last.

    What an attempt before has executed is kept beside the archive, as `STEP.1.ipynb`; the files that it wrote are
    removed, as is what is left of earlier runs: each attempt begins as the first in a fresh clone does.
    """

    def __init__(
        self, executor: Executor, step: RecipeStep, task: NotebookTask, leftovers: Leftovers | None = None
    ) -> None:
        self._executor, self._step, self._task = executor, step, task
        self._leftovers = leftovers or Leftovers()
        self._since_at, self._last_at = math.inf, 0.0  # when the first and the last attempt began, as time.time
        self._number, self._asked = 0, 0
        self._began_at = self._again_at = self._unreached_at = 0.0  # as time.monotonic
        self._is_given_up = False
        self._handle: TaskHandle | None = None
        self._outcome = Outcome("failed")
        self._begin()

    def turn(self, urgency: int) -> Attempts | None:
        """Go on with it; None until it is done, was stopped, or has failed once more than it may be repeated.

        urgency: with which its end is asked for: 0 not at all, 1 by an interrupt, 2 at once
        """
        if self._handle is not None and not self._has_ended(self._handle, urgency):
            return None
        is_last = self._number > self._step.retries or self._is_given_up
        if self._outcome.state not in FAILURES or is_last or urgency:
            return Attempts(_counted(self._outcome, self._number), self._number, self._last_at)
        if time.monotonic() >= self._again_at and self._may_begin():
            self._put_aside()
            self._begin()
        return None

    @property
    def can_be_awaited(self) -> bool:
        """Whether `wait` returns at the end of the attempt that goes on."""
        return isinstance(self._handle, MayBeAwaited)

    def wait(self, within_s: float) -> None:
        """Wait so long for something to become of it; less where its end can be awaited."""
        handle: object = self._handle
        until_at = time.monotonic() + within_s
        if isinstance(handle, MayBeAwaited):
            try:
                handle.wait_for_end(within_s)
            except Exception as problem:  # noqa: BLE001  # `turn` finds out what has become of it
                _log.debug("the end of step %s cannot be awaited: %s", self._step.name, problem)
            else:
                return
        time.sleep(max(0.0, until_at - time.monotonic()))

    def abandon(self) -> None:
        """End it at once, and return when it has ended; whatever became of it."""
        if self._handle is not None:
            _cancel_unheard(self._handle)
            with contextlib.suppress(Exception):
                self._handle.collect()
            self._handle = None

    def _begin(self) -> None:
        self._number += 1
        self._asked, self._began_at = 0, time.monotonic()
        task = self._now()
        try:
            with lab_errors(task.archive.parent):
                make_folder(task.archive.parent)
            if task.hold is None or not task.hold.goes_on:
                self._leftovers.remove(self._since_at)
            self._last_at = time.time()
            self._since_at = min(self._since_at, self._last_at)
            self._handle = self._executor.submit(task)
        except LabError as problem:
            self._take(Outcome("failed", str(problem)))

    def _now(self) -> NotebookTask:
        """What is executed this time: only the last attempt is held, and only the first goes on."""
        hold = self._task.hold
        if hold is None:
            return self._task
        seconds = hold.seconds if self._number > self._step.retries else 0.0
        return replace(self._task, hold=replace(hold, seconds=seconds, goes_on=hold.goes_on and self._number == 1))

    def _may_begin(self) -> bool:
        """Whether there is room for one more attempt; also where that was not known for long: to begin it says why."""
        try:
            is_room = self._executor.has_room(self._task)
        except Unavailable:
            return self._unreached_s() >= _UNREACHED_S
        self._unreached_at = 0.0
        return is_room

    def _unreached_s(self) -> float:
        """For how long nothing was heard of where it runs, of which nothing was heard now."""
        now = time.monotonic()
        self._unreached_at = self._unreached_at or now
        return now - self._unreached_at

    def _end(self, handle: TaskHandle, urgency: int) -> None:
        try:
            outcome = handle.collect()
        except LabError as problem:
            outcome = Outcome("failed", str(problem))
        except Exception as problem:  # noqa: BLE001  # an executor's mistake ends this step, and no other
            _log.exception("the executor of step %s failed", self._step.name)
            outcome = Outcome("failed", f"its executor failed: {problem!r}")
        if outcome.state == "stopped" and not urgency and self._step.timeout_s is not None and self._overdue():
            limit = f"it may take {show_duration(self._step.timeout_s)}, as `timeout` of the step says"
            outcome = replace(outcome, state="timeout", error=limit)
            archives.rename_end(self._task.archive, "timeout")
        self._take(outcome)

    def _take(self, outcome: Outcome) -> None:
        self._handle, self._outcome = None, outcome
        self._again_at = time.monotonic() + min(_FIRST_PAUSE_S * 2 ** (self._number - 1), _MOST_PAUSE_S)

    def _overdue(self) -> int:
        """0, 1 or 2, as an urgency, by the step's own time."""
        if self._step.timeout_s is None:
            return 0
        late_s = time.monotonic() - self._began_at - self._step.timeout_s
        return (late_s >= 0) + (late_s >= GRACE_S)

    def _ask(self, handle: TaskHandle, urgency: int) -> None:
        if urgency > self._asked:
            handle.cancel(at_once=urgency > 1)
            self._asked = urgency

    def _has_ended(self, handle: TaskHandle, urgency: int) -> bool:
        """Whether it has, or is given up, since where it runs is not reached any more."""
        try:
            if handle.poll():
                self._end(handle, urgency)
                return True
            if isinstance(handle, MayWait) and not handle.has_begun:
                self._began_at = time.monotonic()
            self._ask(handle, max(urgency, self._overdue()))
            self._unreached_at = 0.0
        except Exception as problem:  # noqa: BLE001  # a client of somebody else's service may raise anything
            why, is_first = str(problem) if isinstance(problem, LabError) else repr(problem), not self._unreached_at
            self._is_given_up = self._unreached_s() >= (GRACE_S if urgency > 1 else _UNREACHED_S)
            if self._is_given_up:
                _cancel_unheard(handle)  # to collect it would wait for an end that nobody hears of
                lost = f"where it ran is not reached any more, and it may go on there: {why}"
                self._take(Outcome("stopped" if urgency else "killed", lost))
            elif is_first:
                _log.warning("where step %s runs is not reached, and is asked again: %s", self._step.name, why)
        return self._is_given_up

    def _put_aside(self) -> None:
        archive = self._task.archive
        if archive.exists():
            with contextlib.suppress(LabError):  # a full disk is told of by what comes next
                publish(archive, archive.with_suffix(f".{self._number}.ipynb"), replace=True, flush=False)


def has_room(executor: Executor, task: NotebookTask) -> bool:
    """Whether an executor has room for a task; False while it does not know."""
    try:
        return executor.has_room(task)
    except Unavailable:
        return False


def _cancel_unheard(handle: TaskHandle) -> None:
    """Ask for its end at once, whatever the executor makes of that."""
    with contextlib.suppress(Exception):
        handle.cancel(at_once=True)


def _counted(outcome: Outcome, number: int) -> Outcome:
    if number == 1 or outcome.state not in FAILURES:
        return outcome
    # Of an error of ours the fix comes behind the first line, and stays as it is.
    what, line_end, rest = outcome.error.partition("\n")
    return replace(outcome, error=f"{what} ({counted(number, 'attempt')})".strip() + line_end + rest)
