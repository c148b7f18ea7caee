"""Two runs are compared by meaning."""

from pathlib import Path

import pytest

from aiinfra_lab import recipe
from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import NotFound
from aiinfra_lab.recipe.diff.cells import differing_cells

ONE = '[parameters]\nx = 1\n[steps.a]\nnotebook = "a.ipynb"\nparameters = { x = "${params.x}" }\n'
VARYING = "import os, time\nprint('pid', os.getpid(), 'at', time.strftime('%H:%M:%S'), object())"


@pytest.fixture
def one(notebook, recipe):
    def write(*cells: str) -> None:
        notebook("a", "x: int = 0", *cells)
        recipe("one", ONE)

    return write


def test_two_executions_of_the_same_mean_the_same(one):
    one(VARYING, "print(x)")
    for _ in range(2):
        recipe.run("one", force=True)
    found = recipe.diff("one@1", "one@2")
    assert (found.is_same, found.steps, found.parameters) == (True, (), ())
    assert "mean the same" in found.card().lead


def test_a_parameter_and_what_it_changes_are_named(one):
    one(VARYING, "print('twice', 2 * x)")
    recipe.run("one")
    recipe.run("one", param={"x": 4})
    found = recipe.diff("one@1", "one@2")
    assert found.parameters == ("x – → 4",)
    (step,) = found.steps
    assert (step.name, step.states, step.reasons) == ("a", ("done", "done"), ("x 1 → 4",))
    (cell,) = [cell for cell in step.cells if cell.change == "outputs"]
    assert cell.lines == ("@@ -1 +1 @@", "-twice 2", "+twice 8")
    assert "twice 8" in str(found.card())


def test_what_was_edited_and_what_failed(one):
    one("print(1)", "print(2)")
    recipe.run("one")
    one("print(1)", "1 / 0")
    recipe.run("one", report=True)
    (step,) = recipe.diff("one@1", "one@2").steps
    assert (step.states, step.reasons) == (("done", "failed"), ("its code changed",))
    assert [(cell.change, cell.lines[-2:]) for cell in step.cells] == [("code", ("-print(2)", "+1 / 0"))]


def test_a_step_that_was_skipped_is_that_of_before(one):
    one("print(1)")
    recipe.run("one")
    recipe.run("one")
    assert recipe.diff("one@1", "one").is_same


def test_a_notebook_that_is_gone_is_named(one):
    one("print(1)")
    runs = [recipe.run("one", force=True) for _ in range(2)]
    Path(runs[0].steps["a"]["archive"]).unlink()
    found = recipe.diff("one@1", "one@2")
    assert found.unread == (runs[0].steps["a"]["archive"],)
    assert "Not read" in str(found.card().notes)


def test_a_run_that_there_is_not(one):
    one("print(1)")
    recipe.run("one")
    with pytest.raises(NotFound):
        recipe.diff("one@1", "one@7")


def notebook(*cells: tuple[str, str]) -> dict:
    streams = [{"output_type": "stream", "name": "stdout", "text": text} for _, text in cells]
    made = [
        {"cell_type": "code", "source": source, "outputs": [stream]}
        for (source, _), stream in zip(cells, streams, strict=True)
    ]
    return {"cells": [{"cell_type": "markdown", "source": "# t"}, *made]}


def test_cells_are_found_again_where_others_came_before_them():
    old = notebook(("a", "1"), ("b", "2"), ("c", "3"))
    new = notebook(("new", "0"), ("a", "1"), ("b", "other"))
    found = [(cell.number, cell.change) for cell in differing_cells(old, new)]
    assert found == [(1, "added"), (3, "outputs"), (3, "removed")]
    assert differing_cells(old, old) == []


def executed(day: str, text: str) -> dict:
    times = {"start_time": f"{day}T10:00:00+00:00", "end_time": f"{day}T10:01:00+00:00"}
    return {**notebook(("a", text)), "metadata": {"papermill": times}}


def test_a_time_in_the_data_counts_and_one_of_an_execution_does_not():
    begin, later = "2026-11-28", "2026-12-05"
    same = [("2026-11-28 10:00", "2026-12-05 10:00"), ("2026-11-28 10:00", "2026-11-28 10:00")]
    for old, new in same:
        assert differing_cells(executed(begin, old), executed(later, new)) == []
    (cell,) = differing_cells(executed(begin, "2013-07-01 05:00"), executed(later, "2014-09-09 08:00"))
    assert cell.change == "outputs"


def test_much_that_differs_is_cut():
    old, new = (notebook(("a", "\n".join(f"{name}{at}" for at in range(500)))) for name in "xy")
    (cell,) = differing_cells(old, new)
    assert (len(cell.lines), cell.lines[-1].endswith("lines more")) == (31, True)


def test_of_a_long_line_the_place_is_shown_at_which_it_differs():
    old, new = (notebook(("a", f"{'x' * 500}{end}\n{'z' * 200}{end}{'y' * 500}\nsame")) for end in ("1", "2"))
    (cell,) = differing_cells(old, new)
    first, second = f"…{'x' * 40}", f"…{'z' * 40}"
    assert cell.lines[1:3] == (f"-{first}1", f"-{second}1{'y' * 117}")
    assert cell.lines[3:] == (f"+{first}2", f"+{second}2{'y' * 117}", " same")


def test_of_what_was_made_the_metrics_of_both_are_compared(notebook, recipe, workspace):
    (workspace / "raw").write_text("no table")
    (workspace / "t.csv").write_text("a\n1\n")
    notebook("a", "path: str = ''", "from aiinfra_lab import data\ndata.add('t', path)")
    made = ONE.replace("{ x =", "{ path =") + 'out = { t = "data:t" }\n'
    recipe("one", made)
    for name in ("t.csv", "raw"):
        verbs.run("one", param={"x": str(workspace / name)})
    (step,) = verbs.diff("one@1", "one@2").steps
    assert "rows 1 → –" in step.metrics
    (step,) = verbs.diff("one@2", "one@1").steps
    assert "rows – → 1" in step.metrics
