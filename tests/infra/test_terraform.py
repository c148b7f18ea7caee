"""The Terraform of `infra/`, by a real Terraform against EC2 on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.ec2 import Ec2
from tests.fakes.ec2_wire import Call
from tests.terraform import Root, needs_provider, needs_terraform

INFRA = Path(__file__).parents[2] / "infra"
ENVIRONMENTS = ("inference", "training")
EXPIRES_AT = "2099-01-31T18:00:00Z"
KEYS = ["ssh-ed25519 AAAA me", "ssh-ed25519 BBBB you"]
CUT = {"profile": "1g.5gb", "count": 7}


def root(name: str, home: Path, ec2: Ec2) -> Root:
    """Ready for `plan`."""
    shutil.copytree(INFRA, home / "infra")
    return Root.ready(home / "infra" / "terraform" / "environments" / name, home, ec2)


@pytest.fixture(scope="module")
def ec2() -> Iterator[Ec2]:
    with Ec2() as made:
        yield made


@needs_terraform
def test_it_is_formatted() -> None:
    command = ["terraform", "fmt", "-check", "-recursive", str(INFRA)]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == ""


@needs_provider
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_is_valid(name: str, tmp_path: Path, ec2: Ec2) -> None:
    status, text = root(name, tmp_path, ec2).terraform("validate", "-json")
    assert (status, json.loads(text)["diagnostics"]) == (0, []), text


@needs_provider
@pytest.mark.slow
def test_inference_is_on_demand_and_has_a_door_for_those_who_ask(tmp_path: Path, ec2: Ec2) -> None:
    made = root("inference", tmp_path, ec2)
    node = {"expires_at": EXPIRES_AT, "instance_type": "g6.xlarge", "zone": "us-east-1a"}
    made.set(owner="me", image=ec2.image(), nodes={"delay": node}, serving_from=["192.0.2.0/24"])
    planned = made.planned()
    [role] = [it for address, it in planned.items() if address.endswith("aws_iam_role.one_shot")]
    assert role["name"] == "aiinfra-inference-one-shot"  # as a session looks for it
    found = {address.split(".")[-2]: it for address, it in planned.items()}
    assert "instance_market_options" not in found["aws_instance"]
    assert [it["from_port"] for it in found["aws_security_group"]["ingress"]] == [8000]
    assert found["aws_vpc"]["cidr_block"] == "10.65.0.0/16"


# ---- the whole way, once ----


@dataclass(frozen=True)
class Applied:
    """The environment for training, as it was applied. launch, steady: the calls for a spot machine and another."""

    ec2: Ec2
    root: Root
    node: str
    launch: Call
    steady: Call
    outputs: Mapping[str, Any]


@pytest.fixture(scope="module")
def applied(ec2: Ec2, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    made = root("training", tmp_path_factory.mktemp("training"), ec2)
    node = {"expires_at": EXPIRES_AT, "instance_type": "p4d.24xlarge", "zone": "us-east-1b", "mig": CUT}
    steady = {"expires_at": EXPIRES_AT, "instance_type": "g6.xlarge", "zone": "us-east-1a", "spot": False}
    pool = {"expires_at": EXPIRES_AT, "instance_types": ["g5.xlarge", "g6.xlarge"], "min": 1, "max": 3}
    doors = {"ssh_keys": KEYS, "ssh_from": ["192.0.2.0/24"]}
    nodes = {"trainer": node, "steady": steady}
    made.set(owner="me", image=ec2.image(), nodes=nodes, pools={"sweep": pool}, **doors)
    status, text = made.terraform("plan", "-detailed-exitcode")
    assert (status, ec2.living()) == (2, {}), text
    status, text = made.terraform("apply", "-auto-approve")
    assert status == 0, text
    outputs = {name: it["value"] for name, it in json.loads(made.terraform("output", "-json")[1]).items()}
    launches = {tags(it, "instance")["aiinfra:session"]: it for it in ec2.calls if it.operation == "RunInstances"}
    assert set(launches) == {"trainer", "steady"}
    yield Applied(ec2, made, outputs["nodes"]["trainer"]["id"], launches["trainer"], launches["steady"], outputs)
    status, text = made.terraform("destroy", "-auto-approve")
    assert status == 0, text
    left = ec2.client().describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"]
    assert (ec2.living(), left) == ({}, [])
    assert ec2.client("iam").list_roles(PathPrefix="/")["Roles"] == []


def tags(call: Call, kind: str) -> dict[str, str]:
    """Those that a launch gives to that kind of thing."""
    (head,) = [name.partition(".ResourceType")[0] for name, value in call.parameters.items() if value == kind]
    names = [name for name in call.parameters if name.startswith(f"{head}.Tag.") and name.endswith(".Key")]
    return {call.get(name): call.get(name.replace(".Key", ".Value")) for name in names}


@needs_provider
@pytest.mark.slow
class TestApplied:
    def test_the_creating_call_says_when_it_ends_and_whose_it_is(self, applied: Applied) -> None:
        assert applied.launch.get("InstanceInitiatedShutdownBehavior") == "terminate"
        for kind in ("instance", "volume"):
            seen = tags(applied.launch, kind)
            wanted = {"aiinfra:session": "trainer", "aiinfra:owner": "me", "aiinfra:expires": EXPIRES_AT}
            assert wanted.items() <= seen.items(), kind

    def test_it_is_spot_and_ends_when_it_is_taken(self, applied: Applied) -> None:
        assert applied.launch.market == "spot"
        options = "InstanceMarketOptions.SpotOptions"
        assert applied.launch.get(f"{options}.SpotInstanceType") == "one-time"
        assert applied.launch.get(f"{options}.InstanceInterruptionBehavior") == "terminate"

    def test_one_on_demand_ends_itself_too(self, applied: Applied) -> None:
        assert applied.steady.market == "on-demand"
        assert applied.steady.get("InstanceInitiatedShutdownBehavior") == "terminate"

    def test_its_volume_is_encrypted_and_goes_with_it(self, applied: Applied) -> None:
        assert applied.launch.get("BlockDeviceMapping.1.Ebs.Encrypted") == "true"
        assert applied.launch.get("BlockDeviceMapping.1.Ebs.DeleteOnTermination") == "true"

    def test_its_metadata_needs_a_token_and_says_its_tags(self, applied: Applied) -> None:
        assert applied.launch.get("MetadataOptions.HttpTokens") == "required"
        assert applied.launch.get("MetadataOptions.HttpPutResponseHopLimit") == "1"
        with applied.ec2.imds(applied.node) as imds:
            status, made = imds.token("60", forwarded=False)
            assert (status, imds.get("/latest/meta-data/tags/instance/aiinfra:session", made)) == (
                200,
                (200, "trainer"),
            )

    def test_its_gpus_are_cut_after_its_deadline_is_armed(self, applied: Applied) -> None:
        profiles = ",".join([CUT["profile"]] * 7)
        variables = [
            f"expires_at='{EXPIRES_AT}'",
            f"mig='{profiles}'",
            "user='ubuntu'",
            f"ssh_keys='{KEYS[0]}",
            f"{KEYS[1]}'",
            "host_key=''",
        ]
        given = applied.launch.user_data.rstrip() + "\n"
        assert given == "\n".join(["#!/bin/sh", *variables, (INFRA / "machine.sh").read_text()])

    def test_its_role_may_do_nothing(self, applied: Applied) -> None:
        iam = applied.ec2.client("iam")
        name, one_shot = sorted(role["RoleName"] for role in iam.list_roles()["Roles"])
        assert one_shot == "aiinfra-training-one-shot"  # as a session looks for it
        policy = iam.get_role_policy(RoleName=one_shot, PolicyName="end")["PolicyDocument"]
        assert policy == json.loads((INFRA / "iam" / "one-shot-role.json").read_text())
        assert applied.launch.get("IamInstanceProfile.Name") == name == applied.outputs["machines"]["instance_profile"]
        assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
        policy = iam.get_role_policy(RoleName=name, PolicyName="host")["PolicyDocument"]
        assert policy == json.loads((INFRA / "iam" / "host.json").read_text())

    def test_nothing_comes_in_but_from_where_it_may(self, applied: Applied) -> None:
        group = applied.outputs["machines"]["security_group"]
        (found,) = applied.ec2.client().describe_security_groups(GroupIds=[group])["SecurityGroups"]
        came = [(it["FromPort"], [range_["CidrIp"] for range_ in it["IpRanges"]]) for it in found["IpPermissions"]]
        assert came == [(22, ["192.0.2.0/24"])]

    def test_a_pool_ends_at_its_deadline_as_its_machines_do(self, applied: Applied) -> None:
        scaling, name = applied.ec2.client("autoscaling"), applied.outputs["pools"]["sweep"]
        (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        assert (group["MinSize"], group["MaxSize"], len(group["Instances"])) == (1, 3, 1)
        (action,) = scaling.describe_scheduled_actions(AutoScalingGroupName=name)["ScheduledUpdateGroupActions"]
        assert (action["MaxSize"], action["StartTime"].isoformat()) == (0, "2099-01-31T18:00:00+00:00")
        (template,) = applied.ec2.client().describe_launch_template_versions(
            LaunchTemplateName=name, Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        data = template["LaunchTemplateData"]
        assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert [it["Ebs"]["Encrypted"] for it in data["BlockDeviceMappings"]] == [True]
        assert {it["ResourceType"] for it in data["TagSpecifications"]} == {"instance", "volume", "network-interface"}

    def test_a_second_plan_changes_nothing(self, applied: Applied) -> None:
        status, text = applied.root.terraform("plan", "-detailed-exitcode")
        assert status == 0, text

    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            ({"nodes": {"Trainer!": {}}}, "small letters"),
            ({"nodes": {"trainer": {"expires_at": "tomorrow"}}}, "Write the time as"),
            ({"nodes": {"trainer": {"instance_type": "g5.xlarge", "mig": CUT}}}, "Only A100 and later"),
            ({"nodes": {"trainer": {"mig": {"profile": "half", "count": 2}}}}, "as nvidia-smi calls it"),
            ({"ssh_from": ["0.0.0.0/0"]}, "whole internet"),
            ({"ssh_keys": ["'; reboot; '"], "nodes": {"trainer": {}}}, "as ssh-keygen writes it"),
        ],
    )
    def test_what_would_not_do_is_refused(
        self, applied: Applied, changed: dict[str, Any], problem: str, tmp_path: Path
    ) -> None:
        node = {"expires_at": EXPIRES_AT, "instance_type": "p4d.24xlarge", "zone": "us-east-1b"}
        nodes = {name: {**node, **it} for name, it in changed.get("nodes", {}).items()}
        given = {"owner": "me", "image": applied.ec2.image(), **changed, "nodes": nodes}
        file = tmp_path / "changed.tfvars.json"
        file.write_text(json.dumps(given))
        status, text = applied.root.terraform("plan", "-refresh=false", f"-var-file={file}")
        assert status == 1
        assert problem in " ".join(text.split())
