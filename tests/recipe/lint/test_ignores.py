"""Comments that silence a rule, and LAB001 for those that silence none."""

import pytest

from aiinfra_lab.recipe.lint import fix_notebook, lint_notebook
from aiinfra_lab.recipe.notebook import read_notebook

from .conftest import write_notebook

TWICE = "import random, os\nos.chdir('x')\nrandom.random()"


@pytest.mark.parametrize(
    ("cell", "codes"),
    [
        (TWICE, ["LAB106", "LAB301"]),
        (TWICE.replace("'x')", "'x')  # lab: ignore[LAB106]"), ["LAB301"]),
        (TWICE.replace("'x')", "'x')  # lab: ignore[LAB301]"), ["LAB106", "LAB301"]),
        (f"# lab: ignore[LAB106]\n{TWICE}", ["LAB301"]),
        (f"# lab: ignore[LAB106, LAB301]\n{TWICE}", []),
        (f"#lab:ignore[LAB106 LAB301]\n{TWICE}", []),
        (f"%%time\n# lab: ignore[LAB106,LAB301]\n{TWICE}", []),
        (f"\n# lab: ignore[LAB106,LAB301]\n{TWICE}", []),
        (TWICE + "\n# lab: ignore[LAB106]", ["LAB106", "LAB301"]),
        ("%cd x  # lab: ignore[LAB106]", []),
    ],
)
def test_a_comment_silences_its_line_and_at_the_head_its_cell(workspace, cell, codes):
    found = lint_notebook(write_notebook(workspace / "n.ipynb", cell))
    assert sorted(each.code for each in found) == codes


@pytest.mark.parametrize(
    ("cell", "line", "fix", "after"),
    [
        ("x = 1  # lab: ignore[XYZ999]", 1, "known: ", "x = 1"),
        ("x = 1\n# lab: ignore[LAB3O1]", 2, "did you mean LAB301?", "x = 1"),
        ("# lab: ignore[LAB106,XYZ999] why\nx = 1", 1, "known: ", "# lab: ignore[LAB106] why\nx = 1"),
        ("x = 1  # lab: ignore[XYZ999] since it is so", 1, "known: ", "x = 1  # since it is so"),
        ("x = 1  # lab: ignore[E501]", 1, "known: ", "x = 1"),
        ("x = 1  # lab: ignore", 1, "write # lab: ignore[LAB301]", None),
        ("x = 1  # lab: ignore[]", 1, "write # lab: ignore[LAB301]", None),
    ],
)
def test_a_comment_that_silences_nothing_is_found_and_taken_out(workspace, cell, line, fix, after):
    path = write_notebook(workspace / "n.ipynb", cell)
    (only,) = lint_notebook(path)
    assert (only.code, only.cell, only.line) == ("LAB001", 1, line)
    assert only.fix.startswith(fix)
    assert fix_notebook(path, [only]) == (after is not None)
    assert read_notebook(path).cells[0].source == (cell if after is None else after)


def test_known_codes_are_fine(found):
    assert found("LAB001", "x = 1  # lab: ignore[LAB301, LAB106]", "# lab work: ignore it") == []
