"""A recipe of one step, whose notebook is a function of the test: it runs in this process, where the fakes live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import nbformat
from nbformat.v4 import new_notebook

from aiinfra_lab.recipe.base import Outcome, Recipe, RecipeStep, Value
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.recipe.runner import RecipeRunner
from aiinfra_lab.store import Record


class _InThisProcess:
    """See `Executor`."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def run(
        self,
        notebook: Path,
        parameters: Mapping[str, Value],
        archive: Path,
        env: Mapping[str, str],
        stop_requested: Callable[[], bool],
    ) -> Outcome:
        with mock.patch.dict("os.environ", env):
            self._act()
        return Outcome("done")


def run(act: Callable[[], object], folder: Path, *, keep: bool) -> Record[RunRecord]:
    """The recipe's run, once it has ended."""
    notebook = folder / "one.ipynb"
    nbformat.write(new_notebook(), notebook)
    recipe = Recipe("one", "one step", notebook, {}, (RecipeStep("only", notebook),))
    return RecipeRunner(recipe, {}, _InThisProcess(act), keep=keep, force=True).go(lambda _: None)
