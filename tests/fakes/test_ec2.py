"""EC2 on loopback behaves as the real one where moto does not; boto3 is the judge."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from .ec2 import Ec2
from .imds import TTL, Imds


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2]:
    with Ec2() as made:
        yield made


@pytest.fixture
def ec2(cloud: Ec2) -> Ec2:
    cloud.reset()
    cloud.clock = time.time
    return cloud


def run(ec2: Ec2, *, client: Any = None, **changed: Any) -> str:
    """The id of one new instance."""
    asked = {"ImageId": ec2.image(), "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1, **changed}
    return str((client or ec2.client()).run_instances(**asked)["Instances"][0]["InstanceId"])


def refused(call: Callable[[], Any]) -> tuple[str, int]:
    """The error's code and its status."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def code(call: Callable[[], Any]) -> str:
    return refused(call)[0]


SPOT: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}}


# ---- tokens ----


def test_a_token_makes_one_instance_however_often_it_comes(ec2: Ec2) -> None:
    assert run(ec2, ClientToken="trainer-1") == run(ec2, ClientToken="trainer-1")
    assert run(ec2, ClientToken="trainer-2") not in ("", run(ec2, ClientToken="trainer-1"))
    assert len(ec2.living()) == 2


def test_a_token_is_of_one_region(ec2: Ec2) -> None:
    west = ec2.client(region="us-west-2")
    assert run(ec2, ClientToken="one") != run(ec2, client=west, ClientToken="one", ImageId=ec2.image("us-west-2"))


def test_a_token_with_other_parameters_is_refused(ec2: Ec2) -> None:
    run(ec2, ClientToken="one")
    again = refused(lambda: run(ec2, ClientToken="one", InstanceType="g5.2xlarge"))
    assert again == ("IdempotentParameterMismatch", 400)
    assert len(ec2.living()) == 1


@pytest.mark.parametrize("ends_s", [0.0, 60.0])
def test_a_token_whose_instance_has_ended_is_refused(ec2: Ec2, ends_s: float) -> None:
    ec2.ends_s = ends_s
    ec2.client().terminate_instances(InstanceIds=[run(ec2, ClientToken="one")])
    assert code(lambda: run(ec2, ClientToken="one")) == "IdempotentInstanceTerminated"


def test_a_refused_launch_does_not_use_its_token_up(ec2: Ec2) -> None:
    ec2.fail("RunInstances", "InsufficientInstanceCapacity")
    assert code(lambda: run(ec2, ClientToken="one")) == "InsufficientInstanceCapacity"
    made = run(ec2, ClientToken="one")
    assert made in ec2.living()


def test_a_token_that_is_too_long_is_refused(ec2: Ec2) -> None:
    assert code(lambda: run(ec2, ClientToken="x" * 65)) == "InvalidParameterValue"


def test_instances_are_found_by_token(ec2: Ec2) -> None:
    made, _ = run(ec2, ClientToken="one"), run(ec2, ClientToken="two")
    assert found(ec2, "client-token", "one") == [made]
    assert found(ec2, "client-token", "three") == []


def test_instances_are_found_by_their_market(ec2: Ec2) -> None:
    spot, _ = run(ec2, **SPOT), run(ec2)
    assert found(ec2, "instance-lifecycle", "spot") == [spot]


def found(ec2: Ec2, name: str, value: str) -> list[str]:
    reservations = ec2.client().describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
    return [it["InstanceId"] for reservation in reservations for it in reservation["Instances"]]


# ---- refusals ----


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"InstanceType": "g5.enormous"}, "InvalidParameterValue"),
        ({"ImageId": "ami-00000000"}, "InvalidAMIID.NotFound"),
        ({"UserData": "#" * 16_385}, "InvalidParameterValue"),
        ({"InstanceType": "trn1.2xlarge", "Placement": {"AvailabilityZone": "us-east-1a"}}, "Unsupported"),
        ({"InstanceType": "trn2.48xlarge"}, "Unsupported"),
    ],
)
def test_what_cannot_be_had_is_refused(ec2: Ec2, changed: dict[str, Any], error: str) -> None:
    assert code(lambda: run(ec2, **changed)) == error
    assert ec2.living() == {}


def test_a_machine_goes_where_its_type_is(ec2: Ec2) -> None:
    made = run(ec2, InstanceType="trn1.2xlarge")
    assert ec2.living()[made].availability_zone == "us-east-1c"


# ---- room ----


def test_no_capacity_in_one_zone_leaves_the_others(ec2: Ec2) -> None:
    ec2.room("g5.xlarge", 0, zone="us-east-1a")
    here = {"Placement": {"AvailabilityZone": "us-east-1a"}}
    assert refused(lambda: run(ec2, **here)) == ("InsufficientInstanceCapacity", 500)
    made = run(ec2)
    assert ec2.living()[made].availability_zone == "us-east-1b"


def test_no_capacity_in_a_subnet_is_that_of_its_zone(ec2: Ec2) -> None:
    client = ec2.client()
    vpc = client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = client.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]
    ec2.room("g5.xlarge", 0, zone="us-east-1b")
    assert code(lambda: run(ec2, SubnetId=subnet["SubnetId"])) == "InsufficientInstanceCapacity"


def test_spot_and_on_demand_have_room_of_their_own(ec2: Ec2) -> None:
    ec2.room("g5.xlarge", 0, market="spot")
    assert code(lambda: run(ec2, **SPOT)) == "InsufficientInstanceCapacity"
    made = run(ec2)
    assert made in ec2.living()


def test_room_comes_back_when_a_machine_ends(ec2: Ec2) -> None:
    ec2.room("g5.xlarge", 1, zone="us-east-1a")
    here = {"Placement": {"AvailabilityZone": "us-east-1a"}}
    first = run(ec2, **here)
    assert code(lambda: run(ec2, **here)) == "InsufficientInstanceCapacity"
    ec2.client().terminate_instances(InstanceIds=[first])
    assert run(ec2, **here) != first


def test_as_many_come_as_there_is_room_for(ec2: Ec2) -> None:
    ec2.room("g5.xlarge", 2)
    run(ec2, MinCount=1, MaxCount=4)
    assert len(ec2.living()) == 2
    assert code(lambda: run(ec2, MinCount=3, MaxCount=4)) == "InsufficientInstanceCapacity"


def test_quotas_count_vcpus_by_family_and_market(ec2: Ec2) -> None:
    ec2.quota("g", 4)
    ec2.quota("g", 0, market="spot")
    run(ec2)
    assert refused(lambda: run(ec2)) == ("VcpuLimitExceeded", 400)
    assert refused(lambda: run(ec2, **SPOT)) == ("MaxSpotInstanceCountExceeded", 400)
    made = run(ec2, InstanceType="t3.micro")
    assert made in ec2.living()


# ---- faults ----


def test_throttling_passes_when_it_is_tried_again(ec2: Ec2) -> None:
    ec2.fail("*", "RequestLimitExceeded", times=2)
    assert refused(ec2.client().describe_instances) == ("RequestLimitExceeded", 503)
    assert ec2.client(attempts=2).describe_instances()["Reservations"] == []
    assert [it.operation for it in ec2.calls] == ["DescribeInstances"] * 3


def test_a_fault_may_come_later(ec2: Ec2) -> None:
    ec2.fail("RunInstances", "UnauthorizedOperation", skip=1)
    run(ec2)
    assert refused(lambda: run(ec2)) == ("UnauthorizedOperation", 403)
    assert len(ec2.living()) == 1


def test_an_error_after_success_leaves_a_machine(ec2: Ec2) -> None:
    ec2.fail("RunInstances", "InternalError", "after")
    assert refused(lambda: run(ec2, ClientToken="one")) == ("InternalError", 500)
    made = run(ec2, ClientToken="one")
    assert list(ec2.living()) == [made]


def test_an_answer_that_does_not_come_leaves_a_machine(ec2: Ec2) -> None:
    ec2.fail("RunInstances", "silence", "after")
    with pytest.raises(ReadTimeoutError):
        run(ec2, client=ec2.client(timeout_s=0.3))
    assert len(ec2.living()) == 1


def test_a_retry_of_botocore_after_a_cut_makes_no_second_machine(ec2: Ec2) -> None:
    ec2.fail("RunInstances", "cut", "after")
    made = run(ec2, client=ec2.client(attempts=2))
    assert list(ec2.living()) == [made]
    ec2.fail("RunInstances", "cut")
    with pytest.raises(ConnectionClosedError):
        run(ec2)
    assert len(ec2.living()) == 1


CALLER = """
import boto3
boto3.client("ec2").run_instances(ImageId="{image}", InstanceType="g5.xlarge", MinCount=1, MaxCount=1)
"""


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_a_caller_can_be_killed_at_a_call(ec2: Ec2, when: Any, left: int) -> None:
    started: list[subprocess.Popen[bytes]] = []
    ec2.fail("RunInstances", lambda: started.pop().kill(), when)
    caller = [sys.executable, "-c", CALLER.format(image=ec2.image())]
    process = subprocess.Popen(caller, env={**os.environ, **ec2.env()})
    started.append(process)
    assert process.wait(60) == -9
    assert len(ec2.living()) == left


def test_a_dry_run_makes_nothing_and_uses_no_token(ec2: Ec2) -> None:
    assert code(lambda: run(ec2, DryRun=True, ClientToken="one")) == "DryRunOperation"
    assert ec2.living() == {}
    made = run(ec2, ClientToken="one")
    assert made in ec2.living()


def test_the_request_itself_can_be_read(ec2: Ec2) -> None:
    run(ec2, UserData="#!/bin/sh\nshutdown -h +60", InstanceInitiatedShutdownBehavior="terminate")
    (call,) = ec2.calls
    assert call.user_data.splitlines()[1] == "shutdown -h +60"
    assert call.get("InstanceInitiatedShutdownBehavior") == "terminate"


# ---- time ----


def test_a_machine_takes_its_time_to_come_and_to_go(ec2: Ec2) -> None:
    now = time.time()
    ec2.clock, ec2.boots_s, ec2.ends_s = lambda: now, 30.0, 60.0
    made = run(ec2)
    seen = [described(ec2, made)["State"]["Name"]]
    ec2.clock = lambda: now + 31
    seen.append(described(ec2, made)["State"]["Name"])
    ec2.client().terminate_instances(InstanceIds=[made])
    seen.append(described(ec2, made)["State"]["Name"])
    ec2.clock = lambda: now + 80
    ec2.client().terminate_instances(InstanceIds=[made])  # does not prolong it
    seen.append(described(ec2, made)["State"]["Name"])
    ec2.clock = lambda: now + 92
    seen.append(described(ec2, made)["State"]["Name"])
    ec2.client().terminate_instances(InstanceIds=[made])
    seen.append(described(ec2, made)["State"]["Name"])
    assert seen == ["pending", "running", "shutting-down", "shutting-down", "terminated", "terminated"]


def test_a_machine_that_is_ended_while_it_boots_does_not_come_back(ec2: Ec2) -> None:
    now = time.time()
    ec2.clock, ec2.boots_s = lambda: now, 30.0
    made = run(ec2)
    ec2.client().terminate_instances(InstanceIds=[made])
    ec2.clock = lambda: now + 31
    assert described(ec2, made)["State"]["Name"] == "terminated"


def described(ec2: Ec2, name: str) -> dict[str, Any]:
    reservations = ec2.client().describe_instances(InstanceIds=[name])["Reservations"]
    return dict(reservations[0]["Instances"][0])


# ---- by itself ----


@pytest.mark.parametrize(("behavior", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_a_shutdown_from_within_does_what_its_launch_said(ec2: Ec2, behavior: str, state: str) -> None:
    made = run(ec2, InstanceInitiatedShutdownBehavior=behavior)
    ec2.shut_down(made)
    seen = described(ec2, made)
    assert (seen["State"]["Name"], seen["StateReason"]["Code"]) == (state, "Client.InstanceInitiatedShutdown")


def test_what_a_shutdown_does_can_be_changed_later(ec2: Ec2) -> None:
    made = run(ec2)
    groups = described(ec2, made)["SecurityGroups"]
    ec2.client().modify_instance_attribute(InstanceId=made, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    assert described(ec2, made)["SecurityGroups"] == groups
    ec2.shut_down(made)
    assert ec2.state(made) == "terminated"


def test_a_spot_instance_is_taken_after_its_notice(ec2: Ec2) -> None:
    now = float(int(time.time()))
    ec2.clock = lambda: now
    made = run(ec2, **SPOT)
    with ec2.imds(made) as imds:
        assert ask(imds, "meta-data/spot/instance-action") is None
        at = ec2.interrupt(made)
        action = json.loads(ask(imds, "meta-data/spot/instance-action") or "{}")
        assert action == {"action": "terminate", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))}
        assert ask(imds, "meta-data/spot/termination-time") == action["time"]
        assert (described(ec2, made)["State"]["Name"], at - now) == ("running", 120)
    ec2.clock = lambda: now + 121
    seen = described(ec2, made)
    assert (seen["State"]["Name"], seen["StateReason"]["Code"]) == ("terminated", "Server.SpotInstanceTermination")


def test_a_spot_instance_has_a_request_that_ends_with_it(ec2: Ec2) -> None:
    options = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time", "MaxPrice": "0.5"}}
    made = run(ec2, InstanceMarketOptions=options)
    asked = {"SpotInstanceRequestIds": [described(ec2, made)["SpotInstanceRequestId"]]}
    (request,) = ec2.client().describe_spot_instance_requests(**asked)["SpotInstanceRequests"]
    assert (request["InstanceId"], request["State"], request["SpotPrice"]) == (made, "active", "0.5")
    ec2.interrupt(made, notice_s=0)
    (request,) = ec2.client().describe_spot_instance_requests(**asked)["SpotInstanceRequests"]
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-no-capacity")


def test_a_cancelled_spot_request_leaves_its_instance(ec2: Ec2) -> None:
    made = run(ec2, **SPOT)
    asked = {"SpotInstanceRequestIds": [described(ec2, made)["SpotInstanceRequestId"]]}
    ec2.client().cancel_spot_instance_requests(**asked)
    (request,) = ec2.client().describe_spot_instance_requests(**asked)["SpotInstanceRequests"]
    assert (request["State"], ec2.state(made)) == ("cancelled", "running")
    unknown = {"SpotInstanceRequestIds": ["sir-00000000"]}
    error = code(lambda: ec2.client().describe_spot_instance_requests(**unknown))
    assert error == "InvalidSpotInstanceRequestID.NotFound"


def test_only_spot_is_taken(ec2: Ec2) -> None:
    made = run(ec2)
    with pytest.raises(AssertionError, match="not a spot instance"):
        ec2.interrupt(made)


def test_a_machine_reads_its_own_tags_without_credentials(ec2: Ec2) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "aiinfra:session", "Value": "trainer"}]}]
    options = {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}
    made = run(ec2, MetadataOptions=options, TagSpecifications=tags)
    with ec2.imds(made) as imds:
        assert ask(imds, "meta-data/tags/instance/aiinfra:session") == "trainer"
        assert ask(imds, "meta-data/instance-id") == made
    with ec2.imds(run(ec2)) as imds:
        assert ask(imds, "meta-data/tags/instance/aiinfra:session") is None


def ask(imds: Imds, path: str) -> str | None:
    """What it answers, or None when there is no such thing."""
    wants = urllib.request.Request(f"{imds.url}/latest/api/token", method="PUT", headers={TTL: "60"})
    with urllib.request.urlopen(wants, timeout=10) as answer:
        token = answer.read().decode()
    status, body = imds.get(f"/latest/{path}", token)
    assert status in (200, 404)
    return body if status == 200 else None
