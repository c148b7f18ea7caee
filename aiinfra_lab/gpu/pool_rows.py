"""What a pool is to the panel, to the lists of a workspace, and to whoever names one where a session is meant."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ..errors import UsageProblem
from ..nouns import Action, Details, Fact, Observation, Thing, is_overdue
from ..show import moment
from ..store import open_store
from ..units import counted, show_duration, show_usd
from ..uris import Uri
from . import pool_cards, pool_members, pools, sessions
from .pool_record import PoolRecord
from .pools import Pool, PoolMember, Stored

# So much more is offered to what would end before.
MORE, MORE_S = "2h", 7200.0
_MOST_NAMED = 3


def living(found: Sequence[sessions.ObservedSession]) -> list[tuple[Stored, Pool]]:
    """The pools that live, as they are now. found: what sessions were observed already."""
    known = {each.record.uri: each for each in found}
    records = open_store().list(PoolRecord, is_open=True, skip_unreadable=True)
    return [(each, pools.observe(each, _sessions_of(each, known))) for each in records]


def _sessions_of(pool: Stored, known: Mapping[str, sessions.ObservedSession]) -> list[sessions.ObservedSession]:
    """All that it has had: what has ended has cost something too."""
    records = pool_members.records(pool)
    others = sessions.observe_all([record for record in records if record.uri not in known])
    return [*(known[record.uri] for record in records if record.uri in known), *others]


def over(most: int) -> list[Stored]:
    """Those that ended last, unless their name is that of a session since."""
    found = open_store().list(PoolRecord, is_open=False, limit=most, order="written", skip_unreadable=True)
    return [each for each in found if pools.find(each.name) is not None]


def things() -> list[Thing]:
    """A line for each pool, as `lab` lists everything."""
    lines = [(record, _state(pool)) for record, pool in living([])]
    records = open_store().list(PoolRecord, is_open=False, skip_unreadable=True)
    lines += [(each, f"ended ({each.body.ended_by})") for each in records if pools.find(each.name) is not None]
    return [Thing(record.uri, record.updated_at, state) for record, state in lines]


# ---- a row of the panel ----


def observation(record: Stored, pool: Pool) -> Observation:
    """A pool that lives. Its sessions cost, and not itself."""
    body = record.body
    waits = [f"{len(pool.waiting)} in the queue"] if pool.waiting else []
    wanted = f"{pool.target} wanted: {pool.why}" if pool.why else ""
    return Observation(
        record.uri,
        _state(pool),
        is_live=True,
        started_at=body.started_at,
        deadline_at=body.until_at,
        detail=pool.problem or wanted,
        can_stop=body.stop_requested_at is None or is_overdue(body.stop_requested_at),
        job=body.job,
        context=body.context,
        figure=f"{pool.hourly_usd:.2f} USD/h" if pool.hourly_usd else "",
        facts=(pool_cards.size(pool), f"{pool.busy} at work", *waits),
        usd_per_hour=0.0,
        on_machine=False,
        actions=tuple(_actions(pool)),
        kind="pool",
    )


def _state(pool: Pool) -> str:
    return "needs a look" if pool_cards.has_problem(pool) else pool.state


def ended(record: Stored) -> Observation:
    """One that is over."""
    body = record.body
    return Observation(
        record.uri,
        f"ended ({body.ended_by})",
        started_at=body.started_at,
        ended_at=body.ended_at,
        job=body.job,
        context=body.context,
        usd_per_hour=0.0,
        on_machine=False,
        kind="pool",
    )


def _actions(pool: Pool) -> Iterator[Action]:
    yield from _more(pool)
    name, parts = Uri.parse(pool.uri).label, []
    if pool.size:
        at_work = f", {pool.busy} of them at work" if pool.busy else ""
        parts.append(f"{counted(pool.size, 'session')} {'ends' if pool.size == 1 else 'end'} with it{at_work}.")
    else:
        parts.append("It has no session now.")
    if pool.waiting:
        parts.append(f"{len(pool.waiting)} in its queue {'gets' if len(pool.waiting) == 1 else 'get'} none.")
    parts.append("Files and records stay.")
    yield Action("stop", "Stop pool", f"Stop pool {name}?", " ".join(parts))


def _more(pool: Pool) -> Iterator[Action]:
    """More time, or more money, whichever it lacks first, where that is soon."""
    if pool.state != "running":
        return
    name, left_s = Uri.parse(pool.uri).label, _left_s(pool)
    by_time_s = pool.deadline_at - time.time() if pool.deadline_at else None
    costs = f" They cost {show_usd(pool.hourly_usd)} an hour now." if pool.hourly_usd else ""
    if left_s is not None and pool.budget_usd and left_s <= min(MORE_S, by_time_s or MORE_S):
        more = 2 * pool.budget_usd
        question, flags = f"Give pool {name} a budget of {show_usd(more)}?", {"budget": f"{more:g}"}
        consequence = f"All of its sessions end when that is spent.{costs}"
        yield Action("start", "Double its budget", question, consequence, flags=flags)
    elif by_time_s is not None and by_time_s <= MORE_S:
        question, flags = f"Let pool {name} live for {MORE} from now?", {"for": MORE}
        yield Action("start", f"Give it {MORE}", question, f"All of its sessions end after that.{costs}", flags=flags)


def _left_s(pool: Pool) -> float | None:
    """How long its money lasts for what it has now; None where that costs nothing or nothing limits it."""
    if not pool.budget_usd or not pool.hourly_usd:
        return None
    return max(0.0, pool.budget_usd - pool.spent_usd) / pool.hourly_usd * 3600


# ---- an opened row ----


def details(pool: Pool) -> Details:
    """What the panel shows of it when somebody looks closer."""
    return Details(tuple(_facts(pool)), problem=pool.problem, fix=pool.fix)


def _facts(pool: Pool) -> Iterator[Fact]:
    is_live = pool.ended_at is None
    if is_live:
        yield Fact("sessions", f"{pool.size} of at most {pool.max}: {pool_cards.doing(pool)}")
        yield Fact("wanted", f"{pool.target}: {pool.why}" if pool.why else "not decided yet")
    if pool.waiting:
        more = len(pool.waiting) - _MOST_NAMED
        named = [*pool.waiting[:_MOST_NAMED], *([f"{more} more"] if more > 0 else [])]
        yield Fact("in the queue", f"{len(pool.waiting)}: {', '.join(named)}")
    yield Fact("each on", f"{pool.gpu}{' spot' if pool.spot else ''} on {pool.on}")
    if pool.hourly_usd:
        yield Fact("price", f"{show_usd(pool.hourly_usd)} an hour")
    if pool.spent_usd or pool.budget_usd is not None:
        yield Fact("spent" if is_live else "cost", *spent(pool.spent_usd, pool.budget_usd if is_live else None))
    if is_live:
        yield Fact("ends", f"at {moment(pool.deadline_at)}" if pool.deadline_at else "when it is stopped")
    else:
        yield Fact("lived", show_duration(max(0.0, (pool.ended_at or 0.0) - pool.started_at)))


def spent(spent_usd: float, budget_usd: float | None) -> tuple[str, str, float | None]:
    """Of a `Fact`: what was spent, of how much where something limits it, and which part of that it is."""
    if not budget_usd:
        return show_usd(spent_usd), "", None
    return f"{show_usd(spent_usd)} of {show_usd(budget_usd)}", "", min(1.0, spent_usd / budget_usd)


def member_actions(name: str, pool: str, member: PoolMember) -> Iterator[Action]:
    """What is asked before one of its sessions is stopped: it gets another one as soon as there is work for that."""
    if member.work:
        harm = f"It is at work for {member.work}, and that ends. {pool} takes another one when it needs it."
        yield Action("stop", "Stop", f"Stop {name}?", f"{harm} Files and records stay.")


# ---- in place of a session ----


def refuse_outputs(name: object) -> None:
    """UsageProblem where that is a pool, which has no outputs itself; the fix names its sessions."""
    pool = pools.find(name)
    if pool is None:
        return
    label, members = pool.name, sorted(pool_members.records(pool), key=lambda one: -one.body.started_at)
    own = [each.name for each in members if each.body.started_at >= pool.body.started_at]
    what = f"{pool.uri} is a pool, and what was put out is its sessions'"
    if not own:
        raise UsageProblem(f"{what}, of which it has had none yet", f"`%%gpu run {label}` sends a cell to one")
    of = f"those of {', '.join(own[1:4])}" + (f" and {len(own) - 4} more" if len(own) > 4 else "") if own[1:] else ""
    raise UsageProblem(what, f"`%gpu get {own[0]}`" + (f", or {of}: `%gpu show {label}` lists them" if of else ""))
