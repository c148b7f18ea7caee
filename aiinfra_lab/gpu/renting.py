"""Machines that are rented: created for one session, paid by the time, and ended for good.

What providers of such machines share. A session's handle stays the job of its keeper here, and it is the keeper that
rents: so no verb waits for a cloud, and a keeper that was killed is started again and finds its machine. Nothing is
asked for before it is written down, and nothing counts as gone before its provider says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Literal

from msgspec.structs import replace

from .. import jobs
from ..config import Settings, settings
from ..cost.billing import PER_SECOND, PriceChange, SpendingMeter
from ..errors import Failed, LabError, NotFound, Unavailable
from ..files import make_private_folder
from ..jobs.home import make_home_id
from ..kernels import KeptKernel, Loss, MachineSource, Place
from ..kernels.errand import send_off
from ..store import Record, open_store, update
from ..units import parse_duration, show_duration, show_usd
from .base import NoCapacity, Offer, Plan, Status
from .keeping import KeepingMachines
from .offers import no_room, offered_as, offers_of
from .record import MachineRecord, SessionRecord

LOOK_S = 1.0
# A machine that was asked for may be missing from its provider's lists for so long.
LISTED_S = 30.0
# Spot prices change some times a day.
PRICES_S = 900.0
_GONE_S = 60.0
_LATE_S = 300.0  # after its deadline, within which somebody who waits for its end sees it
_EARLY_S = 60.0  # before it was asked for, by its provider's clock
_LONGEST = "12h"


@dataclass(frozen=True, slots=True)
class Clock:
    """The time in epoch seconds, that since some moment, and waiting: another one where it is set and not slept."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What a machine is created from; `gpu export` renders the same.

    owner: this workspace's id, which its machines carry. token: of this attempt, at most 63 of a-z, 0-9 and -.
    deadline_at: when it has to end itself, in epoch seconds; it travels in the creating call. folder: the keeper's, for
    keys that belong to this machine. lasts_s: how long after the request that is, whatever a clock says: that of the
    machine may show another time than the one here. The same each time that one is asked for with that token.
    """

    session: str
    owner: str
    token: str
    offer: Offer
    deadline_at: float
    folder: Path
    lasts_s: float | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine as its provider tells of it.

    why: how it ended, or what it waits for. is_taken: whether it is gone because its provider took it away, and neither
    because somebody ended it nor because its time was over. notice_at: when it will be taken, where that was said.
    created_at and ended_at: from when until when it is paid, as far as its provider tells. prices: see `price_changes`.
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
    ended_at: float | None = None
    prices: tuple[PriceChange, ...] = ()


class RentingMachines(KeepingMachines):
    """See `KeepingMachines`. listed_s: how long a machine that was asked for may be missing from `instances`."""

    has_our_files = False
    longest_s: float
    grace_s = 900.0
    listed_s = LISTED_S
    clock = Clock()

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

    def price_changes(self, device: str, since: float) -> Sequence[PriceChange]:
        """What an hour of a spot machine of that device cost at that moment, and each change after it; nothing where
        the price of a machine stays. Asked rarely: once in `PRICES_S` for each machine, and when it is gone."""
        return ()

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
        try:
            for record in machines_of(handle):
                if record.body.instance:  # else its keeper moves it, as soon as there is one
                    move_end(self, record, record.body.instance, deadline_at)
        except Unavailable:  # its keeper moves it when the provider answers; where that refuses, nothing is moved
            super().renew(handle, deadline_at)
            raise
        super().renew(handle, deadline_at)

    def may_live(self, kernel: KeptKernel) -> bool:
        return any(record.body.session == kernel.name for record in open_machines(self.name))

    def end_alone(self, kernel: KeptKernel, offer: Offer, handle: str) -> None:
        settle_all(self, machines_of(handle))

    def _status_alone(self, job: jobs.Job, kernel: KeptKernel) -> Status:
        if job.ended_at is None and not job.stop_requested_at:
            return super()._status_alone(job, kernel)
        self.end_alone(kernel, Offer("", 0.0), job.id)  # nobody else asks for its end any more
        if machines_of(job.id):
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
        self._clock = machines.clock
        self._folder = kernel.folder / "machine"
        self._asking = Lock()  # while a machine is being asked for
        self._is_over = False
        self._instance = ""  # the last one that is known, for when the store cannot be asked
        self._missing_since: dict[str, float] = {}
        self._running_since: dict[str, float] = {}
        self._noted: Future[None] = Future()
        self._note_at = -math.inf

    def obtain(self, report: Callable[[str], None]) -> Place:
        tried: list[tuple[Offer, str]] = []
        while True:
            found = self._open_record()
            record = found or self._intend(tried)
            try:
                record = self._launched(record, report, is_first=found is None)
                return self._await(record, report)
            except NoCapacity as problem:
                close_machine(record, problem.what, at=self._clock.now())
                tried.append((offered_as(record.body), problem.what))

    def note_prices(self) -> Future[None]:
        """Have the changes of its machine's price written down, at most each `PRICES_S`; aside, since a provider may
        take its time, and a keeper has none."""
        now = self._clock.monotonic()
        if now >= self._note_at:
            self._note_at = now + PRICES_S
            self._noted = send_off(self._note_prices)
        return self._noted

    def _note_prices(self) -> None:
        with contextlib.suppress(LabError):  # whoever asks next hears of all that was missed
            for record in self._records():
                if new := _prices(self._machines, record.body, record.body.paid_from):
                    update(open_store(), MachineRecord, record.name, partial(_with_prices, new=new))

    def lost(self) -> Loss | None:
        record = self._open_record()
        if record is None:
            return Loss("its machine was given back", may_replace=False)
        found = self._found(record)
        if found is not None and found.state != "gone":
            return None  # why one ends is known when it is gone
        why = found.why if found else "it is not listed any more"
        may_replace = found is not None and found.is_taken
        # Else `release` writes it: a keeper that is killed before and started again must not take another one.
        if found is not None and may_replace:
            close_machine(record, why, _priced(self._machines, record, found), at=self._clock.now())
        return Loss(f"its machine is gone: {why}", may_replace)

    def release(self) -> None:
        until = self._clock.monotonic() + _GONE_S
        if not self._asking.acquire(timeout=_GONE_S):
            raise Unavailable(f"{self._machines.name} is still being asked for a machine", "it is ended then")
        self._is_over = True  # whoever still waits to ask must not any more
        self._asking.release()
        while left := settle_all(self._machines, self._own(), self._found):
            if self._clock.monotonic() > until:
                raise Unavailable(f"{left[0].name} has not gone yet", "it is asked again")
            self._clock.sleep(LOOK_S)

    def _intend(self, tried: Sequence[tuple[Offer, str]]) -> Record[MachineRecord]:
        """Write down that a machine will be asked for: the one that was chosen, and after it the next best one."""
        earlier = self._records(is_open=None)
        offer = self._next(tried) if earlier else self._offer
        deadline_at = self._within_budget(offer, [record.body for record in earlier])
        now = self._clock.now()
        if deadline_at <= now:
            raise Failed("its time was over before it had a machine", self._again())
        body = MachineRecord(
            session=self._kernel.name,
            job=self._job,
            provider=self._machines.name,
            gpu=offer.gpu,
            device=offer.device,
            count=offer.count,
            type=offer.type,
            where=offer.where,
            spot=offer.spot,
            usd_per_hour=offer.usd_per_hour,
            worst_usd_per_hour=offer.worst_usd_per_hour,
            requested_at=now,
            deadline_at=deadline_at,
        )
        return open_store().commit([Record.new(_token(self._job, len(earlier)), body)])[0]

    def _next(self, tried: Sequence[tuple[Offer, str]]) -> Offer:
        """The cheapest offer now of the same accelerator that cannot become dearer than the one that was chosen."""
        chosen, seen = self._offer, {offer.device for offer, _ in tried}
        for offer in offers_of(self._machines, chosen.gpu):
            is_same = (offer.gpu, offer.count, offer.spot) == (chosen.gpu, chosen.count, chosen.spot)
            is_cheap = offer.dearest_usd_per_hour <= chosen.dearest_usd_per_hour
            if is_same and is_cheap and offer.device not in seen:
                return offer
        raise no_room(self._machines.name, chosen, tried or [(chosen, "taken away")], offers_of(self._machines))

    def _within_budget(self, offer: Offer, earlier: Sequence[MachineRecord]) -> float:
        """When a machine has to end: with its session or, where the budget would not last, earlier: the first minute of
        each machine is paid as a whole, and so is its last second. Then the session ends earlier too."""
        deadline_at, now = self._deadline_at(), self._clock.now()
        session = open_store().get(SessionRecord, self._kernel.name)
        is_ours = session is not None and session.body.handle in (None, self._job)
        budget = session.body.budget_usd if session and is_ours else None
        if budget is None or not offer.dearest_usd_per_hour:
            return deadline_at
        left_usd = budget - sum(each.spent_usd(now) for each in earlier)
        until = SpendingMeter(now, offer.usd_per_hour).spent_at(left_usd, offer.dearest_usd_per_hour)
        if until <= now:
            minute = show_usd(offer.dearest_usd_per_hour * PER_SECOND.least_s / 3600)
            left = show_usd(max(0.0, left_usd))
            raise Failed(
                f"of its budget of {show_usd(budget)} are left {left}, and a minute costs {minute}", self._again()
            )
        until -= 1.0
        if until >= deadline_at:
            return deadline_at
        update(open_store(), jobs.JobRecord, self._job, lambda body: replace(body, deadline_at=until))
        update(
            open_store(),
            SessionRecord,
            self._kernel.name,
            lambda body: replace(body, deadline_at=until, deadline_by="budget") if body.is_open else None,
        )
        return until

    def _launched(
        self, record: Record[MachineRecord], report: Callable[[str], None], *, is_first: bool
    ) -> Record[MachineRecord]:
        if record.body.instance:
            self._instance = record.body.instance
            return record
        offer = offered_as(record.body)
        report(f"asks {self._machines.name} for {offer.device or offer.gpu}")
        make_private_folder(self._folder)
        with self._asking:
            if self._is_over:
                raise Unavailable("nobody wants the machine any more", "start it again")
            instance = self._instance = self._ask(record, offer, is_first=is_first)
            record = update(open_store(), MachineRecord, record.name, lambda body: replace(body, instance=instance))
        if not record.body.is_open:  # somebody took it for one that never was
            self._machines.end(instance)
            raise Unavailable(f"{instance} was taken for gone: {record.body.ended_by}", "another one is asked for")
        return record

    def _ask(self, record: Record[MachineRecord], offer: Offer, *, is_first: bool) -> str:
        """The id of a machine that was asked for. What a request before it has made is found again."""
        now, deadline_at = self._clock.now(), record.body.deadline_at or self._deadline_at()
        if not is_first:
            update(open_store(), MachineRecord, record.name, lambda body: replace(body, asked_at=now))
        spec = LaunchSpec(
            session=self._kernel.name,
            owner=make_home_id(settings().home),
            token=record.name,
            offer=offer,
            deadline_at=deadline_at,  # as it was the first time: a token stands for one request
            folder=self._folder,
            lasts_s=deadline_at - record.body.requested_at,
        )
        try:
            if now >= deadline_at:
                raise Failed("its time was over before it had a machine", self._again())
            instance = self._machines.launch(spec)
        except Unavailable:
            self._missing_since.pop(record.name, None)  # it may be there from now on
            raise
        except LabError as problem:
            # A request before this one, whose answer was lost, may have made it all the same.
            found = None if is_first else self._found(record)
            if found is None:
                close_machine(record, problem.what, at=self._clock.now())
                raise
            return found.id
        self._missing_since.pop(record.name, None)
        return instance

    def _await(self, record: Record[MachineRecord], report: Callable[[str], None]) -> Place:
        """Its place, once it can be reached."""
        while True:
            found = self._found(record)
            if found is None or found.state == "gone":
                why = found.why if found else "it is not listed any more"
                if found is None or not found.is_taken:  # `release` writes it, see `lost`
                    raise Failed(f"{record.body.instance} ended before it was ready: {why}", "start it again")
                close_machine(record, why, _priced(self._machines, record, found), at=self._clock.now())
                raise NoCapacity(why, "start it again")
            if found.state == "running":
                record = self._updated(record, found)
                self._check_patience(record)
                report(f"waits until {record.body.instance} answers")
                with contextlib.suppress(Unavailable):
                    return self._machines.place_on(found, self._folder)
            else:
                report(found.why if found.state == "ending" and found.why else self._machines.progress(found))
            self._clock.sleep(LOOK_S)

    def _check_patience(self, record: Record[MachineRecord]) -> None:
        """Failed when a machine has run for long and no kernel could be begun on it: it costs as much as another one.

        As this process counts it, since clocks are set. One that had a kernel is kept: that may live, and its network
        be cut.
        """
        now, within_s = self._clock.monotonic(), self._machines.ready_within_s()
        ran_s = now - self._running_since.setdefault(record.name, now)
        if ran_s > within_s and not self._kernel.state().machine:
            what = f"{record.body.instance} has run for {show_duration(within_s)}, and did not answer: it is ended"
            raise Failed(what, f"see that it can be reached from here; then {self._again()}")

    def _updated(self, record: Record[MachineRecord], found: Instance) -> Record[MachineRecord]:
        """Its price is written down, and its end moved where the session's was moved while it began."""
        usd_per_hour, deadline_at = found.usd_per_hour, self._deadline_at()
        if usd_per_hour is not None and usd_per_hour != record.body.usd_per_hour:
            change = {"usd_per_hour": usd_per_hour}
            record = update(open_store(), MachineRecord, record.name, lambda body: replace(body, **change))
        if record.body.deadline_at is not None and abs(deadline_at - record.body.deadline_at) > 1.0:
            record = move_end(self._machines, record, found.id, deadline_at)
        return record

    def _again(self) -> str:
        return f"start it again: `%gpu start {self._kernel.name}`"

    def _deadline_at(self) -> float:
        job = open_store().get(jobs.JobRecord, self._job)
        known = job.body.deadline_at if job else None
        return known or self._clock.now() + self._machines.longest_s

    def _found(self, record: Record[MachineRecord]) -> Instance | None:
        """What its provider tells of it; None when it is gone, or there never was one.

        One that is missing may be so for an instant, and clocks are set: it has to be missing for a while, as this
        process counts it.
        """
        found = next(iter(self._machines.instances(record.name)), None)
        if found is not None:
            self._missing_since.pop(record.name, None)
            return found
        now = self._clock.monotonic()
        if now - self._missing_since.setdefault(record.name, now) < self._machines.listed_s:
            raise Unavailable(f"{self._machines.name} does not list {record.name}", "it is asked again")
        return None

    def _own(self) -> list[Record[MachineRecord]]:
        """The machines that are to end; the one that is known is asked to when nobody can tell which these are."""
        try:
            return self._records()
        except LabError:
            if self._instance:
                self._machines.end(self._instance)
            raise

    def _open_record(self) -> Record[MachineRecord] | None:
        return next(iter(self._records()), None)

    def _records(self, *, is_open: bool | None = True) -> list[Record[MachineRecord]]:
        found = open_store().list(MachineRecord, about=f"gpu:{self._kernel.name}", is_open=is_open)
        return [record for record in found if record.body.job == self._job]


def open_machines(provider: str) -> list[Record[MachineRecord]]:
    """The machines of a provider that are not known to be gone."""
    return [record for record in open_store().list(MachineRecord, is_open=True) if record.body.provider == provider]


def machines_of(job: str) -> list[Record[MachineRecord]]:
    """The machines of a keeper that are not known to be gone: another start of the same name has others."""
    return [record for record in open_store().list(MachineRecord, is_open=True) if record.body.job == job]


def look(machines: RentingMachines, record: Record[MachineRecord]) -> Instance | None:
    """What the provider tells of a machine; None when it is gone, or there never was one.

    Unavailable where that cannot be told: the provider does not answer, or it may not list yet what was asked for.
    """
    found = next(iter(machines.instances(record.name)), None)
    # A clock that was set says nothing: then it counts as long ago.
    asked_s = abs(machines.clock.now() - max(record.body.requested_at, record.body.asked_at))
    if found is None and asked_s < machines.listed_s:
        raise Unavailable(f"{machines.name} does not list {record.name} yet", "ask again in a moment")
    return found


Find = Callable[[Record[MachineRecord]], Instance | None]


def settle(machines: RentingMachines, record: Record[MachineRecord], find: Find | None = None) -> bool:
    """Have a machine end; whether it is gone, which is written down then. find: instead of `look`."""
    known = record.body.instance
    try:
        found = find(record) if find else look(machines, record)
    except Unavailable:
        if known:
            machines.end(known)
        return False
    if found is not None and found.state != "gone":
        machines.end(found.id)
        return False
    if found is None and known:
        machines.end(known)  # a list may lack it for an instant
    why = found.why if found else "it is not listed any more" if known else "there was none"
    close_machine(record, why, found and _priced(machines, record, found), at=machines.clock.now())
    return True


def _priced(machines: RentingMachines, record: Record[MachineRecord], found: Instance) -> Instance:
    """The same with the prices that are not known yet; without them where they cannot be told."""
    with contextlib.suppress(LabError):
        began_at = found.created_at or record.body.paid_from
        return dataclasses.replace(found, prices=tuple(_prices(machines, record.body, began_at)))
    return found


def _prices(machines: RentingMachines, body: MachineRecord, began_at: float) -> Sequence[PriceChange]:
    """What a spot machine costs from the last known change on."""
    return machines.price_changes(body.device, body.prices[-1].at if body.prices else began_at) if body.spot else ()


def _with_prices(body: MachineRecord, new: Sequence[PriceChange]) -> MachineRecord:
    found = {each.at: each for each in (*body.prices, *new)}
    return replace(body, prices=tuple(found[at] for at in sorted(found)))


def settle_all(
    machines: RentingMachines, records: Sequence[Record[MachineRecord]], find: Find | None = None
) -> list[Record[MachineRecord]]:
    """Have these end; those that are not gone yet. One that cannot be asked keeps no other from its end."""
    left, problems = [], []
    for record in records:
        try:
            if not settle(machines, record, find):
                left.append(record)
        except LabError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]
    return left


def close_machine(record: Record[MachineRecord], why: str, found: Instance | None = None, *, at: float) -> None:
    """Write down that a machine is gone; one that has an end keeps it. found: what its provider tells of it."""
    update_end(record, why, found, at=at, is_correction=False)


def update_end(
    record: Record[MachineRecord], why: str, found: Instance | None, *, at: float, is_correction: bool = True
) -> None:
    """The same, also where an end is written that was none."""

    def change(body: MachineRecord) -> MachineRecord | None:
        if not body.is_open and not is_correction:
            return None
        # Where nobody looked for long, it had ended itself.
        is_late = body.deadline_at is not None and at - body.deadline_at > _LATE_S
        ended_at = max(body.requested_at, body.deadline_at if is_late and body.deadline_at else at)
        if found is None:
            return replace(body, ended_at=ended_at, ended_by=why)
        # Its provider's clock and this one may differ: a time between both would be neither's.
        since = found.created_at or 0.0
        is_same_clock = found.ended_at is not None or body.requested_at - _EARLY_S <= since <= ended_at
        return replace(
            _with_prices(body, found.prices),
            instance=found.id,
            usd_per_hour=body.usd_per_hour if found.usd_per_hour is None else found.usd_per_hour,
            began_at=found.created_at if is_same_clock else None,
            ended_at=found.ended_at or ended_at,
            ended_by=why,
        )

    with contextlib.suppress(NotFound):
        update(open_store(), MachineRecord, record.name, change)


def move_end(
    machines: RentingMachines, record: Record[MachineRecord], instance: str, deadline_at: float
) -> Record[MachineRecord]:
    """Have a machine end by itself then."""
    machines.move_end(instance, deadline_at)
    return update(open_store(), MachineRecord, record.name, lambda body: replace(body, deadline_at=deadline_at))


def _last_end(job: str) -> str:
    """Why the last machine of a keeper was gone."""
    ended = [each.body for each in open_store().list(MachineRecord, is_open=False) if each.body.job == job]
    return max(ended, key=lambda body: body.ended_at or 0.0).ended_by if ended else ""


def _token(job: str, number: int) -> str:
    """A name that clouds, clusters and schedulers all take."""
    name, _, code = job.rpartition("-")
    return f"{re.sub('[^a-z0-9]+', '-', name.lower())[:40].strip('-')}-{code}-{number}"
