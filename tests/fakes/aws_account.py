"""An account of AWS's where machines may be rented: an environment as `infra/terraform` has it, on loopback."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from .ec2 import IMAGE, REGION, Ec2

ENVIRONMENT = "training"
IAM = Path(__file__).parents[2] / "infra" / "iam"
TODAY = dt.datetime.now(dt.UTC).date().isoformat()
COLUMNS = "provider,type,accelerator,count,usd_per_hour,spot_low_usd,spot_high_usd,region,source,date,zone"
# Spot prices by zone, under the zone's id and under its name; a machine that AWS names no spot price of; another cloud.
PRICES = [
    f"aws,g5.xlarge,A10G,1,1.006,,,{REGION},test,{TODAY},",
    f"aws,g6.xlarge,L4,1,0.8048,0.3,0.3,{REGION},test,{TODAY},us-east-1b",
    f"aws,g6.xlarge,L4,1,0.8048,0.25,0.25,{REGION},test,{TODAY},use1-az6",
    f"aws,p4d.24xlarge,A100-40GB,8,21.9576,,,{REGION},test,{TODAY},",
    f"aws,g6e.xlarge,L40S,1,1.861,0.7,0.9,us-west-2,test,{TODAY},",
    f"gcp,g2,L4,1,0.1,,,us-central1,test,{TODAY},",
]


def furnish(ec2: Ec2, region: str = REGION, zones: str = "ab") -> dict[str, str]:
    """Make an environment's network in a region; the ids of its subnets by zone, and `group`."""
    client, tags = ec2.client(region=region), [{"Key": "aiinfra:environment", "Value": ENVIRONMENT}]
    vpc = client.create_vpc(CidrBlock="10.64.0.0/16")["Vpc"]["VpcId"]
    made = {}
    for number, letter in enumerate(zones):
        zone = f"{region}{letter}"
        block = f"10.64.{number * 16}.0/20"
        subnet = client.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        client.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        made[zone] = subnet
    made["group"] = client.create_security_group(GroupName="aiinfra", Description="aiinfra", VpcId=vpc)["GroupId"]
    client.create_tags(Resources=list(made.values()), Tags=tags)
    ec2.image(region)
    return made


def furnish_role(ec2: Ec2) -> None:
    """The role of its machines, which may do nothing."""
    iam, name = ec2.client("iam"), f"aiinfra-{ENVIRONMENT}-host"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=(IAM / "host-trust.json").read_text())
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def settings_file(prices: Path, **more: object) -> str:
    """What `aiinfra.toml` says; writes the price table. A setting of None is left out."""
    prices.write_text("\n".join([COLUMNS, *PRICES]) + "\n")
    given = {"aws_image": IMAGE["ami_id"], "aws_environment": ENVIRONMENT, **more}
    lines = [f"{name} = {_toml(value)}" for name, value in given.items() if value is not None]
    return "\n".join(["[cost]", f'prices = "{prices}"', "[gpu]", *lines]) + "\n"


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
