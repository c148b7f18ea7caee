"""Sessions on a real Slurm: jobs are asked for, found again, and hold their kernels; and what goes wrong says how."""

import itertools
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.gpu.base import Offer
from aiinfra_lab.gpu.renting import Instance, LaunchSpec
from aiinfra_lab.gpu.slurm import SlurmMachines
from aiinfra_lab.jobs.home import make_home_id
from tests.conftest import until
from tests.kernels.far import Far
from tests.slurm import SlurmCluster, needs_slurm, slurm_cluster

__all__ = ["slurm_cluster"]
pytestmark = needs_slurm
_NUMBERS = itertools.count()


class One:
    """A session's job on the cluster, asked for by a token of its own."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.token = workspace, f"one-{next(_NUMBERS)}"
        self.configure()

    def configure(self, **more: str) -> None:
        lines = ["[gpu]", *(f'{name} = "{value}"' for name, value in {"slurm_python": sys.executable, **more}.items())]
        (self.workspace / "aiinfra.toml").write_text("\n".join(lines))
        self.machines = SlurmMachines(settings())

    def spec(self, device: str = "gpu/gpu:a100:1", for_s: float = 600.0) -> LaunchSpec:
        offer = Offer("A100", 0.0, device=device)
        owner = make_home_id(settings().home)
        return LaunchSpec("trainer", owner, self.token, offer, time.time() + for_s, self.workspace)

    def launch(self, device: str = "gpu/gpu:a100:1", for_s: float = 600.0) -> str:
        return self.machines.launch(self.spec(device, for_s))

    def found(self) -> Instance:
        [found] = self.machines.instances(self.token)
        return found

    def becomes(self, state: str) -> Instance:
        until(lambda: self.found().state == state)
        return self.found()

    def begin(self, **spec: object) -> Far:
        """The kernel of the running job."""
        place = self.machines.place_on(self.becomes("running"), self.workspace)
        values = {"argv": list(place.argv), "cwd": place.cwd, "env": {}, **spec}
        return Far(place.reach, Path(place.folder), self.workspace / "link", **values)


@pytest.fixture
def cluster(slurm_cluster, tmp_path, monkeypatch) -> Iterator[SlurmCluster]:
    """A cluster without jobs; its user's home is of the test."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_cluster.conf))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield slurm_cluster
    slurm_cluster.clear()


@pytest.fixture
def one(cluster, workspace) -> One:
    return One(workspace)


def printed(far: Far, code: str) -> str:
    before = len(far.printed)
    far.execute(f"{code}\nprint('done')")
    far.until(lambda: far.printed.endswith("done\n"))
    return far.printed[before : -len("done\n")]


def test_a_job_is_one_session_until_it_is_gone(one):
    number = one.launch()
    assert one.becomes("running").id == number
    assert [(each.id, each.session, each.token) for each in one.machines.instances()] == [
        (number, "trainer", one.token)
    ]
    one.machines.end(number)
    assert one.becomes("gone").why == "cancelled"
    assert one.machines.instances() == []
    one.machines.end(number)
    one.machines.end("99999")


def test_asked_again_with_the_token_it_is_the_same_job_also_in_the_queue_and_gone(one):
    other = One(one.workspace)
    other.launch("big/gpu:h100:1")
    number = one.launch("big/gpu:h100:1")
    assert one.found().state == "pending"
    assert one.launch("big/gpu:h100:1") == number
    one.machines.end(number)
    one.becomes("gone")
    assert one.launch("big/gpu:h100:1") == number


def test_a_kernel_lives_in_the_job_and_the_job_ends_with_it(one, tmp_path):
    one.launch()
    far = one.begin()
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['SLURMD_NODENAME'], os.getcwd())"
    assert printed(far, code) == f"0 n1 {tmp_path}\n"
    far.end()
    assert one.becomes("gone").why == "its script has ended"


def test_a_slice_is_its_own_device(one):
    one.launch("gpu/gpu:1g.10gb:2")
    far = one.begin()
    assert (
        printed(far, "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['SLURMD_NODENAME'])")
        == "0,1 n2\n"
    )


def test_a_connection_that_breaks_loses_nothing(one):
    one.launch()
    far = one.begin()
    far.execute("import time\nfor n in range(60):\n    print(f'line {n}', flush=True); time.sleep(0.05)")
    far.until(lambda: len(far.lines()) > 5)
    far.attach_again()
    far.until(lambda: len(far.lines()) >= 60)
    assert far.lines() == list(range(60))


def test_what_it_printed_last_is_there_when_the_job_has_gone(one):
    number = one.launch()
    far = one.begin()
    far.execute(
        "import time\nfor n in range(20):\n    print(f'line {n}', flush=True); time.sleep(0.05)\ntime.sleep(60)"
    )
    far.until(lambda: len(far.lines()) > 2)
    far.link.close()
    time.sleep(2)
    one.machines.end(number)
    one.becomes("gone")
    far.attach_again()
    far.until(lambda: far.link.is_over or far.state.phase == "ended")
    assert far.lines() == list(range(20))


def test_nobody_else_can_read_its_folder_and_no_command_shows_the_key(one, tmp_path):
    one.launch()
    far = one.begin()
    folder = tmp_path / ".cache/aiinfra-lab/sessions" / one.token
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert far.key.encode() not in entry.read_bytes()
        except OSError:
            continue
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in folder.rglob("*") if path.is_file())
