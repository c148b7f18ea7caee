"""Machines that cost money and that nobody keeps: found by asking every provider, and ended when somebody says so.

Only machines of this workspace are looked at: they carry its id. One is kept when its keeper's job is to go on; such a
job is started again here, should its process be gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .. import jobs
from ..errors import LabError, NotFound
from ..providers import chosen, make, names
from ..store import Record, open_store
from .asking import ask_each
from .base import Tidied
from .record import MachineRecord
from .renting import Clock, Instance, RentingMachines, close_machine, settle, update_end

_GONE_S = 120.0
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Orphan:
    """A machine that nobody keeps, and why that is so."""

    provider: str
    instance: Instance
    why: str


@dataclass(slots=True)
class Findings:
    """orphans: machines that nobody keeps. kept: how many are kept. unasked: providers that could not be asked, and
    why; their machines may cost money. closed: machines that were written down as living, and are gone. leftovers: by
    provider, machines of ours that are gone and of which something is left that costs nothing, see `Tidied`."""

    orphans: list[Orphan] = field(default_factory=list)
    kept: int = 0
    unasked: dict[str, LabError] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    leftovers: dict[str, list[str]] = field(default_factory=dict)


def look(providers: Mapping[str, RentingMachines] | None = None) -> Findings:
    """Ask every provider that rents, once each and all at the same time, for the machines of this workspace."""
    providers = _renting() if providers is None else providers
    # Records are read after the answers: what is launched in between has one by then.
    asked_at = {name: machines.clock.now() for name, machines in providers.items()}
    answers = ask_each(providers, lambda name: providers[name].instances())
    store, used = open_store(), chosen("gpu.machines")
    left = {record.name: record for record in store.list(MachineRecord, is_open=True)}
    found = Findings()
    for name, given in answers.items():
        if isinstance(given, LabError):
            # Else nobody uses it here: a cluster's commands may be installed, and no cluster be there.
            if name == used or any(record.body.provider == name for record in store.list(MachineRecord)):
                found.unasked[name] = given
            continue
        for instance in given:
            why = _orphaned(left.get(instance.token) or store.get(MachineRecord, instance.token), instance)
            if why:
                found.orphans.append(Orphan(name, instance, why))
            else:
                found.kept += 1
        living = {each.token for each in given}
        missing = [each for each in left.values() if each.body.provider == name and each.name not in living]
        found.closed += _close_gone(providers[name], missing, asked_at[name])
    found.leftovers = _leftovers(providers)
    return found


def _leftovers(providers: Mapping[str, RentingMachines]) -> dict[str, list[str]]:
    tidied = {name: machines for name, machines in providers.items() if isinstance(machines, Tidied)}
    answers = ask_each(tidied, lambda name: tidied[name].leftovers()) if tidied else {}
    ours = {record.body.instance for record in open_store().list(MachineRecord, is_open=False)}
    listed = {name: given for name, given in answers.items() if not isinstance(given, LabError)}
    found = {name: [each for each in given if each in ours] for name, given in listed.items()}
    return {name: left for name, left in found.items() if left}


def tidy(leftovers: Mapping[str, Sequence[str]], providers: Mapping[str, RentingMachines] | None = None) -> None:
    """Delete what is left of machines that are gone."""
    providers = _renting() if providers is None else providers
    for name, instances in leftovers.items():
        machines = providers[name]
        if isinstance(machines, Tidied):
            for instance in instances:
                machines.tidy(instance)


def end(
    orphans: Sequence[Orphan],
    within_s: float = _GONE_S,
    providers: Mapping[str, RentingMachines] | None = None,
    clock: Clock | None = None,
) -> list[Orphan]:
    """Have these end; those that are not gone after that time, or could not be asked."""
    providers, clock = _renting() if providers is None else providers, clock or Clock()
    left, until = list(orphans), clock.monotonic() + within_s
    while left:
        left = [each for each in left if not _has_gone(providers[each.provider], each.instance)]
        if left and clock.monotonic() > until:
            break
        if left:
            clock.sleep(_LOOK_S)
    return left


def _renting() -> dict[str, RentingMachines]:
    """The providers that rent, as far as they are installed."""
    found: dict[str, RentingMachines] = {}
    for name in names("gpu.machines"):
        try:
            machines = make("gpu.machines", name)
        except LabError:  # its package is not there: it has rented nothing
            continue
        if isinstance(machines, RentingMachines):
            found[name] = machines
    return found


def _orphaned(record: Record[MachineRecord] | None, instance: Instance) -> str:
    """Why nobody keeps a machine; empty when somebody does."""
    if record is None:
        return "no record of this workspace tells of it"
    if not record.body.is_open:
        return f"it was taken for gone: {record.body.ended_by}"
    why = _unkept(record.body.job)
    return why if instance.state != "ending" else ""


def _unkept(job_id: str) -> str:
    """Why nobody keeps the machines of a keeper's job; empty when it is to go on, for which it is started again."""
    try:
        job = jobs.poll(job_id)
    except NotFound:
        return "its keeper is not known here"
    if job.live:
        return ""
    if job.ended_at is None and not job.stop_requested_at:
        with contextlib.suppress(LabError):
            jobs.launch()
        return ""
    return "its session has ended"


def _close_gone(machines: RentingMachines, missing: Sequence[Record[MachineRecord]], asked_at: float) -> list[str]:
    """Write down which machines are gone whose keepers cannot do it any more; their names."""
    closed = []
    # What was asked for a moment ago may be missing in a list; a clock that was set says nothing.
    old = [
        each
        for each in missing
        if abs(asked_at - max(each.body.requested_at, each.body.asked_at)) > machines.listed_s
        and _is_ours(each)
        and _unkept(each.body.job)
    ]
    for record in old:
        # By its own name too: a list may lack one for an instant. Whoever only looks may have no right to write.
        with contextlib.suppress(LabError):
            found = next(iter(machines.instances(record.name)), None)
            if found is None or found.state == "gone":
                close_machine(record, "it was gone when somebody looked", found, at=machines.clock.now())
                closed.append(record.name)
    return closed


def _is_ours(record: Record[MachineRecord]) -> bool:
    """Whether its keeper is of this folder: the machines of another one that shares this store are not listed here."""
    try:
        return jobs.poll(record.body.job).is_here
    except NotFound:
        return True


def _has_gone(machines: RentingMachines, instance: Instance) -> bool:
    """Whether a machine is gone now; else its end is asked for."""
    try:
        record = open_store().get(MachineRecord, instance.token)
        if record is not None and record.body.is_open:
            return settle(machines, record)
        found = next((each for each in machines.instances(instance.token) if each.id == instance.id), None)
        if found is None or found.state != "gone":
            machines.end(instance.id)  # also where the list lacks it, which it may for an instant
        has_gone = found is None or found.state == "gone"
        if record is not None and has_gone:  # it cost money until now
            now = machines.clock.now()
            update_end(record, f"{record.body.ended_by}; it was not, and was ended", found or instance, at=now)
    except LabError:
        return False
    return has_gone
