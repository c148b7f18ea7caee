"""One run of a recipe at a time: whoever comes second is told which run goes on, and nobody's claim lasts for ever."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aiinfra_lab import jobs, recipe
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Unavailable
from aiinfra_lab.jobs import JobRecord, heartbeat
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.recipe import declaration, history
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.recipe.runner import RecipeRunner
from aiinfra_lab.store import Record, open_store
from tests import records
from tests.conftest import PATIENCE_S, until
from tests.fakes.in_process import InProcess, calling
from tests.postgres import needs_postgres, postgres, server

__all__ = ["postgres", "server"]
ONE = '[steps.a]\nnotebook = "a.ipynb"\n'
# Ends when it is let go of, or long after the test has failed.
HELD = "import time; from pathlib import Path\nwhile not Path('go').exists(): time.sleep(0.05)"
COMMAND = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one"]
TOLD = "recipe:one@1 is running"
CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]


def has_containers() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run([*CONTAINER, "true"], check=False).returncode == 0


needs_containers = pytest.mark.skipif(not has_containers(), reason="unshare --pid does not work here")


@pytest.fixture
def one(notebook, recipe) -> Path:
    """A recipe of one step."""
    recipe("one", ONE)
    return notebook("a", "x: int = 1")


def runner(executor: InProcess) -> RecipeRunner:
    return RecipeRunner(declaration.read("one"), {}, executor, keep=True, force=False)


def go(executor: InProcess) -> RecordedRun:
    return runner(executor).go(lambda run: None)


def elsewhere(silent_s: float, *, seen: bool = True, **more: str) -> str:
    """A run that another folder, which shares the store, began an hour ago; its last sign of life."""
    began = time.time() - 3600
    records.recorded_run("one@1", RunRecord(started_at=began), StepRecord(name="a", state="running", began_at=began))
    job = JobRecord(
        subject="recipe:one@1",
        state="running",
        started_at=began,
        supervised=False,
        pid=1,
        born=1.0,
        seen_at=time.time() - silent_s if seen else 0.0,
        **{"home": "another", **more},
    )
    open_store().commit([Record.new("recipe-one-1", job)])
    return "recipe-one-1"


def in_a_container(silent_s: float) -> str:
    """A run of this folder in another process table, or before the machine was started again."""
    return elsewhere(silent_s, home=make_home_id(settings().home), process_table="another")


def three_at_once(workspace: Path) -> list[tuple[int, str]]:
    """(exit code, what was said) of three that begin together; the step ends when two have been told."""
    going = [subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    until(lambda: sum(each.poll() is not None for each in going) >= 2)
    (workspace / "notebooks" / "go").touch()
    spoken = [each.communicate(timeout=PATIENCE_S)[1] for each in going]
    return [(each.returncode, text) for each, text in zip(going, spoken, strict=True)]


def assert_one_ran(found: list[tuple[int, str]]) -> None:
    assert sorted(code for code, _ in found) == [0, 1, 1]
    assert [TOLD in said and "aiinfra recipe stop one@1" in said for code, said in found if code] == [True, True]
    assert [run.name for run in history.runs("one")] == ["one@1"]


def test_of_three_at_once_one_runs_and_the_others_are_told(workspace, notebook, one):
    notebook("a", "x: int = 1", HELD)
    assert_one_ran(three_at_once(workspace))


@needs_postgres
def test_of_three_at_once_one_runs_on_postgresql_too(workspace, notebook, one, server):
    notebook("a", "x: int = 1", HELD)
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{server}"\n')
    assert_one_ran(three_at_once(workspace))


def assert_a_container_is_told(workspace: Path) -> None:
    """A run in this process table, and a second one of the same folder in another."""
    command = [*COMMAND, "--force"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    going = until(lambda: jobs.ls("recipe:one", live=True))[0].subject
    said = subprocess.run([*CONTAINER, *command], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    (workspace / "notebooks" / "go").touch()
    assert (said.returncode, f"{going} is running" in said.stderr, first.wait(PATIENCE_S)) == (1, True, 0)
    assert [(run.uri, run.body.state) for run in history.runs("one")][:1] == [(going, "done")]


@needs_containers
def test_a_second_run_in_another_container_is_told(workspace, notebook, one):
    notebook("a", "x: int = 1", HELD)
    assert_a_container_is_told(workspace)


@needs_containers
@needs_postgres
def test_a_second_run_in_another_container_is_told_on_postgresql_too(workspace, notebook, one, server):
    notebook("a", "x: int = 1", HELD)
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{server}"\n')
    assert_a_container_is_told(workspace)


def test_who_is_second_is_told_how_to_look_and_how_to_end_it(one):
    found = list[Conflict]()

    def second() -> None:
        with pytest.raises(Conflict) as problem:
            go(calling())
        found.append(problem.value)

    go(calling(second))
    assert found[0].what == TOLD
    assert found[0].fix == "look at it with `%recipe show one@1`, or end it with `%recipe stop one@1`"


def test_what_ended_between_the_start_and_the_claim_is_not_run_again(one):
    second = runner(calling())
    go(calling())
    assert [step.state for step in second.go(lambda run: None).steps] == ["skipped"]


def test_a_run_whose_process_was_killed_holds_nobody_up(one, notebook):
    notebook("a", "x: int = 1", HELD)
    killed = subprocess.Popen(COMMAND, stderr=subprocess.DEVNULL)
    until(lambda: jobs.find("recipe:one") and jobs.ls("recipe:one", live=True))
    killed.kill()
    killed.wait()
    notebook("a", "x: int = 1")
    assert go(calling()).name == "one@2"
    assert recipe.show("one@1").state == "lost"


def test_a_run_of_a_host_that_is_gone_is_lost_and_holds_nobody_up(one):
    job = elsewhere(silent_s=1000)
    assert go(calling()).name == "one@2"
    assert recipe.show("one@1").state == "lost"
    assert open_store().get(JobRecord, job).body.state == "lost"


@pytest.mark.parametrize("sign", [{"silent_s": 300}, {"silent_s": 0, "seen": False}])
def test_a_run_elsewhere_that_may_live_keeps_its_claim(one, sign):
    """The second is of a version that gives no signs."""
    elsewhere(**sign)
    with pytest.raises(Conflict, match=TOLD):
        go(calling())


def test_a_run_in_another_container_keeps_its_claim_while_it_gives_signs_of_life(one):
    in_a_container(silent_s=300)
    assert recipe.show("one@1").state == "running"
    with pytest.raises(Conflict, match=TOLD):
        go(calling())


def test_a_run_of_a_container_that_is_gone_is_lost_and_holds_nobody_up(one):
    job = in_a_container(silent_s=1000)
    assert go(calling()).name == "one@2"
    assert (recipe.show("one@1").state, open_store().get(JobRecord, job).body.state) == ("lost", "lost")


def test_a_stop_of_a_run_in_a_silent_container_says_when_it_counts(one):
    in_a_container(silent_s=300)
    with pytest.raises(Unavailable) as problem:
        recipe.stop("one@1")
    assert "`%recipe stop one@1` again in 10 min writes its end" in problem.value.fix
    assert "lab start" not in problem.value.fix


def test_a_run_of_before_process_tables_were_written_is_looked_for_here(one):
    elsewhere(silent_s=0, home=make_home_id(settings().home))
    assert recipe.show("one@1").state == "lost"


def test_a_run_gives_signs_of_life_while_it_lasts(one, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    seen: list[Any] = []

    def look() -> None:
        began = jobs.find("recipe:one").id
        first = open_store().get(JobRecord, began).body.seen_at
        seen.append(until(lambda: open_store().get(JobRecord, began).body.seen_at > first > 0))

    go(calling(look))
    assert (seen, jobs.find("recipe:one").state) == ([True], "done")


def test_a_run_that_was_taken_for_gone_stops_when_it_comes_back(one):
    def take() -> None:
        record = open_store().get(JobRecord, jobs.find("recipe:one").id)
        open_store().commit([record.with_(state="lost", ended_at=time.time())])
        time.sleep(0.25)  # it looks five times a second

    assert go(calling(take)).body.state == "stopped"
    assert os.getpid() == jobs.find("recipe:one").pid
