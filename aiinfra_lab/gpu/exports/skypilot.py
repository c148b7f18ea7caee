"""A session as a SkyPilot task.

Its cluster is then a machine behind ssh: SkyPilot writes it into the ssh configuration, under the session's name.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from ...config import Settings
from ...cost import accelerators
from ...errors import UsageProblem
from ..aws_launch import time_text
from ..offers import ProviderOffer
from .ec2 import is_zone_id
from .rendered import Rendered
from .yaml import written

if TYPE_CHECKING:
    from ..renting import LaunchSpec

CLOUDS = ("aws", "azure", "gcp", "lambda")
# Elsewhere a machine's type is called otherwise there, or says nothing of the accelerators that come with it.
_NAMES_TYPES = ("aws", "azure", "gcp")
_NAMES_ACCELERATORS = ("gcp", "lambda")
_CALLED = {"A100-40GB": "A100", "V100-16GB": "V100"}
_THEN = (
    'once it is up: `ssh_hosts = "{}"` and `ssh_python = "~/aiinfra-lab/bin/python"` below `[gpu]`, and '
    "`%gpu start NAME --on ssh` keeps a kernel there"
)
_SETUP = """\
python3 -m venv ~/aiinfra-lab
~/aiinfra-lab/bin/pip install -q ipykernel
"""
_RUN = """\
# Until the session's deadline. SkyPilot takes a cluster down that has no job, and looks once a minute.
left=$(( $(date -ud "$EXPIRES_AT" +%s) - $(date +%s) ))
if [ "$left" -gt 0 ]; then sleep "$left"; fi
"""


def render(spec: LaunchSpec, provider: str, where: Settings) -> Rendered:
    """The task. UsageProblem where SkyPilot has no such machine."""
    if provider not in CLOUDS or is_tpu(spec.offer.gpu):
        what = f"SkyPilot rents no {ProviderOffer(provider, spec.offer)}"
        raise UsageProblem(what, f"take a GPU of {', '.join(CLOUDS)}: `%cost ls` lists them")
    expires_at, main = time_text(spec.deadline_at), f"skypilot/{spec.session}.yaml"
    task = {
        "name": spec.session,
        "resources": _resources(spec, provider, where, expires_at),
        "envs": {"EXPIRES_AT": expires_at},
        "setup": _SETUP,
        "run": _RUN,
    }
    head = f"# Session {spec.session}, as `%gpu start` would ask for it: written by `%gpu export --to skypilot`.\n"
    return Rendered(
        files={main: head + written(task)},
        main=main,
        use=f"sky launch --cluster {spec.session} --dryrun {spec.session}.yaml",
        notes=(_THEN.format(spec.session),),
    )


def _resources(spec: LaunchSpec, provider: str, where: Settings, expires_at: str) -> dict[str, Any]:
    offer = spec.offer
    kind, region, zone, *_ = [*offer.device.split("/"), "", ""]
    # The same zone is called differently in each account of AWS, and SkyPilot takes that name.
    place = [provider, region, "" if is_zone_id(zone) else zone]
    count = offer.count if offer.count < 1 else math.floor(offer.count)
    called = {_CALLED.get(offer.gpu, offer.gpu): count}
    image = where.get("gpu.aws_image", "") if provider == "aws" else ""
    return {
        "infra": "/".join(filter(None, place)),
        **({"instance_type": kind} if provider in _NAMES_TYPES else {}),
        **({"accelerators": called} if provider in _NAMES_ACCELERATORS else {}),
        "use_spot": offer.spot,
        **({"image_id": image} if image.startswith("ami-") else {}),
        "disk_size": where.get("gpu.aws_root_gib", 100),
        "autostop": {"idle_minutes": 1, "down": True},
        "labels": _labels(spec, provider, expires_at),
    }


def _labels(spec: LaunchSpec, provider: str, expires_at: str) -> dict[str, str]:
    """Whose it is, in what a cloud's labels may be made of; AWS has those of our own machines."""
    if provider == "aws":
        return {"aiinfra:session": spec.session, "aiinfra:owner": spec.owner, "aiinfra:expires": expires_at}
    named = {"session": spec.session, "owner": spec.owner, "expires": expires_at}
    return {f"aiinfra-{name}": re.sub(r"[^a-z0-9_-]", "-", each.lower())[:63] for name, each in named.items()}


def is_tpu(gpu: str) -> bool:
    """Whether it is one of those that are rented in another way than machines with a GPU."""
    known = accelerators.spec(gpu)
    return known is not None and known.vendor == "Google"
