"""A recipe's run as one notebook."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import recipe as recipes
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.base import Outcome
from aiinfra_lab.recipe.jupyter_scheduler.joined import joined
from aiinfra_lab.recipe.room import Room
from aiinfra_lab.recipe.runner import RecipeRunner
from aiinfra_lab.recipe.threads import ThreadExecutor

TWO = '[steps.a]\nnotebook = "a.ipynb"\n[steps.b]\nnotebook = "b.ipynb"\nafter = ["a"]\n'
WIDGETS = "application/vnd.jupyter.widget-state+json"


def execute(task, *_):
    """As if every notebook had one cell of the same id, and a widget; the second one fails."""
    name = task.notebook.stem
    states = {"version_major": 2, "version_minor": 0, "state": {name: {"state": {}}}}
    made = new_notebook(cells=[new_code_cell(name, id="same")], metadata={"widgets": {WIDGETS: states}})
    task.archive.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, task.archive)
    return Outcome("done") if name == "a" else Outcome("failed", "ValueError: no\nmore", 1)


@pytest.fixture
def run(notebook, recipe, workspace):
    for name in ("a", "b"):
        notebook(name, "")
    recipe("two", TWO)
    done = RecipeRunner(declaration.read("two"), {}, ThreadExecutor(execute, Room(1)), keep=True, force=True).go(
        lambda _run: None
    )
    return recipes.show(done.uri)


def test_steps_stand_in_their_order_below_their_states(run):
    made = joined(run)
    nbformat.validate(made)
    assert [cell.source for cell in made.cells] == [
        f"# {run.uri}: failed", "## a: done", "a", "## b: failed\n\n    ValueError: no", "b",
    ]  # fmt: skip
    assert len({cell.id for cell in made.cells}) == 5
    assert set(made.metadata["widgets"][WIDGETS]["state"]) == {"a", "b"}


def test_a_notebook_that_is_gone_leaves_its_heading(run):
    Path(run.steps["a"]["archive"]).unlink()
    assert [cell.source for cell in joined(run).cells][1:3] == ["## a: done", "## b: failed\n\n    ValueError: no"]
