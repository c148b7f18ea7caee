"""All rules together: our own notebooks, other people's, and what they cost."""

import time
from pathlib import Path

import pytest

from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import Failed, NotFound
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.lint import lint, lint_notebook

from .conftest import write_notebook

OURS = sorted((Path(__file__).parents[3] / "notebooks").rglob("*.ipynb"))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_nothing_is_found_in_our_own_notebooks(workspace, path):
    assert [f"{each.place}: {each.code} {each.what}" for each in lint_notebook(path)] == []


def test_a_notebook_of_two_steps_is_reported_once(notebook, recipe):
    notebook("a", "x: int = 1", "print(missing)")
    recipe("r", "".join(f'[steps.{step}]\nnotebook = "a.ipynb"\n' for step in ("one", "two")))
    assert [(each.code, each.cell) for each in lint(declaration.read("r"))] == [("LAB101", 2)]


def test_findings_come_from_top_to_bottom(workspace):
    found = lint_notebook(write_notebook(workspace / "n.ipynb", "%cd a\nprint(x)\nprint(y)", "print(z)"))
    assert [(each.cell, each.line) for each in found] == [(1, 1), (1, 2), (1, 3), (2, 1)]


def test_a_file_that_is_no_notebook_is_an_error(workspace):
    with pytest.raises(NotFound):
        lint_notebook(workspace / "none.ipynb")
    (workspace / "n.ipynb").write_text("{")
    with pytest.raises(Failed):
        lint_notebook(workspace / "n.ipynb")


@pytest.mark.parametrize(
    "source",
    [
        "\0",
        "x = '\ud800'",
        "(" * 3000,
        "+".join("1" * 5000),
        "x" + ".a" * 3000,
        "%",
        "%%",
        "!",
        "?",
        "\\",
        "%\\\n",
        "%%time",
        "\f\nx",
        "=" * 99,
    ],
)
def test_no_rule_stumbles_over_what_a_cell_may_hold(workspace, source):
    lint_notebook(write_notebook(workspace / "n.ipynb", source, f"%load_ext aiinfra_lab\n{source}"))


def test_a_hundred_cells_take_less_than_a_sixth_of_a_second(workspace):
    """Of the processor, when the toolkit is loaded; three tries."""
    loop = "total = 0\nfor number in range(10):\n    total += number * {0}\n"
    body = loop + "print(f'{{total}} of {0}')\n%load_ext aiinfra_lab"
    path = write_notebook(workspace / "n.ipynb", *(body.format(number) for number in range(100)))
    lint_notebook(path)
    took = []
    for _ in range(3):
        began = time.process_time()
        lint_notebook(path)
        took.append(time.process_time() - began)
    assert min(took) < 0.15


def test_a_parameters_cell_that_computes_is_found_with_all_else_and_put_right(notebook, recipe):
    notebook("a", "n: int = 3\nm = n * 2", "print(no_such_name)")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\n')
    with pytest.raises(Failed, match=r"cell 1 line 2: m is computed from n.+LAB103.+LAB101") as problem:
        verbs.check("r")
    assert "`%recipe check r --fix` writes what is safe" in problem.value.fix
    reported = verbs.check("r", report=True)
    assert ([each["code"] for each in reported.findings], reported.state) == (["LAB103", "LAB101"], "cannot be read")
    assert "n * 2 is no plain value" in reported.problem
    assert "LAB101" in reported.card().text()
    assert [each["code"] for each in verbs.check("r", fix=True, report=True).findings] == ["LAB101"]
