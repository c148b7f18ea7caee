"""A run that is left to a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from aiinfra_lab import jobs, recipe
from aiinfra_lab.errors import Conflict, NotFound, UsageProblem
from tests.conftest import PATIENCE_S, until

ONE = '[steps.a]\nnotebook = "a.ipynb"\nparameters = { x = "${params.x}" }\n[parameters]\nx = 1\n'
SLOW = (  # whoever sees the file reads all of it
    "from pathlib import Path; import os, time; Path('noted').write_text(str(os.getpid())); "
    "Path('noted').rename('begun'); time.sleep(60)"
)


def ended(name: str) -> recipe.RecipeRun:
    until(lambda: recipe.show(name).state not in ("running", "stopping"))
    until(lambda: not jobs.ls("recipe:one", live=True))
    return recipe.show(name)


def kernel_of(path: Path) -> psutil.Process:
    """The process in which the slow cell of that notebook has begun."""
    begun = path.parent / "begun"
    until(lambda: begun.exists() and begun.read_text())
    return psutil.Process(int(begun.read_text()))


def worker_of(path: Path) -> psutil.Process:
    """The process that carries the run out."""
    return next(each for each in psutil.process_iter(["cmdline"]) if _is_worker(each, path))


@pytest.fixture
def one(notebook, recipe):
    def write(*cells: str) -> Path:
        path = notebook("a", "x: int = 0", *cells)
        recipe("one", ONE)
        return path

    return write


def test_it_returns_at_once_and_the_run_goes_on(one):
    one("print(6 * x)")
    begun = recipe.run("one", param={"x": "7"}, wait=False)
    assert (begun.uri, begun.state) == ("recipe:one@1", "running")
    done = ended("one@1")
    assert (done.state, done.steps["a"]["values"]) == ("done", {"x": 7})
    assert "42" in Path(done.steps["a"]["archive"]).read_text()
    assert jobs.find("recipe:one").state == "done"
    assert "✓ a done" in jobs.log(jobs.find("recipe:one").id)


def test_force_reaches_it(one):
    one("print(x)")
    recipe.run("one")
    assert recipe.run("one", wait=False, force=True).uri == "recipe:one@2"
    assert ended("one@2").steps["a"]["state"] == "done"


def test_one_step_alone(notebook, recipe):
    from aiinfra_lab import recipe as recipes

    notebook("a", "", "print('alone')")
    recipe("one", '[steps.a]\nnotebook = "a.ipynb"\n[steps.b]\nnotebook = "a.ipynb"\n')
    recipes.run("one", wait=False, only="b")
    done = ended("one@1")
    assert {name: step["state"] for name, step in done.steps.items()} == {"b": "done"}


def test_it_outlives_who_began_it(one):
    path = one("import time; time.sleep(2); print('there')")
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one", "--no-wait"]
    subprocess.run(command, check=True, start_new_session=True, capture_output=True, cwd=path.parents[1])
    assert ended("one@1").state == "done"


def test_of_one_recipe_one_run_goes_on(one):
    one(SLOW)
    recipe.run("one", wait=False)
    with pytest.raises(Conflict, match="recipe:one@1 is running"):
        recipe.run("one", wait=False)
    recipe.stop("one")
    assert ended("one@1").state == "stopped"


def test_stop_interrupts_its_cell_and_nothing_is_left(one):
    path = one(SLOW)
    recipe.run("one", wait=False)
    kernel = kernel_of(path)
    assert recipe.stop("one").state == "stopping"
    done = ended("one@1")
    assert (done.state, done.steps["a"]["state"], kernel.is_running()) == ("stopped", "stopped", False)
    assert "KeyboardInterrupt" in Path(done.steps["a"]["archive"]).read_text()


def test_a_signal_from_elsewhere_interrupts_it(one):
    path = one(SLOW)
    recipe.run("one", wait=False)
    kernel = kernel_of(path)
    worker = worker_of(path)
    os.kill(worker.pid, signal.SIGTERM)
    done = ended("one@1")
    assert (done.state, done.steps["a"]["state"], kernel.is_running()) == ("interrupted", "interrupted", False)


def _is_worker(each: psutil.Process, path: Path) -> bool:
    words = each.info["cmdline"] or []
    return words[1:] == ["-m", "aiinfra_lab.recipe.worker", "one@1"] and Path(each.cwd()) == path.parents[1]


def test_a_worker_that_is_killed_leaves_nothing_and_the_run_is_lost(one):
    path = one(SLOW)
    recipe.run("one", wait=False)
    kernel = kernel_of(path)
    worker = worker_of(path)
    worker.kill()
    assert ended("one@1").state == "lost"
    kernel.wait(PATIENCE_S)


def test_what_is_gone_before_it_begins_fails_the_run_and_its_log_says_why(one, monkeypatch, workspace):
    one("print(x)")
    monkeypatch.setattr(jobs, "launch_or_withdraw", lambda _job: None)
    recipe.run("one", wait=False)
    (workspace / "recipes" / "one.toml").unlink()
    jobs.launch()
    until(lambda: not jobs.ls("recipe:one", live=True))
    assert jobs.find("recipe:one").state == "failed"
    assert "there is no recipe" in jobs.log(jobs.find("recipe:one").id)
    assert recipe.show("one@1").state == "failed"


def test_a_secret_as_it_is_does_not_get_there_and_is_refused(notebook, recipe, monkeypatch):
    from aiinfra_lab import recipe as recipes

    monkeypatch.setenv("MY_API_KEY", "sk-abcdef-123456")
    notebook("a", "key: str = ''", "print(len(key))")
    recipe("one", '[steps.a]\nnotebook = "a.ipynb"\nparameters = { key = "${params.key}" }\n[parameters]\nkey = ""\n')
    with pytest.raises(UsageProblem, match="key holds a secret") as problem:
        recipes.run("one", param={"key": "sk-abcdef-123456"}, wait=False)
    assert "sk-abcdef" not in str(problem.value)
    assert not recipes.log("one")


def test_what_cannot_run_is_refused_at_once(one):
    with pytest.raises(NotFound):
        recipe.run("two", wait=False)
