"""Which of the times that are due a run is begun for, and which are missed. Nothing here reads a clock or a store."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from .calendar import Calendar

CatchUp = Literal["last", "all", "none"]
Overlap = Literal["wait", "skip"]
CATCH_UP, OVERLAP = get_args(CatchUp), get_args(Overlap)
ON_TIME_S = 300.0
"""So late a run may begin and still is the one that was due: a machine is slow, a daemon is started again."""
_MOST = 100_000


@dataclass(frozen=True)
class RecipeSchedule:
    """When a recipe runs, and what becomes of times at which it could not.

    catch_up: of those that passed unseen, as while the machine slept: the last one runs, all do, one after the other,
    or none. overlap: where the run before still goes on, the next waits for its end or is left out. parameters: of the
    runs; a text may hold `${run.date}` and `${run.time}`.
    """

    calendar: Calendar
    catch_up: CatchUp = "last"
    overlap: Overlap = "wait"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def as_backfill(self) -> RecipeSchedule:
        """The same, with every time running, whatever passed since."""
        return replace(self, catch_up="all", overlap="wait")


@dataclass(frozen=True)
class RecipeTrigger:
    """What a recipe runs for whenever it happens.

    on: URIs without version, and paths or globs of the project. every_s: the least time between two runs.
    """

    on: tuple[str, ...]
    every_s: float = 0.0


@dataclass(frozen=True)
class ScheduleDecision:
    """start: the time that a run is begun for now. missed: times for which there is none. until: up to which time all
    is decided."""

    start: float | None
    missed: tuple[float, ...]
    until: float


def decide(schedule: RecipeSchedule, decided_until: float, now: float, *, is_busy: bool) -> ScheduleDecision | None:
    """What becomes of the times after `decided_until`; None while nothing does.

    is_busy: whether a run of the recipe goes on
    """
    due = due_times(schedule.calendar, decided_until, now)
    if not due:
        return None
    if is_busy:
        return ScheduleDecision(None, tuple(due), due[-1]) if schedule.overlap == "skip" else None
    if schedule.catch_up == "all":
        return ScheduleDecision(due[0], (), due[0])
    if schedule.catch_up == "none" and now - due[-1] > ON_TIME_S:
        return ScheduleDecision(None, tuple(due), due[-1])
    return ScheduleDecision(due[-1], tuple(due[:-1]), due[-1])


def due_times(calendar: Calendar, after: float, until: float) -> list[float]:
    """The times after the first and until the second; the first 100,000 of them."""
    return list(itertools.islice(itertools.takewhile(lambda due: due <= until, calendar.after(after)), _MOST))
