"""What a kept kernel needs of whoever asked for it: a record and a lease, of which `kernels` itself knows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .kept import KernelState


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a kernel is kept. deadline_at: epoch seconds, None for no limit. reason: why it ends then. idle_s: it
    ends after so many seconds without use, as `host.idle` tells; None for never."""

    deadline_at: float | None = None
    reason: str = "deadline"
    idle_s: float | None = None


class Owner(Protocol):
    """Keeps the record of what the kernel is for. The keeper calls it from its own process and thread."""

    def display_name(self) -> str:
        """What people read in JupyterLab's launcher. Called for every kernel that becomes ready; raises nothing."""

    def lease(self) -> Lease:
        """The lease as it stands now; also a sign that the keeper is alive. Called about once a second.

        While the record cannot be read the last lease is returned again. Whatever is raised ends the kernel: the
        workspace is gone.
        """

    def ended(self, state: KernelState) -> None:
        """Write down the end; called once, when nothing of the kernel's process tree is left. Raises nothing."""
