"""A session as the manifest of its pod: the very request that `%gpu start` sends."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ...config import Settings
from ..kubernetes import cluster_of, request
from .rendered import ALONE, Rendered
from .yaml import written

if TYPE_CHECKING:
    from ..renting import LaunchSpec


def render(spec: LaunchSpec, _provider: str, where: Settings) -> Rendered:
    """The pod."""
    main = f"kubernetes/{spec.session}.yaml"
    head = f"# Session {spec.session}, as `%gpu start` asks for it: written by `%gpu export --to kubernetes`.\n"
    command = cluster_of(spec.offer).command("create", "--dry-run=server", "-f", f"{spec.session}.yaml")
    return Rendered({main: head + written(request(spec, where))}, main, shlex.join(command), (ALONE,))
