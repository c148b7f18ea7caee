"""The plan of a recipe's next run, as the Jupyter server hands it to the panel."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from nbformat import v4

from aiinfra_lab import recipe
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.jupyter.items import details_of, plan_of
from aiinfra_lab.store import open_store
from tests import records
from tests.browser.lab import notebook
from tests.browser.serving import Served, serve

RECIPE = """[parameters]
word = "a"
[steps.count]
notebook = "count.ipynb"
in = { table = "table.csv" }
out = { sum = "build/sum.txt" }
[steps.tell]
notebook = "tell.ipynb"
parameters = { word = "${params.word}" }
in = { sum = "count.sum" }
"""
COUNT = ("import words\nfrom aiinfra_lab import recipe", "recipe.outputs.sum.write_text(table)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a recipe that has run once, whose table and module have changed since."""
    root = tmp_path_factory.mktemp("root")
    for folder in ("notebooks", "recipes"):
        (root / folder).mkdir()
    (root / "aiinfra.toml").touch()
    (root / "recipes/two.toml").write_text(RECIPE)
    (root / "table.csv").write_text("1,2")
    (root / "notebooks/words.py").write_text("WORD = 'one'")
    notebook(root / "notebooks/count.ipynb", *COUNT)
    notebook(root / "notebooks/tell.ipynb", "sum, word")
    for name, first in (("count", "table: str = ''"), ("tell", "sum: str = ''\nword: str = ''")):
        _parameters(root / f"notebooks/{name}.ipynb", first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", str(root))
        recipe.run("two", param={"word": "b"})
        (root / "table.csv").write_text("1,2,3")
        (root / "notebooks/words.py").write_text("WORD = 'two'")
        served = serve("jupyter_server", tmp_path_factory.mktemp("server"), root)
        yield served
        served.stop()


def _parameters(path: Path, first: str) -> None:
    """Put a cell that takes these before the others."""
    book = nbformat.read(path, as_version=4)
    book.cells.insert(0, v4.new_code_cell(first, metadata={"tags": ["parameters"]}))
    nbformat.write(book, path)


def plan(server: Served, uri: str) -> tuple[int, Any]:
    return server.call("GET", f"/aiinfra/plans/{quote(uri, safe='')}")[:2]


@pytest.mark.parametrize("name", ["two", "two@1"])
def test_it_is_what_the_dry_run_shows_and_writes_nothing(server: Served, name: str) -> None:
    newest = [record.rev for record in open_store().changed()]
    status, shown = plan(server, f"recipe:{name}")
    dry = recipe.run(name, dry=True)
    assert (status, shown) == (200, dry.card().bundle())
    assert dry.steps["count"]["because"] == ("table.csv changed", "notebooks/words.py changed")
    assert [record.rev for record in open_store().changed()] == newest


def test_a_run_stands_for_its_parameters(server: Served) -> None:
    texts = [plan(server, uri)[1]["text/plain"] for uri in ("recipe:two@1", "recipe:two")]
    assert ["%recipe run two -p word=b" in text for text in texts] == [True, False]


@pytest.mark.parametrize(
    ("uri", "status", "what"),
    [
        ("recipe:none", 404, "there is no recipe 'none'"),
        ("recipe:two@9", 404, "there is no recipe:two@9"),
        ("data:flights", 404, "data:flights has no plan"),
        ("two", 400, "two"),
        ("recipe:../etc", 400, "../etc"),
    ],
)
def test_what_has_none_is_an_error_with_its_fix(server: Served, uri: str, status: int, what: str) -> None:
    found, answer = plan(server, uri)
    assert found == status
    assert what in answer["what"]
    assert answer["fix"]


def test_only_who_is_logged_in_may_ask(server: Served) -> None:
    assert server.call("GET", "/aiinfra/plans/recipe%3Atwo", token=None)[0] == 403


def test_a_recipe_that_cannot_run_says_why(server: Served) -> None:
    table = server.root / "table.csv"
    table.rename(table.with_suffix(".old"))
    try:
        status, answer = plan(server, "recipe:two")
    finally:
        table.with_suffix(".old").rename(table)
    assert status == 400
    assert "table.csv" in answer["what"]
    assert answer["fix"]


def test_where_nothing_has_run_nothing_is_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("fresh")
    (root / "aiinfra.toml").touch()
    served = serve("jupyter_server", tmp_path_factory.mktemp("fresh-server"), root)
    try:
        status, answer = plan(served, "recipe:two")
    finally:
        served.stop()
    assert (status, "--dry" in answer["fix"]) == (404, True)
    assert not (root / ".aiinfra").exists()


def test_the_panel_offers_it_of_recipes_alone(workspace: Path) -> None:
    records.recipe_run("flights@1", state="done", ended_at=2.0)
    records.data("flights@1")
    assert [details_of(uri)["has_plan"] for uri in ("recipe:flights@1", "data:flights@1")] == [True, False]
    with pytest.raises(NotFound):
        plan_of("data:flights@1")
    with pytest.raises(UsageProblem):
        plan_of("flights")
