import contextlib
import os
import signal
import threading
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import gpu
from aiinfra_lab.errors import Unavailable
from tests.conftest import PATIENCE_S, until

from .test_keeper import kill_keeper


@contextlib.contextmanager
def client(km):
    opened = km.client()
    opened.start_channels()
    opened.wait_for_ready(timeout=PATIENCE_S)
    yield opened
    opened.stop_channels()


def reply(km, code: str) -> dict:
    with client(km) as opened:
        return opened.execute_interactive(code, timeout=PATIENCE_S, output_hook=lambda message: None)["content"]


def sleeping(km, for_s: float) -> None:
    """Make the kernel busy with something that can be interrupted, and return once it is."""
    with client(km) as opened:
        opened.execute(f"import time\nslept = False\nprint('now')\ntime.sleep({for_s})\nslept = True")
        while opened.get_iopub_msg(timeout=PATIENCE_S)["msg_type"] != "stream":
            pass


def test_jupyter_lists_the_session_with_a_name_for_people(kept):
    found = KernelSpecManager().get_all_specs()["aiinfra-trainer"]["spec"]
    assert found["display_name"] == "trainer · cpu"


def test_the_kernel_is_reached_by_sockets_that_only_this_user_can_open(kept):
    info = kept.connection_info()
    assert info["transport"] == "ipc"
    assert Path(info["ip"]).parent.stat().st_mode & 0o077 == 0
    assert kept.connection.stat().st_mode & 0o077 == 0


def test_two_notebooks_share_one_namespace(attach):
    assert reply(attach(), "x = 41")["status"] == "ok"
    assert reply(attach(), "assert x == 41")["status"] == "ok"


@pytest.mark.parametrize("now", [False, True], ids=["politely", "now"])
def test_shutting_down_lets_go_and_keeps_the_state(attach, kept, run, now):
    km = attach()
    reply(km, "x = 41")
    km.shutdown_kernel(now=now)
    assert kept.is_alive()
    assert run("print(x)") == "41\n"


def test_closing_a_notebook_does_not_interrupt_what_runs(attach, run):
    km = attach()
    sleeping(km, 2)
    km.shutdown_kernel()
    assert run("print(slept)") == "True\n"


def test_a_notebook_that_lets_go_leaves_the_others_connected(attach):
    first, second = attach(), attach()
    first.shutdown_kernel()
    assert second.is_alive()
    assert reply(second, "1")["status"] == "ok"


def test_interrupt_reaches_the_running_cell(attach, run):
    km = attach()
    sleeping(km, 2 * PATIENCE_S)
    km.interrupt_kernel()
    assert run("print(slept)") == "False\n"


@pytest.mark.parametrize("now", [False, True], ids=["politely", "now"])
def test_restart_gives_a_fresh_namespace_in_the_same_session(attach, kept, now):
    km = attach()
    reply(km, "x = 41")
    km.restart_kernel(now=now)
    assert reply(km, "x")["ename"] == "NameError"
    assert kept.state().incarnation == 2


def test_others_stay_connected_over_a_restart(attach, kept):
    first, second = attach(), attach()
    first.restart_kernel()
    assert second.is_alive()
    assert reply(second, "1")["status"] == "ok"
    assert kept.state().incarnation == 2


def test_a_session_that_has_ended_is_dead_for_jupyter_and_cannot_be_attached(attach, kept):
    km = attach()
    gpu.stop("trainer")
    assert not km.is_alive()
    with pytest.raises(Unavailable, match="stopped"):
        km.restart_kernel()


def test_a_kernel_that_dies_is_dead_for_jupyter_until_it_attaches_to_the_next(attach, kept, run):
    km = attach()
    os.kill(kept.state().kernel_pid, signal.SIGKILL)
    until(lambda: not km.is_alive())
    km.restart_kernel(now=True)  # the restarter's way
    assert km.is_alive()
    assert reply(km, "x = 1")["status"] == "ok"
    assert kept.state().incarnation == 2
    assert run("print(x)") == "1\n"


def test_the_kernel_works_in_the_folder_of_the_notebook_and_not_under_another_that_is_open(kept, run, tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    names = "print(*(name for name in dir() if not name.startswith('_')))"
    before = set(run(names).split())
    first, second = KernelManager(kernel_name="aiinfra-trainer"), KernelManager(kernel_name="aiinfra-trainer")
    first.start_kernel(cwd=str(folders[0]))
    assert run("import os; print(os.getcwd())") == f"{folders[0]}\n"
    second.start_kernel(cwd=str(folders[1]))
    assert run("print(os.getcwd())") == f"{folders[0]}\n"
    first.shutdown_kernel(now=True)
    second.shutdown_kernel(now=True)
    third = KernelManager(kernel_name="aiinfra-trainer")
    third.start_kernel(cwd=str(folders[2]))
    assert run("print(os.getcwd())") == f"{folders[2]}\n"
    assert set(run(names).split()) - before == {"os"}
    third.shutdown_kernel(now=True)


def test_without_a_folder_the_kernel_works_where_its_client_is(attach, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attach()
    assert run("import os; print(os.getcwd())") == f"{tmp_path}\n"


def test_what_a_reader_of_a_notebook_sees_of_a_kernel_that_died(attach, kept):
    with client(attach()) as opened:
        os.kill(kept.state().kernel_pid, signal.SIGKILL)
        # JupyterLab shows it by this message, without the restarter's seconds between two looks.
        while opened.get_iopub_msg(timeout=PATIENCE_S)["content"].get("execution_state") != "restarting":
            pass


def test_a_client_goes_on_over_the_end_of_a_keeper(attach, kept, run):
    km = attach()
    with client(km) as opened:
        kill_keeper()
        until(lambda: not kept.is_alive())
        found = opened.execute_interactive("6 * 7", timeout=PATIENCE_S, output_hook=lambda message: None)
    assert found["content"]["status"] == "ok"
    assert km.is_alive()


def test_a_kernel_found_dead_stays_dead_when_jupyter_restarts_it_by_itself(attach):
    km = attach()
    gpu.stop("trainer")
    km.restart_kernel(now=True)  # the restarter's way: it must come to an end, and report the kernel dead
    assert not km.is_alive()


def test_papermill_runs_in_the_session_and_leaves_it_alive(kept, run, tmp_path):
    import papermill

    run("secret = 'kept'")
    cells = [new_code_cell("n = 1", metadata={"tags": ["parameters"]}), new_code_cell("print(secret, n)\nm = n + 1")]
    language = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=language), tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"n": 5}, kernel_name="aiinfra-trainer", progress_bar=False
    )
    assert done.cells[-1].outputs[0].text == "kept 5\n"
    assert run("print(m)") == "6\n"


def test_the_session_stays_while_many_come_and_go(attach, run):
    def visit() -> None:
        km = KernelManager(kernel_name="aiinfra-trainer")
        km.start_kernel()
        reply(km, "visits.append(1)")
        km.shutdown_kernel()

    run("visits = []")
    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert run("print(len(visits))") == "3\n"
