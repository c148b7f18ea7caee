"""A launch spec of EC2 as infra's modules take it, by terraform or by Pulumi. Asks nobody: what only AWS knows, such as
which image a pattern names, is looked up by the tool that gets this."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...config import Settings
from ...cost import accelerators
from ...errors import UsageProblem

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
        kind, region, zone, profile = [*spec.offer.device.split("/"), "", "", ""][:4]
        if not region:
            what = f"{spec.offer.device or spec.offer.gpu!r} is no machine of AWS"
            raise UsageProblem(what, "name an accelerator that AWS has: `%cost ls` lists them")
        environment = where.get("gpu.aws_environment", "")
        setup = where.get("gpu.aws_setup", "").strip()
        return cls(
            session=spec.session,
            owner=spec.owner,
            expires_at=time_text(spec.deadline_at),
            type=kind,
            region=region,
            # A price may be of a whole region, of which there is nearly always a first zone.
            zone=zone or f"{region}a",
            spot=spec.offer.spot,
            most_usd_per_hour=spec.offer.dearest_usd_per_hour,
            mig=_slices(spec.offer.gpu, profile),
            image=where.get("gpu.aws_image", ""),
            environment=environment,
            subnets=_split(where.get("gpu.aws_subnets", "")),
            groups=_split(where.get("gpu.aws_security_groups", "")),
            profile=where.get("gpu.aws_instance_profile", f"aiinfra-{environment}-host" if environment else ""),
            root_gib=where.get("gpu.aws_root_gib", 100),
            user=where.get("gpu.aws_user", "ubuntu"),
            setup=f"{setup}\n" if setup else "",
        )

    @property
    def architecture(self) -> str:
        """Of its processor: Graviton has a g behind the number, as in g5g."""
        return "arm64" if re.match(r"[a-z]+[0-9]+[a-z]*g", self.type.partition(".")[0]) else "x86_64"

    @property
    def has_network(self) -> bool:
        """Whether the settings name the network that its machines go into."""
        return bool(self.environment or (self.subnets and self.groups))


def is_zone_id(zone: str) -> bool:
    """Whether a zone is called as in every account, e.g. use1-az1, and not as in one."""
    return re.fullmatch(r"[a-z]+[0-9]+-az[0-9]+", zone) is not None


def time_text(at: float) -> str:
    """As tags and `machine.sh` write it: whole seconds, never later than asked."""
    return dt.datetime.fromtimestamp(int(at), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _slices(accelerator: str, profile: str) -> tuple[str, int] | None:
    known = accelerators.spec(accelerator)
    found = known.profile(profile) if known and profile else None
    return (found.name, found.instances) if found else None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
