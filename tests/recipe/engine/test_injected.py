"""The cell with the values that a notebook is given."""

import ast
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe.engine.injected import inject, retyped


def tagged(source: str, *tags: str):
    return new_code_cell(source, metadata={"tags": list(tags)})


def sources(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells]


def test_values_stand_behind_the_first_cell_of_parameters():
    notebook = new_notebook(cells=[tagged("import os"), tagged("n = 1", "parameters"), tagged("m = 1", "parameters")])
    inject(notebook, {"n": 2})
    assert sources(notebook) == ["import os", "n = 1", "# Parameters\nn = 2", "m = 1"]
    assert notebook.cells[2].metadata["tags"] == ["injected-parameters"]


def test_without_such_a_cell_they_stand_first():
    notebook = new_notebook(cells=[tagged("print(n)")])
    inject(notebook, {"n": 2})
    assert sources(notebook) == ["# Parameters\nn = 2", "print(n)"]


def test_what_an_earlier_run_left_is_taken_out_and_without_values_nothing_is_put_in():
    old = [tagged("# Parameters\nn = 9", "injected-parameters"), tagged("failed", "papermill-error-cell-tag")]
    notebook = new_notebook(cells=[tagged("n = 1", "parameters"), *old])
    inject(notebook, {})
    assert sources(notebook) == ["n = 1"]


@pytest.mark.parametrize(
    "value", [True, -3, 0.1, 1e-9, 10**20, 'it\'s "é" \\ \n $x', ["a", {"k": [1, None]}], {}, "", "\u2028\x00"]
)
def test_a_value_comes_back_as_it_was(value):
    notebook = new_notebook(cells=[])
    inject(notebook, {"x": value})
    (assignment,) = ast.parse(notebook.cells[0].source).body
    found = ast.literal_eval(assignment.value)
    assert (found, type(found)) == (value, type(value))


def test_another_language_has_its_own_way_to_write_them():
    notebook = new_notebook(cells=[], metadata={"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}})
    inject(notebook, {"yes": True})
    assert "yes = TRUE" in notebook.cells[0].source


TYPED = """
from decimal import Decimal
from typing import Any, Literal
zip: str = "02139"
price: Decimal = Decimal("1.10")
count: int = 1
either: int | str = 1
maybe: str | None = None
untyped = None
"""


@pytest.mark.parametrize(
    ("name", "word", "guess", "line"),
    [
        ("zip", "02139", 2139, "zip = '02139'"),
        ("zip", "1e400", float("inf"), "zip = '1e400'"),
        ("zip", "1_000", 1000, "zip = '1_000'"),
        ("zip", "nan", float("nan"), "zip = 'nan'"),
        ("zip", "True", True, "zip = 'True'"),
        ("zip", "None", None, "zip = 'None'"),
        ("zip", "02139", 7, "zip = '7'"),  # not from that word
        ("price", "1.10", 1.1, 'price = Decimal("1.10")'),
        ("price", "0.12345678901234567890", 0.12345678901234568, 'price = Decimal("0.12345678901234567890")'),
        ("count", "007", 7, "count = 7"),
        ("either", "007", 7, "either = 7"),
        ("maybe", "007", 7, "maybe = '007'"),
        ("maybe", "None", None, "maybe = None"),
        ("untyped", "007", 7, "untyped = 7"),
        ("other", "007", 7, None),
    ],
)
def test_what_papermills_command_made_a_number_is_the_text_that_was_typed(monkeypatch, name, word, guess, line):
    monkeypatch.setattr("sys.argv", ["papermill", "in.ipynb", "out.ipynb", "--engine", "lab", "-p", name, word])
    notebook = new_notebook(cells=[tagged(TYPED, "parameters"), tagged("", "injected-parameters")])
    notebook.metadata["papermill"] = {"parameters": {name: guess}}
    if line is None:
        with pytest.raises(UsageProblem):
            retyped(notebook, {name: guess}, Path("in.ipynb"), is_python=True)
        return
    retyped(notebook, {name: guess}, Path("in.ipynb"), is_python=True)
    assert notebook.cells[1].source == f"# Parameters\n{line}"


def test_of_what_papermill_was_given_all_that_is_wrong_is_refused_at_once():
    notebook = new_notebook(cells=[tagged("n: int = 1\nm: int = 1", "parameters"), tagged("", "injected-parameters")])
    with pytest.raises(UsageProblem) as raised:
        retyped(notebook, {"n": "one", "k": 2, "m": "two"}, Path("in.ipynb"), is_python=True)
    assert all(each in raised.value.what for each in ("parameter n must be", "no parameter 'k'", "parameter m must be"))
