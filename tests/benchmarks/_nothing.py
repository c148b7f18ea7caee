"""A recipe run by an executor that does nothing, so that only planner and records are left; and many runs of one."""

from __future__ import annotations

import os
from pathlib import Path

from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.base import NotebookTask, Outcome
from aiinfra_lab.recipe.record import RunRecord
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
    newest = store.list(RunRecord, name=name, limit=1)[0]
    numbers = list(range(newest.version + 1, most + 1))
    for at in range(0, len(numbers), _AT_ONCE):
        store.commit([Record.new(f"{name}@{number}", newest.body) for number in numbers[at : at + _AT_ONCE]])
