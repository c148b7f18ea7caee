"""Bringing a session up, and waiting for what it becomes: the intent is on disk before there is a machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..cost import prices
from ..errors import Conflict, Failed, Interrupted, LabError, Unavailable
from ..files import retry, until
from ..providers import make, names
from ..units import show_duration, show_usd
from . import sessions
from .base import Machines, Offer, Plan
from .sessions import Session

READY_S = 120.0
STOPPED_S = 30.0


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What a session was asked to be. `gpu` and `on` are None where it does not matter."""

    name: str
    gpu: str | None
    spot: bool
    for_s: float | None
    budget_usd: float | None
    on: str | None


def bring_up(request: SessionRequest) -> tuple[Session, list[str]]:
    """The ready session, and what to say about it. A session of that name that lives gets the new limits."""

    def step() -> tuple[Session, list[str]]:
        found = sessions.get(request.name)
        state = sessions.status(found).state if found else "ended"
        if found and state == "stopping":
            _ended(found)
            # Looked at anew: while this one waited, somebody else may have started it.
            raise _Overtaken
        if found and state != "ended":
            return _again(found, request)
        if found:
            # Its end must be in the record: `intend` takes one without an end for a start that is under way.
            _over(found)
        return _create(request)

    # Whoever starts the same name at this moment was first: theirs is used.
    problem = Conflict(f"gpu:{request.name} is started and stopped too often", "repeat in a moment")
    return retry(step, problem, on=_Overtaken, attempts=20)


def bring_down(record: Session) -> Session:
    """The session once its machine is gone, and machines that nobody wrote down for it too."""
    machines = sessions.machines(record)
    # A crash between creating and binding leaves a machine that only the provider knows of.
    owned = [handle for handle, owner in machines.list_owned().items() if owner == record.name]
    if not record.body.handle:  # whoever started it has not come further, or never will
        record = sessions.bind(record, owned[0]) if owned else sessions.close(record, "stopped before it had a machine")
    for handle in filter(None, {*owned, record.body.handle}):
        machines.terminate(handle)
    return _ended(record)


def _ended(record: Session) -> Session:
    """Wait until a session's machine is gone, and see to it that its record says so. Unavailable when it takes long."""
    return _over(_await(record, "ended", STOPPED_S))


def _over(record: Session) -> Session:
    now = sessions.status(record)
    return sessions.close(record, now.why, now.at)


def _create(request: SessionRequest) -> tuple[Session, list[str]]:
    provider = request.on or sessions.default_provider()
    machines: Machines = make("gpu.machines", provider)
    offer = _choose(machines.offers(), request, provider)
    now = time.time()
    until_at = now + request.for_s if request.for_s else None
    limits = sessions.limits(offer.usd_per_hour, now, until_at, request.budget_usd)
    try:
        record = sessions.intend(request.name, provider, offer, now, limits)
    except Conflict:
        raise _Overtaken from None
    plan = Plan(request.name, offer, limits.deadline_at)
    try:
        handle = machines.create(plan)
    except LabError as problem:
        # Else the name would look as if it were being started until the intent expires.
        sessions.close(record, f"there was no machine: {problem.what}")
        raise
    except KeyboardInterrupt:  # there may be a machine already: it must not stay unknown
        sessions.bind(record, machines.create(plan))
        raise _interrupted(request.name) from None
    record = sessions.bind(record, handle)
    # `bind` changes nothing about a session that was stopped meanwhile.
    if record.body.handle != handle:
        machines.terminate(handle)
        raise Failed(f"gpu:{request.name} was stopped while it started", f"start it again: `%gpu start {request.name}`")
    return _await(record, "ready", READY_S), _about_spot(request, offer.spot, provider)


def _again(found: Session, request: SessionRequest) -> tuple[Session, list[str]]:
    """Change when a living session ends, and nothing else of it."""
    body, name = found.body, found.name
    if request.on not in (None, body.provider):
        raise Conflict(f"gpu:{name} lives on {body.provider}, not on {request.on}", f"first: `%gpu stop {name}`")
    if request.gpu is not None and not Offer(body.gpu, 0.0).is_a(request.gpu):
        raise Conflict(f"gpu:{name} lives with {body.gpu}, not with {request.gpu}", f"first: `%gpu stop {name}`")
    notes = ["it lived already"]
    if request.for_s or request.budget_usd is not None:
        until_at = time.time() + request.for_s if request.for_s else body.until_at
        budget = body.budget_usd if request.budget_usd is None else request.budget_usd
        # From its start on: a budget includes what the session has cost already.
        found = sessions.move(found, sessions.limits(body.usd_per_hour, body.started_at, until_at, budget))
        if handle := found.body.handle:
            sessions.machines(found).renew(handle, found.body.deadline_at)
        notes = ["it lived already; when it ends was set anew"]
    return _await(found, "ready", READY_S), [*notes, *_about_spot(request, body.spot, body.provider)]


def _choose(offers: Sequence[Offer], request: SessionRequest, provider: str) -> Offer:
    """The cheapest offer that is what was asked for; one that may be taken away only when that was asked for."""
    wanted = request.gpu or "cpu"
    fitting = [offer for offer in offers if offer.is_a(wanted) and (request.spot or not offer.spot)]
    free = [offer for offer in fitting if not offer.taken_by]
    if free:
        return min(free, key=lambda offer: (not offer.spot if request.spot else False, offer.usd_per_hour))
    if fitting:
        holder = fitting[0].taken_by
        raise Unavailable(f"every {wanted} of {provider} is taken, one by gpu:{holder}", f"`%gpu stop {holder}`")
    has = ", ".join(dict.fromkeys(offer.gpu for offer in offers)) or "nothing"
    raise Unavailable(f"{provider} has no {wanted}; it has {has}", _other_provider(wanted, offers))


def _other_provider(wanted: str, offers: Sequence[Offer]) -> str:
    """Who would have it: by the price table, and as far as this installation can ask them."""
    use = f"use --gpu {offers[0].gpu}" if offers else "ask for another accelerator"
    known = next(prices.having(wanted), None)
    if known is None:
        return f"{use}; `%cost ls` lists the accelerators that clouds rent out"
    where = f"{known.provider} {known.type} has it for about {show_usd(known.usd_per_hour)} an hour"
    reach = f"--on {known.provider}" if known.provider in names("gpu.machines") else "nothing here can rent it"
    return f"{use}; {where} ({reach})"


def _about_spot(request: SessionRequest, spot: bool, provider: str) -> list[str]:
    if request.spot and not spot:
        return [f"{provider} has no spot machine for it, so it cannot be taken away and costs the usual price"]
    return []


def _await(record: Session, state: str, patience_s: float) -> Session:
    """The record once its machine is in that state; Failed when it ended instead."""
    name = record.name

    def reached() -> Session | None:
        nonlocal record
        now = sessions.status(record)
        if now.state == state:
            return record
        if now.state == "ended":
            sessions.close(record, now.why, now.at)
            raise Failed(f"gpu:{name} did not become {state}: {now.why}", f"start it again: `%gpu start {name}`")
        # Read again: meanwhile another process may have bound its machine, or written its end.
        record = sessions.find(name)
        return None

    what = f"gpu:{name} is not {state} after {show_duration(patience_s)}"
    try:
        return until(reached, Unavailable(what, f"look again: `%gpu show {name}`"), within_s=patience_s)
    except KeyboardInterrupt:
        raise _interrupted(name) from None


def _interrupted(name: str) -> Interrupted:
    fix = f"look at it with `%gpu show {name}`; end it with `%gpu stop {name}`"
    return Interrupted(f"you stopped waiting for gpu:{name}; it goes on", fix)


class _Overtaken(Exception):
    """Somebody else started this very name in between."""
