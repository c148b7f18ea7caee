"""Bringing a session up, and waiting for what it becomes: the intent is on disk before there is a machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..cost import prices
from ..cost.accelerators import Alternative
from ..cost.choice import MachineRequest
from ..cost.wanted import Wanted
from ..errors import Conflict, Failed, Interrupted, LabError, Unavailable
from ..files import retry, until
from ..providers import Patience, chosen, make, names
from ..store import Record
from ..units import show_duration, show_usd
from . import naming, offers, sessions
from .base import Machines, Offer, Plan, start_again
from .keeping import KeepingMachines
from .record import Limits, SessionRecord
from .renting import RentingMachines

# For machines that do not say how long they take, see `Paced`.
PATIENCE_S = {"ready": 120.0, "ended": 30.0}
PREPARING_S = 1800.0  # for the project's packages and files to be there, which may be gigabytes

Stored = Record[SessionRecord]
Started = tuple[Stored, list[str]]
"""A session's record, and the notes for whoever started it."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What a session shall be. `gpu` and `on` are None where it does not matter; a limit is None where it stays as it
    is, and infinity where it is taken off."""

    name: str
    gpu: str | None
    spot: bool
    for_s: float | None
    budget_usd: float | None
    on: str | None
    idle_s: float | None = None
    sync: bool = False
    environment: bool = False

    @property
    def wanted(self) -> MachineRequest:
        """The machine that it is to be; one without an accelerator where none was named."""
        for_s, budget_usd = finite(self.for_s), finite(self.budget_usd)
        return offers.request(self.gpu or offers.CPU, spot=self.spot, for_s=for_s, budget_usd=budget_usd)


def finite(limit: float | None, before: float | None = None) -> float | None:
    """A limit as it is set anew: None for one that is taken off; as it was before where nothing is asked for."""
    return before if limit is None else None if math.isinf(limit) else limit


def rented_until(record: Stored, limits: tuple[float | None, float | None]) -> float | None:
    """Until when a session lives by that time and that budget: one that has neither, and is rented, as long as a
    machine may, since none is rented without an end."""
    until_at, budget_usd = limits
    machines = sessions.machines(record)
    if until_at is not None or budget_usd is not None or not isinstance(machines, RentingMachines):
        return until_at
    return max(record.body.until_at or 0.0, record.body.started_at + machines.longest_s)


def bring_up(request: SessionRequest, report: Callable[[str], None] = lambda _: None) -> Started:
    """The ready session. A session of that name that lives gets the new limits.

    report: is told what its machine waits for, as often as it is asked
    """

    def step() -> Started:
        naming.refuse_pool(request.name)
        found = sessions.get(request.name)
        found = found and sessions.with_machine(found)
        # Its machine is asked even when the record has an end: two machines must not have one name.
        state = sessions.status(found).state if found else "ended"
        if found and state == "stopping":
            bring_down(found)  # whoever asked for the end may have died before its machine was asked
            raise _OvertakenError
        if found and state != "ended":
            return _change_limits(found, request, report)
        if found:
            _close(found)
            _await_unbound(found)
        return _create(request, report)

    # Whoever starts the same name at this moment was first: theirs is used.
    problem = Conflict(f"gpu:{request.name} is started and stopped too often", "repeat in a moment")
    return retry(step, problem, on=_OvertakenError, attempts=20)


def ask_to_end(record: Record[SessionRecord]) -> Record[SessionRecord]:
    """Ask for the end of a session's machine, and of machines that nobody wrote down for it; returns at once."""
    machines = sessions.machines(record)
    # A crash between creating and binding leaves a machine that only the provider knows of.
    owned = [handle for handle, owner in machines.list_owned().items() if owner == record.name]
    if record.body.handle is None:  # whoever started it has not come further, or never will
        record = sessions.bind(record, owned[0]) if owned else sessions.close(record, "stopped before it had a machine")
    for handle in dict.fromkeys([*owned, record.body.handle]):
        if handle is not None:
            machines.terminate(handle)
    return record


def bring_down(record: Record[SessionRecord]) -> Record[SessionRecord]:
    """The session once its machine is gone. Unavailable when that takes long."""
    return _await_end(ask_to_end(record))


def _await_end(record: Record[SessionRecord]) -> Record[SessionRecord]:
    return _close(_await(record, "ended", sessions.machines(record)))


def _await_unbound(record: Record[SessionRecord]) -> None:
    """Wait for machines of that name to go that no record has: whoever rented one after its session was given up has
    asked it to end, and `create` would give it out again. Unavailable when that takes long."""
    machines = sessions.machines(record)
    for handle in [handle for handle, owner in machines.list_owned().items() if owner == record.name]:

        def has_gone(handle: str = handle) -> bool:
            return machines.status(handle).state != "stopping"

        patience = Patience.of(machines, "ended", PATIENCE_S["ended"])
        what = f"an earlier machine of gpu:{record.name} is not ended after {show_duration(patience.within_s)}"
        until(has_gone, Unavailable(what, f"look again: `%gpu show {record.name}`"), **patience._asdict())


def _close(record: Record[SessionRecord]) -> Record[SessionRecord]:
    now = sessions.status(record)
    return sessions.close(record, now.why, now.at)


def _create(request: SessionRequest, report: Callable[[str], None]) -> Started:
    name, provider = request.name, request.on or chosen("gpu.machines")
    machines: Machines = make("gpu.machines", provider)
    offer = _choose(offers.offers_of(machines, request.gpu or offers.CPU), request, provider)
    now = time.time()
    rents = machines if isinstance(machines, RentingMachines) else None
    for_s, budget_usd = finite(request.for_s), finite(request.budget_usd)
    is_endless = bool(rents) and for_s is None and budget_usd is None
    if rents and is_endless:
        for_s = rents.longest_s
    until_at = now + for_s if for_s else None
    idle_s = finite(request.idle_s) if isinstance(machines, KeepingMachines) else None
    limits = Limits.of(offer.dearest_usd_per_hour, now, until_at, budget_usd, idle_s)
    try:
        record = sessions.intend(
            name,
            provider,
            offer,
            now,
            limits,
            is_rented=rents is not None,
            sync=request.sync and _has_other_files(machines),
            environment=request.environment and _has_other_files(machines),
        )
    except Conflict:
        raise _OvertakenError from None
    record = _create_machine(machines, record, Plan(name, offer, limits.deadline_at))
    notes = [*_spot_note(request, offer.spot, provider), *_idle_note(request, machines, provider)]
    notes += _project_note(request, machines, provider)
    if for_s and is_endless:
        notes.append(f"none is rented without an end: it lives {show_duration(for_s)}, unless `--for` says otherwise")
    return _await(record, "ready", machines, report), notes


def _create_machine(machines: Machines, record: Record[SessionRecord], plan: Plan) -> Record[SessionRecord]:
    """The record with the handle of its machine. Ctrl-C leaves no machine that nobody knows.

    A provider that raises LabError has to leave none by itself.
    """
    try:
        handle = machines.create(plan)
    except LabError as problem:
        # Else the name would look as if it were being started until the intent expires.
        sessions.close(record, f"there was no machine: {problem.what}")
        raise
    except KeyboardInterrupt:  # there may be a machine already: asking again gives its handle
        sessions.bind(record, machines.create(plan))
        raise _interrupted(plan.name) from None
    record = sessions.bind(record, handle)
    # `bind` changes nothing about a session that was stopped meanwhile.
    if record.body.handle != handle:
        machines.terminate(handle)
        raise Failed(f"gpu:{plan.name} was stopped while it started", f"start it again: `%gpu start {plan.name}`")
    return record


def _change_limits(found: Record[SessionRecord], request: SessionRequest, report: Callable[[str], None]) -> Started:
    """Change when a living session ends, and nothing else of it."""
    body, machines = found.body, sessions.machines(found)
    _keeps_its_machine(request, body)
    _keeps_its_project(request, body, machines)
    notes = ["it lived already"]
    if request.for_s or request.budget_usd is not None or request.idle_s is not None:
        asked_at = time.time() + request.for_s if request.for_s else None
        budget, idle_s = finite(request.budget_usd, body.budget_usd), finite(request.idle_s, body.idle_s)
        wanted_at = finite(asked_at, body.until_at)
        until_at = rented_until(found, (wanted_at, budget))
        price, since = _paid(found)
        found = sessions.move(found, Limits.of(price, since, until_at, budget, idle_s))
        if handle := found.body.handle:
            machines.renew(handle, found.body.deadline_at)
        notes = ["it lived already; when it ends was set anew"]
        if until_at is not None and until_at != wanted_at:
            left = show_duration(max(0.0, until_at - time.time()))
            notes.append(f"none is rented without an end: it lives {left} more, unless `--for` says otherwise")
    return _await(found, "ready", machines, report), [*notes, *_spot_note(request, body.spot, body.provider)]


def _paid(record: Stored) -> tuple[float, float]:
    """What an hour of a session may cost, and since when it would have cost what it has, at that price."""
    body = record.body
    if not body.is_rented or body.handle is None or not body.usd_per_hour:
        return body.usd_per_hour, body.started_at
    [found] = sessions.observe_all([record])
    price = max([body.usd_per_hour, *(each.worst_usd_per_hour or 0.0 for each in found.machines if each.is_open)])
    return price, time.time() - found.spent_usd / price * 3600


def _keeps_its_machine(request: SessionRequest, body: SessionRecord) -> None:
    """Conflict when another machine is asked for than that of the session, and there is such a one."""
    name, on = request.name, request.on or body.provider
    is_other = request.gpu is not None and not _is_of(body, request.wanted.wanted)
    if on == body.provider and not is_other:
        return
    # Whoever ends a session for a machine that nobody has would have lost it for nothing.
    _choose(offers.offers_of(make("gpu.machines", on), request.gpu or offers.CPU), request, on)
    has = Alternative(body.gpu, body.count or 1.0)
    where = f"on {body.provider}, not on {on}" if on != body.provider else f"with {has}, not with {request.gpu}"
    fix = f"first: `%gpu stop {name}`, which ends its kernel; or give the other one a name of its own"
    raise Conflict(f"gpu:{name} lives {where}", fix)


def _keeps_its_project(request: SessionRequest, body: SessionRecord, machines: Machines) -> None:
    """Conflict when a kernel that lives is to have what only one that begins can be given."""
    lacks = (request.sync and not body.sync) or (request.environment and not body.environment)
    if lacks and _has_other_files(machines):
        flag = "--sync" if request.sync and not body.sync else "--environment"
        again = start_again(request.name, body.gpu, body.provider, spot=body.spot)
        fix = f"end it, and start it so: `%gpu stop {request.name}`, then `{again} {flag}`"
        raise Conflict(f"gpu:{request.name} was started without {flag}, which a kernel gets when it begins", fix)


def _is_of(body: SessionRecord, wanted: Wanted | None) -> bool:
    """Whether a session has what is asked for, and enough of it; how much that is an older record does not tell."""
    if wanted is None or wanted.needs(body.gpu) is None:
        return False
    return body.count is None or any(each.fits(body.gpu, body.count) for each in wanted.alternatives)


def _choose(found: Sequence[Offer], request: SessionRequest, provider: str) -> Offer:
    """The first of what was asked for. Denied when all of that may cost more than the budget, NotFound for an
    accelerator that nobody knows, else Unavailable with what is there, when there is none."""
    wanted = request.wanted
    among = offers.choose((offers.ProviderOffer(provider, each) for each in found), wanted)
    if among.offers:
        return among.offers[0].offer
    among.check_budget()
    if among.taken:
        holder = among.taken[0].offer.taken_by
        raise Unavailable(f"every {wanted} of {provider} is taken, one by gpu:{holder}", f"`%gpu stop {holder}`")
    offers.check(wanted.wanted)
    has = ", ".join(dict.fromkeys(offer.gpu for offer in found)) or "nothing"
    raise Unavailable(f"{provider} has no {wanted}; it has {has}", _alternative(found, request, among.nearest))


def _alternative(found: Sequence[Offer], request: SessionRequest, nearest: offers.ProviderOffer | None) -> str:
    """Who would have it: by the price table, and as far as this installation can ask them."""
    use = "ask for another accelerator"
    if near := nearest.offer if nearest else next(iter(found), None):
        on = f" --on {request.on}" if request.on else ""
        use = f"use --gpu {near.gpu}: `%gpu start {request.name} --gpu {near.gpu}{on}`"
    having = list(prices.having(str(request.wanted.wanted)))
    known = next((each for each in having if each.provider in names("gpu.machines")), next(iter(having), None))
    if known is None:
        return f"{use}; `%cost ls` lists the accelerators that clouds rent out"
    where = f"{known.provider} {known.type} has it for about {show_usd(known.usd_per_hour)} an hour"
    reach = f"--on {known.provider}" if known.provider in names("gpu.machines") else "nothing here can rent it"
    return f"{use}; {where} ({reach})"


def _spot_note(request: SessionRequest, is_spot: bool, provider: str) -> list[str]:
    if request.spot and not is_spot:
        return [f"{provider} has no spot machine for it, so it cannot be taken away and costs the usual price"]
    return []


def _idle_note(request: SessionRequest, machines: Machines, provider: str) -> list[str]:
    if finite(request.idle_s) is not None and not isinstance(machines, KeepingMachines):
        return [f"nobody can see from here whether a machine of {provider} is used: --idle has no effect on it"]
    return []


def _has_other_files(machines: Machines) -> bool:
    """Whether its kernels work without the project's own folder, and can be given a copy of it."""
    return isinstance(machines, KeepingMachines) and not machines.has_our_files


def _project_note(request: SessionRequest, machines: Machines, provider: str) -> list[str]:
    flags = [flag for flag, is_asked in (("--sync", request.sync), ("--environment", request.environment)) if is_asked]
    if not flags or _has_other_files(machines):
        return []
    what = "has" if len(flags) == 1 else "have"
    why = "works in the project itself" if isinstance(machines, KeepingMachines) else "gives no way to its machines"
    return [f"{' and '.join(flags)} {what} no effect: {provider} {why}"]


def _await(
    record: Stored,
    state: Literal["ready", "ended"],
    machines: Machines,
    report: Callable[[str], None] = lambda _: None,
) -> Stored:
    """The record once its machine is in that state; Failed when it ended instead."""
    name, on, patience = record.name, record.body.provider, Patience.of(machines, state, PATIENCE_S[state])
    if state == "ready" and (record.body.sync or record.body.environment):
        patience = patience._replace(within_s=patience.within_s + PREPARING_S)

    def reached() -> Stored | None:
        nonlocal record
        # Somebody may have stopped it meanwhile, and started it with another provider.
        now = sessions.status(record, machines if record.body.provider == on else None)
        if now.state == state:
            return record
        if now.state == "ended":
            if record.body.handle is None and record.body.is_open:  # given up by whoever started it: this one does it
                raise _OvertakenError
            sessions.close(record, now.why, now.at)
            raise _ended_early(record, now.why, now.fix)
        if now.step:
            report(now.step)
        # Read again: meanwhile another process may have bound its machine, or written its end.
        record = sessions.find(name)
        return None

    def problem() -> Unavailable:
        what = f"gpu:{name} is not {state} after {show_duration(patience.within_s)}"
        return Unavailable(what, sessions.fix_of_remote(record) or f"look again: `%gpu show {name}`")

    try:
        return until(reached, problem, **patience._asdict())
    except KeyboardInterrupt:
        if state == "ended":
            what, fix = f"you stopped waiting for the end of gpu:{name}; it ends all the same", f"`%gpu show {name}`"
            raise Interrupted(what, f"see when it has: {fix}") from None
        raise _interrupted(name) from None


def _ended_early(record: Stored, why: str, fix: str) -> Failed:
    """That a session ended before it was ready, with what starts the same once more."""
    name, body = record.name, record.body
    again = start_again(name, body.gpu, body.provider, spot=body.spot)
    if why == "deadline":
        what, fix = "its time was over before", f"give it longer: `{again} --for 1h`"
    elif why == "budget" and body.budget_usd is not None:
        what, fix = "its budget was spent before", f"give it more: `{again} --budget {2 * body.budget_usd:g}`"
    else:
        what, fix = why, fix or f"start it again: `{again}`"
    return Failed(f"gpu:{name} did not become ready: {what}", fix)


def _interrupted(name: str) -> Interrupted:
    fix = f"look at it with `%gpu show {name}`; end it with `%gpu stop {name}`"
    return Interrupted(f"you stopped waiting for gpu:{name}; it goes on", fix)


class _OvertakenError(Exception):
    """Somebody else started this very name in between."""
