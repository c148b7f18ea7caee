"""The Pulumi program of `infra/`, against Pulumi's own mocks: there is no server of Pulumi's to be had here."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slow.environments import python_of, run

pytestmark = pytest.mark.slow

INFRA = Path(__file__).parents[2] / "infra"
EXPIRES_AT = "2099-01-31T18:00:00Z"
CUT = {"profile": "1g.5gb", "count": 7}
NODE = {"expires_at": EXPIRES_AT, "instance_type": "p4d.24xlarge", "zone": "us-east-1b"}
POOL = {"expires_at": EXPIRES_AT, "instance_types": ["g5.xlarge", "g6.xlarge"], "min": 1, "max": 3}
WANTED = {"aiinfra:session": "trainer", "aiinfra:owner": "me", "aiinfra:expires": EXPIRES_AT}


def command(stack: str, **configuration: Any) -> list[str]:
    file = yaml.safe_load((INFRA / "pulumi" / f"Pulumi.{stack}.yaml").read_text())["config"]
    ours = {name.removeprefix("aiinfra:"): it for name, it in file.items() if name.startswith("aiinfra:")}
    given = {**ours, "owner": "me", "image": "ami-1", **configuration}
    return [python_of("pulumi"), str(Path(__file__).with_name("pulumi_program.py")), stack, json.dumps(given)]


def made(stack: str, **configuration: Any) -> dict[str, dict[str, Any]]:
    """The inputs of each resource by its type, which is there once, or its type and name."""
    found = json.loads(run(*command(stack, **configuration)))
    return {it["type"]: it["inputs"] for it in found} | {f"{it['type']} {it['name']}": it["inputs"] for it in found}


@pytest.fixture(scope="module")
def training() -> dict[str, dict[str, Any]]:
    doors = {"ssh_keys": ["ssh-ed25519 AAAA me"], "ssh_from": ["192.0.2.0/24"]}
    return made("training", nodes={"trainer": {**NODE, "mig": CUT}}, pools={"sweep": POOL}, **doors)


def test_a_machine_says_when_it_ends_and_whose_it_is(training: dict[str, dict[str, Any]]) -> None:
    machine = training["aws:ec2/instance:Instance"]
    assert machine["instanceInitiatedShutdownBehavior"] == "terminate"
    assert WANTED.items() <= machine["tags"].items()
    assert machine["volumeTags"] == machine["tags"]
    assert machine["instanceMarketOptions"]["marketType"] == "spot"
    assert machine["rootBlockDevice"]["encrypted"] is True
    assert machine["metadataOptions"]["httpTokens"] == "required"


def test_it_arms_its_deadline_before_anything_else(training: dict[str, dict[str, Any]]) -> None:
    given = training["aws:ec2/instance:Instance"]["userData"]
    assert given.startswith(f"#!/bin/sh\nexpires_at='{EXPIRES_AT}'\nmig='{','.join(['1g.5gb'] * 7)}'\n")
    assert given.endswith((INFRA / "machine.sh").read_text())


def test_its_role_may_do_nothing(training: dict[str, dict[str, Any]]) -> None:
    policy = training["aws:iam/rolePolicy:RolePolicy aiinfra-training-host"]["policy"]
    assert json.loads(policy) == json.loads((INFRA / "iam" / "host.json").read_text())


def test_schedules_have_a_role_that_is_called_as_a_session_looks_for_it(training: dict[str, dict[str, Any]]) -> None:
    name = "aiinfra-training-one-shot"
    policy, role = (training[f"aws:iam/{kind} {name}"] for kind in ("rolePolicy:RolePolicy", "role:Role"))
    assert json.loads(policy["policy"]) == json.loads((INFRA / "iam" / "one-shot-role.json").read_text())
    assert json.loads(role["assumeRolePolicy"]) == json.loads((INFRA / "iam" / "one-shot-trust.json").read_text())
    assert role["name"] == name


def test_a_pool_ends_at_its_deadline_as_its_machines_do(training: dict[str, dict[str, Any]]) -> None:
    schedule = training["aws:autoscaling/schedule:Schedule"]
    assert (schedule["startTime"], schedule["maxSize"], schedule["desiredCapacity"]) == (EXPIRES_AT, 0, 0)
    template = training["aws:ec2/launchTemplate:LaunchTemplate"]
    assert template["instanceInitiatedShutdownBehavior"] == "terminate"
    assert base64.b64decode(template["userData"]).decode().endswith((INFRA / "machine.sh").read_text())
    assert [it["ebs"]["encrypted"] for it in template["blockDeviceMappings"]] == ["true"]
    group = training["aws:autoscaling/group:Group"]
    assert group["mixedInstancesPolicy"]["instancesDistribution"]["onDemandPercentageAboveBaseCapacity"] == 0


def test_environments_are_apart(training: dict[str, dict[str, Any]]) -> None:
    inference = made("inference", nodes={"delay": NODE}, serving_from=["192.0.2.0/24"])
    assert "instanceMarketOptions" not in inference["aws:ec2/instance:Instance"]
    vpc = "aws:ec2/vpc:Vpc"
    assert {it[vpc]["cidrBlock"] for it in (training, inference)} == {"10.64.0.0/16", "10.65.0.0/16"}
    doors = [
        [it["fromPort"] for it in each["aws:ec2/securityGroup:SecurityGroup"]["ingress"]]
        for each in (training, inference)
    ]
    assert doors == [[22], [8000]]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"nodes": {"Trainer!": NODE}}, "small letters"),
        ({"nodes": {"trainer": {**NODE, "expires_at": "tomorrow"}}}, "write the time as"),
        ({"nodes": {"trainer": {**NODE, "instance_type": "g5.xlarge", "mig": CUT}}}, "only A100 and later"),
        ({"ssh_from": ["0.0.0.0/0"]}, "whole internet"),
    ],
)
def test_what_would_not_do_is_refused(changed: dict[str, Any], problem: str) -> None:
    done = subprocess.run(command("training", **changed), text=True, capture_output=True, check=False)
    assert done.returncode != 0
    assert problem in done.stderr
