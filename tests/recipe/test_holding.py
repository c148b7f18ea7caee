"""A step that fails keeps its kernel for a while, so that it goes on at the cell that failed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from aiinfra_lab import recipe as verbs
from aiinfra_lab.config import settings
from aiinfra_lab.cost.workload import pipeline_times
from aiinfra_lab.errors import Conflict, Failed, NotFound, Unavailable, UsageProblem
from aiinfra_lab.recipe import archives, declaration, history, holding
from aiinfra_lab.recipe.base import Hold, NotebookTask
from aiinfra_lab.recipe.engine import execute, rebuilding, running
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.store import open_store
from tests import records
from tests.conftest import PATIENCE_S, until

HELD = """
[steps.a]
notebook = "a.ipynb"
on_failure = "hold 5m"
[steps.b]
notebook = "b.ipynb"
after = ["a"]
"""
CELLS = ("print('made'); log = open('log', 'a'); log.write('made '); log.close(); x = 20", "y = x / 0", "print(x, y)")


@pytest.fixture
def held(notebook, recipe):
    """A run of which a cell has failed, and whose kernel is held."""
    recipe("r", HELD)
    notebook("b", "")
    notebook("a", "n: int = 1", *CELLS)
    run = verbs.run("r", report=True)
    assert run.state == "failed"
    yield run
    holding.end_all("r")


def test_a_run_that_cannot_be_read_is_not_completed_and_keeps_no_other_from_beginning(workspace):
    run = records.recorded_run("r@1", RunRecord(state="done", started_at=1.0, ended_at=2.0))
    home = workspace / ".aiinfra" / "recipe"
    (home / "r.held" / "a").mkdir(parents=True)
    (home / "r@1" / "a.journal").mkdir(parents=True)
    with open_store()._transaction() as db:
        db.execute("UPDATE records SET body = '{' WHERE name = ?", (run.name,))
    history.complete_held("r")
    assert (home / "r@1" / "a.journal").is_dir()


def test_where_no_kernel_is_held_no_run_of_before_is_looked_at(workspace, monkeypatch):
    with monkeypatch.context() as here:
        here.setattr(Path, "glob", lambda *_: pytest.fail("there may be thousands of them"))
        history.complete_held("r")
        holding.end_all("r")


def test_what_it_made_before_the_failure_it_has_made(notebook, recipe):
    recipe("r", HELD.replace('hold 5m"', 'hold 5m"\nout = { made = "data:made" }', 1))
    notebook("b", "")
    add = "import pandas as pd; from aiinfra_lab import data; data.add('made', pd.DataFrame({'n': [1]})); x = 1"
    notebook("a", "n: int = 1", add, "x / 0", "print(x)")
    verbs.run("r", report=True)
    notebook("a", "n: int = 1", add, "x / 1", "print(x)")
    assert verbs.run("r@1", resume=True).outputs == {"a.made": "data:made@1"}


def archived(run, step: str = "a"):
    made = nbformat.read(run.steps[step]["archive"], as_version=4)
    nbformat.validate(made)
    return made


def code(made):
    return [cell for cell in made.cells if cell.cell_type == "code"]


def pids(step: str = "a") -> list[int]:
    (folder,) = settings().home.glob(f"recipe/r.held/{step}.run-*")
    state = json.loads((folder / "host" / "host.json").read_text())
    return [state["pid"], state["core_pid"], state["kernel_pid"]]


def are_gone(numbers: list[int]) -> bool:
    end_at = time.monotonic() + 10
    while left := any(map(psutil.pid_exists, numbers)):
        if time.monotonic() > end_at:
            break
        time.sleep(0.05)
    return not left


def test_it_goes_on_at_the_cell_that_failed(held, notebook, workspace):
    assert held.steps["a"]["held_until"] > time.time() + 200
    assert held.steps["b"]["state"] == "blocked"
    kernel = pids()[-1]
    notebook("a", "n: int = 1", CELLS[0] + "  # as before", "import os; y = x / 2, os.getpid()", CELLS[2])
    run = verbs.run("r@1", resume=True)
    assert (run.state, run.uri, run.steps["b"]["state"]) == ("done", "recipe:r@2", "done")
    assert (workspace / "notebooks" / "log").read_text() == "made "
    made = code(archived(run))
    assert [cell.outputs[0].text for cell in (made[1], made[3])] == ["made\n", f"20 (10.0, {kernel})\n"]
    assert [cell.metadata["aiinfra"]["state"] for cell in made] == ["done"] * 4
    assert made[2].metadata["aiinfra"]["edited_from"] == CELLS[1]
    assert "edited_from" not in made[1].metadata["aiinfra"]
    assert run.steps["a"]["because"] == ("it goes on in the kernel that was held",)
    assert holding.held("r") == {}
    assert are_gone([kernel])


def test_a_recipe_says_what_goes_on_and_not_what_ends_it(held):
    (listed,) = verbs.ls()
    assert listed.held_until_at == held.steps["a"]["held_until"]
    assert "held until" in verbs.ls().card().text()
    (first, *more) = verbs.show("r").card().next
    assert first.startswith("Next: correct the notebook; `%recipe run r@1 --resume` goes on there, in its kernel, ")
    assert more == ["`%recipe show r@1`", "`%recipe log r`"]
    verbs.stop("r")
    assert verbs.show("r").card().next[0] == "Next: `%recipe run r`"
    assert "held until" not in verbs.ls().card().text()


def test_what_went_on_runs_whole_the_next_time(held, notebook):
    notebook("a", "n: int = 1", CELLS[0], "y = x / 2", CELLS[2])
    verbs.run("r", resume=True)
    assert "a" not in verbs.run("r", dry=True).usual_s  # the rest of a step is no time of all of it
    with pytest.raises(NotFound, match="a of recipe:r never ran to the end"):
        pipeline_times("recipe:r")
    run = verbs.run("r")
    assert run.steps["a"]["because"] == ("in recipe:r@2 it went on in a kernel that was held",)
    assert "a" in verbs.run("r", dry=True).usual_s
    assert {step.name: step.runs for step in pipeline_times("recipe:r").steps}["a"] == 1
    assert verbs.run("r").steps["a"]["state"] == "skipped"


def test_an_edit_of_a_cell_before_it_goes_on_there(held, notebook):
    notebook("a", "n: int = 1", "print('again'); x = 30", "y = x / 2", CELLS[2])
    made = code(archived(verbs.run("r@1", resume=True)))
    assert [cell.outputs[0].text for cell in (made[1], made[3])] == ["again\n", "30 15.0\n"]
    assert made[1].metadata["aiinfra"]["edited_from"] == CELLS[0]


def test_another_parameter_goes_on_where_that_is_given(recipe, notebook):
    recipe(
        "r",
        '[parameters]\nn = 0\n[steps.a]\nnotebook = "a.ipynb"\n'
        'parameters = {n = "${params.n}"}\non_failure = "hold 1m"',
    )
    notebook("a", "n: int = 1", "print(1 / n)")
    verbs.run("r", report=True)
    made = code(archived(verbs.run("r", param={"n": 2}, resume=True)))
    assert made[2].outputs[0].text == "0.5\n"


def test_it_may_fail_and_be_held_once_more(held, notebook):
    kernel = pids()
    notebook("a", "n: int = 1", CELLS[0], "y = undefined", CELLS[2])
    assert verbs.run("r", resume=True, report=True).steps["a"]["error"].startswith("NameError")
    assert pids() == kernel
    notebook("a", "n: int = 1", CELLS[0], "y = 1", CELLS[2])
    assert verbs.run("r@2", resume=True).state == "done"


def test_the_next_run_and_stop_end_it(held, notebook):
    numbers = pids()
    verbs.stop("r")
    assert (are_gone(numbers), holding.held("r")) == (True, {})
    notebook("a", "n: int = 2", *CELLS)
    verbs.run("r", report=True)
    numbers = pids()
    notebook("a", "n: int = 2", "x = 1")
    assert verbs.run("r").state == "done"
    assert are_gone(numbers)


def test_without_a_kernel_the_step_runs_whole(held, notebook, workspace):
    holding.end_all("r")
    notebook("a", "n: int = 1", CELLS[0], "y = x / 2", CELLS[2])
    assert verbs.run("r@1", resume=True).state == "done"
    assert (workspace / "notebooks" / "log").read_text() == "made made "


def test_its_time_ends_it(recipe, notebook):
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non_failure = "hold 1s"')
    notebook("a", "", "1 / 0")
    verbs.run("r", report=True)
    until(lambda: holding.held("r") == {})


def test_what_is_told_of_it(held):
    with pytest.raises(Failed) as caught:
        verbs.run("r")
    assert "`%recipe run r@2 --resume` goes on there, in its kernel, until " in caught.value.fix
    assert "`%recipe run r@2 --resume` goes on there" in str(verbs.show("r@2").card().next)
    assert "--resume" not in str(held.card().next)
    plan = verbs.run("r", dry=True, resume=True)
    assert "it goes on in the kernel that was held" in repr(plan)


def test_only_the_last_attempt_is_held(recipe, notebook, workspace):
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\nretries = 1\non_failure = "hold 1m"')
    notebook("a", "", "import os; print(os.getpid()); 1 / 0")
    run = verbs.run("r", report=True)
    assert run.steps["a"]["attempts"] == 2
    assert int(code(archived(run))[1].outputs[0].text) == pids()[-1]
    holding.end_all("r")


def test_its_files_are_for_their_owner_alone_and_hold_no_secret(recipe, notebook, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "swordfish-123")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non_failure = "hold 1m"')
    cells = "import os; print(os.environ['MY_API_KEY'])", "os.environ['OTHER_TOKEN'] = 'tok-' + 'later1'", "1 / 0"
    notebook("a", "", *cells)
    verbs.run("r", report=True)
    folder = holding.held("r")["a"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "swordfish" not in (folder / holding.NOTEBOOK).read_text()
    notebook("a", "", *cells[:2], "print(os.environ['OTHER_TOKEN'])")
    run = verbs.run("r", resume=True)
    assert run.state == "done"
    text = Path(run.steps["a"]["archive"]).read_text()
    assert [word in text for word in ("swordfish", "tok-later1")] == [False, False]


@pytest.mark.parametrize(
    ("asked", "what"),
    [("r@1", "recipe:r@1 is not the newest run"), ("r@2", "recipe:r@2 is done, so there is nothing to go on with")],
)
def test_what_cannot_be_gone_on_with_is_refused(recipe, notebook, asked, what):
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"')
    notebook("a", "", "x = 1")
    verbs.run("r")
    verbs.run("r")
    with pytest.raises(Conflict, match=what):
        verbs.run(asked, resume=True)


@pytest.mark.parametrize("value", ['"hold"', '"hold soon"', '"hod 15m"', "3"])
def test_what_is_no_time_to_hold_is_refused(recipe, notebook, value):
    notebook("a", "")
    recipe("r", f'[steps.a]\nnotebook = "a.ipynb"\non_failure = {value}')
    with pytest.raises(UsageProblem, match="on_failure"):
        declaration.read("r")


def test_one_of_the_supervisor_is_held_too(recipe, notebook):
    recipe("r", HELD)
    notebook("b", "")
    notebook("a", "", "import os; print(os.getpid())", "1 / 0")
    verbs.run("r", wait=False)
    until(lambda: verbs.show("r@1").state != "running")
    time.sleep(1)  # the job ends a moment after the run
    numbers = pids()
    notebook("a", "", "import os; print(os.getpid())", "print(os.getpid())")
    made = code(archived(verbs.run("r@1", resume=True)))
    assert made[2].outputs[0].text == made[1].outputs[0].text == f"{numbers[-1]}\n"


def in_clear(folder: Path, word: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()]


def test_no_secret_lies_in_its_folder_and_nothing_when_its_time_is_over(recipe, notebook, workspace, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "swordfish-123")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non_failure = "hold 2s"')
    notebook("a", "", "import os; print(os.environ['MY_API_KEY'])", "1 / 0")
    verbs.run("r", report=True)
    home = settings().home / "recipe" / "r.held"
    assert holding.held("r")
    assert in_clear(home, b"swordfish") == []
    until(lambda: not list(home.glob("*")))


def test_a_kernel_that_is_gone_is_promised_to_nobody(held, notebook):
    verbs.stop("r")
    assert "--resume" not in str(verbs.show("r@1").card().next)
    notebook("a", "n: int = 1", "1 / 0")
    again = verbs.run("r", report=True)
    assert "--resume" in str(again.card().next)
    os.kill(pids()[0], signal.SIGKILL)
    os.kill(pids()[1], signal.SIGKILL)
    until(lambda: not holding.held("r"))
    assert "--resume" not in str(verbs.show("r@2").card().next)


@pytest.mark.parametrize("damage", ["notebook", "facts"])
def test_one_whose_facts_are_damaged_runs_whole(held, notebook, damage):
    numbers, folder = pids(), holding.held("r")["a"]
    if damage == "notebook":
        (folder / holding.NOTEBOOK).write_text("{")
    else:
        (folder / "held.json").write_text(
            (folder / "held.json").read_text().replace('"cells": [', '"cells": [], "x": [')
        )
    notebook("a", "n: int = 1", CELLS[0], "y = x / 2", CELLS[2])
    run = verbs.run("r", resume=True)
    assert (run.state, run.steps["a"]["because"]) == ("done", ("the kernel that was held is gone",))
    assert are_gone(numbers)
    assert verbs.run("r").steps["a"]["state"] == "skipped"


def test_a_copy_of_the_project_has_none_of_it(held, workspace, monkeypatch):
    numbers, home = pids(), settings().home / "recipe" / "r.held"
    (aside := home.with_name("s.held")).mkdir()
    shutil.copytree(next(home.iterdir()), aside / "a.run-1")
    assert holding.held("s") == {}
    holding.end_all("s")
    time.sleep(0.5)
    assert all(map(psutil.pid_exists, numbers))


def test_all_of_a_run_is_gone_on_with(held):
    with pytest.raises(UsageProblem, match="--resume goes on with all of a run"):
        verbs.run("r", resume=True, only="b")


def test_what_a_run_before_made_is_not_what_the_resumed_step_made(notebook, recipe):
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non_failure = "hold 5m"\nout = { made = "data:made" }')
    add = "import pandas as pd; from aiinfra_lab import data; data.add('made', pd.DataFrame({'n': [1]}))"
    notebook("a", "n: int = 1", add)
    verbs.run("r")
    notebook("a", "n: int = 1", "1 / 0")
    verbs.run("r", report=True)
    notebook("a", "n: int = 1", "1 / 1")
    run = verbs.run("r", resume=True, report=True)
    assert run.steps["a"]["error"].startswith("a ran, but made no data:made")


def test_a_step_whose_input_changed_runs_whole(notebook, recipe, workspace):
    (workspace / "raw.csv").write_text("old")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\nin = { raw = "raw.csv" }\non_failure = "hold 5m"\n')
    read = "text = open(raw).read()"
    notebook("a", "raw: str = ''", read, "1 / 0")
    verbs.run("r", report=True)
    numbers = pids()
    (workspace / "raw.csv").write_text("new")
    notebook("a", "raw: str = ''", read, "print(text)")
    run = verbs.run("r", resume=True)
    assert run.steps["a"]["because"] == ("raw changed: the kernel that was held has it as it was",)
    assert code(archived(run))[-1].outputs[0].text == "new\n"
    assert are_gone(numbers)


def test_a_module_that_was_corrected_is_taken_anew(notebook, recipe, workspace):
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non_failure = "hold 5m"\n')
    notebook("a", "n: int = 1", "import held_helper", "print(held_helper.f())")
    module = workspace / "notebooks" / "held_helper.py"
    module.write_text("def f():\n    return 1 / 0\n")
    verbs.run("r", report=True)
    module.write_text("def f():\n    return 'corrected now'\n")
    run = verbs.run("r", resume=True)
    assert code(archived(run))[-1].outputs[0].text == "corrected now\n"
    assert run.steps["a"]["because"][0].startswith("notebooks/held_helper.py changed")


def test_the_cell_of_a_failure_is_the_notebooks_own_however_often_it_goes_on(held):
    for _ in range(2):
        run = verbs.run("r", resume=True, report=True)
        assert run.steps["a"]["cell"] == held.steps["a"]["cell"]
        assert f"Cell [{held.steps['a']['cell']}] failed" in archived(run).cells[0].source


def full(*_args: object, **_options: object) -> None:
    raise Unavailable("the disk is full", "free some of it")


@pytest.mark.parametrize(("place", "name"), [(running, "StepJournal"), (holding, "claim")])
def test_what_fails_before_it_is_gone_on_with_leaves_it_held(held, notebook, monkeypatch, place, name):
    kernel = pids()
    notebook("a", "n: int = 1", CELLS[0], "y = x / 2", CELLS[2])
    with monkeypatch.context() as patch:
        patch.setattr(place, name, full)
        assert verbs.run("r", resume=True, report=True).state == "failed"
    assert (holding.held("r").keys(), pids()) == ({"a"}, kernel)
    run = verbs.run("r", resume=True)
    assert (run.state, run.steps["a"]["because"]) == ("done", ("it goes on in the kernel that was held",))


def save_fails_after_the_first(monkeypatch) -> None:
    saved_at, saved = running.saved_at, []

    def at(path: Path):
        save = saved_at(path)
        return lambda made: full() if saved else saved.append(save(made))

    monkeypatch.setattr(running, "saved_at", at)


def test_what_its_kernel_sent_stays_where_the_notebook_cannot_be_saved(notebook, workspace, tmp_path, monkeypatch):
    notebook("a", "", "print('sh' 'own')", "1 / 0")
    archive = tmp_path / "r@1" / "a.ipynb"
    archive.parent.mkdir()
    task = NotebookTask(workspace / "notebooks" / "a.ipynb", archive, hold=Hold(tmp_path / "r.held" / "a.run-1", 60))
    with monkeypatch.context() as patch:
        save_fails_after_the_first(patch)
        with pytest.raises(Unavailable, match="the disk is full"):
            execute(task, lambda: 0)
    assert "shown" not in archive.read_text()
    assert archives.complete(archive)
    made = code(nbformat.read(archive, as_version=4))
    assert (made[1].outputs[0].text, made[2].outputs[0].ename) == ("shown\n", "ZeroDivisionError")
    assert list((tmp_path / "r.held").iterdir()) == []


def test_a_step_whose_last_save_failed_is_completed_by_who_looks(notebook, recipe, monkeypatch):
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\n')
    notebook("a", "", "print('sh' 'own')")
    with monkeypatch.context() as patch:
        save_fails_after_the_first(patch)
        assert verbs.run("r", report=True).steps["a"]["state"] == "failed"
    step = verbs.show("r@1").steps["a"]
    assert "shown" in Path(step["archive"]).read_text()
    assert step["archive_sha256"] == archives.digest_of(Path(step["archive"]))


HOLDS_AND_IS_KILLED = """
import os, signal
from aiinfra_lab import recipe
from aiinfra_lab.recipe import holding
write = holding.write
def write_and_die(*args):
    write(*args)
    os.kill(os.getpid(), signal.SIGKILL)
holding.write = write_and_die
recipe.run("r")
"""


def test_a_run_that_is_killed_while_it_holds_a_kernel_has_saved_its_failure(notebook, recipe):
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non_failure = "hold 5m"')
    notebook("a", "", "print('x'); 1 / 0")
    runner = subprocess.run([sys.executable, "-c", HOLDS_AND_IS_KILLED], timeout=PATIENCE_S, check=False)
    assert runner.returncode == -signal.SIGKILL
    made = code(archived(verbs.show("r@1")))
    assert made[1].outputs[0].text == "x\n"
    assert [each.ename for each in made[1].outputs[1:]] == ["ZeroDivisionError"]
    assert holding.held("r").keys() == {"a"}
    verbs.stop("r")


def test_a_kernel_that_was_gone_on_with_ends_with_its_run_that_is_killed(held, notebook, workspace):
    kernel = pids()
    notebook("a", "n: int = 1", CELLS[0], "import time; open('waits', 'w'); time.sleep(600)", CELLS[2])
    again = subprocess.Popen([sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "r", "--resume"])
    until((workspace / "notebooks" / "waits").exists)
    again.kill()
    again.wait(PATIENCE_S)
    assert are_gone(kernel)
    assert verbs.show("r@2").state == "lost"


@pytest.mark.parametrize("ends_it", ["run", "stop"])
def test_what_ends_held_kernels_leaves_what_a_notebook_is_to_be_completed_by(notebook, recipe, monkeypatch, ends_it):
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\non_failure = "hold 5m"')
    notebook("a", "", "import time\nfor n in range(3000):\n    print('line', n, flush=True); time.sleep(0.01)")
    runner = subprocess.Popen([sys.executable, "-c", "from aiinfra_lab import recipe; recipe.run('r')"])
    archive = settings().home / "recipe" / "r@1" / "a.ipynb"
    until(lambda: archive.exists() and "line 20" in archive.read_text())
    runner.kill()
    runner.wait()
    archive.unlink()
    notebook("a", "", "print('later')")
    with monkeypatch.context() as patch:
        patch.setattr(rebuilding, "_await_end", full)
        verbs.run("r") if ends_it == "run" else verbs.stop("r")
    until(lambda: verbs.show("r@1").state == "lost" and archive.exists())
    assert "line 21" in archive.read_text()
