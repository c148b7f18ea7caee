"""Pools of sessions: as many as the queue needs, from none to a most, and whoever sends work takes the next free one.

`member` is how work is sent:

    with pools.member("gpu:sweep") as session:  # waits in the queue; the name of an ordinary session is given back
        kernels.execute(sessions.kernel_of(session), "…", show)
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import asdict, replace

from .. import files, jobs
from ..config import context
from ..cost.billing import PER_SECOND
from ..errors import Conflict, Interrupted, LabError, NotFound, Unavailable, UsageProblem
from ..nouns import Budget
from ..providers import chosen, make
from ..scaling import ScalingPolicy
from ..show import Card, Result, working
from ..store import Event, Record, open_store, update
from ..units import show_usd
from ..uris import Uri
from . import naming, pool_cards, pool_job, pool_members, sessions, starting
from .base import start_again
from .keeping import KeepingMachines
from .pool_members import PoolView
from .pool_queue import PoolClient, PoolPlace, PoolQueue
from .pool_record import PoolRecord, PoolState, folder_of, read_state
from .pool_rules import TICK_S
from .record import SessionRecord
from .renting import RentingMachines

_LOOK_S = 0.2
_LAUNCH_S = 5.0
_BEGUN_S = 60.0
_ENDED_S = 900.0

Stored = Record[PoolRecord]
Item = TypeVar("Item")


@dataclass(frozen=True)
class PoolMember:
    """A session of a pool. work: what it is at work for; empty while it is free."""

    uri: str
    state: str
    work: str
    hourly_usd: float
    spent_usd: float
    deadline_at: float | None


@dataclass(frozen=True)
class Pool(Result):
    """A pool of sessions. `state` is starting, running, stopping or `ended (why)`.

    size: how many sessions it has now, of which `ready` take work and `busy` are at work; target: how many there are to
    be, and why. waiting: who waits for one, the first first. queue: how much of that one session is to have. gpu and
    on: what each session is. hourly_usd: of those that there are. spent_usd: of all in this start. problem: why there
    are not as many as there are to be, and retry_at: when that is tried again.
    """

    kind = "Pool"

    uri: str
    state: str
    min: int
    max: int
    queue: float
    gpu: str
    on: str
    spot: bool
    size: int
    ready: int
    busy: int
    target: int
    why: str
    waiting: tuple[str, ...]
    started_at: float
    ended_at: float | None
    deadline_at: float | None
    hourly_usd: float
    spent_usd: float
    budget_usd: float | None
    idle_s: float | None
    members: tuple[PoolMember, ...] = ()
    problem: str = ""
    fix: str = ""
    retry_at: float | None = None
    notes: tuple[str, ...] = field(default=(), metadata={"json": False})

    def card(self) -> Card:
        return pool_cards.card(self)


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """What a pool shall be; None for what is as it was, or usual. session: what each of its sessions shall be."""

    session: starting.SessionRequest
    min: int | None = None
    max: int | None = None
    per_member: float | None = None

    @property
    def is_stated(self) -> bool:
        """Whether a pool is asked for, and no session."""
        return (self.min, self.max, self.per_member) != (None, None, None)


# ---- for whoever sends work ----


@contextlib.contextmanager
def member(name: object, stop_requested: Callable[[], int] = lambda: 0) -> Iterator[str]:
    """The name of a session to send work to: the next free one of a pool, which nobody else gets meanwhile.

    Waits in the pool's queue, first come, first served. Any other session is given back as it is, at once.
    NotFound when the pool ends meanwhile; Interrupted on Ctrl-C while it waits, and once that is asked for.
    """
    label = Uri.parse(name, noun=SessionRecord.kind).name
    pool = find(label)
    if pool is None or not pool.body.is_open:
        yield label
        return
    with _queue(pool).join(context() or f"process {os.getpid()}") as place:
        try:
            session = _await_turn(pool, place, stop_requested)
        except KeyboardInterrupt:
            fix = f"send it again; `%gpu show {label}` shows who waits"
            raise Interrupted(f"you stopped waiting for a session of {pool.uri}", fix) from None
        yield session


def _await_turn(pool: Stored, place: PoolPlace, stop_requested: Callable[[], int]) -> str:
    """The session that this client gets, once it is its turn. KeyboardInterrupt once its end is asked for."""
    queue, launched_at = _queue(pool), 0.0
    with working(Pool.kind, pool.uri, f"waits for a session of {pool.uri}") as note:
        while True:
            if time.monotonic() - launched_at > _LAUNCH_S:
                launched_at = time.monotonic()
                _check_open(pool)
            at = _turn(pool, queue, place)
            if place.client.member:
                return place.client.member
            if stop_requested():
                raise KeyboardInterrupt
            problem = read_state(pool.name).retry.what
            note(f"waits for a session of {pool.uri}, {_nth(at + 1)} in line" + (f"; {problem}" if problem else ""))
            time.sleep(_LOOK_S)


def _turn(pool: Stored, queue: PoolQueue, place: PoolPlace) -> int:
    """Take a session where as many are free as clients have come before, and one more; how many have."""
    clients = [each for each in queue.clients() if not each.member]
    at = sum(each.number < place.client.number for each in clients)
    if at >= pool.body.places + 1:
        return at
    with queue.changing():
        clients = queue.clients()
        at = sum(each.number < place.client.number for each in clients if not each.member)
        free = pool_members.free(pool, queue, clients)
        if at < len(free):
            place.take(free[at])
    return at


def _check_open(pool: Stored) -> None:
    """See to it that somebody sees to the pool. NotFound when it has ended."""
    now = open_store().get(PoolRecord, pool.name)
    body = pool.body
    start = f"`{start_again(pool.name, _machine(body), body.provider, spot=body.spot, most=body.max)}`"
    if now is None or not now.body.is_open or now.body.stop_requested_at is not None:
        why = now.body.ended_by or "stopped" if now else "removed"
        raise NotFound(f"{pool.uri} has ended ({why}) before there was a session", f"start it again: {start}")
    if not _is_seen_to(now):
        raise Unavailable(f"nobody sees to {pool.uri}: {_job_problem(now)}", f"start it again: {start}")
    jobs.launch()


def _is_seen_to(pool: Stored) -> bool:
    """Whether its job lives, or is started again by the supervisor."""
    try:
        job = jobs.poll(pool.body.job)
    except NotFound:
        return False
    return job.live or job.ended_at is None


def _job_problem(pool: Stored) -> str:
    try:
        job = jobs.poll(pool.body.job)
    except NotFound:
        return "its job is not known here"
    return job.ended_by or f"its job is {job.state}"


def _nth(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, "th")
    return f"{number}{ending}"


# ---- the verbs ----


def find(name: object) -> Stored | None:
    """The pool of that name: one that is over only where no session of the name was started since."""
    label = Uri.parse(name, noun=SessionRecord.kind).name
    pool = open_store().get(PoolRecord, label)
    if pool is None or pool.body.is_open:
        return pool
    session = sessions.get(label)
    return pool if session is None or session.body.started_at < pool.body.started_at else None


def concerns(request: PoolRequest) -> bool:
    """Whether a start is that of a pool, or changes one. Conflict where it is about one of a pool's own sessions."""
    name = request.session.name
    for pool in open_store().list(PoolRecord, is_open=True, skip_unreadable=True):
        if pool.name == name:
            return True
        if pool_members.number_of(pool, name):
            fix = f"change the pool: `%gpu start {pool.name} --max {pool.body.max}`; or give it another name"
            raise Conflict(f"gpu:{name} is a name of the sessions of {pool.uri}", fix)
    if over := open_store().get(PoolRecord, name):
        _await_job_end(over)  # a session's job of that name would be taken for it
    return request.is_stated


def start(request: PoolRequest) -> Pool:
    """Start a pool; on one that lives, what is given is set anew."""
    before = open_store().get(PoolRecord, request.session.name)
    is_change = before is not None and before.body.is_open
    if before is not None and is_change:
        if before.body.stop_requested_at is not None:
            raise Conflict(f"{before.uri} is being stopped", "repeat when it has ended")
        pool, notes = _changed(before, request), ["it lived already; what was given was set anew"]
    else:
        pool, notes = _new(before, request), []
    with working(Pool.kind, pool.uri, "starts what sees to it"):
        _await_job(pool)
    return observe(pool, notes=notes)


def _new(before: Stored | None, request: PoolRequest) -> Stored:
    session = request.session
    least = 0 if request.min is None else request.min
    most = max(1, least) if request.max is None else request.max
    per_member = 1.0 if request.per_member is None else request.per_member
    ScalingPolicy(min=least, max=most, per_replica=per_member)  # refuses what cannot be
    claimed = naming.claim(session.name, is_pool=True)
    _refuse_taken(session.name)
    _check_machine(session)
    now, uri = time.time(), str(Uri("gpu", session.name))
    job = _job(uri)
    body = PoolRecord(
        min=least,
        max=most,
        places=most,
        per_member=per_member,
        provider=session.on or chosen("gpu.machines"),
        job=job.name,
        started_at=now,
        gpu=session.gpu,
        spot=session.spot,
        idle_s=starting.finite(session.idle_s),
        until_at=starting.finite(now + session.for_s if session.for_s else None),
        budget_usd=starting.finite(session.budget_usd),
        context=context(),
    )
    record = before.of(body) if before else Record.new(session.name, body)
    detail = {key: value for key, value in asdict(body).items() if key in _EVENT_FIELDS}
    try:
        pool, *_ = open_store().commit([record, job, claimed], Event("gpu start", uri, outputs=(uri,), detail=detail))
    except LabError as problem:
        jobs.discard(job.name)
        raise naming.taken(session.name) if isinstance(problem, Conflict) else problem from None
    jobs.launch_or_withdraw(job.name)
    return pool


_EVENT_FIELDS = ("min", "max", "per_member", "gpu", "provider", "spot", "budget_usd", "until_at")


def _job(uri: str) -> Record[jobs.JobRecord]:
    # The last word stands where that of a session's job names its provider: it is none.
    # Its package imports it too, of which runpy warns in its log.
    argv = [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-m", "aiinfra_lab.gpu.pool_job", uri, "pool"]
    return jobs.prepare(uri, argv, restart=True, grace_s=_ENDED_S)


def _changed(before: Stored, request: PoolRequest) -> Stored:
    session, old = request.session, before.body
    if session.gpu not in (None, old.gpu) or session.on not in (None, old.provider) or (session.spot and not old.spot):
        fix = f"first: `%gpu stop {before.name}`; or give the other one a name of its own"
        raise Conflict(f"{before.uri} lives with {_machine(old)} on {old.provider}", fix)
    if session.budget_usd is not None:
        spent = pool_members.view(before, _queue(before)).spent_usd
        if session.budget_usd <= spent:
            what = f"a budget of {show_usd(session.budget_usd)} is spent already"
            raise UsageProblem(what, f"give it more than {show_usd(spent)}")
    most = old.max if request.max is None else request.max
    changes = {
        "min": old.min if request.min is None else request.min,
        "max": most,
        "places": max(old.places, most),
        "per_member": old.per_member if request.per_member is None else request.per_member,
        "idle_s": starting.finite(session.idle_s, old.idle_s),
        "until_at": starting.finite(time.time() + session.for_s if session.for_s else None, old.until_at),
        "budget_usd": starting.finite(session.budget_usd, old.budget_usd),
    }
    _ = replace(old, **changes).policy  # refuses what cannot be
    job = None if _is_seen_to(before) else _job(before.uri)

    def change(body: PoolRecord) -> PoolRecord | None:
        return replace(body, **changes, job=job.name if job else body.job) if body.is_open else None

    if job:
        open_store().commit([job])
    detail = {key: value for key, value in changes.items() if key in _EVENT_FIELDS}
    pool = update(open_store(), PoolRecord, before.name, change, Event("gpu start", before.uri, detail=detail))
    jobs.launch()
    return pool


def _refuse_taken(name: str) -> None:
    """Conflict where a session has the pool's name, or one that its own sessions would have."""
    for record in open_store().list(SessionRecord, is_open=True, skip_unreadable=True):
        number = record.name.removeprefix(f"{name}-")
        is_in_its_way = record.name == name or (number.isdecimal() and record.body.context != f"gpu:{name}")
        if is_in_its_way and sessions.observe(record).is_live:
            fix = f"give the pool another name; or first: `%gpu stop {record.name}`, which ends its kernel"
            what = "a session has that name" if record.name == name else f"its sessions are called {name}-1, {name}-2"
            raise Conflict(f"gpu:{name} cannot be a pool while {record.uri} lives: {what}", fix)


def _check_machine(session: starting.SessionRequest) -> None:
    """Raise what is wrong with it whatever comes; that there is none now is no problem of a pool."""
    provider = session.on or chosen("gpu.machines")
    if not isinstance(make("gpu.machines", provider), KeepingMachines):
        what = f"{provider} has no machines for a pool: nobody can see from here which of them work"
        raise UsageProblem(what, "name another provider, e.g. `--on local`; `%gpu ls --offers` lists what there is")
    plain = starting.SessionRequest(session.name, session.gpu, session.spot, None, None, provider)
    try:
        price = pool_job.usd_per_hour(plain)
    except Unavailable as problem:
        may_come = isinstance(make("gpu.machines", provider), RentingMachines) or "taken" in problem.what
        if may_come:
            return
        raise
    least = price * (PER_SECOND.least_s + TICK_S) / 3600
    if session.budget_usd is not None and session.budget_usd < least:
        what = f"a budget of {show_usd(session.budget_usd)} does not last for the first minute of one session"
        raise UsageProblem(what, f"give it more than {show_usd(least)}; an hour of one costs {show_usd(price)}")


def _await_job(pool: Stored) -> None:
    """Return once it has decided for the first time."""

    def has_begun() -> bool:
        if read_state(pool.name).at >= pool.body.started_at:
            return True
        if not _is_seen_to(pool):
            raise Unavailable(f"{pool.uri} did not start: {_job_problem(pool)}", f"look: `%gpu show {pool.name}`")
        jobs.launch()  # a supervisor that was killed meanwhile may not have begun it
        return False

    problem = Unavailable(f"{pool.uri} has decided nothing yet", f"look again: `%gpu show {pool.name}`")
    files.until(has_begun, problem, within_s=_BEGUN_S)


def stop(pool: Stored) -> Pool:
    """End all sessions of a pool, also those at work, and the pool."""
    if pool.body.is_open:
        pool = _request_stop(pool)
        with working(Pool.kind, pool.uri, "waits for the end of its sessions"):
            pool = _await_end(pool)
            _await_job_end(pool)
    return observe(pool)


def ask_to_end(pool: Stored) -> None:
    """Write down that it is to end, and return; its job ends it. Where nobody sees to it, its sessions are asked."""
    pool = _request_stop(pool)
    if _is_seen_to(pool):
        jobs.launch()
    else:
        pool_job.PoolKeeper(pool.name).finish("stopped")


def _request_stop(pool: Stored) -> Stored:
    def change(body: PoolRecord) -> PoolRecord | None:
        return replace(body, stop_requested_at=time.time()) if body.stop_requested_at is None else None

    return update(open_store(), PoolRecord, pool.name, change)


def _await_end(pool: Stored) -> Stored:
    launched_at = 0.0

    def has_ended() -> Stored | None:
        nonlocal launched_at
        now = open_store().get(PoolRecord, pool.name)
        if now is None or not now.body.is_open:
            return now
        if not _is_seen_to(now):
            pool_job.PoolKeeper(now.name).finish("stopped")
        elif time.monotonic() - launched_at > _LAUNCH_S:
            launched_at = time.monotonic()
            jobs.launch()
        return None

    problem = Unavailable(f"{pool.uri} has not ended yet", f"look again: `%gpu show {pool.name}`")
    return files.until(has_ended, problem, within_s=_ENDED_S, every_s=_LOOK_S)


def _await_job_end(pool: Stored) -> None:
    """Its job writes the pool's end before its own."""
    with contextlib.suppress(NotFound):
        if jobs.poll(pool.body.job).live:
            jobs.wait(pool.body.job, _BEGUN_S)


def observe(
    pool: Stored, found: Sequence[sessions.ObservedSession] | None = None, *, notes: Sequence[str] = ()
) -> Pool:
    """The pool as it is now. found: its sessions, where they were observed already."""
    body, state = pool.body, read_state(pool.name)
    view = pool_members.view(pool, _queue(pool), found)
    if state.at < body.started_at:  # of an earlier start
        state = PoolState()
    problem, fix, retry_at = _problem(pool, state)
    return Pool(
        uri=pool.uri,
        state=_label(pool, state),
        min=body.min,
        max=body.max,
        queue=body.per_member,
        gpu=_machine(body),
        on=body.provider,
        spot=body.spot,
        size=len(view.members),
        ready=sum(each.state == "running" for each in view.members),
        busy=sum(each.is_busy for each in view.members),
        target=state.target if body.is_open else 0,
        why=state.why if body.is_open else "",
        waiting=tuple(_client(each) for each in view.waiting),
        started_at=body.started_at,
        ended_at=body.ended_at,
        deadline_at=body.until_at if body.is_open else None,
        hourly_usd=sum(each.record.body.usd_per_hour for each in view.found),
        spent_usd=view.spent_usd,
        budget_usd=body.budget_usd,
        idle_s=body.idle_s,
        members=tuple(_members(view)),
        problem=problem,
        fix=fix,
        retry_at=retry_at,
        notes=tuple(notes),
    )


def _problem(pool: Stored, state: PoolState) -> tuple[str, str, float | None]:
    if not pool.body.is_open:
        return "", "", None
    if not _is_seen_to(pool):
        return f"nobody sees to it: {_job_problem(pool)}", f"`%gpu start {pool.name}` starts that again", None
    with contextlib.suppress(LabError, OSError):
        jobs.launch()  # the supervisor may have been killed
    if retry := state.retry if state.retry.failures else None:
        # What helps a session that somebody starts is none of a pool's: it is tried again by itself.
        is_own = f"%gpu start {pool.name}-" in retry.fix
        return retry.what, "" if is_own else retry.fix, retry.next_at
    return state.problem, state.fix, None


def _label(pool: Stored, state: PoolState) -> str:
    body = pool.body
    if not body.is_open:
        return f"ended ({body.ended_by})"
    if body.stop_requested_at is not None:
        return "stopping"
    return "running" if state.at else "starting"


def _members(view: PoolView) -> Iterator[PoolMember]:
    for found, each in zip(view.found, view.members, strict=True):
        body = found.record.body
        client = view.held_by(found.record.name)
        work = _client(client) if client else pool_members.use_of(found) if each.is_used else ""
        yield PoolMember(found.record.uri, found.label, work, body.usd_per_hour, each.spent_usd, body.deadline_at)


def _client(client: PoolClient) -> str:
    return client.context


def _machine(body: PoolRecord) -> str:
    return body.gpu or "cpu"


def _queue(pool: Stored) -> PoolQueue:
    return PoolQueue(folder_of(pool.name))


def budgets(of_sessions: Sequence[Budget]) -> list[Budget]:
    """What lives on a budget: a pool as a whole, and not what its sessions have of that."""
    living = open_store().list(PoolRecord, is_open=True, skip_unreadable=True)
    others = [each for each in of_sessions if not _is_of_a_pool(each.uri)]
    limited = (pool for pool in living if pool.body.budget_usd)
    found = (pool_job.budget_of(pool, pool_members.view(pool, _queue(pool)).spent_usd) for pool in limited)
    return [*others, *(each for each in found if each is not None)]


def _is_of_a_pool(uri: str) -> bool:
    """Whether a session is one that a pool has started, be that over by now."""
    record = sessions.get(Uri.parse(uri).name)
    return record is not None and pool_members.pool_of(record) is not None


def beginning(starts: str) -> list[str]:
    """The names of living pools that begin so."""
    found = open_store().list(PoolRecord, is_open=True, skip_unreadable=True)
    return [pool.name for pool in found if pool.name.startswith(starts)]


def among(
    found: Sequence[sessions.ObservedSession], shown: Callable[[sessions.ObservedSession], Item]
) -> Iterator[Pool | Item]:
    """Sessions as they are shown, in their order, those of a living pool below the pool, where it was started."""
    living = open_store().list(PoolRecord, is_open=True, skip_unreadable=True)
    own = {pool.name: [each for each in found if pool_members.is_member(pool, each.record)] for pool in living}
    names = {each.record.name for those in own.values() for each in those}
    started: list[tuple[float, Stored | sessions.ObservedSession]] = [(pool.body.started_at, pool) for pool in living]
    started += [(each.record.body.started_at, each) for each in found if each.record.name not in names]
    for _, each in sorted(started, key=lambda one: one[0], reverse=True):
        if isinstance(each, Record):
            yield observe(each, own[each.name])
            yield from (shown(one) for one in own[each.name] if one.is_live)
        else:
            yield shown(each)
