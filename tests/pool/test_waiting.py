"""A core that waits for its spec is taken by the next kernel, and otherwise leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiinfra_lab import recipe
from aiinfra_lab.errors import LabError
from aiinfra_lab.kernels import waiting
from aiinfra_lab.kernels.waiting import HostCores
from aiinfra_lab.pool import asking

from ..conftest import until
from .conftest import is_alive
from .test_pool import IS_WARM, notebook, run

CHAIN = 4  # two guards, the core, and the process that becomes the kernel


@pytest.fixture
def cores(place: Path) -> Iterator[HostCores]:
    made = HostCores()
    yield made
    made.discard()


def one_that_waits(cores: HostCores, pool: int) -> list[psutil.Process]:
    """The processes of one that has been asked for, the first guard first."""
    before = psutil.Process(pool).children(recursive=True)
    cores.prepare()

    def found() -> list[psutil.Process]:
        all_ = [each for each in psutil.Process(pool).children(recursive=True) if each not in before]
        return all_ if len(all_) == CHAIN else []

    return list(until(found, "none waits"))


def sockets(place: Path) -> list[Path]:
    """What cores have left in the folder for temporary files."""
    return sorted(place.parent.glob("aiinfra-????????"))


def test_the_next_kernel_takes_it(workspace: Path, pool: int, cores: HostCores) -> None:
    one_that_waits(cores, pool)
    before = asking.order("show")["forked"]
    assert run(workspace, IS_WARM, cores=cores) == ("done", "True\n")
    assert asking.order("show")["forked"] == before
    until(lambda: asking.order("show")["alive"] == 0, "something of it is left")


def test_it_is_for_the_kernels_of_who_asked_alone(
    workspace: Path, pool: int, cores: HostCores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_FRESH_S", 600.0)
    another = HostCores()
    mine, theirs = one_that_waits(cores, pool), one_that_waits(another, pool)
    assert run(workspace, IS_WARM) == ("done", "True\n")
    another.discard()
    until(lambda: not any(is_alive(each.pid) for each in theirs), "a process is left")
    assert all(is_alive(each.pid) for each in mine)
    before = asking.order("show")["forked"]
    assert run(workspace, IS_WARM, cores=cores) == ("done", "True\n")
    assert asking.order("show")["forked"] == before


def test_a_run_has_one_forked_and_takes_it(workspace: Path, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_FRESH_S", 600.0)
    (workspace / "notebooks").mkdir()
    (workspace / "recipes").mkdir()
    notebook(workspace / "notebooks", IS_WARM)
    (workspace / "recipes" / "one.toml").write_text('[steps.a]\nnotebook = "one.ipynb"\n')
    recipe.run("one", force=True)
    assert asking.order("show")["forked"] == 1


def test_at_most_one_waits(workspace: Path, pool: int, cores: HostCores) -> None:
    one_that_waits(cores, pool)
    cores.prepare()
    cores.discard()
    assert asking.order("show")["forked"] == 1


def test_one_that_is_not_needed_leaves_nothing(workspace: Path, place: Path, pool: int, cores: HostCores) -> None:
    found = one_that_waits(cores, pool)
    assert sockets(place)
    cores.discard()
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")
    assert sockets(place) == []
    until(lambda: asking.order("show")["alive"] == 0, "the pool counts it still")


def test_one_that_has_waited_for_long_is_not_taken(
    workspace: Path, pool: int, cores: HostCores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_FRESH_S", 0.0)  # packages may have changed since
    found = one_that_waits(cores, pool)
    assert run(workspace, IS_WARM, cores=cores) == ("done", "True\n")
    assert asking.order("show")["forked"] == 2
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")


def test_a_fork_of_who_asked_neither_has_it_nor_keeps_it(workspace: Path, pool: int, cores: HostCores) -> None:
    one_that_waits(cores, pool)
    before = asking.order("show")["forked"]
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        assert run(workspace, IS_WARM, cores=cores) == ("done", "True\n")
        assert asking.order("show")["forked"] == before
        one_that_waits(cores, pool)
        cores.discard()
        until(lambda: asking.order("show")["alive"] == 0, "it waits still")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_step_elsewhere_has_none_forked(workspace: Path, pool: int) -> None:
    (workspace / "recipes").mkdir()
    (workspace / "notebooks").mkdir()
    notebook(workspace / "notebooks", "1")
    (workspace / "recipes" / "one.toml").write_text('[steps.a]\nnotebook = "one.ipynb"\non = "gpu:nowhere"\n')
    with pytest.raises(LabError):
        recipe.run("one", force=True)
    assert asking.order("show")["forked"] == 0


def test_it_ends_with_who_asked_for_it(workspace: Path, place: Path, pool: int) -> None:
    begin = "import time; from aiinfra_lab.kernels.waiting import HostCores; "
    code = f"{begin}cores = HostCores(); cores.prepare(); time.sleep(600)"
    asker = subprocess.Popen([sys.executable, "-c", code])
    try:
        until(lambda: sockets(place) and asking.order("show")["alive"], "none waits")
    finally:
        asker.kill()
        asker.wait()
    until(lambda: asking.order("show")["alive"] == 0, "it waits still")
    until(lambda: sockets(place) == [], "its sockets are left")


@pytest.mark.parametrize("killed", range(CHAIN))
def test_where_one_of_its_processes_was_killed_there_is_another(
    workspace: Path, place: Path, pool: int, cores: HostCores, killed: int
) -> None:
    found = one_that_waits(cores, pool)
    found[killed].send_signal(signal.SIGKILL)
    until(lambda: not is_alive(found[killed].pid), "it was not killed")
    state, _ = run(workspace, IS_WARM, cores=cores)
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")
    assert state == "done"
    until(lambda: sockets(place) == [], "its sockets are left")


def test_it_has_the_environment_of_the_kernel(
    workspace: Path, pool: int, cores: HostCores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_BEFORE", "1")
    one_that_waits(cores, pool)
    monkeypatch.delenv("OF_BEFORE")
    cell = "import os; print(os.environ.get('OF_BEFORE'), os.environ['NEW'], os.getcwd())"
    assert run(workspace, cell, env={"NEW": "2"}, cores=cores) == ("done", f"None 2 {workspace}\n")


def test_what_no_fork_can_take_over_has_another_spawned(
    workspace: Path, place: Path, pool: int, cores: HostCores
) -> None:
    found = one_that_waits(cores, pool)
    assert run(workspace, IS_WARM, env={"PYTHONOPTIMIZE": "1"}, cores=cores) == ("done", "False\n")
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")


def test_what_its_process_writes_is_in_the_log_of_its_run(
    workspace: Path, pool: int, cores: HostCores, capsys: pytest.CaptureFixture[str]
) -> None:
    one_that_waits(cores, pool)
    last_words = "import os; os.write(2, b'the last words\\n'); os.kill(os.getpid(), 9)"
    assert run(workspace, last_words, cores=cores)[0] == "killed"
    assert "the last words" in capsys.readouterr().err


def test_a_run_leaves_none_that_waits(workspace: Path, place: Path, pool: int) -> None:
    (workspace / "notebooks").mkdir()
    (workspace / "recipes").mkdir()
    notebook(workspace / "notebooks", "1 / 0")
    steps = '[steps.a]\nnotebook = "one.ipynb"\n[steps.b]\nnotebook = "one.ipynb"\nafter = ["a"]\n'
    (workspace / "recipes" / "two.toml").write_text(steps)
    found = recipe.run("two", force=True, report=True)
    assert [step["state"] for step in found.steps.values()] == ["failed", "blocked"]
    until(lambda: asking.order("show")["alive"] == 0, "one waits still")
    assert sockets(place) == []
