"""Sessions on machines of EC2: the cloud on loopback, and behind each of its instances a machine with a real sshd."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aiinfra_lab import gpu, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, LabError, Unavailable
from aiinfra_lab.gpu.aws import AwsMachines
from aiinfra_lab.gpu.base import Offer
from aiinfra_lab.gpu.renting import Instance, LaunchSpec
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.kernels import Place
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract, RentedMachinesContract
from tests.conftest import until
from tests.fakes.aws_account import furnish, furnish_role, settings_file
from tests.fakes.ec2 import Ec2
from tests.plane import Machine, Plane
from tests.sshd import needs_sshd

pytestmark = [*needs_sshd, pytest.mark.slow]  # machines that boot, and deadlines that are waited for

G5 = Offer("A10G", 1.006, device="g5.xlarge/us-east-1/us-east-1a")
SPOT = Offer("L4", 0.25, device="g6.xlarge/us-east-1/us-east-1a", spot=True, worst_usd_per_hour=0.8048)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2]:
    with Ec2() as made:
        yield made


@pytest.fixture
def plane(cloud: Ec2, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    cloud.reset()
    furnish(cloud)
    furnish_role(cloud)
    for name, value in cloud.env().items():
        monkeypatch.setenv(name, value)
    with Plane(cloud, tmp_path / "plane") as made:
        (workspace / "aiinfra.toml").write_text(
            settings_file(
                tmp_path / "prices.csv", aws_user="root", aws_python=sys.executable, aws_ssh_config=str(made.config)
            )
        )
        (workspace / ".aiinfra").mkdir(exist_ok=True)
        yield made


@pytest.fixture
def machines(plane: Plane) -> AwsMachines:
    return AwsMachines(settings())


class TestAws(MachinesContract, KernelHostContract, RentedMachinesContract):
    lead_s = 15.0
    patience_s = 90.0


class Rented:
    """One machine, rented without a session. name: EC2's for it."""

    def __init__(
        self, machines: AwsMachines, plane: Plane, folder: Path, offer: Offer = G5, for_s: float = 600
    ) -> None:
        folder.mkdir(mode=0o700)
        self.machines, self.plane = machines, plane
        owner = make_home_id(settings().home)
        self.spec = LaunchSpec("one", owner, "gpu-one-1", offer, time.time() + for_s, folder)
        self.id = machines.launch(self.spec)
        self.name = self.id.partition("/")[2]

    @property
    def instance(self) -> Instance:
        (found,) = self.machines.instances(self.spec.token)
        return found

    @property
    def host(self) -> Machine:
        found: Machine = until(lambda: self.plane.machine(self.name))
        return found

    def place(self) -> Place:
        """Once it answers."""

        def asked() -> Place | None:
            try:
                return self.machines.place_on(self.instance, self.spec.folder)
            except Unavailable:
                return None

        found: Place = until(asked)
        return found

    def ended_at(self) -> float:
        until(lambda: self.plane.ec2.state(self.name) == "terminated")
        return time.time()


def run(code: str, name: str = "far") -> str:
    outputs: list[kernels.Output] = []
    kernels.execute(f"gpu:{name}", code, outputs.append)
    return "".join(output["content"].get("text", "") for output in outputs)


def test_a_session_is_a_kernel_on_a_machine_that_goes_with_it(plane: Plane) -> None:
    session = gpu.start("far", gpu="A10G", on="aws", for_="1h")
    assert (session.state, session.gpu, session.hourly_usd) == ("running", "A10G", 1.006)
    assert run("import socket; print(socket.gethostname())") == "host-1\n"
    assert gpu.stop("far").state == "ended (stopped)"
    assert plane.ec2.living() == {}


def test_a_session_whose_machine_cannot_be_set_up_says_why_and_leaves_none(plane: Plane, workspace: Path) -> None:
    text = (workspace / "aiinfra.toml").read_text() + 'aws_setup = "echo no such driver; false"\n'
    (workspace / "aiinfra.toml").write_text(text)
    with pytest.raises(LabError, match="no such driver"):
        gpu.start("far", gpu="A10G", on="aws")
    until(lambda: plane.ec2.living() == {})


def test_a_zone_without_room_is_passed_over(plane: Plane) -> None:
    plane.ec2.room("g5.xlarge", 0, zone="us-east-1a")
    gpu.start("far", gpu="A10G", on="aws")
    [machine] = plane.ec2.living().values()
    assert machine.availability_zone == "us-east-1b"
    gpu.stop("far")


def test_a_session_goes_on_when_its_spot_machine_is_taken(plane: Plane) -> None:
    gpu.start("far", gpu="L4", on="aws", spot=True)
    [first] = plane.ec2.living()
    plane.ec2.interrupt(first, notice_s=1)
    until(lambda: set(plane.ec2.living()) - {first})
    until(lambda: gpu.show("far").state == "running")
    assert run("print(6 * 7)").endswith("]\n42\n")
    gpu.stop("far")
    assert plane.ec2.living() == {}


def test_a_machine_that_no_record_tells_of_is_found_and_ended(
    machines: AwsMachines, plane: Plane, tmp_path: Path
) -> None:
    rented = Rented(machines, plane, tmp_path / "keeper")
    with pytest.raises(LabError, match="no record of this workspace tells of it"):
        gpu.check()
    gpu.stop(orphans=True)
    assert plane.ec2.state(rented.name) == "terminated"


def test_it_ends_itself_at_its_deadline_though_nobody_and_nothing_is_there(
    machines: AwsMachines, plane: Plane, tmp_path: Path
) -> None:
    rented = Rented(machines, plane, tmp_path / "keeper", for_s=12)
    rented.host.set_link("down")
    plane.ec2.fail("*", "cut", times=1_000)
    late_s = rented.ended_at() - rented.spec.deadline_at
    assert -0.1 < late_s < 5


def test_its_deadline_moves_with_the_lease(machines: AwsMachines, plane: Plane, tmp_path: Path) -> None:
    rented = Rented(machines, plane, tmp_path / "keeper")
    place = rented.place()
    host, begun = rented.host, time.time()
    host.run(*place.at_lease, "3600")
    host.run(*place.at_lease, "4")
    host.set_link("down")
    assert 3.5 < rented.ended_at() - begun < 15
    assert rented.instance.why == "it shut itself down"


def test_the_end_of_the_session_there_is_the_end_of_the_machine(
    machines: AwsMachines, plane: Plane, tmp_path: Path
) -> None:
    rented = Rented(machines, plane, tmp_path / "keeper")
    rented.host.run(*rented.place().at_end)
    rented.ended_at()


def test_a_machine_with_another_key_is_not_spoken_to(machines: AwsMachines, plane: Plane, tmp_path: Path) -> None:
    rented = Rented(machines, plane, tmp_path / "keeper")
    rented.place()
    rented.host.run(
        "sh", "-c", "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
    )
    rented.host.run("/usr/local/sbin/systemctl", "restart", "ssh")
    with pytest.raises(Unavailable, match="Host key verification failed"):
        machines.place_on(rented.instance, rented.spec.folder)


def test_a_setup_that_fails_says_what_it_said(plane: Plane, workspace: Path, tmp_path: Path) -> None:
    text = (workspace / "aiinfra.toml").read_text() + 'aws_setup = "echo no such driver; false"\n'
    (workspace / "aiinfra.toml").write_text(text)
    rented = Rented(AwsMachines(settings()), plane, tmp_path / "keeper")
    with pytest.raises(Failed, match="could not be set up: no such driver") as caught:
        rented.place()
    assert "aws_setup" in caught.value.fix


def test_a_machine_that_still_sets_itself_up_is_not_there_yet(plane: Plane, workspace: Path, tmp_path: Path) -> None:
    text = (
        workspace / "aiinfra.toml"
    ).read_text() + f'aws_setup = "while ! [ -e {tmp_path}/go ]; do sleep 0.1; done"\n'
    (workspace / "aiinfra.toml").write_text(text)
    machines = AwsMachines(settings())
    rented = Rented(machines, plane, tmp_path / "keeper")

    def setting_up() -> bool:
        with pytest.raises(Unavailable) as caught:
            machines.place_on(rented.instance, rented.spec.folder)
        return "sets itself up" in caught.value.what

    until(setting_up)
    (tmp_path / "go").touch()
    assert rented.place().rented


def test_code_in_its_kernel_hears_what_its_core_has_heard_from_aws(plane: Plane) -> None:
    gpu.start("far", gpu="L4", on="aws", spot=True)
    [first] = plane.ec2.living()
    run("import os; path = os.path.expanduser(os.environ['AIINFRA_NOTICE'])")
    assert run("print(os.path.exists(path))") == "False\n"
    at = plane.ec2.interrupt(first)
    until(lambda: "True" in run("print(os.path.exists(path))"))
    assert float(run("print(open(path).read())").splitlines()[-1]) == int(at)
    gpu.stop("far")


def test_it_knows_when_it_will_be_taken(machines: AwsMachines, plane: Plane, tmp_path: Path) -> None:
    rented = Rented(machines, plane, tmp_path / "keeper", SPOT)
    rented.place()
    code = "from aiinfra_lab.host.notice import notice; print(notice(5))"
    # By ssh: whatever ssh starts there knows where its metadata service is.
    command = [*machines._ssh(rented.instance, rented.spec.folder), f"root@{rented.instance.address}"]
    path = Path(gpu.__file__).parents[2]

    def asked() -> str:
        there = f"PYTHONPATH={path} {sys.executable} -c {shlex.quote(code)}"
        return subprocess.run([*command, there], capture_output=True, text=True, check=True).stdout.strip()

    assert asked() == "None"
    at = plane.ec2.interrupt(rented.name)
    assert float(asked()) == int(at)


def test_a_second_machine_of_a_session_has_the_key_that_is_expected(
    machines: AwsMachines, plane: Plane, tmp_path: Path
) -> None:
    rented = Rented(machines, plane, tmp_path / "keeper")
    rented.place()
    machines.end(rented.id)
    again = replace(rented.spec, token="gpu-one-2")
    rented.spec, rented.id = again, machines.launch(again)
    rented.name = rented.id.partition("/")[2]
    assert rented.place().folder.endswith("gpu-one-2")
