import os
import signal
from pathlib import Path

import pytest

from aiinfra_lab import gpu, jobs
from aiinfra_lab.gpu.record import SessionRecord
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


def keeper_pid(kept) -> int:
    return int(Path(f"/proc/{kept.state().kernel_pid}/stat").read_text().rpartition(")")[2].split()[1])


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


def test_a_killed_kernel_ends_the_session_and_says_so(kept):
    os.kill(kept.state().kernel_pid, signal.SIGKILL)
    until(lambda: gpu.show("trainer").state == "ended (its kernel ended by SIGKILL)")
    assert open_store().get(SessionRecord, "trainer").body.exit_code == -9


def test_a_killed_keeper_takes_its_kernel_along(kept):
    kernel = kept.state().kernel_pid
    os.kill(keeper_pid(kept), signal.SIGKILL)
    until(lambda: gone(kernel))
    until(lambda: gpu.show("trainer").state == "ended (its keeper was killed)")


def test_what_a_killed_keeper_left_is_cleared_away_by_stop(kept):
    sockets = Path(kept.connection_info()["ip"]).parent
    os.kill(keeper_pid(kept), signal.SIGKILL)
    until(lambda: gpu.show("trainer").state == "ended (its keeper was killed)")
    assert gpu.stop("trainer").state == "ended (its keeper was killed)"
    assert not sockets.exists()
    assert not kept.connection.exists()
    assert not (Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / "aiinfra-trainer").exists()


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
    with pytest.raises(gpu.starting.Failed, match="its kernel ended with exit code 1"):
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


def test_ls_takes_a_session_whose_keeper_was_killed_out_of_the_launcher(kept):
    entry = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / "aiinfra-trainer"
    assert entry.exists()
    os.kill(keeper_pid(kept), signal.SIGKILL)
    until(lambda: gpu.ls().items[0].state == "ended (its keeper was killed)")
    assert not entry.exists()
