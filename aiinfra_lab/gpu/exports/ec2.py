"""A launch spec of EC2 as infra's modules take it, by terraform or by Pulumi. Asks nobody: what only AWS knows, such as
which image a pattern names, is looked up by the tool that gets this."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...config import Settings
from ..aws_launch import MachineKind, commands, time_text

if TYPE_CHECKING:
    from ..renting import LaunchSpec

NETWORK = "10.64.0.0/16"


@dataclass(frozen=True, slots=True)
class Ec2Node:
    """What the module `gpu-node` takes. mig: the profile and how many slices of it a GPU has. environment: of infra/,
    whose network is there; empty for a network of its own, or where subnets and groups are named."""

    session: str
    owner: str
    expires_at: str
    type: str
    architecture: str
    region: str
    zone: str
    spot: bool
    most_usd_per_hour: float
    mig: tuple[str, int] | None
    image: str
    environment: str
    subnets: Sequence[str]
    groups: Sequence[str]
    profile: str
    root_gib: int
    user: str
    setup: str

    @classmethod
    def of(cls, spec: LaunchSpec, where: Settings) -> Ec2Node:
        """UsageProblem when the spec is of no machine of AWS."""
        kind = MachineKind.parse(spec.offer.device)
        slices = kind.slices(spec.offer.gpu)
        environment = where.get("gpu.aws_environment", "")
        return cls(
            session=spec.session,
            owner=spec.owner,
            expires_at=time_text(spec.deadline_at),
            type=kind.type,
            architecture=kind.architecture,
            region=kind.region,
            zone=kind.zone,
            spot=spec.offer.spot,
            most_usd_per_hour=spec.offer.dearest_usd_per_hour,
            mig=(slices[0], len(slices)) if slices else None,
            image=where.get("gpu.aws_image", ""),
            environment=environment,
            subnets=_split(where.get("gpu.aws_subnets", "")),
            groups=_split(where.get("gpu.aws_security_groups", "")),
            profile=where.get("gpu.aws_instance_profile", f"aiinfra-{environment}-host" if environment else ""),
            root_gib=where.get("gpu.aws_root_gib", 100),
            user=where.get("gpu.aws_user", "ubuntu"),
            setup=commands(where.get("gpu.aws_python", ""), where.get("gpu.aws_setup", "")),
        )

    @property
    def has_network(self) -> bool:
        """Whether the settings name the network that its machines go into."""
        return bool(self.environment or (self.subnets and self.groups))


def is_zone_id(zone: str) -> bool:
    """Whether a zone is called as in every account, e.g. use1-az1, and not as in one."""
    return re.fullmatch(r"[a-z]+[0-9]+-az[0-9]+", zone) is not None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
