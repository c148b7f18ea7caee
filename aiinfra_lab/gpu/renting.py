"""Machines that are rented: created for one session, paid by the time, and ended for good.

What providers of such machines share. A session's handle stays the job of its keeper here, and it is the keeper that
rents: so no verb waits for a cloud, and a keeper that was killed is started again and finds its machine. Nothing is
asked for before it is written down, and nothing counts as gone before its provider says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from .. import jobs
from ..config import Settings, settings
from ..errors import Failed, LabError, NotFound, Unavailable
from ..files import make_private_folder
from ..jobs.home import make_home_id
from ..kernels import KeptKernel, Loss, MachineSource, Place
from ..store import Record, open_store, update
from ..units import parse_duration
from .base import NoCapacity, Offer, Plan, Status
from .keeping import KeepingMachines
from .offers import no_room, offers_of
from .record import MachineRecord

LOOK_S = 1.0
# A machine that was asked for may be missing from its provider's lists for so long.
LISTED_S = 30.0
_GONE_S = 60.0
_LONGEST = "12h"


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What a machine is created from; `gpu export` renders the same.

    owner: this workspace's id, which its machines carry. token: of this attempt, at most 63 of a-z, 0-9 and -.
    deadline_at: when it has to end itself, in epoch seconds; it travels in the creating call. folder: the keeper's, for
    keys that belong to this machine.
    """

    session: str
    owner: str
    token: str
    offer: Offer
    deadline_at: float
    folder: Path


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine as its provider tells of it.

    why: how it ended, or what it waits for. is_taken: whether it is gone because its provider took it away, and neither
    because somebody ended it nor because its time was over. notice_at: when it will be taken, where that was said.
    """

    id: str
    session: str
    token: str
    state: Literal["pending", "running", "ending", "gone"]
    address: str = ""
    why: str = ""
    is_taken: bool = False
    notice_at: float | None = None
    created_at: float | None = None
    expires_at: float | None = None
    usd_per_hour: float | None = None


class RentingMachines(KeepingMachines):
    """See `KeepingMachines`. listed_s: how long a machine that was asked for may be missing from `instances`."""

    has_our_files = False
    longest_s: float
    grace_s = 900.0
    listed_s = LISTED_S

    def __init__(self, where: Settings) -> None:
        self.longest_s = parse_duration(where.get("gpu.rented_for", _LONGEST))
        """How long a machine is rented when no limit is given: none is rented without an end."""

    @abstractmethod
    def launch(self, spec: LaunchSpec) -> str:
        """Create the machine and return its id at once, before it is ready.

        Idempotent in the token: asked again, it gives the same machine. Tags and the deadline travel in the creating
        call. NoCapacity, or another LabError, when nothing was created; Unavailable when that is not known.
        """

    @abstractmethod
    def instances(self, token: str = "") -> Sequence[Instance]:
        """Every machine of this workspace that is not gone, or the one of that token, be it gone; in one question to
        each place. Unavailable when one of them does not answer."""

    @abstractmethod
    def end(self, instance_id: str) -> None:
        """Ask for the end of a machine and return at once; may be repeated. One that is gone is fine."""

    @abstractmethod
    def place_on(self, instance: Instance, folder: Path) -> Place:
        """How a kernel on a running machine is reached and started. Unavailable while it does not answer yet."""

    def move_end(self, instance_id: str, deadline_at: float) -> None:  # nothing where it cannot be moved
        """Move the deadline that the provider keeps, where it keeps one that can be moved."""

    def progress(self, instance: Instance) -> str:
        """What it does until it is ready, in a few words."""
        return instance.why or f"waits for {instance.id}, which is {instance.state}"

    # ---- sessions on them ----

    def source(self, kernel: KeptKernel, offer: Offer, handle: str) -> MachineSource:
        return Rental(self, kernel, offer, handle)

    def create(self, plan: Plan) -> str:
        return super().create(dataclasses.replace(plan, deadline_at=plan.deadline_at or time.time() + self.longest_s))

    def renew(self, handle: str, deadline_at: float | None) -> None:
        deadline_at = deadline_at or time.time() + self.longest_s
        super().renew(handle, deadline_at)
        for record in open_machines(self.name):
            if record.body.job == handle and record.body.instance:
                self.move_end(record.body.instance, deadline_at)

    def may_live(self, kernel: KeptKernel) -> bool:
        return any(record.body.session == kernel.name for record in open_machines(self.name))

    def end_alone(self, kernel: KeptKernel, offer: Offer, handle: str) -> None:
        for record in open_machines(self.name):
            if record.body.session == kernel.name:
                settle(self, record)

    def _status_alone(self, job: jobs.Job, kernel: KeptKernel) -> Status:
        if job.ended_at is None and not job.stop_requested_at:
            return super()._status_alone(job, kernel)
        self.end_alone(kernel, Offer("", 0.0), job.id)  # nobody else asks for its end any more
        if self.may_live(kernel):
            return Status("stopping")
        return Status("ended", _last_end(job.id) or kernel.state().why or "its keeper was killed", time.time())

    def ready_within_s(self) -> float:
        return 900.0

    def ended_within_s(self) -> float:
        return 300.0


class Rental:
    """The machine of one session: see `MachineSource`. job: of its keeper."""

    def __init__(self, machines: RentingMachines, kernel: KeptKernel, offer: Offer, job: str) -> None:
        self._machines, self._kernel, self._offer, self._job = machines, kernel, offer, job
        self._folder = kernel.folder / "machine"

    def obtain(self, report: Callable[[str], None]) -> Place:
        tried: list[tuple[Offer, str]] = []
        while True:
            record = self._open_record() or self._intend(tried)
            try:
                return self._await(self._launched(record, report), report)
            except NoCapacity as problem:
                close_machine(record, problem.what)
                tried.append((_offer_of(record), problem.what))

    def lost(self) -> Loss | None:
        record = self._open_record()
        if record is None:
            return Loss("its machine was given back", may_replace=False)
        found = self._found(record)
        if found is not None and found.state in ("pending", "running"):
            return None
        if found is not None and found.state == "ending":
            return None  # why it ends is known when it is gone
        why = found.why if found else "its machine is gone"
        close_machine(record, why)
        return Loss(f"its machine is gone: {why}", may_replace=found is not None and found.is_taken)

    def release(self) -> None:
        until = time.monotonic() + _GONE_S
        while left := [record for record in self._records() if not settle(self._machines, record)]:
            if time.monotonic() > until:
                raise Unavailable(f"{left[0].name} has not gone yet", "it is asked again")
            time.sleep(LOOK_S)

    def _intend(self, tried: Sequence[tuple[Offer, str]]) -> Record[MachineRecord]:
        """Write down that a machine will be asked for, the next best one after those that were tried."""
        offer = self._offer if not tried else self._next(tried)
        made = len(self._records(is_open=None))
        body = MachineRecord(
            session=self._kernel.name,
            job=self._job,
            provider=self._machines.name,
            gpu=offer.gpu,
            device=offer.device,
            spot=offer.spot,
            usd_per_hour=offer.usd_per_hour,
            requested_at=time.time(),
        )
        return open_store().commit([Record.new(_token(self._job, made), body)])[0]

    def _next(self, tried: Sequence[tuple[Offer, str]]) -> Offer:
        """The cheapest offer of the same accelerator, no dearer than the one that was chosen."""
        seen = {offer.device for offer, _ in tried}
        for offer in offers_of(self._machines, self._offer.gpu):
            is_same = offer.gpu == self._offer.gpu and offer.spot == self._offer.spot
            if is_same and offer.device not in seen and offer.usd_per_hour <= self._offer.usd_per_hour:
                return offer
        raise no_room(self._machines.name, self._offer, tried, offers_of(self._machines))

    def _launched(self, record: Record[MachineRecord], report: Callable[[str], None]) -> Record[MachineRecord]:
        if record.body.instance:
            return record
        offer = _offer_of(record)
        report(f"asks {self._machines.name} for {offer.device or offer.gpu}")
        make_private_folder(self._folder)
        spec = LaunchSpec(
            session=self._kernel.name,
            owner=make_home_id(settings().home),
            token=record.name,
            offer=offer,
            deadline_at=self._deadline_at(),
            folder=self._folder,
        )
        try:
            instance = self._machines.launch(spec)
        except Unavailable:
            raise
        except LabError as problem:
            close_machine(record, problem.what)
            raise
        return update(open_store(), MachineRecord, record.name, lambda body: replace(body, instance=instance))

    def _await(self, record: Record[MachineRecord], report: Callable[[str], None]) -> Place:
        """Its place, once it can be reached."""
        while True:
            found = self._found(record)
            if found is None or found.state in ("ending", "gone"):
                why = found.why if found else "it is gone"
                if found is None or found.state == "gone":
                    close_machine(record, why)
                if found is None or not found.is_taken:
                    raise Failed(f"{record.body.instance} ended before it was ready: {why}", "start it again")
                raise NoCapacity(why, "start it again")
            if found.state == "running":
                report(f"waits until {record.body.instance} answers")
                with contextlib.suppress(Unavailable):
                    return self._machines.place_on(found, self._folder)
            else:
                report(self._machines.progress(found))
            time.sleep(LOOK_S)

    def _deadline_at(self) -> float:
        job = open_store().get(jobs.JobRecord, self._job)
        known = job.body.deadline_at if job else None
        return known or time.time() + self._machines.longest_s

    def _found(self, record: Record[MachineRecord]) -> Instance | None:
        """What its provider tells of it; None when it is gone, or there never was one."""
        return look(self._machines, record)

    def _open_record(self) -> Record[MachineRecord] | None:
        return next(iter(self._records()), None)

    def _records(self, *, is_open: bool | None = True) -> list[Record[MachineRecord]]:
        found = open_store().list(MachineRecord, is_open=is_open)
        return [record for record in found if record.body.job == self._job]


def open_machines(provider: str) -> list[Record[MachineRecord]]:
    """The machines of a provider that are not known to be gone."""
    return [record for record in open_store().list(MachineRecord, is_open=True) if record.body.provider == provider]


def look(machines: RentingMachines, record: Record[MachineRecord]) -> Instance | None:
    """What the provider tells of a machine; None when it is gone, or there never was one.

    Unavailable where that cannot be told: the provider does not answer, or it may not list yet what was asked for.
    """
    found = next(iter(machines.instances(record.name)), None)
    if found is None and time.time() - record.body.requested_at < machines.listed_s:
        raise Unavailable(f"{machines.name} does not list {record.name} yet", "ask again in a moment")
    return found


def settle(machines: RentingMachines, record: Record[MachineRecord]) -> bool:
    """Have a machine end; whether it is gone, which is written down then."""
    try:
        found = look(machines, record)
    except Unavailable:
        if record.body.instance:
            machines.end(record.body.instance)
        return False
    if found is None or found.state == "gone":
        close_machine(record, found.why if found else "there was none")
        return True
    machines.end(found.id)
    return False


def close_machine(record: Record[MachineRecord], why: str) -> None:
    """Write down that a machine is gone; one that has an end keeps it."""

    def change(body: MachineRecord) -> MachineRecord | None:
        return replace(body, ended_at=time.time(), ended_by=why) if body.is_open else None

    with contextlib.suppress(NotFound):
        update(open_store(), MachineRecord, record.name, change)


def _last_end(job: str) -> str:
    """Why the last machine of a keeper was gone."""
    ended = [each.body for each in open_store().list(MachineRecord, is_open=False) if each.body.job == job]
    return max(ended, key=lambda body: body.ended_at or 0.0).ended_by if ended else ""


def _token(job: str, number: int) -> str:
    """A name that clouds, clusters and schedulers all take."""
    name, _, code = job.rpartition("-")
    return f"{re.sub('[^a-z0-9]+', '-', name.lower())[:40].strip('-')}-{code}-{number}"


def _offer_of(record: Record[MachineRecord]) -> Offer:
    body = record.body
    return Offer(body.gpu, body.usd_per_hour, device=body.device, spot=body.spot)
