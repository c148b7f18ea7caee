"""A session as the workspace remembers it: its record from the intent to the end, and where its time and money end."""

from __future__ import annotations

import time
from typing import Any

from ..errors import Conflict, NotFound, UsageProblem, did_you_mean
from ..providers import chosen, make
from ..store import Event, Loose, Record, open_store, update
from ..units import show_duration, show_usd
from ..uris import Uri
from .base import Machines, Offer, Status

KIND = "gpu"
# So long an intent without a machine counts as being carried out by somebody; after that, as given up.
INTENT_S = 60.0


def records() -> list[Record]:
    """Sessions, the last started first."""
    return sorted(open_store().list(KIND), key=lambda record: record.body["started_at"], reverse=True)


def get(name: str) -> Record | None:
    """The session's record, or None."""
    return open_store().get(KIND, name)


def find(name: object) -> Record:
    """The session's record; NotFound with a suggestion."""
    wanted = Uri.parse(name, noun=KIND).name
    record = get(wanted)
    if record is None:
        raise NotFound(
            f"there is no session gpu:{wanted}",
            did_you_mean(wanted, [each.name for each in records()], f"`%gpu start {wanted}` starts it"),
        )
    return record


def default_provider() -> str:
    """Where sessions live when nobody says: `gpu.machines` of the settings."""
    return chosen("gpu.machines")


def machines(record: Record) -> Machines:
    """The provider of a session's machine."""
    provider: Machines = make("gpu.machines", record.body["provider"])
    return provider


def status(record: Record) -> Status:
    """What it does now, whatever was written last: it has ended when its machine is gone, not when it says goodbye."""
    body = record.body
    if body["handle"]:
        now = machines(record).status(body["handle"])
        if now.state != "ended":
            return Status("stopping") if body["ended_at"] else now
        return Status("ended", body["ended_by"] or now.why, body["ended_at"] or now.at)
    if body["ended_at"]:
        return Status("ended", body["ended_by"], body["ended_at"])
    given_up = time.time() - body["started_at"] > INTENT_S
    return Status("ended", "it was given up before there was a machine") if given_up else Status("starting")


def said(status: Status) -> str:
    """A session's state as people read it: starting, running, stopping, or `ended (why)`."""
    words = {"ready": "running", "ended": f"ended ({status.why})"}
    return words.get(status.state, status.state)


def intend(name: str, provider: str, offer: Offer, started_at: float, limits: Loose) -> Record:
    """Write down that a machine will be created. Conflict when somebody else writes this session at the same time."""
    before = open_store().get(KIND, name)
    body = {
        "provider": provider,
        "gpu": offer.gpu,
        "device": offer.device,
        "spot": offer.spot,
        "usd_per_hour": offer.usd_per_hour,
        "shown_as": f"{name} · {offer.gpu}",
        "started_at": started_at,
        "ended_at": None,
        "ended_by": "",
        "exit_code": None,
        "handle": None,
        "earlier_spans": _earlier(before),
        **limits,
    }
    if before is not None and not before.body["ended_at"]:
        raise Conflict(f"gpu:{name} is being started by somebody else", f"look at it with `%gpu show {name}`")
    event = Event("gpu start", f"gpu:{name}", outputs=(f"gpu:{name}",), detail=_told(body))
    return open_store().commit([Record(KIND, name, body, before.rev if before else 0)], event)[0]


def bind(record: Record, handle: str) -> Record:
    """Write down which machine it became."""
    return _change(record, None, handle=handle)


def move(record: Record, limits: Loose) -> Record:
    """Give a living session other limits."""
    subject = f"gpu:{record.name}"
    return _change(record, Event("gpu start", subject, outputs=(subject,), detail=_told(limits)), **limits)


def close(record: Record, why: str, at: float | None = None) -> Record:
    """Write down the end of a session whose keeper could not; one that has an end keeps it."""
    if record.body["ended_at"]:
        return record
    event = Event("gpu stop", f"gpu:{record.name}", detail={"why": why})
    return _change(record, event, ended_at=at or time.time(), ended_by=why)


def limits(rate: float, started_at: float, until_at: float | None, budget_usd: float | None) -> Loose:
    """Where it ends: at what comes first, the time that was given or the money. UsageProblem when that is now."""
    money_at = started_at + budget_usd / rate * 3600 if budget_usd is not None and rate > 0 else None
    if money_at is not None and money_at <= time.time():
        raise UsageProblem(
            f"a budget of {show_usd(budget_usd or 0)} is spent already, at {show_usd(rate)} an hour",
            f"give it more than {show_usd((time.time() - started_at) / 3600 * rate)}",
        )
    ends = [(at, by) for at, by in ((until_at, "deadline"), (money_at, "budget")) if at is not None]
    deadline_at, by = min(ends) if ends else (None, "")
    return {
        "until_at": until_at,
        "budget_usd": budget_usd,
        "deadline_at": deadline_at,
        "deadline_by": by,
    }


def spent_usd(body: Loose, ended_at: float | None) -> float:
    """The money of this start, so far."""
    seconds: float = max(0.0, (ended_at or time.time()) - body["started_at"])
    return seconds / 3600 * float(body["usd_per_hour"])


def limit_words(body: Loose) -> str:
    """What ends it, for a person."""
    if body["deadline_at"] is None:
        return "when it is stopped: neither a time nor, at this price, a budget ends it"
    left = show_duration(max(1.0, body["deadline_at"] - time.time()))
    what = "its budget is spent" if body["deadline_by"] == "budget" else "its time is over"
    cost = (body["deadline_at"] - body["started_at"]) / 3600 * body["usd_per_hour"]
    return f"in {left}, when {what}; it will have cost at most {show_usd(cost)}"


def _change(record: Record, event: Event | None, **changes: Any) -> Record:
    """Change the record of this very start; one that has ended or was started again since stays as it is."""

    def change(body: Loose) -> Loose:
        if body["ended_at"] or body["started_at"] != record.body["started_at"]:
            raise _Over
        return {**body, **changes}

    try:
        return update(open_store(), KIND, record.name, change, event)
    except _Over:
        return find(record.name)


class _Over(Exception):
    """This start has ended."""


def _earlier(before: Record | None) -> list[Loose]:
    """What earlier starts of this name cost is not forgotten."""
    if before is None:
        return []
    body = before.body
    span = {"started_at": body["started_at"], "ended_at": body["ended_at"], "usd_per_hour": body["usd_per_hour"]}
    return [*body["earlier_spans"], span]


def _told(body: Loose) -> Loose:
    keys = ("gpu", "provider", "spot", "usd_per_hour", "budget_usd", "deadline_at", "deadline_by")
    return {key: body[key] for key in keys if key in body}
