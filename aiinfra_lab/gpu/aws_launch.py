"""The call that creates a machine on EC2, as one value: what `launch` sends, and what `gpu export` renders.

Everything that has to hold for a machine is in it, since whoever sent it may be gone before there is an answer: when it
ends, whose it is, that it ends for good by its own shutdown, and the keys by which it is reached.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cost import accelerators
from ..errors import Missing, UsageProblem

if TYPE_CHECKING:
    from .renting import LaunchSpec

OWNER, SESSION, TOKEN, EXPIRES = "aiinfra:owner", "aiinfra:session", "aiinfra:token", "aiinfra:expires"
ENVIRONMENT = "aiinfra:environment"
SCRIPT = "machine.sh"
DEADLINE = "/usr/local/sbin/aiinfra-deadline"
"""The command of a machine that moves its end, given the seconds until then."""
SETUP_RESULT = "/run/aiinfra-machine"
"""The file of a machine with the exit code of its setup."""
# Where nobody names a Python that has ipykernel, the machine makes itself one, once its deadline is armed.
MADE_PYTHON = "/usr/local/lib/aiinfra-lab/bin/python"
_MAKE_PYTHON = """
if command -v apt-get >/dev/null; then
    apt-get -o DPkg::Lock::Timeout=300 update -q
    apt-get -o DPkg::Lock::Timeout=300 install -qy python3-venv
fi
python3 -m venv "$root"/usr/local/lib/aiinfra-lab
"$root"/usr/local/lib/aiinfra-lab/bin/pip install -q ipykernel
"""
_PACKAGE = Path(__file__).parents[1]
# In the wheel, and in a checkout.
_FOLDERS = (_PACKAGE / "infra", _PACKAGE.parent / "infra")
_TAGGED = ("instance", "volume", "network-interface")


@dataclass(frozen=True, slots=True)
class MachineKind:
    """What an offer's device names: TYPE/REGION/ZONE, and behind another `/` the MIG profile of its GPUs."""

    type: str
    region: str
    zone: str
    profile: str = ""

    @classmethod
    def parse(cls, device: str) -> MachineKind:
        parts = device.split("/")
        if not 3 <= len(parts) <= 4 or not all(parts[:3]):
            raise UsageProblem(f"{device!r} is no machine of AWS", "name one as g5.xlarge/us-east-1/us-east-1a")
        return cls(*parts)

    @property
    def architecture(self) -> str:
        """Of its processor: Graviton has a g behind the number, as in g5g."""
        return "arm64" if re.match(r"[a-z]+\d+[a-z]*g", self.type.partition(".")[0]) else "x86_64"

    def slices(self, accelerator: str) -> Sequence[str]:
        """The MIG profiles of each of its GPUs: as many of the one as a GPU holds."""
        known = accelerators.spec(accelerator)
        found = known.profile(self.profile) if known and self.profile else None
        return [found.name] * found.instances if found else []

    def __str__(self) -> str:
        return "/".join(filter(None, (self.type, self.region, self.zone, self.profile)))


@dataclass(frozen=True, slots=True)
class LaunchTarget:
    """Where a machine goes in its region, and what it starts from. root_device: what the image calls its volume."""

    image: str
    root_device: str
    subnet: str
    security_groups: Sequence[str]
    environment: str = ""
    profile: str = ""
    root_gib: int = 100


@dataclass(frozen=True, slots=True)
class MachineSetup:
    """What a machine makes of itself. user: whom the image lets log in; slices: MIG profiles, of each GPU; commands:
    lines of shell that run last."""

    user: str
    login_key: str
    host_key: str = ""
    slices: Sequence[str] = ()
    commands: str = ""

    def user_data(self, expires_at: str, lasts_s: float | None = None) -> str:
        """The script that the machine begins with; it arms the deadline first. lasts_s: until then, at most."""
        variables = {
            "expires_at": expires_at,
            "mig": ",".join(self.slices),
            "user": self.user,
            "ssh_keys": self.login_key,
            "host_key": self.host_key,
        }
        if lasts_s is not None:
            variables["lasts_s"] = f"{math.ceil(lasts_s)}"
        if wrong := next((name for name, value in variables.items() if "'" in value), ""):
            raise UsageProblem(f"a quote has no place in {wrong} of a machine", "correct aws_user in [gpu]")
        lines = "".join(f"{name}='{value}'\n" for name, value in variables.items())
        return f"#!/bin/sh\n{lines}{_script()}{self.commands}"


def commands(python: str, own: str) -> str:
    """Lines of shell that a machine runs last: those that make a Python where none is named, and the user's."""
    made = "" if python else _MAKE_PYTHON
    return f"{made}{own.strip()}\n" if own.strip() else made


def request(spec: LaunchSpec, target: LaunchTarget, setup: MachineSetup) -> dict[str, Any]:
    """The parameters of RunInstances; the same for the same arguments, as its token demands."""
    kind = MachineKind.parse(spec.offer.device)
    expires_at = time_text(spec.deadline_at)
    tags = tags_of(spec, target.environment)
    tagged = (*_TAGGED, "spot-instances-request") if spec.offer.spot else _TAGGED
    asked = {
        "ClientToken": spec.token,
        "ImageId": target.image,
        "InstanceType": kind.type,
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": target.subnet,
        "SecurityGroupIds": list(target.security_groups),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "UserData": setup.user_data(expires_at, spec.lasts_s),
        "TagSpecifications": [{"ResourceType": each, "Tags": listed(tags)} for each in tagged],
        # With the tags in it, the machine needs no credentials to know what it is.
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "InstanceMetadataTags": "enabled",
        },
        "BlockDeviceMappings": [
            {
                "DeviceName": target.root_device,
                "Ebs": {
                    "Encrypted": True,
                    "VolumeType": "gp3",
                    "VolumeSize": target.root_gib,
                    "DeleteOnTermination": True,
                },
            }
        ],
    }
    if target.profile:
        asked["IamInstanceProfile"] = {"Name": target.profile}
    if spec.offer.spot:
        options = {
            "SpotInstanceType": "one-time",
            "InstanceInterruptionBehavior": "terminate",
            "MaxPrice": f"{spec.offer.dearest_usd_per_hour:.6g}",
        }
        asked["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return asked


def tags_of(spec: LaunchSpec, environment: str) -> dict[str, str]:
    """By which a machine, its volume and its network interface are known for this workspace's."""
    tags = {
        "Name": f"aiinfra-{spec.session}",
        OWNER: spec.owner,
        SESSION: spec.session,
        TOKEN: spec.token,
        EXPIRES: time_text(spec.deadline_at),
    }
    return {**tags, ENVIRONMENT: environment} if environment else tags


def listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]


def time_text(at: float) -> str:
    """As the tag and `machine.sh` write it: the next whole second, so that who keeps the time exactly comes first."""
    return datetime.fromtimestamp(math.ceil(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _script() -> str:
    """`infra/machine.sh`."""
    found = next((folder / SCRIPT for folder in _FOLDERS if (folder / SCRIPT).is_file()), None)
    if found is None:
        raise Missing(f"{SCRIPT} is not in this installation", "`pip install --force-reinstall --no-deps aiinfra-lab`")
    return found.read_text("utf-8")
