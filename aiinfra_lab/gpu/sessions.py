"""A session's record from the intent to the end, what it really does, and where its time and money end."""

from __future__ import annotations

import time
from typing import Any

from msgspec.structs import asdict, replace

from ..errors import Conflict, LabError, NotFound, Unavailable, UsageProblem
from ..kernels import KeptKernel
from ..providers import chosen, make
from ..resolve import resolve
from ..store import Event, Record, open_store, update
from ..units import show_duration, show_usd
from .base import KernelHost, Machines, Offer, Status
from .record import EarlierStart, Limits, SessionRecord

Session = Record[SessionRecord]

# So long an intent without a machine counts as being carried out by somebody; after that, as given up.
INTENT_S = 60.0


def records() -> list[Session]:
    """Sessions, the last started first."""
    return sorted(open_store().list(SessionRecord), key=lambda record: record.body.started_at, reverse=True)


def get(name: str) -> Session | None:
    """The session's record, or None."""
    return open_store().get(SessionRecord, name)


def find(name: object) -> Session:
    """The session's record; NotFound with a suggestion."""
    return resolve(name, SessionRecord)


def default_provider() -> str:
    """Where sessions live when nobody says: `gpu.machines` of the settings."""
    return chosen("gpu.machines")


def machines(record: Session) -> Machines:
    """The provider of a session's machine."""
    provider: Machines = make("gpu.machines", record.body.provider)
    return provider


def status(record: Session) -> Status:
    """What it does now, whatever was written last: it has ended when its machine is gone, not when it says goodbye."""
    body = record.body
    if body.handle:
        now = machines(record).status(body.handle)
        if now.state != "ended":
            # Its keeper writes the end a moment before its process is gone, and until then the name is not free.
            return Status("stopping") if body.ended_at else now
        return Status("ended", body.ended_by or now.why, body.ended_at or now.at)
    if body.ended_at:
        return Status("ended", body.ended_by, body.ended_at)
    given_up = time.time() - body.started_at > INTENT_S
    return Status("ended", "it was given up before there was a machine") if given_up else Status("starting")


def settled(record: Session) -> tuple[Session, Status]:
    """The record and what it does now. An end that nobody wrote down is written down here, so that it is once."""
    now = status(record)
    if now.state == "ended" and not record.body.ended_at:
        try:
            record = close(record, now.why, now.at)
        except LabError:
            return record, now  # a store that may not be written: the next who looks observes it again
    return record, now


def kernel_of(session: object) -> KeptKernel:
    """The kernel of a session, for whoever sends it code from here.

    NotFound when no such session lives, Unavailable when its machines give no kernel that can be reached from here.
    """
    kept = KeptKernel.of(session)
    if kept.alive():
        return kept
    record, fix = get(kept.name), f"start it: `%gpu start {kept.name}`"
    if record is None or (now := status(record)).state == "ended":
        raise NotFound(f"there is no living session gpu:{kept.name}", fix)
    host = machines(record)
    if not isinstance(host, KernelHost):
        raise Unavailable(
            f"gpu:{kept.name} lives on {record.body.provider}, whose kernels cannot be reached from here",
            "run it here, or in a session on local: `%gpu start NAME --on local`, then --on gpu:NAME",
        )
    if now.state != "ready" or not record.body.handle:
        raise Unavailable(f"gpu:{kept.name} is {now.state}", f"look again with `%gpu show {kept.name}`")
    return host.kernel(record.body.handle)


def state_text(status: Status) -> str:
    """A session's state as people read it: starting, running, stopping, or `ended (why)`."""
    texts = {"ready": "running", "ended": f"ended ({status.why})"}
    return texts.get(status.state, status.state)


def intend(name: str, provider: str, offer: Offer, started_at: float, limits: Limits) -> Session:
    """Write down that a machine will be created. Conflict when somebody else writes this session at the same time."""
    before = get(name)
    if before is not None and not before.body.ended_at:
        raise Conflict(f"gpu:{name} is being started by somebody else", f"look at it with `%gpu show {name}`")
    body = SessionRecord(
        provider=provider,
        gpu=offer.gpu,
        device=offer.device,
        spot=offer.spot,
        usd_per_hour=offer.usd_per_hour,
        shown_as=f"{name} · {offer.gpu}",
        started_at=started_at,
        earlier_spans=_earlier(before),
        **asdict(limits),
    )
    record = Record.new(name, body) if before is None else before.of(body)
    event = Event("gpu start", record.uri, outputs=(record.uri,), detail={**_terms(body), **asdict(limits)})
    return open_store().commit([record], event)[0]


def bind(record: Session, handle: str) -> Session:
    """Write down which machine it became."""
    return _change(record, None, handle=handle)


def move(record: Session, limits: Limits) -> Session:
    """Give a living session other limits."""
    event = Event("gpu start", record.uri, outputs=(record.uri,), detail=asdict(limits))
    return _change(record, event, **asdict(limits))


def close(record: Session, why: str, at: float | None = None) -> Session:
    """Write down the end of a session whose keeper could not; one that has an end keeps it."""
    if record.body.ended_at:
        return record
    event = Event("gpu stop", record.uri, detail={"why": why})
    return _change(record, event, ended_at=at or time.time(), ended_by=why)


def close_own(name: str, job: str | None, why: str, at: float, exit_code: int | None) -> None:
    """Write down the end of a session by the very job that kept it; nothing when the record is of a later start."""

    def closed(body: SessionRecord) -> SessionRecord | None:
        # None too: a keeper that fails at once ends before its handle is written.
        if body.ended_at or (job and body.handle not in (None, job)):
            return None
        return replace(body, ended_at=at, ended_by=why, exit_code=exit_code)

    event = Event("gpu stop", f"gpu:{name}", detail={"why": why, "exit_code": exit_code})
    update(open_store(), SessionRecord, name, closed, event)


def limits(rate: float, started_at: float, until_at: float | None, budget_usd: float | None) -> Limits:
    """Where it ends: at what comes first, the time that was given or the money. UsageProblem when that is now."""
    # What costs nothing never spends a budget.
    money_at = started_at + budget_usd / rate * 3600 if budget_usd is not None and rate > 0 else None
    if money_at is not None and money_at <= time.time():
        raise UsageProblem(
            f"a budget of {show_usd(budget_usd or 0)} is spent already, at {show_usd(rate)} an hour",
            f"give it more than {show_usd((time.time() - started_at) / 3600 * rate)}",
        )
    ends = [(at, by) for at, by in ((until_at, "deadline"), (money_at, "budget")) if at is not None]
    deadline_at, by = min(ends) if ends else (None, "")
    return Limits(until_at=until_at, budget_usd=budget_usd, deadline_at=deadline_at, deadline_by=by)


def spent_usd(body: SessionRecord, ended_at: float | None) -> float:
    """The money of this start, so far."""
    seconds: float = max(0.0, (ended_at or time.time()) - body.started_at)
    return seconds / 3600 * body.usd_per_hour


def limit_text(body: SessionRecord) -> str:
    """What ends it, for a person."""
    if body.deadline_at is None:
        return "when it is stopped: neither a time nor, at this price, a budget ends it"
    left = show_duration(max(1.0, body.deadline_at - time.time()))
    what = "its budget is spent" if body.deadline_by == "budget" else "its time is over"
    cost = (body.deadline_at - body.started_at) / 3600 * body.usd_per_hour
    return f"in {left}, when {what}; it will have cost at most {show_usd(cost)}"


def _change(record: Session, event: Event | None, **changes: Any) -> Session:
    """Change the record of this very start; one that has ended or was started again since stays as it is."""

    def change(body: SessionRecord) -> SessionRecord | None:
        if body.ended_at or body.started_at != record.body.started_at:
            return None
        return replace(body, **changes)

    return update(open_store(), SessionRecord, record.name, change, event)


def _earlier(before: Session | None) -> tuple[EarlierStart, ...]:
    """What earlier starts of this name cost is not forgotten."""
    if before is None:
        return ()
    body = before.body
    span = EarlierStart(started_at=body.started_at, ended_at=body.ended_at, usd_per_hour=body.usd_per_hour)
    return (*body.earlier_spans, span)


def _terms(body: SessionRecord) -> dict[str, Any]:
    """What an event tells of a session that starts."""
    return {key: getattr(body, key) for key in ("gpu", "provider", "spot", "usd_per_hour")}
