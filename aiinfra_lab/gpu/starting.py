"""Bringing a session up, and waiting for what it becomes: the intent is on disk before there is a machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..cost import prices
from ..errors import Conflict, Failed, Interrupted, LabError, Unavailable
from ..files import retry, until
from ..providers import make, names
from ..store import Record
from ..units import show_duration, show_usd
from . import sessions
from .base import Machines, Offer, Plan

READY_S = 120.0
STOPPED_S = 30.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a session was asked to be. `gpu` and `on` are None where it does not matter."""

    name: str
    gpu: str | None
    spot: bool
    for_s: float | None
    budget_usd: float | None
    on: str | None


def bring_up(wish: Wish) -> tuple[Record, list[str]]:
    """The ready session, and what to say about it. A session of that name that lives gets the new limits."""

    def step() -> tuple[Record, list[str]]:
        found = sessions.get(wish.name)
        state = sessions.status(found).state if found else "ended"
        if found and state == "stopping":
            _ended(found)
            raise _Overtaken
        if found and state != "ended":
            return _again(found, wish)
        if found:
            _over(found)
        return _create(wish)

    # Whoever starts the same name at this moment was first: theirs is used.
    problem = Conflict(f"gpu:{wish.name} is started and stopped too often", "repeat in a moment")
    return retry(step, problem, on=_Overtaken, attempts=20)


def bring_down(record: Record) -> Record:
    """The session once its machine is gone, and machines that nobody wrote down for it too."""
    machines = sessions.machines(record)
    owned = [handle for handle, owner in machines.list_owned().items() if owner == record.name]
    if not record.body["handle"]:  # whoever started it has not come further, or never will
        record = sessions.bind(record, owned[0]) if owned else sessions.close(record, "stopped before it had a machine")
    for handle in {*owned, record.body["handle"]} - {None}:
        machines.terminate(handle)
    return _ended(record)


def _ended(record: Record) -> Record:
    """Wait until a session's machine is gone, and see to it that its record says so. Unavailable when it takes long."""
    return _over(_await(record, "ended", STOPPED_S))


def _over(record: Record) -> Record:
    now = sessions.status(record)
    return sessions.close(record, now.why, now.at)


def _create(wish: Wish) -> tuple[Record, list[str]]:
    provider = wish.on or sessions.default_provider()
    machines: Machines = make("gpu.machines", provider)
    offer = _choose(machines.offers(), wish, provider)
    now = time.time()
    until_at = now + wish.for_s if wish.for_s else None
    limits = sessions.limits(offer.usd_per_hour, now, until_at, wish.budget_usd)
    try:
        record = sessions.intend(wish.name, provider, offer, now, limits)
    except Conflict:
        raise _Overtaken from None
    plan = Plan(wish.name, offer, limits["deadline_at"])
    try:
        handle = machines.create(plan)
    except LabError as problem:
        sessions.close(record, f"there was no machine: {problem.what}")
        raise
    except KeyboardInterrupt:  # there may be a machine already: it must not stay unknown
        sessions.bind(record, machines.create(plan))
        raise _interrupted(wish.name) from None
    record = sessions.bind(record, handle)
    if record.body["handle"] != handle:
        machines.terminate(handle)
        raise Failed(f"gpu:{wish.name} was stopped while it started", f"start it again: `%gpu start {wish.name}`")
    return _await(record, "ready", READY_S), _about_spot(wish, offer.spot, provider)


def _again(found: Record, wish: Wish) -> tuple[Record, list[str]]:
    """Change when a living session ends, and nothing else of it."""
    body, name = found.body, found.name
    if wish.on not in (None, body["provider"]):
        raise Conflict(f"gpu:{name} lives on {body['provider']}, not on {wish.on}", f"first: `%gpu stop {name}`")
    if wish.gpu is not None and not Offer(body["gpu"], 0.0).is_a(wish.gpu):
        raise Conflict(f"gpu:{name} lives with {body['gpu']}, not with {wish.gpu}", f"first: `%gpu stop {name}`")
    notes = ["it lived already"]
    if wish.for_s or wish.budget_usd is not None:
        until_at = time.time() + wish.for_s if wish.for_s else body["until_at"]
        budget = body["budget_usd"] if wish.budget_usd is None else wish.budget_usd
        found = sessions.move(found, sessions.limits(body["usd_per_hour"], body["started_at"], until_at, budget))
        if handle := found.body["handle"]:
            sessions.machines(found).renew(handle, found.body["deadline_at"])
        notes = ["it lived already; when it ends was set anew"]
    return _await(found, "ready", READY_S), [*notes, *_about_spot(wish, body["spot"], body["provider"])]


def _choose(offers: Sequence[Offer], wish: Wish, provider: str) -> Offer:
    """The cheapest offer that is what was asked for; one that may be taken away only when that was asked for."""
    wanted = wish.gpu or "cpu"
    fitting = [offer for offer in offers if offer.is_a(wanted) and (wish.spot or not offer.spot)]
    free = [offer for offer in fitting if not offer.taken_by]
    if free:
        return min(free, key=lambda offer: (not offer.spot if wish.spot else False, offer.usd_per_hour))
    if fitting:
        holder = fitting[0].taken_by
        raise Unavailable(f"every {wanted} of {provider} is taken, one by gpu:{holder}", f"`%gpu stop {holder}`")
    has = ", ".join(dict.fromkeys(offer.gpu for offer in offers)) or "nothing"
    raise Unavailable(f"{provider} has no {wanted}; it has {has}", _elsewhere(wanted, offers))


def _elsewhere(wanted: str, offers: Sequence[Offer]) -> str:
    """Who would have it: by the price table, and as far as this installation can ask them."""
    use = f"use --gpu {offers[0].gpu}" if offers else "ask for another accelerator"
    known = next(prices.having(wanted), None)
    if known is None:
        return f"{use}; `%cost ls` lists the accelerators that clouds rent out"
    where = f"{known.provider} {known.type} has it for about {show_usd(known.usd_per_hour)} an hour"
    reach = f"--on {known.provider}" if known.provider in names("gpu.machines") else "nothing here can rent it"
    return f"{use}; {where} ({reach})"


def _about_spot(wish: Wish, spot: bool, provider: str) -> list[str]:
    if wish.spot and not spot:
        return [f"{provider} has no spot machine for it, so it cannot be taken away and costs the usual price"]
    return []


def _await(record: Record, state: str, patience_s: float) -> Record:
    """The record once its machine is in that state; Failed when it ended instead."""
    name = record.name

    def reached() -> Record | None:
        nonlocal record
        now = sessions.status(record)
        if now.state == state:
            return record
        if now.state == "ended":
            sessions.close(record, now.why, now.at)
            raise Failed(f"gpu:{name} did not become {state}: {now.why}", f"start it again: `%gpu start {name}`")
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
