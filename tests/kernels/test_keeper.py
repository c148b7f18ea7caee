import contextlib
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from aiinfra_lab import gpu, jobs
from aiinfra_lab.gpu.record import SessionRecord
from aiinfra_lab.host import journal
from aiinfra_lab.host.spec import read_state
from aiinfra_lab.jobs import process
from aiinfra_lab.kernels import KeptKernel, specs
from aiinfra_lab.store import open_store
from tests.conftest import PATIENCE_S, end_supervisor, until

# A child in a session of its own, of a parent that is gone, which has thrown its environment away.
HIDING = """
import subprocess
subprocess.run(["setsid", "sh", "-c", "env -i sleep 300 >/dev/null 2>&1 & echo $! > child"], check=True)
"""


def hiding_child(run, workspace: Path) -> int:
    run(HIDING)
    pid = int((workspace / "child").read_text())
    until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep"))
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    return pid


def gone(pid: int) -> bool:
    return not process.birth(pid)


def job_of(name: str) -> jobs.Job:
    return jobs.find(f"gpu:{name}")


def core_pid(kept) -> int:
    """The kernel's parent: what a test kills to see that nothing is left of it."""
    return int(Path(f"/proc/{kept.state().kernel_pid}/stat").read_text().rpartition(")")[2].split()[1])


def keeper_pids(name: str) -> list[int]:
    """The keeper and the shell that wraps it, which is its job's leader."""
    job = job_of(name)
    return [job.pid, *process.tree(job.pid, process.birth(job.pid), job.id)]


def kill_keeper(name: str = "trainer") -> None:
    for pid in keeper_pids(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_stopping_ends_the_whole_tree(kept, run, workspace):
    child, kernel = hiding_child(run, workspace), kept.state().kernel_pid
    gpu.stop("trainer")
    assert gone(child)
    assert gone(kernel)


def test_stopping_lets_the_kernel_run_its_exit_handlers(kept, run, workspace):
    run("import atexit, pathlib\natexit.register(pathlib.Path('bye').touch)")
    gpu.stop("trainer")
    assert (workspace / "bye").exists()


def test_nothing_of_a_stopped_session_is_left(kept):
    sockets = Path(kept.connection_info()["ip"]).parent
    gpu.stop("trainer")
    assert not sockets.exists()
    assert not kept.connection.exists()
    assert not (Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / "aiinfra-trainer").exists()


def test_a_restart_ends_what_the_kernel_before_left_running(kept, run, workspace, attach):
    child = hiding_child(run, workspace)
    attach().restart_kernel()
    until(lambda: gone(child))


def test_a_killed_kernel_is_started_again_and_what_it_left_is_ended(kept, run, workspace):
    child, kernel = hiding_child(run, workspace), kept.state().kernel_pid
    os.kill(kernel, signal.SIGKILL)
    until(lambda: kept.state().incarnation == 2 and kept.state().phase == "ready")
    assert (kept.state().crashed, kept.state().crash) == (1, "its kernel ended by SIGKILL")
    assert kept.state().kernel_pid != kernel
    assert gpu.show("trainer").state == "running"
    assert gone(child)
    assert run("print('child' in globals())") == "False\n"


def test_a_kernel_that_always_dies_ends_the_session(kept):
    for incarnation in range(1, 7):
        until(lambda n=incarnation: kept.state().incarnation == n and kept.state().phase == "ready")
        os.kill(kept.state().kernel_pid, signal.SIGKILL)
    until(lambda: gpu.show("trainer").state == "ended (its kernel ended by SIGKILL)")
    assert open_store().get(SessionRecord, "trainer").body.exit_code == -9


def test_a_killed_core_takes_its_kernel_along(kept, run, workspace):
    child, kernel = hiding_child(run, workspace), kept.state().kernel_pid
    os.kill(core_pid(kept), signal.SIGKILL)
    until(lambda: gone(kernel) and gone(child))
    until(lambda: gpu.show("trainer").state == "ended (its host core was killed)")


def test_a_killed_guard_takes_all_along(kept, run, workspace):
    child, kernel = hiding_child(run, workspace), kept.state().kernel_pid
    os.kill(read_state(kept.host).pid, signal.SIGKILL)
    until(lambda: gone(kernel) and gone(child))
    until(lambda: gpu.show("trainer").state == "ended (its host core was killed)")


@pytest.mark.parametrize("killed", [("guard", "core"), ("guard", "second"), ("second", "core"), ("second",)])
def test_two_that_are_killed_at_once_leave_nothing(kept, run, workspace, killed):
    child, kernel = hiding_child(run, workspace), kept.state().kernel_pid
    host = read_state(kept.host)
    pids = {"guard": host.pid, "second": psutil.Process(host.core_pid).ppid(), "core": host.core_pid}
    assert len({*pids.values()}) == 3
    for name in killed:
        os.kill(pids[name], signal.SIGKILL)
    until(lambda: all(map(gone, (*pids.values(), kernel, child))))
    until(lambda: gpu.show("trainer").state == "ended (its host core was killed)")
    assert not Path(host.socket).parent.exists()


def test_a_killed_keeper_is_started_again_and_its_kernel_goes_on(kept, run):
    run("x = 41")
    kernel, sockets = kept.state().kernel_pid, kept.connection_info()["ip"]
    kill_keeper()
    until(lambda: not kept.is_alive())
    until(lambda: kept.is_alive() and gpu.show("trainer").state == "running")
    assert (kept.state().kernel_pid, kept.connection_info()["ip"]) == (kernel, sockets)
    assert run("print(x + 1)") == "42\n"
    assert gpu.stop("trainer").state == "ended (stopped)"


def test_what_the_kernel_said_while_no_keeper_lived_is_written_down(kept, run):
    begin = "import threading, time\ndef count():\n    for n in range(40):\n        print(f'line {n}'); time.sleep(0.1)"
    run(begin + "\nthreading.Thread(target=count).start()")
    kill_keeper()
    until(lambda: kept.is_alive() and b"line 39" in b"".join(received(kept)))
    lines = [text for payload in received(kept) for text in re.findall(rb"line \d+", payload)]
    assert lines == [b"line %d" % n for n in range(40)]


def received(kept) -> list[bytes]:
    return [entry.payload for entry in journal.read(kept.folder / "received")]


def test_a_keeper_and_a_supervisor_that_were_killed_leave_a_kernel_that_the_next_look_finds(kept, run, workspace):
    run("x = 41")
    end_supervisor(workspace)
    kill_keeper()
    until(lambda: not kept.is_alive())
    until(lambda: gpu.show("trainer").state == "running")
    assert run("print(x + 1)") == "42\n"


def test_stop_ends_a_kernel_whose_keeper_was_killed(kept, run, workspace):
    child, kernel = hiding_child(run, workspace), kept.state().kernel_pid
    end_supervisor(workspace)
    kill_keeper()
    gpu.stop("trainer")
    until(lambda: gone(child) and gone(kernel))


def test_what_a_killed_core_left_is_cleared_away(kept):
    sockets = Path(kept.connection_info()["ip"]).parent
    os.kill(core_pid(kept), signal.SIGKILL)
    until(lambda: gpu.show("trainer").state == "ended (its host core was killed)")
    assert not sockets.exists()
    assert not kept.connection.exists()
    assert not (Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / "aiinfra-trainer").exists()
    until(lambda: not kept.is_hosted())


def test_the_deadline_holds_without_a_supervisor(workspace):
    gpu.start("short")
    kernel = KeptKernel.of("gpu:short").state().kernel_pid
    end_supervisor(workspace)
    gpu.start("short", for_="2s")
    until(lambda: gone(kernel))
    until(lambda: open_store().get(SessionRecord, "short").body.ended_by == "deadline")


def test_a_job_that_code_in_the_session_started_outlives_the_session(kept, run, workspace):
    end_supervisor(workspace)  # so that the session's own kernel brings up the next one
    run("from aiinfra_lab import jobs\njobs.start('deploy:x', ['sleep', '60'])")
    until(lambda: jobs.find("deploy:x").state == "running")
    gpu.stop("trainer")
    assert jobs.find("deploy:x").state == "running"


def test_it_beats(kept):
    assert until(lambda: job_of("trainer").silent_s is not None)
    assert job_of("trainer").silent_s < PATIENCE_S


def test_a_kernel_that_cannot_start_ends_the_session_with_the_reason(workspace, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", "/proc/nothing")  # the kernel wants to write there
    monkeypatch.setenv("PYTHONPATH", str(workspace), prepend=os.pathsep)
    (workspace / "ipykernel_launcher.py").write_text("raise SystemExit('no kernel today')")
    with pytest.raises(gpu.starting.Failed, match="its kernel ended with exit code 1: no kernel today"):
        gpu.start("trainer")
    assert gpu.show("trainer").state.startswith("ended")


def test_two_workspaces_with_one_name_have_two_entries_in_the_launcher(kept, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    assert specs.spec_name(type(kept).of("gpu:trainer", other)) != "aiinfra-trainer"
    assert specs.spec_name(kept) == "aiinfra-trainer"


def test_an_entry_of_a_session_that_is_gone_is_used_again(kept, tmp_path):
    folder = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / "aiinfra-trainer"
    stale = (folder / "kernel.json").read_text().replace(str(kept.folder.parents[2]), str(tmp_path / "gone"))
    (folder / "kernel.json").write_text(stale)
    assert specs.write_spec(kept, "trainer · cpu") == "aiinfra-trainer"
    assert str(tmp_path / "gone") not in (folder / "kernel.json").read_text()


def test_entries_of_others_are_not_removed(kept):
    kernels = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels"
    (kernels / "aiinfra-trainer2").mkdir()
    (kernels / "aiinfra-trainer2" / "kernel.json").write_text("{}")
    gpu.stop("trainer")
    assert (kernels / "aiinfra-trainer2").exists()
