"""What a machine of EC2 costs: its end as EC2 has it, and the price of spot as it changes while the machine runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aiinfra_lab import cost
from aiinfra_lab.config import settings
from aiinfra_lab.cost.billing import MachineTime, PriceChange, bill
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.gpu import aws_calls, renting, sessions
from aiinfra_lab.gpu.aws import AwsMachines
from aiinfra_lab.gpu.base import Offer
from aiinfra_lab.gpu.record import MachineRecord, SessionRecord
from aiinfra_lab.gpu.renting import Clock, LaunchSpec
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.uris import Uri
from tests.fakes.aws_account import furnish, furnish_role, settings_file
from tests.fakes.ec2 import Ec2
from tests.fakes.ec2_spot import SpotPrice

HOUR = 3600.0
JOB, TOKEN = "gpu-trainer-0a1b2c3d", "trainer-0a1b2c3d-0"
ZONE = "us-east-1a"
SPOT = Offer("L4", 0.25, device=f"g6.xlarge/us-east-1/{ZONE}", spot=True, worst_usd_per_hour=0.8048)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2]:
    with Ec2() as made:
        yield made


@pytest.fixture
def ec2(cloud: Ec2, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ec2:
    cloud.reset()
    cloud.clock = time.time
    furnish(cloud)
    furnish_role(cloud)
    for name, value in cloud.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws_calls, "PAUSE_S", 0.01)
    (workspace / "aiinfra.toml").write_text(settings_file(tmp_path / "prices.csv"))
    (workspace / ".aiinfra").mkdir(exist_ok=True)
    cloud.calls.clear()
    return cloud


@pytest.fixture
def machines(ec2: Ec2) -> AwsMachines:
    return AwsMachines(settings())


class Rented:
    """A machine that began some time ago, with its session's and its own record. ago_s: when."""

    def __init__(self, ec2: Ec2, machines: AwsMachines, folder: Path, offer: Offer = SPOT, ago_s: float = 0.0) -> None:
        self.ec2, self.machines = ec2, machines
        (folder / "keeper").mkdir(mode=0o700)
        owner = make_home_id(settings().home)
        made = machines.launch(LaunchSpec("trainer", owner, TOKEN, offer, time.time() + 7200, folder / "keeper"))
        self.name = made.partition("/")[2]
        self.began = float(int(time.time() - ago_s))
        ec2.living()[self.name].launch_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began))
        fields = {"provider": "aws", "gpu": offer.gpu, "usd_per_hour": offer.usd_per_hour, "spot": offer.spot}
        worst = offer.worst_usd_per_hour
        body = MachineRecord(session="trainer", job=JOB, device=offer.device, instance=made, worst_usd_per_hour=worst,
                             requested_at=self.began, **fields)  # fmt: skip
        session = SessionRecord(started_at=self.began, is_rented=True, handle=JOB, **fields)
        open_store().commit([Record.new(TOKEN, body), Record.new("trainer", session)])
        self.rental = renting.Rental(machines, KeptKernel.of(Uri.parse("gpu:trainer")), offer, JOB)

    @property
    def record(self) -> Record[MachineRecord]:
        found = open_store().get(MachineRecord, TOKEN)
        assert found is not None
        return found

    def costs(self, *prices: tuple[float, float]) -> None:
        """Spot costs that, from so long after the start on."""
        kept = [SpotPrice(0.0, "g6.xlarge", "us-east-1b", 9.0)]
        self.ec2.spot_prices = kept + [SpotPrice(self.began + at, "g6.xlarge", ZONE, usd) for at, usd in prices]

    def bill(self, lasted_s: float, *prices: tuple[float, float]) -> float:
        changes = tuple(PriceChange(self.began + max(0.0, at), usd) for at, usd in prices)
        return float(bill([MachineTime(self.began, self.began + lasted_s, changes)]))

    def asked(self) -> int:
        return sum(call.operation == "DescribeSpotPriceHistory" for call in self.ec2.calls)


def test_a_machine_that_was_taken_while_nobody_looked_is_paid_until_then(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path
) -> None:
    rented = Rented(ec2, machines, tmp_path, ago_s=8 * HOUR)
    taken_at = rented.began + HOUR
    ec2.clock = lambda: taken_at
    ec2.interrupt(rented.name, notice_s=0)
    ec2.state(rented.name)
    assert rented.rental.lost()
    assert (rented.record.body.began_at, rented.record.body.ended_at) == (rented.began, taken_at)
    assert rented.record.body.spent_usd(time.time()) == pytest.approx(0.25)


@pytest.mark.parametrize("asked_again", [False, True])
def test_a_machine_that_somebody_ended_is_paid_until_that_was_asked_for(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path, asked_again: bool
) -> None:
    rented = Rented(ec2, machines, tmp_path, ago_s=3 * HOUR)
    ec2.ends_s, ended_at = 90.0, rented.began + HOUR
    ec2.clock = lambda: ended_at
    machines.end(f"us-east-1/{rented.name}")
    if asked_again:
        ec2.clock = lambda: ended_at + 60
        machines.end(f"us-east-1/{rented.name}")
    ec2.clock = time.time
    assert renting.settle(machines, rented.record)
    assert rented.record.body.ended_at == ended_at


def test_a_machine_that_runs_has_no_end_and_what_is_no_time_is_none(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path
) -> None:
    rented = Rented(ec2, machines, tmp_path, ago_s=60)
    assert machines.instances(TOKEN)[0].ended_at is None
    ec2.shut_down(rented.name)
    found = machines.instances(TOKEN)[0]
    assert (found.state, found.ended_at) == ("gone", None)


def test_record_card_and_meter_have_the_bill_of_a_spot_price_that_changes(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path
) -> None:
    rented = Rented(ec2, machines, tmp_path, ago_s=3 * HOUR)
    prices = ((-9 * HOUR, 0.3), (HOUR, 0.5), (1.5 * HOUR, 0.4), (2 * HOUR, 0.7))
    rented.costs((-20 * HOUR, 0.9), *prices)
    rented.rental.note_prices().result(60)
    exact = rented.bill(time.time() - rented.began, *prices)
    assert rented.record.body.spent_usd(time.time()) == pytest.approx(exact, rel=1e-3)
    assert sessions.rented_usd(sessions.find("trainer")) == pytest.approx(exact, rel=1e-3)
    assert cost.show("gpu:trainer").spent_usd == pytest.approx(exact, rel=1e-3)


def test_prices_are_asked_for_rarely_and_from_the_last_known_one_on(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path
) -> None:
    rented, now = Rented(ec2, machines, tmp_path, ago_s=3 * HOUR), [1000.0]
    machines.clock = Clock(monotonic=lambda: now[0])
    rented.rental = renting.Rental(machines, KeptKernel.of(Uri.parse("gpu:trainer")), SPOT, JOB)
    rented.costs((-HOUR, 0.3), (HOUR, 0.5))
    for _ in range(3):
        rented.rental.note_prices().result(60)
    assert rented.asked() == 1
    now[0] += renting.PRICES_S + 1
    rented.costs((-HOUR, 0.3), (HOUR, 0.5), (2 * HOUR, 0.6))
    rented.rental.note_prices().result(60)
    assert rented.asked() == 2
    begun = [call for call in ec2.calls if call.operation == "DescribeSpotPriceHistory"][-1].get("StartTime")
    assert begun.startswith(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(rented.began + HOUR)))
    assert [each.usd_per_hour for each in rented.record.body.prices] == [0.3, 0.5, 0.6]


def test_at_its_end_the_prices_that_nobody_heard_of_are_counted(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path
) -> None:
    rented = Rented(ec2, machines, tmp_path, ago_s=3 * HOUR)
    prices = ((-HOUR, 0.3), (HOUR, 0.5))
    rented.costs(*prices, (2.5 * HOUR, 9.0))
    ec2.clock = lambda: rented.began + 2 * HOUR
    ec2.interrupt(rented.name, notice_s=0)
    ec2.state(rented.name)
    assert renting.settle(machines, rented.record)
    assert rented.record.body.spent_usd(time.time()) == pytest.approx(rented.bill(2 * HOUR, *prices), rel=1e-9)


def test_a_machine_on_demand_is_not_asked_about(ec2: Ec2, machines: AwsMachines, tmp_path: Path) -> None:
    rented = Rented(ec2, machines, tmp_path, replace(SPOT, spot=False, worst_usd_per_hour=None), ago_s=HOUR)
    rented.rental.note_prices().result(60)
    machines.end(f"us-east-1/{rented.name}")
    assert renting.settle(machines, rented.record)
    assert rented.asked() == 0


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "RequestLimitExceeded", "InvalidParameterValue"])
def test_prices_that_are_not_told_leave_those_that_are_known_and_the_end(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path, code: str
) -> None:
    rented = Rented(ec2, machines, tmp_path, ago_s=HOUR)
    ec2.fail("DescribeSpotPriceHistory", code, times=20)
    rented.rental.note_prices().result(60)
    machines.end(f"us-east-1/{rented.name}")
    assert renting.settle(machines, rented.record)
    assert (rented.record.body.prices, rented.record.body.is_open) == ((), False)


def test_a_store_or_a_cloud_that_is_away_stops_no_keeper(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rented = Rented(ec2, machines, tmp_path, ago_s=HOUR)

    def away(*_: object) -> None:
        raise Unavailable("the cloud does not answer", "wait")

    monkeypatch.setattr(machines, "price_changes", away)
    rented.rental.note_prices().result(60)
    assert rented.record.body.prices == ()


def test_the_policy_of_who_launches_lets_it_ask_for_prices(
    ec2: Ec2, machines: AwsMachines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rented = Rented(ec2, machines, tmp_path, ago_s=HOUR)
    rented.costs((-HOUR, 0.3))
    iam = ec2.client("iam")
    policy = (Path(__file__).parents[2] / "infra" / "iam" / "launcher.json").read_text()
    iam.create_user(UserName="launcher")
    iam.put_user_policy(UserName="launcher", PolicyName="launcher", PolicyDocument=policy)
    key = iam.create_access_key(UserName="launcher")["AccessKey"]
    for name, value in ec2.env(key["AccessKeyId"], key["SecretAccessKey"]).items():
        monkeypatch.setenv(name, value)
    ec2.enforce(True)
    try:
        renting.Rental(
            AwsMachines(settings()), KeptKernel.of(Uri.parse("gpu:trainer")), SPOT, JOB
        ).note_prices().result(60)
    finally:
        ec2.enforce(False)
    assert [each.usd_per_hour for each in rented.record.body.prices] == [0.3]
