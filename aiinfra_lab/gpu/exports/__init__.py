"""`%gpu export`: what `%gpu start` asks a provider for, as files for other tools. Nothing is rented, nothing is asked.

A form is a function of the launch spec and the settings alone, so that the same session gives the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...config import Settings
from . import kubernetes, pulumi, sbatch, skypilot, terraform
from .rendered import PoolSize, Rendered

if TYPE_CHECKING:
    from ..renting import LaunchSpec

__all__ = ["FORMS", "ExportForm", "PoolSize", "Rendered"]


@dataclass(frozen=True, slots=True)
class ExportForm:
    """What a session can be written as. render: given its spec, the provider of its machine and the settings.
    providers: whose machines it can be about, the first that has one first. render_pool: the same for a pool of such
    machines, where infra/ has a module for that."""

    render: Callable[[LaunchSpec, str, Settings], Rendered]
    providers: Sequence[str]
    render_pool: Callable[[LaunchSpec, PoolSize, Settings], Rendered] | None = None


FORMS: Mapping[str, ExportForm] = {
    "kubernetes": ExportForm(kubernetes.render, ("kubernetes",)),
    "pulumi": ExportForm(pulumi.render, ("aws",), pulumi.render_pool),
    "sbatch": ExportForm(sbatch.render, ("slurm",)),
    "skypilot": ExportForm(skypilot.render, skypilot.CLOUDS),
    "terraform": ExportForm(terraform.render, ("aws",), terraform.render_pool),
}
