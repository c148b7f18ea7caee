"""What happens to a session by no fault of its provider: an error with a fix that works, nothing left that costs."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from aiinfra_lab import gpu, jobs
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, LabError, NotFound, StoreUnavailable
from aiinfra_lab.gpu import sessions
from aiinfra_lab.gpu.base import Plan
from aiinfra_lab.gpu.record import MachineRecord, SessionRecord
from aiinfra_lab.gpu.sim import SimMachines
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.providers import make
from aiinfra_lab.store import open_store
from tests.conftest import PATIENCE_S, processes_of, until
from tests.sshd import SshHost, needs_sshd

pytestmark = pytest.mark.slow  # what is harmed, sleeps or waits for its time is looked at for ten seconds each

START = "from aiinfra_lab import gpu\nprint(gpu.start('trainer', on='sim', for_='{time}').state)"


def living() -> list[str]:
    """Machines of the cloud in a clock that cost money now."""
    return [each.id for each in SimMachines(settings()).instances()]


def assert_nothing_is_left(home: Path) -> None:
    until(lambda: living() == [])
    until(lambda: not open_store().list(MachineRecord, is_open=True))
    assert gpu.check().ok
    until(lambda: all("supervisor" in command for _, command in processes_of(home)))


# ---- the kernel ----


def segfault(kernel: KeptKernel) -> None:
    gpu.run("trainer", "import ctypes\nctypes.string_at(0)")


def out_of_memory(kernel: KeptKernel) -> None:
    """As Linux ends a process when there is no memory left."""
    gpu.run("trainer", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")


@pytest.mark.parametrize(("harm", "how", "hint"), [(segfault, "SIGSEGV", ""), (out_of_memory, "SIGKILL", "memory")])
def test_a_kernel_that_dies_in_a_cell_is_said_with_how_and_the_next_one_works(workspace, harm, how, hint):
    gpu.start("trainer", on="sim", for_="1h")
    with pytest.raises(Failed, match=f"its kernel ended by {how} in the middle of the code") as problem:
        harm(KeptKernel.of("gpu:trainer"))
    assert hint in problem.value.fix
    assert gpu.run("trainer", "x = 6 * 7", outputs="x")["x"] == 42
    gpu.stop("trainer")
    assert_nothing_is_left(workspace)


def test_more_memory_than_there_may_be_is_an_error_of_the_cell_alone(workspace):
    gpu.start("trainer", on="sim", for_="1h")
    code = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\nbytearray(2**33)"
    with pytest.raises(LabError, match="MemoryError"):
        gpu.run("trainer", code)
    assert gpu.run("trainer", "x = 1", outputs="x")["x"] == 1


# ---- its files ----


def host_folder(kernel: KeptKernel) -> None:
    shutil.rmtree(settings().home / "gpu-sim" / kernel.state().machine)


def kernels_sockets(kernel: KeptKernel) -> None:
    words = psutil.Process(kernel.state().kernel_pid).cmdline()
    shutil.rmtree(Path(next(word for word in words if "/kernel-" in word)).parent)


def job_folder(kernel: KeptKernel) -> None:
    shutil.rmtree(jobs.find(str(kernel.uri)).folder)


@pytest.mark.parametrize("harm", [host_folder, kernels_sockets, job_folder])
def test_a_session_goes_on_without_files_that_it_has_open_and_can_be_stopped(workspace, harm):
    gpu.start("trainer", on="sim", for_="1h")
    harm(KeptKernel.of("gpu:trainer"))
    assert gpu.run("trainer", "x = 6 * 7", outputs="x")["x"] == 42
    assert gpu.stop("trainer").state.startswith("ended")
    assert_nothing_is_left(workspace)


@pytest.mark.parametrize("on", ["sim", "local"])
def test_a_session_whose_folder_was_deleted_ends_and_says_so(workspace, on):
    gpu.start("trainer", on=on, for_="1h")
    shutil.rmtree(KeptKernel.of("gpu:trainer").folder)
    until(lambda: gpu.show("trainer").state == "ended (its folder was deleted)", most_s=2 * PATIENCE_S)
    with pytest.raises(NotFound) as problem:
        gpu.run("trainer", "1")
    assert problem.value.fix == "start it: `%gpu start trainer`"
    assert_nothing_is_left(workspace)
    assert gpu.start("trainer", on=on).state == "running"


@needs_sshd[0]
@needs_sshd[1]
def test_a_kernel_elsewhere_ends_when_the_workspace_was_deleted(workspace, tmp_path):
    far = SshHost(1, tmp_path / "far")
    try:
        lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{far.config}"', f'ssh_python = "{sys.executable}"']
        (workspace / "aiinfra.toml").write_text("\n".join(lines))
        gpu.start("trainer", on="ssh", for_="1h")
        shutil.rmtree(workspace / ".aiinfra")
        with pytest.raises(StoreUnavailable, match="moved or deleted"):
            gpu.show("trainer")
        until(lambda: "ipykernel" not in far.run("ps", "-eo", "args"))
        until(lambda: not any("gpu.owner" in command for _, command in processes_of(workspace)))
    finally:
        far.remove()


# ---- a disk ----


@needs_sshd[0]
@needs_sshd[1]
def test_a_full_disk_of_the_host_ends_the_session_or_its_start_with_the_reason(workspace, tmp_path):
    far = SshHost(1, tmp_path / "far")
    try:
        lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{far.config}"', f'ssh_python = "{sys.executable}"']
        (workspace / "aiinfra.toml").write_text("\n".join(lines))
        home = far.run("sh", "-c", "echo ~")
        cache = f"{home}/.cache/aiinfra-lab"
        far.run("mkdir", "-p", cache)
        far.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", cache)
        with pytest.raises(LabError, match=r"[Nn]o space left") as problem:
            gpu.start("trainer", on="ssh", for_="1h")
        assert problem.value.fix
        assert "ipykernel" not in far.run("ps", "-eo", "args")
        far.run("umount", "-l", cache)
        assert gpu.start("trainer", on="ssh", for_="1h").state == "running"
        gpu.stop("trainer")
    finally:
        far.remove()


# ---- a laptop that sleeps ----


@contextlib.contextmanager
def asleep(home: Path) -> Iterator[None]:
    """All processes of this workspace stand still meanwhile; the cloud goes on."""
    stopped: set[int] = set()
    while fresh := {pid for pid, command in processes_of(home) if "gpu.sim run" not in command} - stopped:
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= fresh
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def is_intended() -> bool:
    return open_store().get(SessionRecord, "trainer") is not None


def is_asked_for() -> bool:
    return bool(living())


def asleep_during_start(home: Path, moment: Callable[[], bool], seconds: float, time_: str, looks: bool) -> str:
    """What a start said in whose middle a laptop slept. looks: whether somebody else looks at it meanwhile."""
    words = [sys.executable, "-c", START.format(time=time_)]
    starting = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(moment)
    with asleep(home):
        time.sleep(seconds)
        if looks:
            gpu.show("trainer")
    out, _ = starting.communicate(timeout=180)
    return out.strip()


@pytest.mark.parametrize("moment", [is_intended, is_asked_for])
def test_a_start_goes_on_after_a_sleep(workspace, moment):
    assert asleep_during_start(workspace, moment, 4, "1h", looks=True) == "running"
    assert len(living()) == 1
    assert gpu.run("trainer", "x = 1", outputs="x")["x"] == 1
    gpu.stop("trainer")
    assert_nothing_is_left(workspace)


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("moment", [is_intended, is_asked_for])
def test_a_start_that_slept_longer_than_its_intent_doubles_nothing_and_leaves_nothing(workspace, moment, looks):
    said = asleep_during_start(workspace, moment, sessions.INTENT_S + 5, "1h", looks=looks)
    if said != "running":
        assert "fix:" in said
        assert gpu.start("trainer", on="sim", for_="1h").state == "running"
    assert len(living()) == 1
    gpu.stop("trainer")
    assert_nothing_is_left(workspace)


def test_a_start_waits_for_a_machine_that_nobody_wrote_down_and_that_is_ending(workspace):
    gpu.start("trainer", on="sim", for_="1h")
    gpu.stop("trainer")
    # As whoever slept does it: its session was given up, so that the machine that it then got is to go at once.
    machines = make("gpu.machines", "sim")
    handle = machines.create(Plan("trainer", machines.offers()[0], time.time() + 3600))
    until(lambda: machines.status(handle).state == "ready")
    machines.terminate(handle)
    assert machines.status(handle).state == "stopping"
    assert gpu.start("trainer", on="sim", for_="1h").state == "running"
    assert len(living()) == 1
    gpu.stop("trainer")
    assert_nothing_is_left(workspace)


def test_a_session_whose_time_went_by_in_a_sleep_has_ended_and_so_has_its_machine(workspace):
    said = asleep_during_start(workspace, is_asked_for, 10, "8s", looks=False)
    assert "fix:" in said
    assert gpu.show("trainer").state.startswith("ended")
    assert_nothing_is_left(workspace)
