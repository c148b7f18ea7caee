"""Whatever goes wrong at whatever call, nothing is left after one look at what there is, and others' is not touched."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aiinfra_lab.config import settings
from aiinfra_lab.errors import LabError, Unavailable
from aiinfra_lab.gpu import aws_calls
from aiinfra_lab.gpu.aws import AwsMachines
from aiinfra_lab.gpu.base import NoCapacity, Offer
from aiinfra_lab.gpu.renting import LaunchSpec
from aiinfra_lab.gpu.ssh_keys import SshKeys
from aiinfra_lab.jobs.home import make_home_id
from tests.fakes.aws_account import furnish, furnish_role, settings_file
from tests.fakes.ec2 import Ec2, When

OFFER = Offer("A10G", 1.006, device="g5.xlarge/us-east-1/us-east-1a")
CALLS = ("DescribeInstances", "DescribeImages", "DescribeSubnets", "DescribeSecurityGroups", "RunInstances")
ENDS = ("DescribeRegions", "TerminateInstances")
WHEN: tuple[When, ...] = ("before", "after")
PROBLEMS = ("crash", "silence", "cut", "RequestLimitExceeded", "InsufficientInstanceCapacity", "InternalError")


@dataclass(frozen=True)
class Fault:
    """skip: so many calls of that kind go well before."""

    operation: str
    when: When
    problem: str
    skip: int = 0


SINGLE = [Fault(*each) for each in product((*CALLS, *ENDS), WHEN, PROBLEMS)]


class Account:
    """Where keepers rent, and what others have there. A keeper is a process: it can be killed at any moment."""

    def __init__(self, ec2: Ec2, folder: Path) -> None:
        self.ec2, self.folder = ec2, folder
        self.owner = make_home_id(settings().home)
        SshKeys.of(folder)
        self._lives = 0
        self._tokens: list[str] = []
        machine = {"ImageId": ec2.image(), "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
        plain = ec2.client().run_instances(**machine)["Instances"][0]["InstanceId"]
        another = AwsMachines(settings()).launch(self.spec("decoy", "another")).partition("/")[2]
        self.others = {plain, another}
        ec2.calls.clear()

    def spec(self, token: str, owner: str = "") -> LaunchSpec:
        return LaunchSpec("one", owner or self.owner, token, OFFER, time.time() + 3600, self.folder)

    def live(self, faults: list[Fault], *, is_started_again: bool) -> None:
        """A keeper rents and gives back while that goes wrong; whoever kills it may start it again."""
        self._lives += 1
        child = [0]
        for fault in faults:
            crash = fault.problem == "crash"
            does = (lambda: os.kill(child[0], signal.SIGKILL)) if crash else fault.problem
            self.ec2.fail(fault.operation, does, fault.when, skip=fault.skip)
        attempt = self.folder / f"attempt-{self._lives}"
        attempt.write_text("0")
        for _ in range(len(faults) + 1 if is_started_again else 1):
            child[0] = os.fork()
            if child[0] == 0:
                try:
                    self._keep(attempt)
                finally:
                    os._exit(0)
            if os.WIFEXITED(os.waitpid(child[0], 0)[1]):
                break
        self.ec2._faults.clear()

    def _keep(self, attempt: Path) -> None:
        machines = AwsMachines(settings())
        for _ in range(6):
            token = f"one-{self._lives}-{attempt.read_text()}"
            try:
                machines.end(machines.launch(self.spec(token)))
                return
            except NoCapacity:
                attempt.write_text(str(int(attempt.read_text()) + 1))
            except Unavailable:
                continue
            except LabError:
                return

    def clear_up(self) -> None:
        """What `gpu check` does with what no record knows."""
        machines = AwsMachines(settings())
        for each in machines.instances():
            machines.end(each.id)

    def check(self) -> None:
        """Nothing is left, no token has made two, and what others have is as it was."""
        assert set(self.ec2.living()) == self.others
        made = [{tag["key"]: tag["value"] for tag in it.get_tags()} for it in self.ec2._instances()]
        assert set(Counter(tags["aiinfra:token"] for tags in made if "aiinfra:token" in tags).values()) <= {1}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2]:
    with Ec2() as made:
        yield made


@pytest.fixture
def account(cloud: Ec2, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    cloud.reset()
    furnish(cloud)
    furnish_role(cloud)
    for name, value in cloud.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws_calls, "PAUSE_S", 0.01)
    monkeypatch.setattr(aws_calls, "READ_S", 0.5)
    (workspace / "aiinfra.toml").write_text(settings_file(tmp_path / "prices.csv"))
    (workspace / ".aiinfra").mkdir(exist_ok=True)
    (tmp_path / "keeper").mkdir(mode=0o700)
    return Account(cloud, tmp_path / "keeper")


def goes_well(account: Account, faults: list[Fault], *, is_started_again: bool) -> None:
    account.live(faults, is_started_again=is_started_again)
    account.clear_up()
    account.check()


@pytest.mark.parametrize("problem", ["crash", "silence", "InsufficientInstanceCapacity"])
def test_a_machine_that_its_keeper_has_not_heard_of_is_ended(account: Account, problem: str) -> None:
    goes_well(account, [Fault("RunInstances", "after", problem)], is_started_again=problem != "crash")


@pytest.mark.slow
@pytest.mark.parametrize("is_started_again", [True, False], ids=["again", "gone"])
@pytest.mark.parametrize("operation", [*CALLS, *ENDS])
def test_one_fault_at_any_call_leaves_nothing(account: Account, operation: str, is_started_again: bool) -> None:
    for fault in SINGLE:
        if fault.operation == operation:
            goes_well(account, [fault], is_started_again=is_started_again)


FAULTS = st.builds(
    Fault, st.sampled_from((*CALLS, *ENDS)), st.sampled_from(WHEN), st.sampled_from(PROBLEMS), st.integers(0, 2)
)


@pytest.mark.slow
@hypothesis_settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(faults=st.lists(FAULTS, min_size=2, max_size=5), is_started_again=st.booleans())
def test_many_faults_leave_nothing(account: Account, faults: list[Fault], is_started_again: bool) -> None:
    goes_well(account, faults, is_started_again=is_started_again)


def test_without_a_look_afterwards_something_is_left(account: Account) -> None:
    """What the others show is not so by itself."""
    account.live([Fault("RunInstances", "after", "crash")], is_started_again=False)
    assert len(account.ec2.living()) == len(account.others) + 1
    account.clear_up()
    account.check()
