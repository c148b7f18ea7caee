"""What infra/terraform's modules are: an environment, a GPU machine that ends itself, and a pool of such."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws

INFRA = Path(__file__).parents[1]
METADATA = {
    "http_endpoint": "enabled",
    "http_tokens": "required",
    "http_put_response_hop_limit": 1,
    "instance_metadata_tags": "enabled",
}


class Environment:
    """What its machines share: a network, who may reach them, and a role. doors: port, and from where, by what for."""

    def __init__(self, name: str, cidr: str, zones: Sequence[str], doors: Mapping[str, tuple[int, list[str]]]) -> None:
        self.name, self.label = name, f"aiinfra-{name}"
        if any("0.0.0.0/0" in sources for _, sources in doors.values()):
            raise ValueError("a port that the whole internet may reach is none that a GPU machine should have")
        tags = {"Name": self.label, "aiinfra:environment": name}
        vpc = aws.ec2.Vpc(self.label, cidr_block=cidr, enable_dns_hostnames=True, tags=tags)
        gateway = aws.ec2.InternetGateway(self.label, vpc_id=vpc.id, tags=tags)
        routes = [{"cidr_block": "0.0.0.0/0", "gateway_id": gateway.id}]
        table = aws.ec2.RouteTable(self.label, vpc_id=vpc.id, routes=routes, tags=tags)
        self.subnets = {}
        for number, zone in enumerate(map(zone_name, zones)):
            block = f"{'.'.join(cidr.split('.')[:2])}.{number * 16}.0/20"
            self.subnets[zone] = aws.ec2.Subnet(
                f"{self.label}-{zone}",
                vpc_id=vpc.id,
                availability_zone=zone,
                cidr_block=block,
                map_public_ip_on_launch=True,
                tags=tags,
            )
            aws.ec2.RouteTableAssociation(
                f"{self.label}-{zone}", subnet_id=self.subnets[zone].id, route_table_id=table.id
            )
        group = aws.ec2.SecurityGroup(
            self.label,
            description=f"Machines of {self.label}",
            vpc_id=vpc.id,
            ingress=[
                {"description": it, "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": sources}
                for it, (port, sources) in doors.items()
                if sources
            ],
            egress=[{"protocol": "-1", "from_port": 0, "to_port": 0, "cidr_blocks": ["0.0.0.0/0"]}],
            tags=tags,
        )
        self.groups, self.profile = [group.id], self._profile().name
        self._role("one-shot", "one-shot-role")  # by which AWS itself ends machines, for `aws_one_shot`

    def _profile(self) -> aws.iam.InstanceProfile:
        name = f"{self.label}-host"
        return aws.iam.InstanceProfile(name, name=name, role=self._role("host", "host").name)

    def _role(self, of: str, policy: str) -> aws.iam.Role:
        """Called by its environment and by what it is of, since others find it by that."""
        name, iam = f"{self.label}-{of}", INFRA / "iam"
        role = aws.iam.Role(name, name=name, assume_role_policy=(iam / f"{of}-trust.json").read_text())
        aws.iam.RolePolicy(name, role=role.id, policy=(iam / f"{policy}.json").read_text())
        return role


class Network:
    """A network that is there: that of an environment, by its tag, or subnets and security groups that are named."""

    def __init__(
        self,
        name: str,
        zones: Sequence[str],
        *,
        environment: str = "",
        subnets: Sequence[str] = (),
        groups: Sequence[str] = (),
        profile: str = "",
    ) -> None:
        self.name, self.label, self.profile = environment or name, f"aiinfra-{environment or name}", profile or None
        tags = None if subnets else {"aiinfra:environment": environment}
        ids = [{"name": "subnet-id", "values": list(subnets)}] if subnets else None
        self.subnets = {
            zone: aws.ec2.get_subnet_output(availability_zone=zone, tags=tags, filters=ids)
            for zone in map(zone_name, zones)
        }
        vpc = next(iter(self.subnets.values())).vpc_id
        self.groups = list(groups) or [aws.ec2.get_security_group_output(vpc_id=vpc, tags=tags).id]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What all machines have in common."""

    owner: str
    image: str
    ssh_keys: Sequence[str] = ()
    user: str = "ubuntu"

    def tags(self, environment: Environment | Network, session: str, expires_at: str) -> dict[str, str]:
        """Those by which `%gpu check` knows a machine, and what is left over."""
        _check(session, expires_at)
        return {
            "Name": f"{environment.label}-{session}",
            "aiinfra:environment": environment.name,
            "aiinfra:session": session,
            "aiinfra:owner": self.owner,
            "aiinfra:expires": expires_at,
        }

    def user_data(self, expires_at: str, mig: Mapping[str, Any] | None, setup: str = "") -> str:
        """Arms the deadline first."""
        profiles = ",".join([mig["profile"]] * mig["count"]) if mig else ""
        keys = {"ssh_keys": "\n".join(self.ssh_keys), "host_key": ""}
        given = {"expires_at": expires_at, "mig": profiles, "user": self.user, **keys}
        if any("'" in value for value in given.values()):
            raise ValueError("a quote has no place in a key, a user or a profile")
        variables = "".join(f"{name}='{value}'\n" for name, value in given.items())
        return f"#!/bin/sh\n{variables}{(INFRA / 'machine.sh').read_text()}{setup}"


def zone_name(zone: str) -> str:
    """What this account calls a zone that may be given by the id that all accounts know it by, e.g. use1-az1."""
    return aws.get_availability_zone(zone_id=zone).name if re.fullmatch(r"[a-z]+\d+-az\d+", zone) else zone


def node(
    environment: Environment | Network,
    launch: Launch,
    session: str,
    *,
    expires_at: str,
    instance_type: str,
    zone: str,
    spot: bool,
    most_usd_per_hour: float | None = None,
    mig: Mapping[str, Any] | None = None,
    root_gib: int = 100,
    setup: str = "",
) -> aws.ec2.Instance:
    """One GPU machine that ends itself. most_usd_per_hour: no spot machine above this price. setup: lines of shell that
    run last."""
    _check_slices(mig, [instance_type])
    tags = launch.tags(environment, session, expires_at)
    capped = {"max_price": f"{most_usd_per_hour:.6g}"} if most_usd_per_hour is not None else {}
    market = {
        "market_type": "spot",
        "spot_options": {
            "spot_instance_type": "one-time",
            "instance_interruption_behavior": "terminate",
            **capped,
        },
    }
    return aws.ec2.Instance(
        tags["Name"],
        ami=launch.image,
        instance_type=instance_type,
        subnet_id=environment.subnets[zone_name(zone)].id,
        vpc_security_group_ids=environment.groups,
        iam_instance_profile=environment.profile,
        instance_initiated_shutdown_behavior="terminate",
        instance_market_options=market if spot else None,
        user_data=launch.user_data(expires_at, mig, setup),
        user_data_replace_on_change=True,
        metadata_options=METADATA,
        root_block_device={
            "encrypted": True,
            "volume_type": "gp3",
            "volume_size": root_gib,
            "delete_on_termination": True,
        },
        tags=tags,
        volume_tags=tags,
    )


def pool(
    environment: Environment | Network,
    launch: Launch,
    session: str,
    *,
    expires_at: str,
    instance_types: Sequence[str],
    max: int,  # noqa: A002 - as the configuration calls it
    spot: bool,
    min: int = 0,  # noqa: A002
    mig: Mapping[str, Any] | None = None,
    root_gib: int = 100,
) -> aws.autoscaling.Group:
    """As many machines as the desired capacity says; at the deadline there are none, and none come after."""
    _check_slices(mig, instance_types)
    tags = launch.tags(environment, session, expires_at)
    name = tags["Name"]
    root = aws.ec2.get_ami_output(filters=[{"name": "image-id", "values": [launch.image]}]).root_device_name
    ebs = {"encrypted": "true", "volume_type": "gp3", "volume_size": root_gib, "delete_on_termination": "true"}
    kinds = ("instance", "volume", "network-interface")
    template = aws.ec2.LaunchTemplate(
        name,
        image_id=launch.image,
        update_default_version=True,
        instance_initiated_shutdown_behavior="terminate",
        iam_instance_profile={"name": environment.profile},
        network_interfaces=[{"security_groups": environment.groups, "delete_on_termination": "true"}],
        metadata_options=METADATA,
        block_device_mappings=[{"device_name": root, "ebs": ebs}],
        tag_specifications=[{"resource_type": kind, "tags": tags} for kind in kinds],
        user_data=base64.b64encode(launch.user_data(expires_at, mig).encode()).decode(),
        tags=tags,
    )
    group = aws.autoscaling.Group(
        name,
        name=name,
        min_size=min,
        max_size=max,
        desired_capacity=min,
        vpc_zone_identifiers=[it.id for it in environment.subnets.values()],
        force_delete=True,
        capacity_rebalance=spot,
        mixed_instances_policy={
            "instances_distribution": {
                "on_demand_base_capacity": 0,
                "on_demand_percentage_above_base_capacity": 0 if spot else 100,
                "spot_allocation_strategy": "price-capacity-optimized",
            },
            "launch_template": {
                "launch_template_specification": {
                    "launch_template_id": template.id,
                    "version": template.latest_version.apply(str),
                },
                "overrides": [{"instance_type": it} for it in instance_types],
            },
        },
        tags=[{"key": key, "value": value, "propagate_at_launch": True} for key, value in tags.items()],
        # Moves by the queue's length; an update must not put it back.
        opts=pulumi.ResourceOptions(ignore_changes=["desiredCapacity"]),
    )
    # A machine that ended itself would be replaced, so the group ends at the deadline too.
    aws.autoscaling.Schedule(
        name,
        scheduled_action_name="deadline",
        autoscaling_group_name=group.name,
        start_time=expires_at,
        min_size=0,
        max_size=0,
        desired_capacity=0,
    )
    return group


def _check(session: str, expires_at: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", session):
        raise ValueError(f"{session}: a session's name is of small letters, digits, '-', '.' and '_', 63 at most")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", expires_at):
        raise ValueError(f"{expires_at}: write the time as 2026-01-31T18:00:00Z")
    datetime.fromisoformat(expires_at)


def _check_slices(mig: Mapping[str, Any] | None, instance_types: Sequence[str]) -> None:
    if mig and not re.fullmatch(r"[1-7]g\.\d+gb(\+(me|gfx|me\.all))?", mig["profile"]):
        raise ValueError(f"{mig['profile']}: a profile is called as nvidia-smi calls it, e.g. 1g.10gb")
    if mig and not all(re.match("p[4-6]", it) for it in instance_types):
        raise ValueError("only A100 and later are cut into slices: p4d, p4de, p5, p5e, p5en, p6")
