"""A recipe run by an executor that does nothing, so that only planner and records are left; and many runs of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.base import NotebookTask, Outcome
from aiinfra_lab.recipe.history import runs
from aiinfra_lab.recipe.recorded import ReadSteps, RecordedRun
from aiinfra_lab.recipe.runner import RecipeRunner
from aiinfra_lab.store import Record, open_store

_AT_ONCE = 100


class Nothing:
    """An executor whose notebooks are done at once; it is the handle of each of them too."""

    def has_room(self, _task: NotebookTask) -> bool:
        return True

    def submit(self, _task: NotebookTask) -> Nothing:
        return self

    def poll(self) -> bool:
        return True

    def cancel(self, *, at_once: bool = False) -> None:
        pass

    def collect(self) -> Outcome:
        return Outcome("done")


def run(name: str, *, force: bool = False) -> None:
    """Run it so."""
    RecipeRunner(declaration.read(name), {}, Nothing(), keep=True, force=force).go(lambda _run: None)


def multiply(folder: Path, name: str, most: int) -> None:
    """Write its newest run down again under further numbers, up to that one."""
    os.environ["AIINFRA_WORKSPACE"] = str(folder)
    store = open_store()
    newest = runs(name, 1)[0]
    numbers = list(range(newest.version + 1, most + 1))
    for at in range(0, len(numbers), _AT_ONCE):
        store.commit(
            [record for number in numbers[at : at + _AT_ONCE] for record in _again(newest, f"{name}@{number}")]
        )


def _again(run: RecordedRun, label: str) -> list[Record[Any]]:
    copy = RecordedRun(Record.new(label, run.body), ReadSteps()).with_steps(each.body for each in run.by_step.values())
    return [copy.record, *copy.by_step.values()]
