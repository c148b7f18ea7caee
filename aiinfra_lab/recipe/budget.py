"""What a run of a recipe may cost, by `budget` in its file, and that it keeps to that while it goes on.

A run costs the time that it takes, at the price of this machine, as its card and `cost show` have it. What a step rents
is a thing of its own, with a budget of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from ..errors import Failed, UsageProblem
from ..units import parse_usd, show_usd
from .attempts import GRACE_S
from .base import ALERTS, OVER_BUDGET, Outcome, Recipe
from .record import RunRecord
from .references import parameters_in

_FIX = 'write budget = "5 USD" above the tables, or leave it out'
_UNPRICED = "an hour of this machine has no price: `machine_usd_per_hour` below `[cost]` in aiinfra.toml sets it"


def read_budget(where: str, value: object) -> float | None:
    """The dollars that stand in a recipe's file; None where it is left out. UsageProblem for what is no budget."""
    if value is None:
        return None
    try:
        usd = parse_usd(value)
    except UsageProblem as problem:
        raise UsageProblem(f"{where}: budget: {problem.what}", _FIX) from None
    if usd == 0:
        raise UsageProblem(f"{where}: budget: with {show_usd(usd)} nothing would run", _FIX)
    return usd


def notes(recipe: Recipe) -> Iterator[str]:
    """What to know of its budget before it runs, a sentence each. UsageProblem for a price that is none."""
    if recipe.budget_usd is None:
        if recipe.alert and OVER_BUDGET in recipe.alert.on and recipe.alert.on != ALERTS:
            yield f"[alert] names {OVER_BUDGET}, which nobody will hear: the recipe has no budget."
        used = {name for step in recipe.steps for name in parameters_in(step.texts)}
        if "budget" in recipe.parameters and not recipe.is_filled and "budget" not in used:
            yield "The budget stands below [parameters], and no step takes it: above the tables it limits a run."
    elif not _usd_per_hour():
        yield f"The budget of {show_usd(recipe.budget_usd)} is never reached here, since {_UNPRICED}."


def spent_usd(run: RunRecord) -> float:
    """What a run with a budget has cost: until now while it goes on, else as it was at its end. One whose process
    vanished could not write that down: it has cost the time until its last sign, at the price of now."""
    if run.is_open:
        return _lasted_s(run.started_at) / 3600 * _usd_per_hour()
    if run.state == "lost" and run.ended_at is not None:
        return max(0.0, run.ended_at - run.started_at) / 3600 * _usd_per_hour()
    return run.spent_usd


class RunBudget:
    """The budget of one run, while it goes on. reason: that it is used up, and ends the run; empty until then."""

    def __init__(self, recipe: Recipe) -> None:
        self.reason = ""
        self._file, self._limit_usd = recipe.path.name, recipe.budget_usd
        self._usd_per_hour = 0.0 if recipe.budget_usd is None else _usd_per_hour()
        self._since: float | None = None  # as time.monotonic

    @property
    def error(self) -> str:
        """The same with what helps; empty, too."""
        more = f'write budget = "{2 * (self._limit_usd or 0.0):g} USD" in {self._file}, or have it cost less'
        return str(Failed(self.reason, more)) if self.reason else ""

    def spent_usd(self, started_at: float) -> float:
        """What a run has cost so far that was started then, in epoch seconds."""
        return _lasted_s(started_at) / 3600 * self._usd_per_hour

    def urgency(self, asked: int, started_at: float) -> int:
        """How urgently what goes on has to end, as `StopRequests` has it: by that request, or for the budget."""
        if self._limit_usd is None or not self._usd_per_hour:
            return asked
        if self._since is None and (spent_usd := self.spent_usd(started_at)) >= self._limit_usd:
            self._since = time.monotonic()
            # What somebody stops before that ends as stopped, however long it takes.
            if not asked:
                limit, spent = show_usd(self._limit_usd), show_usd(spent_usd)
                self.reason = f"the run's budget of {limit} is used up: it has cost {spent}"
        if self._since is None:
            return asked
        return max(asked, 2 if time.monotonic() - self._since >= GRACE_S else 1)

    def as_ended(self, outcome: Outcome) -> Outcome:
        """How a notebook ended: one that was stopped for the budget has failed, as one whose time was over has."""
        is_mine = outcome.state == "stopped" and bool(self.reason)
        return replace(outcome, state="failed", error=self.error) if is_mine else outcome


def _lasted_s(started_at: float) -> float:
    return max(0.0, time.time() - started_at)


def _usd_per_hour() -> float:
    from ..cost.prices import machine_usd_per_hour  # here, since it loads a table of prices that most runs do not need

    return machine_usd_per_hour()
