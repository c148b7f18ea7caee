"""The cell with the values that a notebook is given."""

import ast

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab.recipe.engine.injected import inject


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
