"""What a provider of machines does for a session. The gpu verbs keep the record; a provider keeps machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ..cost.accelerators import fits
from ..errors import Failed
from ..kernels import KeptKernel
from ..providers import Paced

__all__ = ["AcceleratorUse", "Gauged", "KernelHost", "Machines", "NoCapacity", "Offer", "Paced", "Plan", "Status"]


class NoCapacity(Failed):
    """A provider has no such machine now, or gives none to this account; nothing was created."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine, or a part of one, that could be had now.

    gpu: the accelerator's short name, its parts joined by `-`, e.g. A100-SXM4-80GB; or cpu
    device: how the provider itself calls it, empty when it need not
    spot: whether it may be taken away again, for a lower price
    taken_by: the session that has it now; nobody else can
    type: the machine's, as its provider calls it, e.g. g5.xlarge. where: its zone, region, partition or host
    count: how many accelerators it has; less than 1 for a share of one, e.g. 0.25
    worst_usd_per_hour: what an hour may cost where that is more than `usd_per_hour`
    note: what else to know before it is taken, e.g. that its price is old
    """

    gpu: str
    usd_per_hour: float
    memory_gib: float | None = None
    device: str = ""
    spot: bool = False
    taken_by: str = ""
    type: str = ""
    where: str = ""
    count: float = 1.0
    worst_usd_per_hour: float | None = None
    note: str = ""

    @property
    def dearest_usd_per_hour(self) -> float:
        """What an hour of it may cost."""
        return self.usd_per_hour if self.worst_usd_per_hour is None else self.worst_usd_per_hour

    def fits(self, wanted: str) -> bool:
        """Whether it is the accelerator that was asked for."""
        return fits(wanted, self.gpu, self.count)


@dataclass(frozen=True, slots=True)
class Plan:
    """A session whose intent is on disk already. `deadline_at` (epoch seconds) must travel in the creating call."""

    name: str
    offer: Offer
    deadline_at: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """What a machine does. `why` says how it ended, in a few words, and `at` when, as far as that is known; `fix` what
    helps, and `step` what is waited for while it starts."""

    state: Literal["starting", "ready", "stopping", "ended"]
    why: str = ""
    at: float | None = None
    fix: str = ""
    step: str = ""


class Machines(Protocol):
    """Where sessions live. Every method raises Unavailable when the provider cannot be reached.

    Machines that take longer than two minutes to be ready, or 30 s to end, say so: see `Paced`.
    """

    def offers(self) -> Sequence[Offer]:
        """All that could be had now, the cheapest first; what is taken is listed too. Creates nothing."""

    def create(self, plan: Plan) -> str:
        """Bring a session's machine into being and return its handle as soon as that is known, before it is ready.

        Called after the intent is committed, by whoever may crash at any point: a second call for a name whose machine
        of this workspace lives returns that machine's handle. One that has ended is never given out again.
        """

    def status(self, handle: str) -> Status:
        """What it does now. A machine that is gone, or was never there, has ended; that is no error."""

    def renew(self, handle: str, deadline_at: float | None) -> None:
        """Move the deadline, in both directions; returns when the machine will keep to it. If it is gone: returns."""

    def terminate(self, handle: str) -> None:
        """Ask for the end and return at once; `status` tells when it is over. May be repeated; if gone: returns."""

    def list_owned(self) -> Mapping[str, str]:
        """Handle and session name of every machine of this workspace that has not ended."""


@dataclass(frozen=True, slots=True)
class AcceleratorUse:
    """How much an accelerator is used now. busy: the share of its time. memory_gib: what is taken, of `of_gib`."""

    busy: float | None = None
    memory_gib: float | None = None
    of_gib: float | None = None


@runtime_checkable
class Gauged(Protocol):
    """An ability of `Machines`, asked by isinstance: they can tell at once how much an accelerator is used."""

    def use_of(self, device: str) -> AcceleratorUse | None:
        """Of an offer's device; None where that cannot be told. Returns within seconds, and raises nothing."""


@runtime_checkable
class Tidied(Protocol):
    """An ability of `Machines`, asked by isinstance: they make something beside a machine that may outlive it.

    That costs nothing, and does nothing then.
    """

    def leftovers(self) -> Sequence[str]:
        """The ids of machines that are gone, and of which such a thing is left. LabError where that cannot be told."""

    def tidy(self, instance_id: str) -> None:
        """Delete what is left of a machine that is gone; may be repeated, and raises nothing."""


@runtime_checkable
class KernelHost(Protocol):
    """An ability of `Machines`, asked by isinstance: processes of this machine can send code to their kernels.

    Without it a session lives, costs and ends like any other, and `--on gpu:NAME` says that nothing can run there. What
    keeps such a kernel here is `kernels.keeper.run`, whatever the way to its machine is: see `kernels.Reach` and
    `kernels.MachineSource`. Whoever rents machines derives from `RentingMachines`, whoever has them already from
    `KeepingMachines`, which do all of that.
    """

    def kernel(self, handle: str) -> KeptKernel:
        """The kernel of a machine that has not ended, for `kernels.execute`; it need not be ready yet. It is that of
        its session: `KeptKernel.of("gpu:NAME")`.

        NotFound when there is no such machine. Unavailable when its kernel cannot be reached from here.
        """


def start_again(name: str, gpu: str, on: str, *, spot: bool, most: int | None = None) -> str:
    """What starts a session of that name on such a machine once more; most: a pool of at most so many of them."""
    flags = ["--gpu", f'"{gpu}"' if " " in gpu else gpu] if gpu != "cpu" else []
    flags += ["--spot"] if spot else []
    flags += ["--on", on] if on != "local" else []
    flags += ["--max", str(most)] if most is not None else []
    return " ".join(["%gpu start", name, *flags])
