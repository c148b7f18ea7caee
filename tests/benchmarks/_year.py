"""Schedules by a clock of ours: two daemons on one store, sleeps, kills, and commits that cross."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.base import Recipe
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.recipe.schedule.daemon import Also, ScheduleKeeper
from aiinfra_lab.recipe.schedule.record import ScheduleRecord
from aiinfra_lab.store import Record, open_store

HOUR_S, DAY_S = 3600.0, 86400.0
SCHEDULES = {
    "skipped_hour": ("30 2 * * *", "last"),  # in the hour that is left out in March and comes twice in October
    "hourly": ("0 * * * *", "last"),
    "all": ("15 4 * * *", "all"),
    "none": ("0 9 * * MON", "none"),
    "monthly": ("0 0 L * *", "last"),
}


class Killed(BaseException):
    """The daemon's process is gone."""


class Year:
    """A simulation from one time on. sleeps: how often both daemons are away, for hours or days; kills: how often one
    dies where it begins a run, before or after its commit."""

    def __init__(self, folder: Path, begin_at: float, days: float, *, sleeps: int, kills: int, seed: int = 1) -> None:
        self.now, self.until, self.begin_at = begin_at, begin_at + days * DAY_S, begin_at
        self.begun: dict[str, list[float]] = {name: [] for name in SCHEDULES}
        self.killed = self.slept = self.crossed = 0
        self._random, self._days = random.Random(seed), days
        self._sleeps, self._kills = sleeps, kills
        self._is_crossing = False
        write(folder)
        bodies = [ScheduleRecord(started_at=begin_at, decided_until=begin_at) for _ in SCHEDULES]
        open_store().commit([Record.new(name, body) for name, body in zip(SCHEDULES, bodies, strict=True)])
        self._keepers = [self._keeper(), self._keeper()]

    def go(self) -> None:
        """To its end; afterwards both look until nothing is due."""
        at = sorted(self._random.uniform(self.begin_at, self.until) for _ in range(self._sleeps))
        while self.now < self.until:
            self.now += self._random.uniform(300, 5400)
            if at and self.now >= at[0]:
                at.pop(0)
                self.slept += 1
                self.now += self._random.choice([2, 9, 30, 80]) * HOUR_S
            self.now = min(self.now, self.until)
            self._look(self._random.randrange(2))
        for _ in range(1000):
            self._look(0)

    def _look(self, which: int) -> None:
        try:
            self._keepers[which].look()
        except Killed:
            self.killed += 1
            self._keepers[which] = self._keeper()

    def _keeper(self) -> ScheduleKeeper:
        return ScheduleKeeper(lambda: self.now, self._begin)

    def _begin(self, recipe: Recipe, _given: Mapping[str, object], due: float | None, _cause: str, also: Also) -> None:
        assert due is not None
        chance = self._kills / (self._days * 4)
        if not self._is_crossing and self._random.random() < 0.3:
            self._is_crossing = True  # the other one looks between this one's look and its commit
            self.crossed += 1
            try:
                self._keepers[1].look()
            finally:
                self._is_crossing = False
        if self._random.random() < chance:
            raise Killed
        body = RunRecord(state="done", started_at=self.now, ended_at=self.now, due_at=due, steps=())
        run = Record.new(f"{recipe.name}@{len(self.begun[recipe.name]) + 1}", body)
        open_store().commit([run, also(run)])
        self.begun[recipe.name].append(due)
        if self._random.random() < chance:
            raise Killed

    def faults(self) -> list[str]:
        """What is not exactly once begun or listed as missed."""
        found = []
        for name, begun in self.begun.items():
            schedule = declaration.read(name).schedule
            record = open_store().get(ScheduleRecord, name)
            assert schedule is not None
            assert record is not None
            due = schedule.calendar.between(self.begin_at, self.until)
            missed = record.body.missed
            if len(set(begun)) != len(begun):
                found.append(f"{name}: begun twice")
            if not {*begun, *missed} <= {*due} or {*begun} & {*missed}:
                found.append(f"{name}: begun or missed without being due, or both")
            if len(begun) + record.body.missed_count != len(due):
                found.append(f"{name}: {len(due)} due, {len(begun)} begun, {record.body.missed_count} missed")
        return found


def write(folder: Path) -> None:
    """The recipes, each of a notebook that nobody executes."""
    from .recipe import write as write_notebook

    write_notebook(folder, "a", "pass")
    (folder / "recipes").mkdir(exist_ok=True)
    for name, (cron, catch_up) in SCHEDULES.items():
        text = f'[steps.a]\nnotebook = "a.ipynb"\n[schedule]\ncron = "{cron}"\ntz = "Europe/Berlin"\n'
        (folder / "recipes" / f"{name}.toml").write_text(f'{text}catch_up = "{catch_up}"\n')
