"""Sessions as the workspace remembers them and as they are observed: their intent, their limits, their end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec.structs import asdict, replace

from .. import files, jobs
from ..config import context, settings
from ..errors import Conflict, Denied, LabError, NotFound, Unavailable, nearest
from ..kernels import KeptKernel
from ..providers import make
from ..resolve import resolve
from ..store import Event, Record, open_store, update
from ..units import show_duration, show_usd
from ..uris import Uri
from . import naming
from .base import KernelHost, Machines, Offer, Status
from .keeping import KeepingMachines
from .record import Limits, MachineRecord, SessionRecord

# So long an intent without a machine counts as being carried out by somebody; after that, as given up.
INTENT_S = 60.0
_EVENT_FIELDS = ("gpu", "provider", "spot", "usd_per_hour", "budget_usd", "deadline_at", "deadline_by")


@dataclass(frozen=True, slots=True)
class ObservedSession:
    """A session with what it does now.

    why: how it ended, or why its machines cannot be asked. at: when it ended. step: what is waited for while it starts.
    machines: those that it has rented, in all of its starts.
    """

    record: Record[SessionRecord]
    state: Literal["starting", "running", "stopping", "ended", "cannot tell"]
    why: str = ""
    at: float | None = None
    step: str = ""
    machines: tuple[MachineRecord, ...] = ()

    @property
    def spent_usd(self) -> float:
        """The money of this start so far, or until its end."""
        body = self.record.body
        if not body.is_rented:
            return body.spent_usd(self.at)
        return _sum_usd(self.record, self.machines)

    @property
    def dearest_usd_per_hour(self) -> float | None:
        """What an hour of this start may cost at worst, with a machine that replaces another, too; None while nothing
        is written down of the machine of a spot session."""
        body = self.record.body
        # What replaces a machine may cost no more than the first one might have.
        known = [each.worst_usd_per_hour or each.usd_per_hour for each in self.machines if each.job == body.handle]
        if body.is_rented and body.spot and not known:
            return None
        return max([body.usd_per_hour, *known])

    @property
    def is_live(self) -> bool:
        """Whether it has not ended, as far as is known: a machine that cannot be asked may still cost money."""
        return self.state != "ended"

    @property
    def label(self) -> str:
        """The state as people read it; an end says why."""
        return f"ended ({self.why})" if self.state == "ended" else self.state


def records() -> list[Record[SessionRecord]]:
    """Sessions, the last started first, as far as their records can be read."""
    found = open_store().list(SessionRecord, skip_unreadable=True)
    return sorted(found, key=lambda record: record.body.started_at, reverse=True)


def get(name: str) -> Record[SessionRecord] | None:
    """The session's record, or None."""
    return open_store().get(SessionRecord, name)


def machines(record: Record[SessionRecord]) -> Machines:
    """The provider of a session's machine."""
    provider: Machines = make("gpu.machines", record.body.provider)
    return provider


def status(record: Record[SessionRecord], provider: Machines | None = None) -> Status:
    """What its machine does now, whatever was written last. Raises when its machines cannot be asked."""
    body = record.body
    if body.handle is not None:
        now = (provider or machines(record)).status(body.handle)
        if body.is_open:
            return _as_requested(body, now)
        # Another start of the name must wait for the machine, even where the end is written already.
        if now.state != "ended":
            return Status("stopping")
        return Status("ended", body.ended_by, body.ended_at, now.fix if now.why == body.ended_by else "")
    if not body.is_open:
        return Status("ended", body.ended_by, body.ended_at)
    is_given_up = time.time() - body.started_at > INTENT_S
    if is_given_up:
        return Status("ended", "it was given up before there was a machine")
    return _as_requested(body, Status("starting"))


def _as_requested(body: SessionRecord, now: Status) -> Status:
    """A machine that has not heard yet that it is to end: nobody should count on it any more."""
    return now if now.state == "ended" or body.stop_requested_at is None else Status("stopping")


def with_machine(record: Record[SessionRecord], provider: Machines | None = None) -> Record[SessionRecord]:
    """The record, bound to the machine that lives under its name where whoever created that died before writing it
    down. Raises when its machines cannot be asked."""
    body = record.body
    if body.handle is not None or not body.is_open or time.time() - body.started_at <= INTENT_S:
        return record
    owned = (provider or machines(record)).list_owned()
    handle = next((handle for handle, owner in owned.items() if owner == record.name), None)
    return bind(record, handle) if handle else record


def has_machine(record: Record[SessionRecord]) -> bool:
    """Whether a machine lives under that name, written down or not. Raises when its machines cannot be asked."""
    return record.name in machines(record).list_owned().values()


def observe(record: Record[SessionRecord]) -> ObservedSession:
    """What a session does now. An end that nobody wrote down is written down here, so that it is observed once.

    Raises when its machines cannot be asked.
    """
    found = _observed(record, None)
    if found.is_live or not found.record.body.is_open:
        return found
    try:
        with contextlib.suppress(Conflict):
            _close_all([found])
    except LabError:  # whoever only looks may have no right to write, and still gets the answer
        return found
    # Somebody may have started it again in between: then that start is what is there now.
    return _observed(find(record.name), None)


def observe_all(records: Sequence[Record[SessionRecord]]) -> list[ObservedSession]:
    """What these do now, in their order; ends that nobody wrote down are written in one commit.

    One whose machines cannot be asked does not hide the others.
    """
    providers: dict[str, Machines] = {}
    rented = _rented(records)

    def one(record: Record[SessionRecord]) -> ObservedSession:
        try:
            if record.body.is_open and record.body.provider not in providers:
                providers[record.body.provider] = machines(record)
            return _observed(record, providers.get(record.body.provider), rented[record.name])
        except LabError as problem:
            return ObservedSession(record, "cannot tell", problem.what, machines=tuple(rented[record.name]))

    found = list(map(one, records))
    ended = [each for each in found if not each.is_live and each.record.body.is_open]
    with contextlib.suppress(LabError):  # somebody wrote one meanwhile, or the store is read only: the next look will
        _close_all(ended)
    return found


def _observed(
    record: Record[SessionRecord], provider: Machines | None, machines: Sequence[MachineRecord] | None = None
) -> ObservedSession:
    own = tuple(_rented([record])[record.name] if machines is None else machines)
    record = with_machine(record, provider)
    body = record.body
    if not body.is_open:  # the end was written when nothing was left: nobody need be asked
        return ObservedSession(record, "ended", body.ended_by, body.ended_at, machines=own)
    now = status(record, provider)
    if now.state == "ended":
        return ObservedSession(record, "ended", now.why, now.at or time.time(), machines=own)
    return ObservedSession(record, "running" if now.state == "ready" else now.state, step=now.step, machines=own)


def _rented(records: Sequence[Record[SessionRecord]]) -> dict[str, list[MachineRecord]]:
    """The machines of each session, asked for once: one that has a machine of one's own now may have rented before."""
    found: dict[str, list[MachineRecord]] = {record.name: [] for record in records}
    if records:
        about = records[0].uri if len(records) == 1 else None
        for machine in open_store().list(MachineRecord, about=about, skip_unreadable=True):
            found.get(machine.body.session, []).append(machine.body)
    return found


def rented_usd(record: Record[SessionRecord]) -> float:
    """What the machines of a rented session's start have cost so far, as they are written down: nobody is asked."""
    return _sum_usd(record, _rented([record])[record.name])


def _sum_usd(record: Record[SessionRecord], machines: Sequence[MachineRecord]) -> float:
    return sum(each.spent_usd(time.time()) for each in machines if each.job == record.body.handle)


def kernel_of(session: object) -> KeptKernel:
    """The kernel of a living session, to which code can be sent from here.

    NotFound when no such session lives, Unavailable when its machines give no kernel.
    """
    name = Uri.parse(session, noun=SessionRecord.kind).name
    record = get(name)
    observed = observe(record) if record else None
    if observed is None or not observed.is_live:
        living = [each.name for each in open_store().list(SessionRecord, is_open=True, skip_unreadable=True)]
        meant = f"did you mean {near}? Or " if (near := nearest(name, living)) else ""
        raise NotFound(f"there is no living session gpu:{name}", f"{meant}start it: `%gpu start {name}`")
    if (kernel := reachable_kernel(observed)) is None:
        provider = observed.record.body.provider
        raise Unavailable(
            f"code cannot be sent to gpu:{name}: {provider} gives no kernel that can be reached from here",
            f"leave --on out, or move it to this machine: `%gpu stop {name}`, then `%gpu start {name} --on local`",
        )
    return kernel


def has_our_files(name: str) -> bool:
    """Whether the kernel of a session sees the workspace as this process does."""
    record = get(name)
    provider = machines(record) if record else None
    return not isinstance(provider, KeepingMachines) or provider.has_our_files


def reachable_kernel(observed: ObservedSession) -> KeptKernel | None:
    """A living session's kernel; None where its machines give none, or there is no machine yet."""
    body = observed.record.body
    provider = machines(observed.record)
    if body.handle is None or not observed.is_live or not isinstance(provider, KernelHost):
        return None
    return provider.kernel(body.handle)


def intend(
    name: str,
    provider: str,
    offer: Offer,
    started_at: float,
    limits: Limits,
    *,
    is_rented: bool = False,
    sync: bool = False,
    environment: bool = False,
) -> Record[SessionRecord]:
    """Write down that a machine will be created. Conflict when somebody else writes this session at the same time, or
    a pool of that name."""
    claimed, before = naming.claim(name), get(name)
    naming.refuse_pool(name)
    if before is not None and before.body.is_open:
        raise Conflict(f"gpu:{name} is being started by somebody else", f"look at it with `%gpu show {name}`")
    body = SessionRecord(
        provider=provider,
        gpu=offer.gpu,
        device=offer.device,
        count=offer.count,
        type=offer.type,
        where=offer.where,
        spot=offer.spot,
        usd_per_hour=offer.usd_per_hour,
        shown_as=_shown_as(name, offer),
        started_at=started_at,
        context=context(),
        is_rented=is_rented,
        sync=sync,
        environment=environment,
        earlier_spans=before.body.starts() if before else (),
        **asdict(limits),
    )
    record = before.of(body) if before else Record.new(name, body)
    found, _ = open_store().commit([record, claimed], _start_event(record, asdict(body)))
    return found


def _shown_as(name: str, offer: Offer) -> str:
    """What people read in the launcher: whose it is, what it is, and what an hour of it costs."""
    price = [f"{offer.usd_per_hour:.2f} USD/h"] if offer.usd_per_hour else []
    return " · ".join([name, offer.type or offer.gpu, *price])


def bind(record: Record[SessionRecord], handle: str) -> Record[SessionRecord]:
    """Write down which machine it became."""
    return _change(record, None, handle=handle)


def move(record: Record[SessionRecord], limits: Limits) -> Record[SessionRecord]:
    """Give a living session other limits."""
    return _change(record, _start_event(record, asdict(limits)), **asdict(limits))


def request_stop(record: Record[SessionRecord]) -> Record[SessionRecord]:
    """Write down that a session is to end, before its machine is asked; when that is written already: nothing.

    Where nothing can be written its machine is to be asked all the same: it costs money.
    """
    if record.body.stop_requested_at is None:
        with contextlib.suppress(Denied, Unavailable):
            return _change(record, None, stop_requested_at=time.time())
    return record


def close(
    record: Record[SessionRecord], why: str, at: float | None = None, exit_code: int | None = None
) -> Record[SessionRecord]:
    """Write down the end of this start; one that has an end keeps it.

    at: when it ended, in epoch seconds; now when that is not known
    """
    detail = {"why": why} if exit_code is None else {"why": why, "exit_code": exit_code}
    event = Event("gpu stop", record.uri, detail=detail)
    return _change(record, event, **_end(why, at), exit_code=exit_code)


def limit_text(found: ObservedSession) -> str:
    """What ends a living session, for a person."""
    body = found.record.body
    if body.deadline_at is None and body.idle_s is not None:
        return f"when nobody has used it for {show_duration(body.idle_s)}"
    if body.deadline_at is None:
        return "when it is stopped: neither a time nor, at this price, a budget ends it"
    left = show_duration(max(1.0, body.deadline_at - time.time()))
    what = "its budget is spent" if body.deadline_by == "budget" else "its time is over"
    if (dearest := found.dearest_usd_per_hour) is None:
        return f"in {left}, when {what}"
    cost = found.spent_usd + max(0.0, body.deadline_at - time.time()) / 3600 * dearest
    # A provider bills a minute of each at least, however soon it takes it away.
    more = ", and a minute of each machine that replaces another" if body.spot and body.budget_usd is None else ""
    return f"in {left}, when {what}; it will have cost at most {show_usd(cost)}{more}"


def find(name: object) -> Record[SessionRecord]:
    """The session's record; NotFound with a suggestion."""
    return resolve(name, SessionRecord)


def fix_of_remote(record: Record[SessionRecord]) -> str:
    """What helps when a session does not end whose job another folder watches; "" for any other."""
    body = record.body
    job = jobs.poll(body.handle) if body.is_on_this_machine and body.handle else None
    return jobs.fix_of(job) if job and job.live and job.stop_requested_at else ""


def _change(record: Record[SessionRecord], event: Event | None, **changes: Any) -> Record[SessionRecord]:
    """Change the record of this very start; one that has ended or was started again since stays as it is."""

    def change(body: SessionRecord) -> SessionRecord | None:
        is_this_start = body.is_open and body.started_at == record.body.started_at
        return replace(body, **changes) if is_this_start else None

    return update(open_store(), SessionRecord, record.name, change, event)


def _close_all(ended: Sequence[ObservedSession]) -> None:
    """Write these ends in one commit with one event, since a host that was restarted may have ended hundreds."""
    if not ended:
        return
    uris = [each.record.uri for each in ended]
    why = ended[0].why if len(ended) == 1 else {each.record.name: each.why for each in ended}
    event = Event("gpu stop", uris[0], inputs=tuple(uris[1:]), detail={"why": why})
    records = [each.record.with_(**_end(each.why, each.at)) for each in ended]
    open_store().commit([*records, *(job for record in records for job in _ended_jobs(record))], event)


def _ended_jobs(record: Record[SessionRecord]) -> list[Record[jobs.JobRecord]]:
    """The job of a session that has ended on this machine, ended with it; none when the supervisor lives to do that."""
    body = record.body
    if not body.is_on_this_machine or body.handle is None or files.is_locked(settings().home / jobs.LOCK):
        return []
    return [job.with_(ended_at=body.ended_at) for job in jobs.given_up(body.handle)]


def _end(why: str, at: float | None) -> dict[str, Any]:
    """The fields that end a session's record."""
    return {"ended_at": at or time.time(), "ended_by": why}


def _start_event(record: Record[SessionRecord], fields: dict[str, Any]) -> Event:
    detail = {key: fields[key] for key in _EVENT_FIELDS if key in fields}
    return Event("gpu start", record.uri, outputs=(record.uri,), detail=detail)
