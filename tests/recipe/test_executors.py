"""Both executors keep the contract: ours, and one from a package of its own with which every verb works."""

import importlib
from pathlib import Path

import pytest

from aiinfra_lab import data, lab, providers, recipe
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, NotFound
from aiinfra_lab.recipe.base import Executor
from aiinfra_lab.recipe.local import LocalExecutor
from aiinfra_lab.testing.recipe import ExecutorContract

from .conftest import TWO

PIPE = Path(__file__).parents[1] / "fakes" / "pipe_executor"


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, workspace: Path) -> Executor:
        return LocalExecutor(settings())


@pytest.fixture
def pipe(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's package is installed, and the workspace chooses its executor."""
    monkeypatch.syspath_prepend(PIPE)
    importlib.invalidate_caches()
    (workspace / "aiinfra.toml").write_text('[recipe]\nexecutor = "pipe"\n')


class TestPipeExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, pipe: None) -> Executor:
        assert providers.chosen("recipe.executor") == "pipe"
        return providers.make("recipe.executor")


MAKE = """
import pandas as pd
from aiinfra_lab import data
data.add("made", pd.DataFrame({"word": [word]}))
"""


@pytest.fixture
def two(pipe, notebook, recipe) -> None:
    notebook("make", "word: str = ''", MAKE)
    notebook("use", "made: str = ''", "print('used', made)")
    recipe("two", TWO)


def test_every_verb_works_with_an_executor_of_another_package(two):
    first, again = recipe.run("two"), recipe.run("two")
    assert [step["state"] for step in (*first.steps.values(), *again.steps.values())] == ["done"] * 2 + ["skipped"] * 2
    assert recipe.get("two", "data:made").uri == first.outputs["make.made"] == data.get("made").uri
    assert (recipe.show("two").state, recipe.check("two").runs, len(recipe.log("two"))) == ("done", 2, 2)
    assert recipe.stop("two") == recipe.show("two@2")
    assert [item.state for item in recipe.ls()] == ["done"]


def test_what_fails_there_says_where_and_how_to_go_on(two, notebook):
    notebook("make", "word: str = ''", "from aiinfra_lab import data\ndata.get('nothing')")
    with pytest.raises(Failed) as problem:
        recipe.run("two")
    assert problem.value.what.startswith("recipe:two@1: step make failed in cell 3: NotFound: there is no data:nothing")
    assert problem.value.fix.endswith("then `%recipe run two`: what succeeded is skipped")


def test_the_workspace_lists_it(pipe):
    found = {item.what: item.detail for item in lab.check(report=True).findings}
    assert found["recipe.executor on pipe"] == "brought by pipe-executor"


def test_an_executor_that_is_not_there_is_refused_before_a_run_begins(two, workspace):
    (workspace / "aiinfra.toml").write_text('[recipe]\nexecutor = "pip"\n')
    with pytest.raises(NotFound) as problem:
        recipe.run("two")
    assert (problem.value.fix, len(recipe.log("two"))) == ("did you mean pipe?", 0)


def test_secrets_are_taken_out_of_what_an_executor_leaves(pipe, notebook, workspace, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "swordfish-123")
    (workspace / "recipes").mkdir()
    (workspace / "recipes" / "r.toml").write_text('[steps.a]\nnotebook = "a.ipynb"')
    notebook("a", "", "import os; print(os.environ['MY_API_KEY'])")
    run = recipe.run("r")
    assert "swordfish" not in Path(run.steps["a"]["archive"]).read_text()
    assert recipe.log("r/a").text == "[2]\n[secret MY_API_KEY]\n"
