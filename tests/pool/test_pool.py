"""Kernels and commands out of the pool behave as those that are spawned, also when it goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import config, files, lab
from aiinfra_lab.host.spec import HostSpec
from aiinfra_lab.pool import asking, core, match
from aiinfra_lab.recipe.base import NotebookTask
from aiinfra_lab.recipe.engine import execute

from ..conftest import until
from .conftest import command, is_alive

THREADS = "import threadpoolctl, numpy; print({each['num_threads'] for each in threadpoolctl.threadpool_info()})"
IS_WARM = "import sys; print('numpy' in sys.modules)"


def notebook(folder: Path, *cells: str) -> Path:
    path = folder / "one.ipynb"
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=[*map(new_code_cell, cells)], metadata={"kernelspec": spec}), path)
    return path


def run(folder: Path, *cells: str, env: dict[str, str] | None = None) -> tuple[str, str]:
    """How a notebook ended, and what its cells have printed."""
    archive = folder / "executed.ipynb"
    outcome = execute(NotebookTask(notebook(folder, *cells), archive, env=env or {}), lambda: 0)
    executed = nbformat.read(archive, as_version=4)
    texts = [each.text for cell in executed.cells for each in cell.outputs if each.output_type == "stream"]
    return outcome.state, "".join(texts)


def test_a_notebook_runs_in_a_kernel_of_the_pool(workspace: Path, pool: int) -> None:
    assert run(workspace, IS_WARM) == ("done", "True\n")
    until(lambda: asking.order("show")["alive"] == 0, "something of its kernel is left")


def test_without_a_pool_it_is_spawned_and_a_pool_begins(workspace: Path, place: Path) -> None:
    assert run(workspace, IS_WARM) == ("done", "False\n")
    until(lambda: asking.order("show"), "no pool has begun")
    assert run(workspace, IS_WARM) == ("done", "True\n")


@pytest.mark.parametrize("name", [asking.HOLD, asking.LOG])
def test_where_its_folder_cannot_be_used_a_kernel_is_spawned(workspace: Path, place: Path, name: str) -> None:
    place.mkdir(mode=0o700)
    (place / name).mkdir()  # opening it fails, as on a full or read-only disk
    assert run(workspace, IS_WARM) == ("done", "False\n")


def test_one_that_is_started_by_hand_imports_what_the_workspace_names(workspace: Path, place: Path) -> None:
    argv = [sys.executable, "-m", "aiinfra_lab.pool", "start"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "it answers\n"
    assert asking.order("show")["packages"] == ["numpy"]


def test_one_that_still_imports_is_stopped_too(place: Path) -> None:
    asking.start("numpy")
    until(lambda: (place / asking.HOLD).exists() and files.is_locked(place / asking.HOLD), "none begins")
    argv = [sys.executable, "-m", "aiinfra_lab.pool", "stop"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "it ends\n"
    until(lambda: not files.is_locked(place / asking.HOLD), "it goes on")


def test_the_check_of_the_workspace_shows_it(workspace: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen() -> str:
        (found,) = [each.detail for each in lab.check(report=True).findings if each.what == "warm pool"]
        return found

    assert seen() == "none runs; a run of a recipe begins one"
    asking.start("numpy")
    until(lambda: asking.order("show"), "no pool has begun")
    assert seen() == "0 forks since it began, 0 alive; has imported numpy"
    monkeypatch.setenv("AIINFRA_POOL", "off")
    assert seen().startswith("off: by [kernels] pool")


def test_off_is_off(workspace: Path, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIINFRA_POOL", "off")
    assert run(workspace, IS_WARM) == ("done", "False\n")
    monkeypatch.delenv("AIINFRA_POOL")
    (workspace / "aiinfra.toml").write_text('[kernels]\npool = "off"\n')
    assert run(workspace, IS_WARM) == ("done", "False\n")


def test_environment_folder_and_threads_are_its_own(workspace: Path, pool: int) -> None:
    cell = (
        "import os, sys; print('numpy' in sys.modules, os.environ['MINE'], os.getcwd(), os.environ['OMP_NUM_THREADS'])"
    )
    env = {"MINE": "yes", "OMP_NUM_THREADS": "3"}
    assert run(workspace, cell, env=env) == ("done", f"True yes {workspace} 3\n")
    assert run(workspace, THREADS, env=env) == ("done", "{3}\n")


def test_threads_of_who_began_the_pool_are_none_of_others(
    workspace: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = os.sched_getaffinity(0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    os.sched_setaffinity(0, [min(cores)])
    try:
        asking.start("numpy")
        monkeypatch.delenv("OMP_NUM_THREADS")
        until(lambda: asking.order("show"), "the pool does not answer")
    finally:
        os.sched_setaffinity(0, cores)
    assert run(workspace, IS_WARM, THREADS) == ("done", f"True\n{{{len(cores)}}}\n")
    assert run(workspace, IS_WARM, THREADS, env={"OMP_NUM_THREADS": "1"}) == ("done", "True\n{1}\n")


def test_what_python_reads_at_its_start_makes_it_spawn(workspace: Path, pool: int) -> None:
    cell = IS_WARM + "; print(hash('a'))"
    one, other = (run(workspace, cell, env={"PYTHONHASHSEED": "7"}) for _ in range(2))
    assert one == other
    assert one[1].startswith("False")


def test_what_a_library_reads_when_it_is_imported_makes_it_spawn(workspace: Path, place: Path) -> None:
    asking.start("pandas")
    until(lambda: asking.order("show"), "the pool does not answer")
    cell = "import sys; print('pandas' in sys.modules); import pandas; print(pandas.get_option('future.infer_string'))"
    found = [run(workspace, cell, env={"PANDAS_FUTURE_INFER_STRING": each}) for each in ("0", "1")]
    assert found == [("done", "False\nFalse\n"), ("done", "False\nTrue\n")]


def test_what_verbs_switch_off_makes_nothing_spawn() -> None:
    assert match.fixed({**config.OPT_OUTS, "HF_TOKEN": "a"})["env"] == {}
    assert match.fixed({"HF_HOME": "/a", "LOKY_MAX_CPU_COUNT": "2"})["env"] == {"HF_HOME": "/a"}


def test_the_folder_for_temporary_files_is_its_own(
    workspace: Path, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "early.py").write_text("import tempfile; tempfile.gettempdir()")  # which keeps it
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    asking.start("numpy early")
    until(lambda: asking.order("show"), "the pool does not answer")
    cell = IS_WARM + "; import tempfile; print(tempfile.gettempdir())"
    assert run(workspace, cell, env={"TMPDIR": str(tmp_path)}) == ("done", f"True\n{tmp_path}\n")


def test_a_home_of_another_makes_it_spawn(workspace: Path, pool: int) -> None:
    assert run(workspace, IS_WARM + "; import os; print(os.environ['HOME'])", env={"HOME": "/"})[1] == "False\n/\n"


def test_siblings_draw_other_numbers(workspace: Path, pool: int) -> None:
    cell = IS_WARM + "; import random, numpy; print(random.random(), numpy.random.rand())"
    one, other = (run(workspace, cell)[1].split() for _ in range(2))
    assert one[0] == other[0] == "True"
    assert one[1] != other[1]
    assert one[2] != other[2]


@pytest.mark.parametrize("backend", ["", "module://matplotlib_inline.backend_inline"])
def test_figures_are_shown(workspace: Path, place: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", backend)
    asking.start("numpy matplotlib")
    until(lambda: asking.order("show"), "the pool does not answer")
    plots = IS_WARM + "\nimport matplotlib.pyplot as plt; plt.plot([1, 2]);"
    assert run(workspace, plots, "plt.plot([2, 1]);") == ("done", "True\n")
    cells = nbformat.read(workspace / "executed.ipynb", as_version=4).cells
    shown = [each for cell in cells for each in cell.outputs if each.output_type == "display_data"]
    assert ["image/png" in each.data for each in shown] == [True, True]


def test_logging_is_as_nobody_has_configured_it(workspace: Path, pool: int) -> None:
    configure = "logging.basicConfig(level=20, stream=sys.stdout); logging.info('seen')"
    ours = "print(logging.getLogger('aiinfra_lab').level)"
    cell = f"{IS_WARM}; import logging; print(logging.getLogger().handlers); {ours}; {configure}"
    assert run(workspace, cell) == ("done", "True\n[]\n0\nINFO:root:seen\n")


def test_a_kernel_that_dies_is_said_to_be_killed(workspace: Path, pool: int) -> None:
    assert run(workspace, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "print(1)")[0] == "killed"


def test_nothing_that_a_notebook_started_is_left(workspace: Path, pool: int) -> None:
    cell = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    pid = int(run(workspace, cell)[1])
    until(lambda: not is_alive(pid), "its process is left")


def test_a_kernel_outlives_the_pool(workspace: Path, pool: int) -> None:
    cell = f"import os, signal, time; os.kill({pool}, signal.SIGKILL); time.sleep(0.2); print('on')"
    assert run(workspace, cell) == ("done", "on\n")
    assert run(workspace, IS_WARM) == ("done", "False\n")  # its socket is there, and nobody answers
    until(lambda: run(workspace, IS_WARM)[1] == "True\n", "none has taken its place")


def test_exit_handlers_and_debugger(workspace: Path, pool: int) -> None:
    cell = (
        f"import atexit, sys; atexit.register(lambda: open({str(workspace / 'end')!r}, 'w').close())\n"
        "print([name for name in sys.modules if name.startswith('debugpy')])\nimport debugpy"
    )
    assert run(workspace, cell) == ("done", "[]\n")
    assert (workspace / "end").exists()


def test_changed_packages_end_it(workspace: Path, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")]))
    asking.start("numpy")
    pid = int(until(lambda: asking.order("show").get("running"), "the pool does not answer"))
    assert run(workspace, IS_WARM) == ("done", "True\n")
    (packages / "new-1.0.dist-info").mkdir()
    assert run(workspace, IS_WARM) == ("done", "False\n")
    until(lambda: not is_alive(pid), "a pool of other packages is left")
    until(lambda: run(workspace, IS_WARM)[1] == "True\n", "none has taken its place")


def test_one_that_ends_keeps_no_other_from_beginning(workspace: Path, place: Path) -> None:
    asking.start("numpy")
    until(lambda: asking.order("show"), "the pool does not answer")
    null = os.open(os.devnull, os.O_RDWR)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", str(workspace / "connection.json")]
    held = asking.fork("kernel", argv, env=os.environ, cwd="/", umask=0o077, descriptors=(null, null, null))
    os.close(null)
    assert held is not None
    asking.order("end")
    asking.start("numpy")
    until(lambda: asking.order("show"), "none has taken its place", 20)
    assert held.poll() is None
    held.leave()


@pytest.mark.parametrize("mode", [0o755, 0o701])
def test_a_folder_that_others_may_enter_is_refused(workspace: Path, place: Path, mode: int) -> None:
    place.mkdir()
    place.chmod(mode)
    asking.start("numpy")
    assert asking.fork("keep", [], env={}, cwd="/", umask=0o077) is None
    assert list(place.iterdir()) == []


def test_a_link_is_no_folder(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    assert not match.is_private(place)


HANGS = """
import threading, time
from aiinfra_lab.pool import template
template._TRIAL_S = 0.3
template._compute = lambda: time.sleep(60)
template.main("numpy")
"""


def test_one_whose_forks_cannot_compute_never_serves(place: Path) -> None:
    place.mkdir(mode=0o700)
    done = subprocess.run([sys.executable, "-c", HANGS], timeout=60, check=False, capture_output=True)
    assert done.returncode == 0
    assert (place / asking.PROBLEM).exists()
    assert not (place / asking.SOCKET).exists()
    asking.start("numpy")  # it would hang again
    time.sleep(1)
    assert not (place / asking.SOCKET).exists()


COMPUTES = """
import threading, time
from aiinfra_lab.pool import template
serve = template.Template.serve
def late(self):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return serve(self)
template.Template.serve = late
template.main("numpy")
"""


def test_one_that_has_a_thread_more_than_after_the_imports_ends(workspace: Path, place: Path) -> None:
    place.mkdir(mode=0o700)
    with subprocess.Popen([sys.executable, "-c", COMPUTES]) as process:
        until(lambda: asking.order("show"), "the pool does not answer")
        assert asking.fork("cli", ["aiinfra"], env=os.environ, cwd="/", umask=0o077) is None
        process.wait(10)


IDLE = "from aiinfra_lab.pool import template; template.IDLE_S = 0.5; template.main('numpy')"


def test_an_idle_one_ends(place: Path) -> None:
    place.mkdir(mode=0o700)
    with subprocess.Popen([sys.executable, "-c", IDLE]) as process:
        assert process.wait(60) == 0
    assert not (place / asking.SOCKET).exists()


def test_two_at_once_are_one(place: Path, pool: int) -> None:
    asking.start("numpy")
    time.sleep(1)
    assert asking.order("show")["running"] == pool


def test_its_socket_is_for_its_user(place: Path, pool: int) -> None:
    assert place.stat().st_mode & 0o777 == 0o700
    assert (place / asking.SOCKET).stat().st_mode & 0o777 == 0o600


def test_what_was_given_up_never_begins(
    workspace: Path, pool: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = HostSpec(folder=str(tmp_path / "kept"), argv=["true"], cwd="/", env=dict(os.environ), key="key")
    monkeypatch.setattr(asking, "_WITHIN_S", 0.2)
    os.kill(pool, signal.SIGSTOP)
    try:
        assert not core.keep(spec)
    finally:
        os.kill(pool, signal.SIGCONT)
    monkeypatch.setattr(asking, "_WITHIN_S", 10.0)
    until(lambda: asking.order("show")["forked"], "the pool has not gone on")
    time.sleep(1)
    assert asking.order("show")["alive"] == 0
    assert not (tmp_path / "kept").exists()


# ---- commands ----


def test_a_command_behaves_as_one_that_is_spawned(workspace: Path, pool: int) -> None:
    before = asking.order("show")["forked"]
    found = subprocess.run(command("recipe", "show", "nothing", "--json"), capture_output=True, text=True, check=False)
    assert asking.order("show")["forked"] == before + 1
    plain = subprocess.run(
        command("recipe", "show", "nothing", "--json"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "AIINFRA_POOL": "off"},
    )
    assert (found.returncode, found.stdout, found.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert json.loads(found.stdout)["error"] == "NotFound"


def test_a_workspace_may_want_no_pool(workspace: Path, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIINFRA_POOL")
    (workspace / "aiinfra.toml").write_text('[kernels]\npool = "off"\n')
    assert subprocess.run(command("recipe", "ls"), check=False, capture_output=True).returncode == 0


def recipe(workspace: Path, cell: str) -> None:
    (workspace / "notebooks").mkdir()
    (workspace / "recipes").mkdir()
    notebook(workspace / "notebooks", cell)
    (workspace / "recipes" / "one.toml").write_text('[steps.s]\nnotebook = "one.ipynb"\n')


def begun(workspace: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A recipe's run whose notebook waits, and the process that its notebook has started."""
    mark = workspace / "pid"
    started = "pid = subprocess.Popen(['sleep', '600'], start_new_session=True).pid"
    noted = f"open({str(mark)!r}, 'w').write(str(pid))"
    recipe(workspace, f"import subprocess, time; {started}; {noted}; time.sleep(600)")
    process = subprocess.Popen(command("recipe", "run", "one"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return process, int(until(lambda: started_by(workspace), "its notebook has not begun"))


def started_by(workspace: Path) -> int:
    """The process that the notebook has started; 0 while there is none."""
    mark = workspace / "pid"
    return int((mark.exists() and mark.read_text()) or 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_it_as_they_end_one_that_is_spawned(
    workspace: Path, pool: int, foreground: None, number: int, code: int
) -> None:
    process, started = begun(workspace)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    until(lambda: not is_alive(started), "what its notebook has started is left")


def test_ctrl_c_again_and_again_ends_it_as_once(workspace: Path, pool: int, foreground: None) -> None:
    process, started = begun(workspace)
    for _ in range(50):
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    shown = process.communicate()[0].decode()
    assert (process.returncode, "Traceback" in shown) == (130, False), shown
    until(lambda: not is_alive(started), "what its notebook has started is left")


def test_a_killed_command_leaves_nothing(workspace: Path, pool: int) -> None:
    process, started = begun(workspace)
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not is_alive(started), "what its notebook has started is left")
    until(lambda: asking.order("show")["alive"] == 0, "a fork is left")


def test_the_end_of_who_began_the_pool_is_none_of_others(workspace: Path, place: Path, foreground: None) -> None:
    process, started = begun(workspace)
    pool = int(until(lambda: asking.order("show").get("running"), "no pool has begun"))
    (workspace / "pid").unlink()
    (workspace / "recipes" / "two.toml").write_text('[steps.s]\nnotebook = "one.ipynb"\n')
    other = asking.fork("cli", ["aiinfra", "recipe", "run", "two"], env=os.environ, cwd=str(workspace), umask=0o077)
    until(lambda: started_by(workspace), "the other one's notebook has not begun")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    until(lambda: not is_alive(started), "what its notebook has started is left")
    assert other is not None
    assert other.poll() is None
    assert asking.order("show")["running"] == pool
    other.leave()  # it ends by the loss of its owner
    until(lambda: not is_alive(started_by(workspace)), "what the other one's notebook has started is left")


def test_a_pool_that_a_kernel_has_begun_outlives_it(
    workspace: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIINFRA_POOL", "off")  # the run begins none
    begin = "from aiinfra_lab.pool import asking; asking.start('numpy'); asking.wait_ready(60)"
    guards = "import psutil; print(*[each.pid for each in psutil.Process().parents()[:3]])"
    state, pids = run(workspace, f"{begin}; {guards}")
    until(lambda: not any(is_alive(int(pid)) for pid in pids.split()), "its guards are left")
    assert state == "done"
    assert asking.order("show")["alive"] == 0


@pytest.mark.parametrize(("end", "code"), [("", 0), ("1 / 0", 1)])
def test_a_command_outlives_the_pool_and_ends_as_it_ends(workspace: Path, pool: int, end: str, code: int) -> None:
    recipe(workspace, f"import os, time; os.kill({pool}, 9); time.sleep(1)\n{end}")
    found = subprocess.run(command("recipe", "run", "one"), capture_output=True, text=True, check=False)
    assert found.returncode == code
    assert found.stderr.count("the warm pool was killed: this command goes on without it\n") == 1
    assert "recipe:one@1" in found.stdout + found.stderr


def test_a_command_without_its_pool_heeds_ctrl_c(workspace: Path, pool: int, foreground: None) -> None:
    process, started = begun(workspace)
    os.kill(pool, signal.SIGKILL)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    until(lambda: not is_alive(started), "what its notebook has started is left")


def test_one_that_was_killed_with_its_pool_is_killed(workspace: Path, pool: int) -> None:
    recipe(workspace, "import time; time.sleep(600)")
    child = asking.fork("cli", ["aiinfra", "recipe", "run", "one"], env=os.environ, cwd=str(workspace), umask=0o077)
    assert child is not None
    os.kill(pool, signal.SIGKILL)
    assert child.wait(0.5) is None
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL


def test_jupyter_gets_a_kernel_of_the_pool(workspace: Path, pool: int) -> None:
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager

    from aiinfra_lab.pool.provisioner import WarmProvisioner

    manager = KernelManager()
    spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python")
    manager._kernel_spec = spec
    manager.provisioner = WarmProvisioner(kernel_id="", kernel_spec=spec, parent=manager)
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(30)
        texts: list[str] = []
        code = IS_WARM + "; import debugpy, os; print(os.getpid())"
        client.execute_interactive(code, timeout=30, output_hook=lambda m: texts.append(m["content"].get("text", "")))
        is_warm, pid = "".join(texts).split()
        assert is_warm == "True"
        assert psutil.Process(int(pid)).ppid() == pool
        manager.interrupt_kernel()
        os.kill(pool, signal.SIGKILL)
        time.sleep(0.2)
        assert manager.is_alive()
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    until(lambda: not is_alive(int(pid)), "the kernel is left")
