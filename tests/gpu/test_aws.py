"""Machines of EC2, against EC2 on loopback: what is asked for, what is refused, and what is known of machines."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.errors import Denied, LabError, Unavailable, UsageProblem
from aiinfra_lab.gpu import aws_calls
from aiinfra_lab.gpu.aws import AwsMachines
from aiinfra_lab.gpu.base import NoCapacity, Offer
from aiinfra_lab.gpu.renting import LaunchSpec
from aiinfra_lab.jobs.home import make_home_id
from tests.fakes.aws_account import furnish, furnish_role, settings_file
from tests.fakes.ec2 import IMAGE, Ec2
from tests.fakes.ec2_wire import Call

DEADLINE_AT = float(int(time.time()) + 7200)
G5 = Offer("A10G", 1.006, device="g5.xlarge/us-east-1/us-east-1a")
SPOT = Offer("L4", 0.25, device="g6.xlarge/us-east-1/us-east-1a", spot=True, worst_usd_per_hour=0.8048)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2]:
    with Ec2() as made:
        yield made


@pytest.fixture
def ec2(cloud: Ec2, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ec2:
    """An account with an environment, and a workspace whose settings name it."""
    cloud.reset()
    cloud.clock = time.time
    furnish(cloud)
    furnish_role(cloud)
    cloud.calls.clear()
    for name, value in cloud.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws_calls, "PAUSE_S", 0.01)
    (workspace / "aiinfra.toml").write_text(settings_file(tmp_path / "prices.csv"))
    (workspace / ".aiinfra").mkdir(exist_ok=True)
    return cloud


@pytest.fixture
def machines(ec2: Ec2) -> AwsMachines:
    return AwsMachines(settings())


@pytest.fixture
def configured(ec2: Ec2, workspace: Path, tmp_path: Path) -> Callable[..., AwsMachines]:
    """The provider with other settings."""

    def make(**given: object) -> AwsMachines:
        (workspace / "aiinfra.toml").write_text(settings_file(tmp_path / "prices.csv", **given))
        return AwsMachines(settings())

    return make


@pytest.fixture
def spec(ec2: Ec2, tmp_path: Path) -> LaunchSpec:
    (tmp_path / "keeper").mkdir(mode=0o700)
    return LaunchSpec("trainer", make_home_id(settings().home), "trainer-1", G5, DEADLINE_AT, tmp_path / "keeper")


def launch_of(ec2: Ec2) -> Call:
    """The only call that creates a machine."""
    (found,) = [call for call in ec2.calls if call.operation == "RunInstances"]
    return found


def tags(call: Call, kind: str) -> dict[str, str]:
    (head,) = [name.partition(".ResourceType")[0] for name, value in call.parameters.items() if value == kind]
    names = [name for name in call.parameters if name.startswith(f"{head}.Tag.") and name.endswith(".Key")]
    return {call.get(name): call.get(name.replace(".Key", ".Value")) for name in names}


# ---- offers ----


def test_offers_are_of_the_zones_that_it_may_use_and_that_have_the_type(machines: AwsMachines) -> None:
    offers = machines.offers()
    assert [(it.device, it.spot) for it in offers if it.gpu == "L4"] == [
        ("g6.xlarge/us-east-1/us-east-1a", True),
        ("g6.xlarge/us-east-1/us-east-1b", True),
        ("g6.xlarge/us-east-1/us-east-1a", False),
        ("g6.xlarge/us-east-1/us-east-1b", False),
    ]
    assert {it.gpu for it in offers} == {"A10G", "L4", "A100-40GB"}
    assert [it.usd_per_hour for it in offers] == sorted(it.usd_per_hour for it in offers)


def test_an_offer_says_what_it_may_cost_at_worst_and_what_it_is(machines: AwsMachines) -> None:
    cheapest = machines.offers("L4")[0]
    assert (cheapest.usd_per_hour, cheapest.dearest_usd_per_hour) == (0.25, 0.8048)
    assert (cheapest.type, cheapest.where, cheapest.memory_gib, cheapest.note) == ("g6.xlarge", "us-east-1a", 24, "")


def test_an_old_price_is_said(machines: AwsMachines, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(
        prices.read_text().replace("A10G,1,1.006,,,us-east-1,test,20", "A10G,1,1.006,,,us-east-1,test,19")
    )
    assert [it.note[:19] for it in machines.offers("A10G")] == ["its price is of 192"] * 2


def test_only_what_is_wanted_is_offered(machines: AwsMachines) -> None:
    assert {it.gpu for it in machines.offers("A10G or L4")} == {"A10G", "L4"}
    cut = machines.offers("A100-40GB 1g.5gb")
    assert {it.device.rpartition("/")[2] for it in cut} == {"1g.5gb"}


def test_regions_are_those_of_the_settings(ec2: Ec2, configured: Callable[..., AwsMachines]) -> None:
    furnish(ec2, "us-west-2", "ac")
    offers = configured(aws_regions="us-west-2, us-east-1").offers("L40S")
    assert {it.where for it in offers} <= {"us-west-2a", "us-west-2c"}
    assert {it.spot for it in offers} == {True, False}


def test_looking_at_offers_creates_nothing(ec2: Ec2, machines: AwsMachines) -> None:
    machines.offers()
    assert ec2.living() == {}
    assert {call.operation for call in ec2.calls} == {"DescribeSubnets", "DescribeInstanceTypeOfferings"}


@pytest.mark.parametrize(
    ("given", "what", "fix"),
    [
        ({"aws_image": None}, "no image of AWS is named", "aws_image"),
        ({"aws_environment": None}, "no network of AWS is named", "infra/terraform/environments/training"),
        ({"aws_environment": "other"}, "has no subnet with the tag aiinfra:environment=other", "apply infra/terraform"),
        ({"aws_subnets": "subnet-1"}, "has no subnet subnet-1", "aws_subnets"),
    ],
)
def test_what_is_not_set_is_said_with_how_to_set_it(
    configured: Callable[..., AwsMachines], given: dict[str, object], what: str, fix: str
) -> None:
    with pytest.raises(UsageProblem, match=what) as caught:
        configured(**given).offers()
    assert fix in caught.value.fix


def test_who_has_set_nothing_up_is_not_made_to_wait(ec2: Ec2, configured: Callable[..., AwsMachines]) -> None:
    for ask in (configured(aws_image=None).instances, configured(aws_environment=None).offers):
        with pytest.raises(UsageProblem):
            ask()
    assert ec2.calls == []


def test_without_a_region_it_says_how_one_is_named(
    ec2: Ec2, machines: AwsMachines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(UsageProblem, match="no region of AWS is named"):
        machines.offers()


def test_without_credentials_it_is_denied_and_says_where_they_are_read(
    ec2: Ec2, machines: AwsMachines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for ask in (machines.offers, machines.instances):
        with pytest.raises(Denied, match="Unable to locate credentials") as caught:
            ask()
        assert "AWS_PROFILE" in caught.value.fix


def test_a_profile_that_is_not_there_is_said(machines: AwsMachines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(Denied, match="nobody"):
        machines.offers()


def test_credentials_are_read_again_when_they_have_expired(ec2: Ec2, machines: AwsMachines) -> None:
    ec2.fail("DescribeSubnets", "ExpiredToken")
    with pytest.raises(Denied, match="ExpiredToken"):
        machines.offers()
    assert machines.offers()


# ---- launching ----


def test_a_machine_is_asked_for_with_all_that_has_to_hold(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    made = machines.launch(spec)
    assert list(ec2.living()) == [made.removeprefix("us-east-1/")]
    call = launch_of(ec2)
    assert call.get("ClientToken") == "trainer-1"
    assert call.get("InstanceInitiatedShutdownBehavior") == "terminate"
    assert call.get("MetadataOptions.HttpTokens") == "required"
    disk = "BlockDeviceMapping.1"
    assert call.get(f"{disk}.DeviceName") == IMAGE["root_device_name"]
    assert (call.get(f"{disk}.Ebs.Encrypted"), call.get(f"{disk}.Ebs.DeleteOnTermination")) == ("true", "true")
    assert call.get("IamInstanceProfile.Name") == "aiinfra-training-host"
    assert (call.market, call.get("KeyName")) == ("on-demand", "")
    expires_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(DEADLINE_AT))
    for kind in ("instance", "volume", "network-interface"):
        seen = {name.removeprefix("aiinfra:"): value for name, value in tags(call, kind).items()}
        assert (seen["owner"], seen["session"], seen["token"], seen["expires"]) == (
            spec.owner,
            "trainer",
            "trainer-1",
            expires_at,
        )


def test_its_first_commands_arm_the_deadline(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    machines.launch(spec)
    script = base64.b64decode(launch_of(ec2).get("UserData")).decode()
    assert script.startswith(f"#!/bin/sh\nexpires_at='{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(DEADLINE_AT))}'")
    commands = [line for line in script.partition("\n# Before anything")[2].splitlines()[1:] if line[:1] != "#"]
    assert next(line for line in commands if line.startswith("shutdown")) == 'shutdown -h "+$(((left + 59) / 60))"'
    assert not [line for line in commands[: commands.index("")] if line.startswith(("apt", "curl", "systemctl"))]
    assert len(script) < 16_384


@pytest.mark.parametrize("ahead_s", [7200.0, -7200.0])
def test_its_script_says_how_long_it_lasts_whatever_the_clock_here_shows(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, ahead_s: float
) -> None:
    machines.launch(replace(spec, deadline_at=time.time() + ahead_s + 600, lasts_s=600.0))
    assert "\nlasts_s='600'\n" in base64.b64decode(launch_of(ec2).get("UserData")).decode()


def test_a_spot_machine_has_the_worst_price_for_its_limit(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    machines.launch(replace(spec, offer=SPOT))
    call, options = launch_of(ec2), "InstanceMarketOptions.SpotOptions"
    assert call.market == "spot"
    assert call.get(f"{options}.SpotInstanceType") == "one-time"
    assert call.get(f"{options}.InstanceInterruptionBehavior") == "terminate"
    assert call.get(f"{options}.MaxPrice") == "0.8048"
    assert tags(call, "spot-instances-request")["aiinfra:owner"] == spec.owner


def test_gpus_are_cut_by_the_profile_of_the_offer(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    machines.launch(replace(spec, offer=Offer("A100-40GB", 22.0, device="p4d.24xlarge/us-east-1/us-east-1b/1g.5gb")))
    assert f"\nmig='{','.join(['1g.5gb'] * 7)}'\n" in base64.b64decode(launch_of(ec2).get("UserData")).decode()


def test_an_image_is_found_by_its_name(ec2: Ec2, configured: Callable[..., AwsMachines], spec: LaunchSpec) -> None:
    configured(aws_image=IMAGE["name"][:-3] + "*").launch(spec)
    assert launch_of(ec2).get("ImageId") == IMAGE["ami_id"]


def test_a_volume_is_never_smaller_than_the_images(
    ec2: Ec2, configured: Callable[..., AwsMachines], spec: LaunchSpec
) -> None:
    configured(aws_root_gib=1).launch(spec)
    assert int(launch_of(ec2).get("BlockDeviceMapping.1.Ebs.VolumeSize")) > 1


def test_networks_of_ones_own_are_named_by_id(
    ec2: Ec2, configured: Callable[..., AwsMachines], spec: LaunchSpec
) -> None:
    ids = furnish(ec2, "us-west-2", "a")
    other = replace(spec, offer=Offer("L40S", 1.8, device="g6e.xlarge/us-west-2/us-west-2a"))
    made = configured(aws_environment=None, aws_subnets=ids["us-west-2a"], aws_security_groups=ids["group"]).launch(
        other
    )
    assert made.startswith("us-west-2/i-")
    assert launch_of(ec2).get("IamInstanceProfile.Name") == ""


def test_who_names_no_python_gets_one_made_once_the_deadline_is_armed(
    ec2: Ec2, configured: Callable[..., AwsMachines], spec: LaunchSpec
) -> None:
    configured(aws_setup="nvidia-smi -pm 1").launch(spec)
    script = base64.b64decode(launch_of(ec2).get("UserData")).decode()
    assert script.index("shutdown -h") < script.index("pip install -q ipykernel") < script.index("nvidia-smi -pm 1")
    ec2.calls.clear()
    configured(aws_python="/usr/bin/python3").launch(replace(spec, token="trainer-2"))
    assert "pip install" not in base64.b64decode(launch_of(ec2).get("UserData")).decode()


def test_the_keys_are_for_their_owner_alone_and_one_pair(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    machines.launch(spec)
    keys = spec.folder / "keys"
    assert {path.stat().st_mode & 0o077 for path in (keys, keys / "login", keys / "host")} == {0}
    before = (keys / "host").read_text()
    AwsMachines(settings()).launch(replace(spec, token="trainer-2"))
    assert (keys / "host").read_text() == before


# ---- the same machine, whoever asks again ----


def test_a_token_gives_one_machine_to_whoever_asks(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    first = machines.launch(spec)
    later = replace(spec, deadline_at=DEADLINE_AT + 600)
    assert {machines.launch(spec), AwsMachines(settings()).launch(later)} == {first}
    assert len(ec2.living()) == 1


def test_two_at_once_get_one_machine(ec2: Ec2, spec: LaunchSpec) -> None:
    spec.folder.joinpath("warm").touch()
    AwsMachines(settings()).launch(replace(spec, token="other"))  # the keys are made
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: AwsMachines(settings()).launch(spec), range(4)))
    assert len(set(made)) == 1
    assert len(ec2.living()) == 2


def test_a_machine_that_is_not_listed_yet_is_not_made_twice(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = machines.launch(spec)
    monkeypatch.setattr(AwsMachines, "_of_token", lambda *_: "")  # EC2's lists come later than its machines
    assert machines.launch(spec) == made
    with pytest.raises(Unavailable, match="not listed yet"):
        machines.launch(replace(spec, deadline_at=DEADLINE_AT + 600))
    assert len(ec2.living()) == 1


def test_the_token_of_a_machine_that_has_ended_makes_no_other(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = machines.launch(spec)
    machines.end(made)
    assert machines.launch(spec) == made
    monkeypatch.setattr(AwsMachines, "_of_token", lambda *_: "")
    with pytest.raises(NoCapacity, match="has ended already"):
        machines.launch(spec)


@pytest.mark.parametrize("answer", ["cut", "InternalError", "RequestLimitExceeded"])
def test_an_answer_that_does_not_come_is_asked_for_again(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, answer: str
) -> None:
    ec2.fail("RunInstances", answer, "after", times=2)
    assert machines.launch(spec).removeprefix("us-east-1/") in ec2.living()
    assert len(ec2.living()) == 1


def test_a_silent_cloud_is_unavailable_and_the_machine_is_found_later(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_calls, "READ_S", 0.3)
    ec2.fail("RunInstances", "silence", "after", times=aws_calls.ATTEMPTS)
    with pytest.raises(Unavailable, match="AWS does not answer in us-east-1"):
        machines.launch(spec)
    assert machines.launch(spec).removeprefix("us-east-1/") in ec2.living()
    assert len(ec2.living()) == 1


def test_a_denial_after_a_call_that_may_have_been_heard_is_no_denial(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec
) -> None:
    ec2.fail("RunInstances", "cut", "after")
    ec2.fail("RunInstances", "ExpiredToken", skip=1)
    with pytest.raises(Unavailable):
        machines.launch(spec)
    assert len(ec2.living()) == 1
    assert machines.launch(spec).removeprefix("us-east-1/") in ec2.living()


# ---- what is refused ----


def refused(machines: AwsMachines, spec: LaunchSpec, kind: type[LabError]) -> LabError:
    with pytest.raises(kind) as caught:
        machines.launch(spec)
    return caught.value


@pytest.mark.parametrize("offer", [G5, SPOT])
def test_no_capacity_is_told_apart(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, offer: Offer) -> None:
    ec2.room(offer.device.partition("/")[0], 0)
    problem = refused(machines, replace(spec, offer=offer), NoCapacity)
    assert ("capacity" in problem.what, "another zone" in problem.fix) == (True, True)
    assert ec2.living() == {}


@pytest.mark.parametrize(
    ("offer", "market", "quota"),
    [
        (G5, "on-demand", "Running On-Demand G and VT instances"),
        (SPOT, "spot", "All G and VT Spot Instance Requests"),
        (Offer("A100-40GB", 22.0, device="p4d.24xlarge/us-east-1/us-east-1b"), "on-demand", "On-Demand P instances"),
    ],
)
def test_a_quota_of_zero_names_the_quota_and_its_page(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, offer: Offer, market: Any, quota: str
) -> None:
    ec2.quota(offer.device[0], 0, market=market)
    problem = refused(machines, replace(spec, offer=offer), NoCapacity)
    assert quota in problem.fix
    assert "in us-east-1: AWS console, Service Quotas, Amazon EC2" in problem.fix


def test_a_zone_that_lacks_the_type_is_no_capacity(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    other = Offer("Trainium", 1.3, device="trn1.2xlarge/us-east-1/us-east-1a")
    assert "not supported" in refused(machines, replace(spec, offer=other), NoCapacity).what


def test_an_image_of_another_region_is_said(ec2: Ec2, configured: Callable[..., AwsMachines], spec: LaunchSpec) -> None:
    problem = refused(configured(aws_image="ami-00000000"), spec, UsageProblem)
    assert ("us-east-1 has no image 'ami-00000000'" in problem.what, "aws_image" in problem.fix) == (True, True)


@pytest.mark.parametrize(
    ("code", "kind", "fix"),
    [
        ("UnauthorizedOperation", Denied, "infra/iam/launcher.json"),
        ("AuthFailure", Denied, "AWS_PROFILE"),
        ("RequestExpired", Denied, "AWS_PROFILE"),
        ("OptInRequired", Denied, "switch the region on"),
        ("PendingVerification", Denied, "AWS Support"),
        ("InvalidAMIID.NotFound", UsageProblem, "aws_image"),
        ("InvalidSubnetID.NotFound", UsageProblem, "aws_subnets"),
        ("InvalidGroup.NotFound", UsageProblem, "aws_security_groups"),
        ("SpotMaxPriceTooLow", NoCapacity, "another zone"),
        ("SomethingNew", UsageProblem, "aws_ in [gpu]"),
    ],
)
def test_each_refusal_has_its_kind_and_its_fix(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, code: str, kind: type[LabError], fix: str
) -> None:
    ec2.fail("RunInstances", code)
    problem = refused(machines, spec, kind)
    assert fix in problem.fix
    assert ec2.living() == {}


def test_a_refusal_that_came_with_a_machine_gives_the_machine(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec
) -> None:
    ec2.fail("RunInstances", "InsufficientInstanceCapacity", "after")
    assert machines.launch(spec).removeprefix("us-east-1/") in ec2.living()


def test_a_device_that_is_none_is_refused(machines: AwsMachines, spec: LaunchSpec) -> None:
    refused(machines, replace(spec, offer=Offer("cpu", 0.0, device="far")), UsageProblem)


# ---- what is known of machines ----


def instance_of(machines: AwsMachines, token: str) -> Any:
    (found,) = machines.instances(token)
    return found


def test_machines_of_this_workspace_are_seen_in_all_regions_and_no_others(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec
) -> None:
    furnish(ec2, "us-west-2", "a")
    west = Offer("L40S", 1.8, device="g6e.xlarge/us-west-2/us-west-2a")
    ours = {machines.launch(spec), machines.launch(replace(spec, token="b", offer=west))}
    machines.launch(replace(spec, token="c", owner="another"))
    machine = {"ImageId": ec2.image(), "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
    ec2.client().run_instances(**machine)
    assert {it.id for it in AwsMachines(settings()).instances()} == ours


def test_a_machine_says_whose_it_is_and_when_it_ends(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    ec2.boots_s = 60
    made = machines.launch(spec)
    found = instance_of(machines, "trainer-1")
    assert (found.id, found.session, found.token, found.state) == (made, "trainer", "trainer-1", "pending")
    assert machines.progress(found) == f"waits until EC2 has started {made.removeprefix('us-east-1/')}"
    assert abs(found.created_at - time.time()) < 60
    assert found.expires_at == int(DEADLINE_AT)
    later = time.time() + 61
    ec2.clock = lambda: later
    found = instance_of(machines, "trainer-1")
    assert (found.state, found.address.count(".")) == ("running", 3)


@pytest.mark.parametrize(
    ("end", "why", "is_taken"),
    [
        (lambda ec2, name: ec2.shut_down(name), "it shut itself down", False),
        (lambda ec2, name: ec2.client().terminate_instances(InstanceIds=[name]), "", False),
        (lambda ec2, name: ec2.interrupt(name, 0), "AWS took its spot machine back", True),
    ],
)
def test_a_machine_that_is_gone_says_why(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, end: Callable[[Ec2, str], None], why: str, is_taken: bool
) -> None:
    made = machines.launch(replace(spec, offer=SPOT))
    end(ec2, made.removeprefix("us-east-1/"))
    found = instance_of(machines, "trainer-1")
    assert (found.state, found.is_taken) == ("gone", is_taken)
    assert why in found.why
    assert machines.instances() == []


def test_an_end_may_be_repeated_and_is_over_when_it_is(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    ec2.ends_s = 60
    made = machines.launch(spec)
    machines.end(made)
    machines.end(made)
    assert [it.state for it in machines.instances()] == ["ending"]
    later = time.time() + 61
    ec2.clock = lambda: later
    assert machines.instances() == []
    machines.end(made)
    machines.end("us-east-1/i-00000000000000000")
    machines.end("never-was")


def test_an_end_is_asked_for_until_it_is_heard(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    made = machines.launch(spec)
    ec2.fail("TerminateInstances", "RequestLimitExceeded", times=2)
    ec2.fail("TerminateInstances", "cut")
    machines.end(made)
    assert ec2.living() == {}


def test_a_machine_that_may_not_be_ended_says_how_it_may(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    made = machines.launch(spec)
    ec2.fail("TerminateInstances", "OperationNotPermitted")
    with pytest.raises(Unavailable) as caught:
        machines.end(made)
    assert "termination protection" in caught.value.fix


@pytest.mark.parametrize("code", ["ExpiredToken", "UnauthorizedOperation"])
def test_of_a_machine_that_is_there_a_denial_tells_nothing(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec, code: str
) -> None:
    made = machines.launch(spec)
    ec2.fail("*", code, times=3)
    for ask in (lambda: machines.instances("trainer-1"), lambda: AwsMachines(settings()).instances("trainer-1")):
        with pytest.raises(Unavailable):
            ask()
    with pytest.raises(Unavailable):
        machines.end(made)
    assert instance_of(machines, "trainer-1").state == "running"


def test_a_region_that_does_not_answer_leaves_nothing_for_gone(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec
) -> None:
    machines.launch(spec)
    machines.instances()
    ec2.fail("DescribeInstances", "Unavailable", times=aws_calls.ATTEMPTS * 40)
    with pytest.raises(Unavailable):
        machines.instances()
    with pytest.raises(Unavailable):
        AwsMachines(settings()).instances("trainer-1")


def test_a_machine_whose_region_is_known_is_asked_for_there_alone(
    ec2: Ec2, machines: AwsMachines, spec: LaunchSpec
) -> None:
    machines.launch(spec)
    ec2.calls.clear()
    instance_of(machines, "trainer-1")
    assert [call.operation for call in ec2.calls] == ["DescribeInstances"]


def test_its_deadline_is_moved_where_who_clears_up_reads_it(ec2: Ec2, machines: AwsMachines, spec: LaunchSpec) -> None:
    made = machines.launch(spec)
    machines.move_end(made, DEADLINE_AT + 3600)
    assert instance_of(machines, "trainer-1").expires_at == int(DEADLINE_AT + 3600)
    machines.move_end("us-east-1/i-00000000000000000", DEADLINE_AT)


def test_all_of_it_takes_no_more_than_the_policy_for_it(
    ec2: Ec2, spec: LaunchSpec, monkeypatch: pytest.MonkeyPatch, configured: Callable[..., AwsMachines]
) -> None:
    policy = (Path(__file__).parents[2] / "infra" / "iam" / "launcher.json").read_text()
    iam = ec2.client("iam")
    iam.create_user(UserName="launcher")
    iam.put_user_policy(UserName="launcher", PolicyName="launcher", PolicyDocument=policy)
    key = iam.create_access_key(UserName="launcher")["AccessKey"]
    for name, value in ec2.env(key["AccessKeyId"], key["SecretAccessKey"]).items():
        monkeypatch.setenv(name, value)
    ec2.enforce(True)
    machines = configured(aws_image=IMAGE["name"])
    machines.offers()
    made = machines.launch(replace(spec, offer=SPOT))
    machines.move_end(made, DEADLINE_AT + 60)
    assert [it.id for it in machines.instances()] == [made]
    machines.end(made)
    ec2.enforce(False)
    assert ec2.living() == {}
