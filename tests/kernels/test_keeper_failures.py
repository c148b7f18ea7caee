"""A keeper that fails by an exception of its own: what becomes of its kernel, and what its end is put down to."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiinfra_lab import gpu, jobs, kernels
from aiinfra_lab.gpu.owner import is_started_again
from aiinfra_lab.host.spec import read_state
from aiinfra_lab.kernels import KeptKernel, end_core, keeper
from aiinfra_lab.kernels.reach import CommandReach, LocalReach
from aiinfra_lab.store import open_store, update
from tests.conftest import until
from tests.fakes.rented_life import write_job
from tests.kernels.far import Far
from tests.kernels.test_keeper import gone, job_of, keeper_pids

JOB = "gpu-trainer-0a1b2c3d"
OWNER = """
import pathlib, sys
from aiinfra_lab.kernels import KeptKernel, Lease, keeper
from aiinfra_lab.kernels.base import Standing
from aiinfra_lab.kernels.reach import CommandReach

class Owner:
    def display_name(self): return 'a step'
    def lease(self):
        if pathlib.Path('broken').exists(): raise RuntimeError('a mistake of ours')
        return Lease(None, '')
    def ended(self, state): pathlib.Path('ended').write_text(f'{state.why}|{state.fix}')

kernel = KeptKernel.of('recipe:nightly')
source = None
if sys.argv[3:] == ['elsewhere']:
    from dataclasses import replace
    place = keeper.here(kernel)
    way = ["sh", "-c", 'test ! -e cut && exec "$@"', "sh"]
    reach = CommandReach(way, str(kernel.host), shell=False, python=sys.executable)
    source = Standing(replace(place, reach=reach, is_here=False, alone_s=None))
again = sys.argv[1] == 'again'
sys.exit(keeper.run(kernel, Owner(), source=source, resume=sys.argv[2] == 'resume', is_started_again=lambda: again))
"""


def keep(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", OWNER, *words])


@pytest.fixture
def step(workspace) -> KeptKernel:
    return KeptKernel.of("recipe:nightly")


def ready(step: KeptKernel) -> bool:
    return step.state().phase == "ready" and step.is_alive()


def printed(step: KeptKernel, code: str) -> str:
    outputs: list[kernels.Output] = []
    kernels.execute(step, code, outputs.append)
    return "".join(each["content"].get("text", "") for each in outputs)


def fail(process: subprocess.Popen[bytes], step: KeptKernel, workspace: Path) -> int:
    """Have its owner fail when it is asked next."""
    (workspace / "broken").touch()
    kernels.renew(step)
    code = process.wait(60)
    (workspace / "broken").unlink()
    return code


def test_one_that_is_started_again_leaves_its_kernel_which_the_next_finds(step, workspace):
    first = keep("again", "new")
    until(lambda: ready(step))
    printed(step, "x = 41")
    before = step.state().kernel_pid
    assert fail(first, step, workspace) == keeper.LEFT
    assert not gone(before)
    assert step.state().phase == "ready"
    second = keep("again", "resume")
    until(lambda: ready(step))
    assert printed(step, "print(x + 1)") == "42\n"
    assert step.state().kernel_pid == before
    second.terminate()
    assert second.wait(60) == 0


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_one_that_is_not_started_again_ends_its_kernel_and_says_why(step, workspace, where):
    """Also on a machine that is not this one."""
    process = keep("never", "new", where)
    until(lambda: ready(step))
    kernel = step.state().kernel_pid
    assert fail(process, step, workspace) == 1
    why = "its keeper failed: RuntimeError: a mistake of ours"
    assert (workspace / "ended").read_text() == f"{why}|"
    assert (step.state().phase, step.state().why) == ("ended", why)
    until(lambda: gone(kernel))
    until(lambda: read_state(step.host).phase == "ended")


def test_one_that_fails_before_it_has_found_its_kernel_elsewhere_ends_it_too(step, workspace):
    first = keep("again", "new", "elsewhere")
    until(lambda: ready(step))
    kernel = step.state().kernel_pid
    assert fail(first, step, workspace) == keeper.LEFT
    (workspace / "broken").touch()
    assert keep("never", "resume", "elsewhere").wait(60) == 1
    until(lambda: gone(kernel))


@pytest.mark.slow  # half a minute, for which its host is tried
def test_a_kernel_that_cannot_be_reached_has_not_ended(step, workspace):
    process = keep("never", "new", "elsewhere")
    until(lambda: ready(step))
    (workspace / "cut").touch()
    assert fail(process, step, workspace) == 1
    assert (step.state().phase, step.state().why) == ("ready", "its keeper failed: RuntimeError: a mistake of ours")
    assert not (workspace / "ended").exists()
    assert not gone(step.state().kernel_pid)
    end_core(LocalReach(step.host), within_s=20.0)
    until(lambda: gone(step.state().kernel_pid))


def test_a_session_outlives_a_keeper_that_may_open_no_file(workspace):
    gpu.start("trainer", idle="1h")
    kept = KeptKernel.of("gpu:trainer")
    before, failed = kept.state().kernel_pid, keeper_pids("trainer")
    for pid in failed:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3))
    until(lambda: job_of("trainer").restarts or kernels.renew(kept))
    until(lambda: kept.is_alive() and gpu.show("trainer").state == "running")
    assert kept.state().kernel_pid == before
    assert kernels.execute("gpu:trainer", "1", lambda _: None)["status"] == "ok"


@pytest.mark.parametrize(
    ("ago", "again"),
    [([], True), ([5], True), ([5, 20], False), ([100, 200, 300], True), ([100, 200, 300, 400, 500], False)],
)
def test_it_is_started_again_but_not_again_and_again(workspace, ago, again):
    write_job(JOB, "trainer", None, "running")
    at = tuple(time.time() - each for each in ago)
    update(open_store(), jobs.JobRecord, JOB, lambda body: replace(body, restart=True, restarted_at=at))
    assert is_started_again(JOB) is again


def test_one_whose_end_is_asked_for_is_not_started_again(workspace):
    write_job(JOB, "trainer", None, "running")
    update(open_store(), jobs.JobRecord, JOB, lambda body: replace(body, restart=True, stop_requested_at=1.0))
    assert not is_started_again(JOB)


@pytest.mark.parametrize("by", ["socket", "command"])
def test_a_core_that_fails_is_not_put_down_to_a_killer(tmp_path, by):
    folder = tmp_path / "host"
    cache = ["env", f"XDG_CACHE_HOME={tmp_path / 'cache'}"]
    reach = (
        CommandReach(cache, str(folder), shell=False, python=sys.executable) if by == "command" else LocalReach(folder)
    )
    far = Far(reach, folder, tmp_path / "here", argv=["python\0"])
    far.until(lambda: far.state.phase == "ended")
    assert far.state.why == "its host core failed: ValueError: embedded null byte"
    far.link.close()
