"""What a kept kernel needs of whoever asked for it, and `kernels` knows nothing of: a record, a lease, a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .kept import KernelState
from .reach import Reach


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a kernel is kept. deadline_at: epoch seconds, None for no limit. reason: why it ends then. idle_s: it
    ends after so many seconds without use, as `host.idle` tells; None for never."""

    deadline_at: float | None = None
    reason: str = "deadline"
    idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a kernel is kept, and how.

    folder, argv, cwd, env, alone_s, whole, rented, at_end, at_lease: see `HostSpec`; `~` is the home of its user there,
    and env comes on top of the environment there. is_here: whether that is this machine. name: of it, for people.
    projects: in which folder copies of projects lie there.
    """

    reach: Reach
    folder: str
    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    alone_s: float | None
    is_here: bool = False
    name: str = ""
    whole: bool = False
    rented: bool = False
    at_end: Sequence[str] = ()
    at_lease: Sequence[str] = ()
    projects: str = "~/aiinfra-lab"


class Owner(Protocol):
    """Keeps the record of what the kernel is for. The keeper calls it from its own process and thread."""

    def display_name(self) -> str:
        """What people read in JupyterLab's launcher. Called whenever there is another machine; raises nothing."""

    def lease(self) -> Lease:
        """The lease as it stands now; also a sign that the keeper is alive. Called every few seconds.

        While the record cannot be read the last lease is returned again. Whatever is raised ends the kernel: the
        workspace is gone.
        """

    def ended(self, state: KernelState) -> None:
        """Write down the end; called once, when nothing of the kernel's process tree is left. Raises nothing."""


class Loss(NamedTuple):
    """Why a machine is gone for good, and whether another one is to take its place: not when somebody ended it."""

    why: str
    may_replace: bool


class MachineSource(Protocol):
    """Where the machine of a kept kernel comes from. Each method may take minutes: the keeper calls it in a thread."""

    def obtain(self, report: Callable[[str], None]) -> Place:
        """A machine that a kernel can be started on: that of before when it is still there. Called again when it is
        lost, and after each Unavailable, which says that it cannot be told now. Any other LabError ends it all.

        report: takes what is waited for, in a few words; raises when nobody wants the machine any more
        """

    def lost(self) -> Loss | None:
        """What has become of a machine that is not reached; None while it is there. Unavailable when that cannot be
        told."""

    def release(self) -> None:
        """End the machine; returns when it is gone. Unavailable while that cannot be told: it is called again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A machine that is there already, and stays: see `MachineSource`."""

    place: Place

    def obtain(self, report: Callable[[str], None]) -> Place:
        return self.place

    def lost(self) -> Loss | None:
        return None

    def release(self) -> None:
        pass
