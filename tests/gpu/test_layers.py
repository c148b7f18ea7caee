"""Nothing keeps costing money: eight layers, each alone. In each test all others are off, as far as they can be, and
the machine is gone all the same.

Off is: lists that never show a machine (tags), a cloud that takes each request for another one (token), a machine that
ends at no time (it ends itself, its lease), nobody who looks (reaper), one question whose answer is lost (retries).
"""

from __future__ import annotations

import base64
import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiinfra_lab import gpu
from aiinfra_lab.config import settings
from aiinfra_lab.errors import LabError, StoreUnavailable, Unavailable
from aiinfra_lab.gpu import Offer, aws_calls, reaping
from aiinfra_lab.gpu.aws import AwsMachines
from aiinfra_lab.gpu.record import MachineRecord
from aiinfra_lab.gpu.renting import LaunchSpec, Rental
from aiinfra_lab.gpu.sim import SimMachines
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.store import Record, open_store
from tests.cards import one_line
from tests.conftest import until
from tests.fakes.aws_account import furnish, furnish_role, settings_file
from tests.fakes.ec2 import Ec2
from tests.fakes.rented import OFFERS, Killed
from tests.fakes.rented_life import Life
from tests.infra.test_machine import given, machine
from tests.kernels.far import Far

G5 = Offer("A10G", 1.006, device="g5.xlarge/us-east-1/us-east-1a")
LASTS_S = 3600.0


# ---- a cloud in memory ----


@pytest.fixture
def life(workspace: Path) -> Life:
    """A session whose machines end at no time by themselves."""
    found = Life()
    found.cloud.lag_s = 0.0
    found.deadline_at = math.inf
    run = found.cloud.run

    def endless(spec: LaunchSpec) -> Any:
        made = run(spec)
        made.expires_at = math.inf
        return made

    found.cloud.run = endless  # type: ignore[method-assign]
    return found


def keeper(life: Life) -> Rental:
    return life.machines.source(life.kernel, OFFERS[0], life.job)


def ask(rental: Rental) -> None:
    rental.obtain(lambda what: None)


def release(life: Life, rental: Rental) -> None:
    for _ in range(100):
        try:
            return rental.release()
        except LabError:
            life.time.sleep(5.0)
    raise AssertionError("it is not gone")


def fail_next(life: Life, call: str, *faults: Any) -> None:
    begun = life.faults.calls.count(call)
    life.faults.at |= {(call, begun + place): fault for place, fault in enumerate(faults)}


def own(life: Life) -> list[Any]:
    return [each for each in life.cloud.machines if each.id not in life.kept]


def hide(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """No list shows a machine: its tags are lost."""
    monkeypatch.setattr(life.machines, "instances", lambda token="": [])


def test_layer_1_the_intent_is_committed_before_any_call(life, monkeypatch):
    hide(life, monkeypatch)

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is full", "…")

    with monkeypatch.context() as patch:
        patch.setattr(open_store(), "commit", away)
        with pytest.raises(StoreUnavailable):
            ask(keeper(life))
    assert own(life) == []  # nothing that nobody knows
    # Its answer is never heard, and what asked is killed: what was written down is all that is left of it.
    fail_next(life, "launch", "killed after")
    with pytest.raises(Killed):
        ask(keeper(life))
    [intent] = life.records()
    assert (intent.instance, intent.is_open) == ("", True)
    again = keeper(life)
    with pytest.raises(Unavailable):
        ask(again)
    release(life, again)
    assert (life.left, len(own(life))) == ([], 1)


def test_layer_7_the_reaper_ends_what_no_record_tells_of(life):
    spec = LaunchSpec(life.name, life.owner, f"gpu-{life.name}-0a1b2c3d-0", OFFERS[0], math.inf, Path())
    life.machines.launch(spec)
    found = reaping.look({"fake": life.machines})
    assert [each.why for each in found.orphans] == ["no record of this workspace tells of it"]
    left = reaping.end(found.orphans, 120.0, {"fake": life.machines}, life.machines.clock)
    assert (left, life.left, life.touched) == ([], [], set())


def test_layer_8_an_end_is_asked_for_until_its_provider_says_that_it_is_gone(life):
    rental = keeper(life)
    ask(rental)
    fail_next(life, "end", "error before", "throttled", "lost answer", "error before")
    fail_next(life, "instances", "throttled", "error before", "empty")
    with pytest.raises(LabError):
        rental.release()
    assert [each.is_open for each in life.records()] == [True]
    release(life, rental)
    assert life.left == []
    assert [each.ended_by for each in life.records()] == ["stopped"]


# ---- EC2 on loopback ----


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
    monkeypatch.setattr(aws_calls, "ATTEMPTS", 1)  # nothing is asked again
    (workspace / "aiinfra.toml").write_text(settings_file(tmp_path / "prices.csv", aws_one_shot=None))
    (workspace / ".aiinfra").mkdir(exist_ok=True)
    return cloud


@pytest.fixture
def spec(ec2: Ec2, tmp_path: Path) -> LaunchSpec:
    (tmp_path / "keeper").mkdir(mode=0o700)
    owner, deadline_at = make_home_id(settings().home), time.time() + LASTS_S
    return LaunchSpec("trainer", owner, "trainer-1", G5, deadline_at, tmp_path / "keeper", LASTS_S)


def lose_answer(ec2: Ec2, spec: LaunchSpec) -> None:
    """A machine is made, and whoever asked for it never hears of that."""
    ec2.fail("RunInstances", "cut", when="after")
    with pytest.raises(Unavailable):
        AwsMachines(settings()).launch(spec)
    assert len(ec2.living()) == 1


def test_layer_2_tags_travel_in_the_creating_call_and_find_the_machine(ec2, spec):
    lose_answer(ec2, spec)
    again = AwsMachines(settings())
    # With another token of EC2's a second request would make a second machine: it is looked for first.
    found = again.launch(spec)
    assert len([call for call in ec2.calls if call.operation == "RunInstances"]) == 1
    again.end(found)
    assert ec2.living() == {}


def test_layer_3_a_token_stands_for_one_machine_though_no_list_shows_it(ec2, spec, monkeypatch):
    monkeypatch.setattr(AwsMachines, "_instances_in", lambda *_: [])
    lose_answer(ec2, spec)
    again = AwsMachines(settings())
    found = again.launch(spec)
    assert list(ec2.living()) == [found.partition("/")[2]]
    again.end(found)
    assert ec2.living() == {}


@pytest.mark.parametrize("ahead_s", [0.0, 7200.0, -7200.0])
def test_layer_4_the_machine_ends_itself(ec2, spec, tmp_path, ahead_s):
    lose_answer(ec2, replace(spec, deadline_at=spec.deadline_at + ahead_s))
    [number] = ec2.living()
    [asked] = [call for call in ec2.calls if call.operation == "RunInstances"]
    disk = tmp_path / "disk"
    disk.mkdir()
    script = base64.b64decode(asked.get("UserData")).decode()
    env = machine(disk)
    made = disk / "usr" / "local" / "lib" / "aiinfra-lab"
    (made / "bin").mkdir(parents=True)
    shutil.copy(disk / "bin" / "python3", made / "bin" / "pip")  # which `python3 -m venv` makes there
    subprocess.run(["sh", "-c", script], env=env, capture_output=True, check=True)
    first, *_, python, pip = given(disk)
    assert first in ("shutdown -h +60", "shutdown -h +59")
    assert (python, pip) == (f"python3 -m venv {made}", "pip install -q ipykernel")
    ec2.shut_down(number)  # what that does an hour later
    assert ec2.living() == {}


def one_shots(ec2: Ec2) -> list[dict[str, Any]]:
    client = ec2.client("scheduler")
    names = [each["Name"] for each in client.list_schedules()["Schedules"]]
    return [client.get_schedule(Name=name) for name in names]


@pytest.fixture
def armed(ec2: Ec2, workspace: Path, tmp_path: Path) -> AwsMachines:
    (workspace / "aiinfra.toml").write_text(settings_file(tmp_path / "prices.csv").replace("[gpu]", ON))
    return AwsMachines(settings())


ON = "[gpu]\naws_one_shot = true"


def ends_at(schedule: dict[str, Any]) -> float:
    text = schedule["ScheduleExpression"].removeprefix("at(").removesuffix(")")
    return float(time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) - time.timezone)


@pytest.mark.parametrize("ahead_s", [0.0, 7200.0, -7200.0])
def test_layer_6_a_schedule_of_aws_ends_it(ec2, armed, spec, ahead_s):
    armed.launch(replace(spec, deadline_at=spec.deadline_at + ahead_s))
    [number] = ec2.living()
    [schedule] = one_shots(ec2)
    assert ends_at(schedule) == pytest.approx(time.time() + LASTS_S + 60, abs=30)
    assert schedule["ActionAfterCompletion"] == "DELETE"
    assert schedule["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"
    assert schedule["Target"]["RoleArn"].endswith(":role/aiinfra-training-one-shot")
    ec2.client().terminate_instances(**json.loads(schedule["Target"]["Input"]))  # what AWS does then
    assert number not in ec2.living()


def test_a_schedule_is_made_once_moved_and_deleted_with_its_machine(ec2, armed, spec):
    instance = armed.launch(spec)
    assert AwsMachines(settings()).launch(spec) == instance
    [first] = one_shots(ec2)
    armed.move_end(instance, time.time() + 7200)
    [moved] = one_shots(ec2)
    assert ends_at(moved) - ends_at(first) == pytest.approx(3600, abs=30)
    armed.end(instance)
    assert one_shots(ec2) == []


def test_the_reaper_finds_schedules_of_machines_that_are_gone_and_deletes_ours(ec2, armed, spec):
    ours, theirs = armed.launch(spec), armed.launch(replace(spec, token="gpu-other-0"))
    living = armed.launch(replace(spec, token="gpu-living-0"))
    number = [each.partition("/")[2] for each in (ours, theirs)]
    ec2.client().terminate_instances(InstanceIds=number)  # in another way than ours
    fields = {"provider": "aws", "gpu": "A10G", "usd_per_hour": 1.0, "requested_at": 1.0}
    body = MachineRecord(session="far", job="gone", instance=ours, ended_at=2.0, **fields)
    open_store().commit([Record.new(spec.token, body)])
    assert sorted(armed.leftovers()) == sorted([ours, theirs])
    found = reaping.look({"aws": armed})
    assert found.leftovers == {"aws": [ours]}
    card = gpu._check(replace(found, orphans=[])).card()
    assert f"AWS has a schedule left for {ours}" in one_line(card)
    reaping.tidy(found.leftovers, {"aws": armed})
    left = {each["Name"].removeprefix("aiinfra-") for each in one_shots(ec2)}
    assert left == {each.partition("/")[2] for each in (theirs, living)}


def test_who_gets_no_schedule_gets_no_machine(ec2, armed, spec, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise aws_calls.RefusedError("ValidationException", "the role is not there", "us-east-1")

    monkeypatch.setattr(armed._one_shots, "_account_of", refuse)
    with pytest.raises(LabError, match="takes no schedule") as problem:
        armed.launch(spec)
    assert "aws_one_shot" in problem.value.fix
    assert ec2.living() == {}


# ---- the lease ----


def test_layer_5_the_lease_ends_the_machine_by_a_clock_that_nobody_sets(workspace, tmp_path):
    """A host core whose owner never comes again; the cloud keeps no deadline, and nobody looks."""
    machines = SimMachines(settings())
    folder = Path(tmp_path, "keeper")
    folder.mkdir()
    offer = Offer("cpu", 0.04, device="sim.cpu/sim-1a")
    spec = LaunchSpec("far", make_home_id(settings().home), "gpu-far-0-0", offer, time.time() + 1e6, folder)
    instance = machines.launch(spec)
    [found] = machines.instances()
    place = machines.place_on(found, folder)
    far = Far(
        place.reach,
        Path(place.folder),
        tmp_path / "link",
        cwd=str(tmp_path),
        at_end=list(place.at_end),
        left_s=3.0,
        reason="budget",
        rented=True,
    )
    far.link.close()
    until(lambda: not machines.instances())
    assert machines.cloud.machines()[0].id == instance
