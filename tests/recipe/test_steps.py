"""Which steps go on at once, in which order, and what becomes of the others."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_lab.recipe import declaration, steps
from aiinfra_lab.recipe.base import NotebookTask, Outcome
from aiinfra_lab.recipe.prepared import Prepared
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.recipe.room import Room
from aiinfra_lab.recipe.runner import RecipeRunner
from aiinfra_lab.recipe.threads import ThreadExecutor
from tests.conftest import PATIENCE_S

DIAMOND = """
[steps.first]
notebook = "a.ipynb"
[steps.left]
notebook = "a.ipynb"
parameters = { x = 2 }
after = ["first"]
[steps.right]
notebook = "a.ipynb"
parameters = { x = 3 }
after = ["first"]
[steps.last]
notebook = "a.ipynb"
parameters = { x = 4 }
after = ["left", "right"]
"""

Act = Callable[[str, Callable[[], int]], Outcome]


class Several(ThreadExecutor):
    """Notebooks are a function of the test, given the step's name. At most so many at once."""

    def __init__(self, act: Act, at_once: int) -> None:
        super().__init__(self._call, Room(at_once))
        self._act, self._lock = act, threading.Lock()
        self.going: set[str] = set()
        self.together: list[set[str]] = []

    def _call(self, task: NotebookTask, stop_requested: Callable[[], int]) -> Outcome:
        name = task.archive.stem
        with self._lock:
            self.going.add(name)
            self.together.append({*self.going})
        try:
            return self._act(name, stop_requested)
        finally:
            with self._lock:
                self.going.discard(name)


@pytest.fixture
def go(notebook, recipe) -> Callable[..., tuple[RecordedRun, Several]]:
    notebook("a", "x: int = 1")
    recipe("diamond", DIAMOND)

    def run(act: Act, at_once: int = 2, **options) -> tuple[RecordedRun, Several]:
        executor = Several(act, at_once)
        declared = declaration.read("diamond")
        made = RecipeRunner(declared, {}, executor, keep=True, **{"force": True, **options})
        return made.go(lambda _run: None), executor

    return run


def states(run: RecordedRun) -> list[str]:
    return [step.state for step in run.steps]


def test_steps_that_do_not_need_each_other_go_on_at_once(go):
    both = threading.Barrier(2)

    def act(name: str, _stop) -> Outcome:
        if name in ("left", "right"):
            both.wait(PATIENCE_S)
        return Outcome("done")

    run, executor = go(act)
    assert states(run) == ["done"] * 4
    assert executor.together[0] == {"first"}
    assert executor.together[-1] == {"last"}
    assert {"left", "right"} in executor.together


def test_a_step_that_names_the_executor_of_the_workspace_has_no_room_besides(go, recipe):
    recipe("diamond", DIAMOND.replace('after = ["first"]', 'after = ["first"]\non = "local"', 1))
    run, executor = go(lambda _name, _stop: Outcome("done"), at_once=1)
    assert states(run) == ["done"] * 4
    assert executor.together == [{"first"}, {"left"}, {"right"}, {"last"}]


def test_the_end_of_a_step_is_taken_when_it_comes(go, monkeypatch):
    monkeypatch.setattr(steps, "_SHORTEST_S", 60.0)
    began = time.monotonic()
    run, _ = go(lambda _name, _stop: time.sleep(0.05) or Outcome("done"), at_once=1)
    assert states(run) == ["done"] * 4
    assert time.monotonic() - began < 30


def test_no_more_go_on_than_there_is_room_for(go):
    def act(_name: str, _stop) -> Outcome:
        time.sleep(0.02)
        return Outcome("done")

    run, executor = go(act, at_once=1)
    assert (states(run), max(map(len, executor.together))) == (["done"] * 4, 1)


def test_what_goes_on_beside_a_step_that_fails_comes_to_its_end(go):
    failed = threading.Event()

    def act(name: str, _stop) -> Outcome:
        if name == "left":
            failed.set()
            return Outcome("failed", "it broke")
        if name == "right":
            failed.wait(PATIENCE_S)
            time.sleep(0.05)
        return Outcome("done")

    run, _ = go(act)
    assert states(run) == ["done", "failed", "done", "blocked"]
    assert (run.body.state, run.steps[-1].error) == ("failed", "left did not succeed")


def test_where_a_failure_stops_the_run_no_further_step_begins(go, recipe):
    recipe("diamond", DIAMOND + 'on_failure = "stop"\n')
    run, _ = go(lambda *_: Outcome("done"))
    assert states(run) == ["done"] * 4
    recipe("diamond", DIAMOND.replace("[steps.left]", 'on_failure = "stop"\n[steps.left]'))
    run, executor = go(lambda name, _stop: Outcome("failed", "it broke"))
    assert (states(run), run.body.state) == (["failed", *["not run"] * 3], "failed")
    assert executor.together == [{"first"}]
    assert run.steps[1].error == "first did not succeed, and its on_failure is stop"


def test_a_stop_reaches_all_that_go_on(go, monkeypatch):
    from aiinfra_lab import jobs

    asked = threading.Barrier(2)

    def act(name: str, stop) -> Outcome:
        if name == "first":
            return Outcome("done")
        if asked.wait(PATIENCE_S) == 0:
            jobs.cancel(jobs.ls("recipe:diamond", live=True)[0].id)
        until = time.monotonic() + PATIENCE_S
        while not stop() and time.monotonic() < until:
            time.sleep(0.01)
        return Outcome("stopped")

    run, _ = go(act)
    assert (run.body.state, states(run)) == ("stopped", ["done", "stopped", "stopped", "not run"])


def test_what_nobody_foresaw_in_one_step_is_the_end_of_that_alone(go, caplog):
    both = threading.Barrier(2)

    def act(name: str, stop) -> Outcome:
        if name != "first":
            both.wait(PATIENCE_S)
        if name == "left":
            raise ZeroDivisionError
        return Outcome("stopped" if stop() else "done")

    run, _ = go(act)
    assert (run.body.state, states(run)) == ("failed", ["done", "failed", "done", "blocked"])
    assert run.steps[1].error == "its executor failed: ZeroDivisionError()"
    assert "Traceback" in caplog.text


def test_an_end_that_cannot_be_taken_is_that_of_the_step_alone(go, monkeypatch, caplog):
    taken = Prepared.opened

    def breaks(prepared: Prepared, *more):
        if prepared.given.get("x") == 2:
            raise ZeroDivisionError
        return taken(prepared, *more)

    monkeypatch.setattr(Prepared, "opened", breaks)
    run, _ = go(lambda *_: Outcome("done"))
    assert (run.body.state, states(run)) == ("failed", ["done", "failed", "done", "blocked"])
    assert run.steps[1].error == "its end could not be taken: ZeroDivisionError()"
    assert "Traceback" in caplog.text


def test_a_run_writes_no_more_often_than_something_becomes_of_a_step(go, monkeypatch):
    written: list[list[str]] = []
    commit = RecordedRun.commit

    def counting(run, before, event=None, **more):
        done = commit(run, before, event, **more)
        written.append([step.state for step in done.steps])
        return done

    monkeypatch.setattr(RecordedRun, "commit", counting)
    go(lambda *_: Outcome("done"))
    assert len(written) <= 2 * 4 + 1
    written.clear()
    go(lambda *_: Outcome("done"), force=False)
    assert written[:-1] == [["skipped"] * 4], "what is skipped is written at once, and then the run's end"


def test_a_file_that_another_step_opened_meanwhile_is_that_steps(notebook, recipe, workspace):
    from aiinfra_lab import recipe as recipes

    (workspace / "raw").mkdir()
    for name in "ab":
        Path(workspace, "raw", f"{name}.csv").write_text(f"{name}\n1\n")
        wait = "\nimport time\nwhile len(list(pathlib.Path('.').glob('is-*'))) < 2: time.sleep(0.02)"
        code = f"import pathlib\nopen('../raw/' + '{name}' + '.csv').read()\npathlib.Path('is-{name}').touch(){wait}"
        notebook(name, "", code)
    recipe("both", '[steps.a]\nnotebook = "a.ipynb"\n[steps.b]\nnotebook = "b.ipynb"\n')
    (workspace / "aiinfra.toml").write_text("[recipe]\nat_once = 2\n")
    run = recipes.run("both")
    opened = {name: [one["name"] for one in step["opened"]] for name, step in run.steps.items()}
    assert opened == {"a": ["raw/a.csv"], "b": ["raw/b.csv"]}
