"""A session as a batch script: the very request that `%gpu start` sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...config import Settings
from ..slurm import request
from .rendered import ALONE, Rendered

if TYPE_CHECKING:
    from ..renting import LaunchSpec


def render(spec: LaunchSpec, _provider: str, where: Settings) -> Rendered:
    """The script."""
    main = f"slurm/{spec.session}.sh"
    return Rendered({main: request(spec, where).text}, main, f"sbatch --test-only {spec.session}.sh", (ALONE,))
