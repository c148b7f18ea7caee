"""What a step has put out."""

from pathlib import Path

import nbformat
import pytest
from msgspec.structs import replace
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import recipe
from aiinfra_lab.errors import Conflict, NotFound, UsageProblem
from aiinfra_lab.recipe import archives, history
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.step_output import step_output
from tests import records

TWO = '[steps.a]\nnotebook = "a.ipynb"\n[steps.b]\nnotebook = "b.ipynb"\nafter = ["a"]\n'


@pytest.fixture
def two(notebook, recipe) -> None:
    notebook("a", "x: int = 1", "print('first'); x + 41", "import sys; print('aside', file=sys.stderr)", "1 / 0")
    notebook("b", "", "print('never')")
    recipe("two", TWO)


def test_all_of_its_cells_with_the_error_and_no_colours(two):
    recipe.run("two", report=True)
    done = recipe.log("two@1/a")
    assert done.text.startswith("[2]\nfirst\n42\n[3]\naside\n[4]\n")
    assert done.text.rstrip().endswith("ZeroDivisionError: division by zero")
    assert ("\x1b" in done.text, done.state, Path(done.archive).name) == (False, "failed", "a.ipynb")
    assert recipe.log("two/a") == done
    assert "first" in str(done.card())


def test_a_step_that_never_ran_has_none(two):
    recipe.run("two", report=True)
    done = recipe.log("two/b")
    assert (done.text, done.state) == ("", "blocked")
    assert "nothing was put out" in done.card().lead


def test_of_a_step_that_was_skipped_it_is_that_of_the_run_before(two, notebook):
    notebook("a", "", "print('first')")
    recipe.run("two")
    recipe.run("two")
    assert (recipe.log("two@2/a").text, recipe.log("two@2/a").state) == ("[1]\nfirst\n", "skipped")


def test_of_a_run_it_is_that_of_each_step(two, workspace):
    run = recipe.run("two", report=True)
    done = recipe.log("two@1")
    assert (done.uri, done.state, done.steps) == (run.uri, "failed", (recipe.log("two/a"), recipe.log("two/b")))
    assert [part.label for part in done.card().parts] == ["a"]
    assert done.card().lead == "**1 of 2 steps** put something out."
    Path(run.steps["a"]["archive"]).unlink()
    gone = recipe.log("two@1")
    assert ([step.step for step in gone.steps], len(gone.lacking)) == (["b"], 1)
    assert "is gone" in str(gone.card())
    with pytest.raises(NotFound):
        recipe.log("two@2")


@pytest.mark.parametrize(("label", "fix"), [("two/aa", "did you mean a?"), ("two@7/a", ""), ("three/a", "")])
def test_what_is_not_there_is_said(two, label, fix):
    recipe.run("two", report=True)
    with pytest.raises(NotFound) as problem:
        recipe.log(label)
    assert fix in problem.value.fix


def test_what_is_no_number_of_a_run_is_refused(two):
    with pytest.raises(UsageProblem, match="recipe has no aliases, and 'x' is one"):
        recipe.log("two@x")


def test_a_notebook_that_is_gone_is_said(two):
    run = recipe.run("two", report=True)
    Path(run.steps["a"]["archive"]).unlink()
    with pytest.raises(NotFound, match="is gone"):
        recipe.log("two/a")


def test_a_project_that_was_moved_has_its_executed_notebooks(two, workspace, monkeypatch):
    notebook = Path(recipe.run("two", report=True).steps["a"]["archive"])
    before = recipe.log("two/a").text
    moved = workspace.rename(workspace.parent / "moved")
    monkeypatch.chdir(moved)
    monkeypatch.setenv("AIINFRA_PROJECT", str(moved))
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(moved))
    archive = moved / notebook.relative_to(workspace)
    assert (recipe.log("two/a").text, recipe.log("two/a").archive) == (before, str(archive))
    assert recipe.show("two@1").steps["a"]["archive"] == str(archive)
    assert not recipe.log("two/a").is_edited


def test_an_executed_notebook_that_was_edited_is_none_to_believe(notebook, workspace):
    (workspace / "recipes").mkdir()
    (workspace / "recipes" / "r.toml").write_text('[steps.a]\nnotebook = "a.ipynb"')
    notebook("a", "", "print(17)")
    archive = Path(recipe.run("r").steps["a"]["archive"])
    recipe.run("r")
    assert [recipe.log(name).is_edited for name in ("r@1/a", "r@2/a")] == [False, False]
    archive.write_text(archive.read_text().replace("17", "18"))
    assert [recipe.log(name).is_edited for name in ("r@1/a", "r@2/a")] == [True, True]
    assert "was edited after the run" in str(recipe.log("r/a").card().notes)


@pytest.fixture
def was_lost(workspace) -> Path:
    """The executed notebook of a step that was lost, in a run that somebody has looked at since."""
    archive = workspace / "a.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), archive)
    step = StepRecord(name="a", state="lost", began_at=1.0, archive=str(archive))
    run = records.recorded_run("r@1", RunRecord(state="lost", started_at=1.0, ended_at=2.0), step)
    assert [step.archive_sha256 for step in history.looked_at(run.record).steps] == [""]
    return archive


def test_one_that_was_edited_after_it_was_completed_is_none_to_believe(was_lost):
    history.note_archives(history.recorded_run("r@1"), {"a": archives.digest_of(was_lost)})
    assert not step_output("r@1", "a").is_edited
    was_lost.write_text(was_lost.read_text().replace("1", "2"))
    assert step_output("r@1", "a").is_edited
    assert recipe.show("r@1").steps["a"]["archive_sha256"]


def test_one_that_another_process_completed_is_compared_as_well(was_lost):
    run = history.recorded_run("r@1")
    run.with_steps([replace(run.steps[0], archive_sha256=archives.digest_of(was_lost))]).commit(run)
    was_lost.write_text(was_lost.read_text().replace("1", "2"))
    assert step_output("r@1", "a").is_edited


def test_one_that_was_lost_before_it_had_any_has_put_out_nothing(was_lost):
    was_lost.unlink()
    assert step_output("r@1", "a").text == ""
    with pytest.raises(NotFound, match="a has no executed notebook in recipe:r@1: lost"):
        recipe.get("r@1/a", into="a.ipynb")


def test_the_executed_notebook_is_written_where_jupyterlab_can_open_it(two, workspace):
    recipe.run("two", report=True)
    done = recipe.get("two@1/a", into="a-1.ipynb")
    assert "ZeroDivisionError" in Path("a-1.ipynb").read_text()
    assert ("executed notebook", "a-1.ipynb") in done.card().facts
    assert recipe.get("two/a", into="a-1.ipynb").into == "a-1.ipynb"
    Path("a-1.ipynb").write_text("mine")
    with pytest.raises(Conflict, match=r"a-1.ipynb is there already"):
        recipe.get("two@1/a", into="a-1.ipynb")
    with pytest.raises(NotFound, match="b has no executed notebook in recipe:two@1: blocked"):
        recipe.get("two@1/b", into="b.ipynb")


@pytest.mark.parametrize(
    ("name", "given"),
    [("two@1/a", {}), ("two", {}), ("two", {"uri": "data:x", "into": "x"}), ("two@1/a", {"uri": "data:x"})],
)
def test_what_get_cannot_do_is_said_with_what_it_can(two, name, given):
    with pytest.raises(UsageProblem) as problem:
        recipe.get(name, **given)
    assert "--into FILE.ipynb`" in problem.value.fix
