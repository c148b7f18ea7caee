"""A recipe of one step, whose notebook is a function of the test: see `in_process`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat.v4 import new_notebook

from aiinfra_lab.recipe.base import Recipe, RecipeStep
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.recipe.runner import RecipeRunner

from .in_process import calling


def run(act: Callable[[], object], folder: Path, *, keep: bool) -> RecordedRun:
    """The recipe's run, once it has ended."""
    notebook = folder / "one.ipynb"
    nbformat.write(new_notebook(), notebook)
    recipe = Recipe("one", "one step", notebook, {}, (RecipeStep("only", notebook),))
    return RecipeRunner(recipe, {}, calling(act), keep=keep, force=True).go(lambda _: None)
