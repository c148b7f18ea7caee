"""`%recipe check` with the lint: errors raise with their fix, warnings are on the card, `--fix` writes safe edits."""

import json

import pytest

from aiinfra_lab import recipe as recipes
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.recipe.notebook import read_notebook

ONE = '[steps.a]\nnotebook = "a.ipynb"\n'


def test_a_clean_recipe_has_no_findings(notebook, recipe):
    notebook("a", "x: int = 1", "print(x)")
    recipe("one", ONE)
    done = recipes.check("one")
    assert (done.findings, done.fixed) == ((), 0)
    assert "Found" not in done.card().bundle()["text/plain"]


def test_errors_are_raised_with_their_place_and_their_fix(notebook, recipe):
    notebook("a", "x: int = 1", "print(y)", "z = 1\ninput()")
    recipe("one", ONE)
    with pytest.raises(Failed) as problem:
        recipes.check("one")
    first = "a.ipynb cell 2 line 1: nothing above defines y (LAB101)"
    assert (
        problem.value.what == f"one has 2 errors: {first}; a.ipynb cell 3 line 2: input() waits for somebody (LAB104)"
    )
    assert problem.value.fix.startswith("assign or import y in a cell above; take it as a parameter")


def test_of_many_the_first_are_named(notebook, recipe):
    notebook("a", "", "print(a, b, c, d)\n%cd x")
    recipe("one", ONE)
    with pytest.raises(Failed) as problem:
        recipes.check("one")
    assert problem.value.what.count("LAB101") == 3
    assert "`%recipe check one --report` shows all 5 findings" in problem.value.fix


def test_warnings_are_on_the_card(notebook, recipe):
    notebook("a", "", "import os\nos.chdir('x')")
    recipe("one", ONE)
    done = recipes.check("one")
    (only,) = done.findings
    assert {key: only[key] for key in ("code", "severity", "path", "cell", "line")} == {
        "code": "LAB106", "severity": "warning", "path": "notebooks/a.ipynb", "cell": 2, "line": 2,
    }  # fmt: skip
    text = done.card().bundle()["text/plain"]
    assert "LAB106" in text
    assert "a.ipynb cell 2 line 2" in text
    assert json.loads(json.dumps(done.as_json()))["findings"] == [only]


def test_a_report_has_errors_too_and_first(notebook, recipe):
    notebook("a", "", "%cd x", "print(y)")
    recipe("one", ONE)
    done = recipes.check("one", report=True)
    assert [each["code"] for each in done.findings] == ["LAB106", "LAB101"]
    text = done.card().bundle()["text/plain"]
    assert text.index("LAB101") < text.index("LAB106")


def test_fix_writes_what_is_safe_before_the_declaration_is_read(notebook, recipe, workspace):
    notebook("a", "n: int = 1\nm: int = n * 2", "%load_ext aiinfra_lab", "print(m)")
    recipe("one", ONE)
    with pytest.raises(Failed, match="m is computed from n"):
        recipes.check("one")
    done = recipes.check("one", fix=True)
    assert (done.findings, done.fixed) == ((), 1)
    assert "1 finding fixed" in done.card().bundle()["text/plain"]
    sources = [cell.source for cell in read_notebook(workspace / "notebooks" / "a.ipynb").cells]
    assert sources == ["n: int = 1", "m: int = n * 2", "%load_ext aiinfra_lab", "print(m)"]


def test_an_error_names_what_fix_would_do(notebook, recipe):
    notebook("a", "", "%data ls")
    recipe("one", ONE)
    with pytest.raises(Failed, match="is not loaded here") as problem:
        recipes.check("one")
    assert "`%recipe check one --fix` writes what is safe" in problem.value.fix
    assert recipes.check("one", fix=True).findings == ()


def test_a_recipe_that_cannot_be_read_fixes_nothing(recipe):
    recipe("one", "steps = 3")
    with pytest.raises(UsageProblem, match="must be a table"):
        recipes.check("one", fix=True)
