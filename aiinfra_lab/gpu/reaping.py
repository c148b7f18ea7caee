"""Machines that cost money and that nobody keeps: found by asking every provider, and ended when somebody says so.

Only machines of this workspace are looked at: they carry its id. One is kept when its keeper's job is to go on; such a
job is started again here, should its process be gone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from .. import jobs
from ..errors import Denied, LabError, Missing, NotFound, UsageProblem
from ..providers import make, names
from ..store import Record, open_store
from .asking import ask_each
from .record import MachineRecord
from .renting import Instance, RentingMachines, close_machine, settle

_GONE_S = 120.0
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Orphan:
    """A machine that nobody keeps, and why that is so."""

    provider: str
    instance: Instance
    why: str


@dataclass(slots=True)
class Found:
    """orphans: machines that nobody keeps. kept: how many are kept. unasked: providers that could not be asked, and
    why; their machines may cost money. closed: machines that were written down as living, and are gone."""

    orphans: list[Orphan] = field(default_factory=list)
    kept: int = 0
    unasked: dict[str, LabError] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)


def look() -> Found:
    """Ask every provider that rents, once each and all at the same time, for the machines of this workspace."""
    providers = _renting()
    # Read first: a machine that is launched in between is then one that no record tells of, and is looked at again.
    asked_at = time.time()
    answers = ask_each(providers, lambda name: providers[name].instances())
    records = {record.name: record for record in open_store().list(MachineRecord)}
    found = Found()
    for name, given in answers.items():
        if isinstance(given, LabError):
            has_rented = any(record.body.provider == name for record in records.values())
            if has_rented or not isinstance(given, Missing | UsageProblem | Denied):  # else nobody uses it here
                found.unasked[name] = given
            continue
        for instance in given:
            why = _orphaned(records.get(instance.token), instance)
            if why:
                found.orphans.append(Orphan(name, instance, why))
            else:
                found.kept += 1
        _close_gone(providers[name], records, {each.token for each in given}, asked_at, found)
    return found


def end(orphans: Sequence[Orphan], within_s: float = _GONE_S) -> list[Orphan]:
    """Have these end; those that are not gone after that time, or could not be asked."""
    providers, left, until = _renting(), list(orphans), time.monotonic() + within_s
    while left:
        left = [each for each in left if not _has_gone(providers[each.provider], each.instance)]
        if left and time.monotonic() > until:
            break
        if left:
            time.sleep(_LOOK_S)
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
    try:
        job = jobs.poll(record.body.job)
    except NotFound:
        return "its keeper is not known here"
    if job.live:
        return ""
    if job.ended_at is None and not job.stop_requested_at:
        jobs.launch()
        return ""
    return "its session has ended" if instance.state != "ending" else ""


def _close_gone(
    machines: RentingMachines,
    records: dict[str, Record[MachineRecord]],
    living: set[str],
    asked_at: float,
    found: Found,
) -> None:
    """Write down which machines are gone whose keepers cannot do it any more."""
    for name, record in records.items():
        body = record.body
        is_missing = body.is_open and body.provider == machines.name and name not in living
        if is_missing and asked_at - body.requested_at > machines.listed_s and not _is_kept(body.job):
            close_machine(record, "it was gone when somebody looked")
            found.closed.append(name)


def _is_kept(job: str) -> bool:
    try:
        return jobs.poll(job).live
    except NotFound:
        return False


def _has_gone(machines: RentingMachines, instance: Instance) -> bool:
    """Whether a machine is gone now; else its end is asked for."""
    record = open_store().get(MachineRecord, instance.token)
    try:
        if record is not None and record.body.is_open:
            return settle(machines, record)
        left = any(each.id == instance.id and each.state != "gone" for each in machines.instances(instance.token))
        if left:
            machines.end(instance.id)
    except LabError:
        return False
    return not left
