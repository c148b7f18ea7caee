"""What `%gpu export` writes, by the real tools: the machine that `%gpu start` asks for, field by field."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiinfra_lab.config import Setting, settings
from aiinfra_lab.gpu import Offer, aws_launch
from aiinfra_lab.gpu.exports import FORMS
from aiinfra_lab.gpu.renting import LaunchSpec
from tests.fakes.ec2 import Ec2
from tests.slow.environments import python_of, run
from tests.terraform import Root, needs_provider

AT = 4_073_566_800.0
EXPIRES_AT = "2099-01-31T18:20:00Z"
SETUP = 'echo "${HOME}" %{x} > /tmp/done'
SPOT = Offer("A10G", 0.46, 24, "g5.xlarge/us-east-1/us-east-1a", spot=True, worst_usd_per_hour=1.006)
STEADY = Offer("L4", 0.8, 24, "g6.xlarge/us-east-1/us-east-1b")
CUT = Offer("A100-40GB", 21.96, 40, "p4d.24xlarge/us-east-1/us-east-1b/1g.5gb", spot=True, count=8)


@pytest.fixture(scope="module")
def ec2() -> Iterator[Ec2]:
    with Ec2() as made:
        yield made


def network(ec2: Ec2) -> dict[str, Any]:
    """What a cloud has for its settings: an image, the subnets of two zones, two security groups."""
    client = ec2.client()
    subnets = client.describe_subnets()["Subnets"]
    (vpc,) = {each["VpcId"] for each in subnets}
    groups = [
        client.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("one", "two")
    ]
    return {
        "aws_image": ec2.image(),
        "aws_subnets": ", ".join(each["SubnetId"] for each in subnets),
        "aws_security_groups": ", ".join(groups),
        "aws_instance_profile": "host",
        "aws_root_gib": 50,
        "aws_user": "ec2-user",
        "aws_setup": SETUP,
    }


def spec(offer: Offer) -> LaunchSpec:
    return LaunchSpec("trainer", "0f12", "aiinfra-trainer-1", offer, AT, Path("unused"))


def exported(to: str, offer: Offer, named: dict[str, Any], into: Path) -> Path:
    """The folder of the session's own file."""
    where = dataclasses.replace(settings(), values={f"gpu.{name}": Setting(it, "a test") for name, it in named.items()})
    done = FORMS[to].render(spec(offer), "aws", where)
    done.write(into)
    return (into / done.main).parent


def launched(offer: Offer, named: dict[str, Any], subnet: str) -> dict[str, Any]:
    """The request that `%gpu start` sends, as the fields of an `aws_instance`; without the keys of a session's own."""
    kind = aws_launch.MachineKind.parse(offer.device)
    groups = named["aws_security_groups"].split(", ")
    target = aws_launch.LaunchTarget(
        named["aws_image"], "/dev/sda1", subnet, groups, "", named["aws_instance_profile"], named["aws_root_gib"]
    )
    commands = aws_launch.commands(named.get("aws_python", ""), named["aws_setup"])
    setup = aws_launch.MachineSetup(named["aws_user"], "", "", kind.slices(offer.gpu), commands)
    asked = aws_launch.request(spec(offer), target, setup)
    tags = {it["Key"]: it["Value"] for it in asked["TagSpecifications"][0]["Tags"]}
    disk, metadata = asked["BlockDeviceMappings"][0]["Ebs"], asked["MetadataOptions"]
    spot = asked.get("InstanceMarketOptions", {}).get("SpotOptions", {})
    return {
        "ami": asked["ImageId"],
        "instance_type": asked["InstanceType"],
        "subnet_id": asked["SubnetId"],
        "security_groups": sorted(asked["SecurityGroupIds"]),
        "iam_instance_profile": asked["IamInstanceProfile"]["Name"],
        "instance_initiated_shutdown_behavior": asked["InstanceInitiatedShutdownBehavior"],
        "owner": tags["aiinfra:owner"],
        "session": tags["aiinfra:session"],
        "expires": tags["aiinfra:expires"],
        "max_price": spot.get("MaxPrice"),
        "spot": (spot.get("SpotInstanceType"), spot.get("InstanceInterruptionBehavior")),
        "disk": (disk["Encrypted"], disk["VolumeType"], disk["VolumeSize"], disk["DeleteOnTermination"]),
        "metadata": tuple(metadata[name] for name in sorted(metadata)),
        "user_data": asked["UserData"],
    }


def planned(machine: dict[str, Any]) -> dict[str, Any]:
    """The same fields of what a plan of Terraform has, or what Pulumi is asked for in Terraform's words."""
    (disk,), (metadata,) = machine["root_block_device"], machine["metadata_options"]
    (market,) = machine.get("instance_market_options") or [{}]
    (spot,) = market.get("spot_options") or [{}]
    names = ("http_endpoint", "http_put_response_hop_limit", "http_tokens", "instance_metadata_tags")
    same = ("ami", "instance_type", "subnet_id", "iam_instance_profile", "instance_initiated_shutdown_behavior")
    return {
        **{name: machine[name] for name in same},
        "security_groups": sorted(machine["vpc_security_group_ids"]),
        **{name: machine["tags"][f"aiinfra:{name}"] for name in ("owner", "session", "expires")},
        "max_price": spot.get("max_price"),
        "spot": (spot.get("spot_instance_type"), spot.get("instance_interruption_behavior")),
        "disk": tuple(disk[name] for name in ("encrypted", "volume_type", "volume_size", "delete_on_termination")),
        "metadata": tuple(metadata[name] for name in names),
        "user_data": machine["user_data"],
    }


@needs_provider
@pytest.mark.slow
@pytest.mark.parametrize("offer", [SPOT, STEADY, CUT], ids=["spot", "steady", "cut"])
def test_the_plan_of_terraform_is_the_launch(workspace: Path, tmp_path: Path, ec2: Ec2, offer: Offer) -> None:
    ec2.reset()
    named = network(ec2)
    root = Root.ready(exported("terraform", offer, named, tmp_path / "out"), tmp_path, ec2)
    (machine,) = root.planned().values()
    zone = offer.device.split("/")[2]
    (subnet,) = [it["SubnetId"] for it in ec2.client().describe_subnets()["Subnets"] if it["AvailabilityZone"] == zone]
    wanted = launched(offer, named, subnet)
    wanted["user_data"] = hashlib.sha1(wanted["user_data"].encode()).hexdigest()  # all that a plan tells of it
    assert planned(machine) == wanted
    assert machine["tags_all"]["aiinfra:environment"] == "trainer"
    assert machine["volume_tags"].items() >= {"aiinfra:owner": "0f12", "aiinfra:expires": EXPIRES_AT}.items()


@needs_provider
@pytest.mark.slow
@pytest.mark.parametrize(("zone", "name"), [("us-east-1a", "us-east-1a"), ("use1-az4", "")])
def test_a_session_without_a_network_gets_one(workspace: Path, tmp_path: Path, ec2: Ec2, zone: str, name: str) -> None:
    ec2.reset()
    offer = dataclasses.replace(SPOT, device=f"g5.xlarge/us-east-1/{zone}")
    root = Root.ready(exported("terraform", offer, {}, tmp_path / "out"), tmp_path, ec2)
    root.set(image=ec2.image(), ssh_from=["192.0.2.0/24"])
    planned = root.planned()
    if not name:
        zones = ec2.client().describe_availability_zones()["AvailabilityZones"]
        name = next(it["ZoneName"] for it in zones if it["ZoneId"] == zone)
    (subnet,) = [it for address, it in planned.items() if ".aws_subnet." in address]
    assert subnet["availability_zone"] == name
    (group,) = [it for address, it in planned.items() if ".aws_security_group." in address]
    assert [(it["from_port"], it["cidr_blocks"]) for it in group["ingress"]] == [(22, ["192.0.2.0/24"])]
    assert planned["module.session.aws_instance.this"]["instance_type"] == "g5.xlarge"


# ---- pulumi ----


@pytest.mark.slow
@pytest.mark.parametrize("offer", [SPOT, STEADY, CUT], ids=["spot", "steady", "cut"])
def test_what_pulumi_makes_is_the_launch(workspace: Path, tmp_path: Path, offer: Offer) -> None:
    named = {
        "aws_image": "ami-1",
        "aws_subnets": "subnet-1",
        "aws_security_groups": "sg-1, sg-2",
        "aws_instance_profile": "host",
        "aws_root_gib": 50,
        "aws_user": "ec2-user",
        "aws_setup": SETUP,
    }
    found = made_by_pulumi(exported("pulumi", offer, named, tmp_path / "out"))
    (machine,) = [it["inputs"] for it in found if it["type"] == "aws:ec2/instance:Instance"]
    theirs = {_snake(name): it for name, it in machine.items()}
    for name in ("root_block_device", "metadata_options", "instance_market_options"):
        theirs[name] = [{_snake(key): it for key, it in theirs[name].items()}] if name in theirs else []
    for market in theirs["instance_market_options"]:
        market["spot_options"] = [{_snake(key): it for key, it in market["spot_options"].items()}]
    wanted = launched(offer, named, theirs["subnet_id"])
    assert planned(theirs) == wanted
    assert theirs["volume_tags"] == theirs["tags"]


def _snake(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


@pytest.mark.slow
def test_pulumi_makes_a_network_where_none_is_named(workspace: Path, tmp_path: Path) -> None:
    offer = dataclasses.replace(SPOT, device="g5.xlarge/us-east-1/use1-az4")
    found = made_by_pulumi(exported("pulumi", offer, {"aws_image": "ami-1"}, tmp_path / "out"))
    kinds = [it["type"] for it in found]
    assert (kinds.count("aws:ec2/vpc:Vpc"), kinds.count("aws:ec2/instance:Instance")) == (1, 1)
    (subnet,) = [it["inputs"] for it in found if it["type"] == "aws:ec2/subnet:Subnet"]
    assert subnet["availabilityZone"] == "us-east-1d"  # as the mock calls it


def made_by_pulumi(folder: Path) -> list[dict[str, Any]]:
    """What a program makes with the configuration of its only stack, against Pulumi's own mocks."""
    (stack,) = folder.glob("Pulumi.?*.yaml")
    given = yaml.safe_load(stack.read_text())["config"]
    ours = {name.removeprefix("aiinfra:"): it for name, it in given.items() if name.startswith("aiinfra:")}
    program = str(Path(__file__).with_name("pulumi_program.py"))
    name = stack.name.split(".")[1]
    made: list[dict[str, Any]] = json.loads(run(python_of("pulumi"), program, name, json.dumps(ours), str(folder)))
    return made


# ---- skypilot ----

# In the form of SkyPilot's own catalogue, which it would fetch from the internet: one machine, by the zone's id.
_VMS = """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch
g5.xlarge,A10G,1.0,4.0,16.0,"{'Gpus': [{'Name': 'A10G', 'Manufacturer': 'NVIDIA', 'Count': 1, \
'MemoryInfo': {'SizeInMiB': 24576}}], 'TotalGpuMemoryInMiB': 24576}",1.006,0.46,us-east-1,ZONE,x86_64
"""


@pytest.mark.slow
def test_skypilot_would_launch_that_machine(workspace: Path, tmp_path: Path, ec2: Ec2) -> None:
    """SkyPilot's schema, its checks, its optimizer and a dry run of its launch; its AWS is the one on loopback."""
    ec2.reset()
    zones = ec2.client().describe_availability_zones()["AvailabilityZones"]
    (zone,) = [it["ZoneId"] for it in zones if it["ZoneName"] == "us-east-1a"]
    catalogue = tmp_path / ".sky" / "catalogs" / "v8"
    write(catalogue / "aws" / "vms.csv", _VMS.replace("ZONE", zone))
    write(catalogue / "aws" / "instance_quota_mapping.csv", "InstanceType,OnDemandInstanceCode,SpotInstanceCode\n")
    write(catalogue / "common" / "accelerators.csv", "AcceleratorName,Clouds\nA10G,AWS\n")
    keys = "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
    own = {
        "AWS_CONFIG_FILE": write(tmp_path / "config", ""),
        "AWS_SHARED_CREDENTIALS_FILE": write(tmp_path / "k", keys),
    }
    # It looks whether there is an rsync, which a dry run never calls.
    write(tmp_path / "bin" / "rsync", "#!/bin/sh\n")
    (tmp_path / "bin" / "rsync").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    quiet = {"SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "PYTHONPATH": ""}
    env = {**os.environ, **ec2.env(), **own, **quiet, "HOME": str(tmp_path), "PATH": path}
    named = {"aws_image": ec2.image(), "aws_root_gib": 50}
    task = exported("skypilot", SPOT, named, tmp_path / "out") / "trainer.yaml"
    program = str(Path(__file__).with_name("skypilot_task.py"))
    done = subprocess.run(
        [python_of("skypilot"), program, str(task)], env=env, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Dryrun finished." in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "cloud": "AWS",
        "type": "g5.xlarge",
        "region": "us-east-1",
        "zone": "us-east-1a",
        "spot": True,
        "accelerators": {"A10G": 1},
        "disk_gib": 50,
        "labels": {"aiinfra:session": "trainer", "aiinfra:owner": "0f12", "aiinfra:expires": EXPIRES_AT},
        "idle_minutes": 1,
        "down": True,
    }
    assert "RunInstances" not in [call.operation for call in ec2.calls]


def write(path: Path, text: str) -> str:
    """A file, with the folders above it; its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)
