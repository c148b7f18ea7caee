"""How a pool looks: how many sessions it has, how many there are to be and why, who waits, and what it has cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..nouns import ends_soon
from ..show import (
    Card,
    Cell,
    Figure,
    Fold,
    Meter,
    Number,
    RowHeader,
    StateMark,
    Table,
    moment,
    money,
    sentence,
    with_reason,
)
from ..show.states import STATES
from ..units import counted, show_duration, show_share, show_usd
from ..uris import Uri
from . import cards
from .base import start_again
from .pool_record import IDLE_S

if TYPE_CHECKING:
    from . import Session
    from .pools import Pool

_ENDS = {
    "deadline": "Ended because its time was over.",
    "budget": "Ended because its budget was spent.",
    "stopped": "Stopped when somebody asked for it.",
}


def card(pool: Pool) -> Card:
    """The whole card of a pool."""
    _, why = with_reason(pool.state, pool.uri)
    return Card(
        kind=pool.kind,
        uri=pool.uri,
        state=mark(pool),
        when=_when(pool),
        lead=" ".join(filter(None, [*map(sentence, pool.notes), _lead(pool, why)])),
        advice=_advice(pool),
        facts=_facts(pool),
        figures=_figures(pool),
        parts=[*_budget(pool), *_members(pool), *_queue(pool)],
        next=[f"Next: {_next(pool)}"],
    )


def mark(pool: Pool) -> StateMark:
    """How its state looks: one that cannot be what it is to be needs a look."""
    if has_problem(pool):
        return STATES["needs a look"]
    if pool.state == "running" and ends_soon(pool.started_at, pool.deadline_at):
        return STATES["ends soon"]
    return with_reason(pool.state, pool.uri)[0]


def has_problem(pool: Pool) -> bool:
    """Whether something keeps it from having as many sessions as it is to have."""
    return bool(pool.problem) and pool.state == "running"


def size(pool: Pool) -> str:
    """How many sessions it has, of how many at most, on what."""
    return f"{pool.size} of {pool.max} × {pool.gpu} on {pool.on}"


def doing(pool: Pool) -> str:
    """What its sessions do."""
    parts = [f"{pool.busy} at work", f"{pool.ready - pool.busy} free"]
    if others := pool.size - pool.ready:
        parts.append(f"{others} {'starts or ends' if others == 1 else 'start or end'}")
    return ", ".join(parts)


def table(items: Sequence[Session | Pool]) -> Table:
    """Sessions below each other, those of a pool below that."""
    titles = (RowHeader("name"), "state", "machine", Number("price an hour"), Number("spent"), "started", "ends")
    from .pools import Pool

    return Table(titles, [_row(one) if isinstance(one, Pool) else cards.row(one) for one in items])


def _row(pool: Pool) -> tuple[Cell, ...]:
    state: Cell = (mark(pool), f"({len(pool.waiting)} wait)") if pool.waiting else mark(pool)
    ends = moment(pool.deadline_at) if pool.deadline_at else "when stopped"
    spent = show_usd(pool.hourly_usd), show_usd(pool.spent_usd)
    return pool.uri, state, size(pool), *spent, moment(pool.started_at), ends


def _when(pool: Pool) -> str:
    lasted = show_duration(max(0.0, (pool.ended_at or time.time()) - pool.started_at))
    if pool.ended_at is not None:
        return f"{moment(pool.ended_at)}, after {lasted}"
    return f"since {moment(pool.started_at)}, {lasted}"


def _lead(pool: Pool, why: str) -> str:
    if pool.ended_at is not None:
        return f"**{_ENDS.get(why, f'Ended: {why}.')}**"
    sizes = f"**{counted(pool.size, 'session')}: {doing(pool)}; {len(pool.waiting)} in the queue.**"
    reason = f"There are to be {pool.target}: {pool.why}." if pool.why else "It has not decided yet."
    return f"{sizes} {reason}"


def _advice(pool: Pool) -> str:
    if not pool.problem:
        return ""
    again = f" It is tried again at {moment(pool.retry_at)}." if pool.retry_at else ""
    return f"{sentence(pool.problem)}{again} {sentence(pool.fix)}".strip()


def _facts(pool: Pool) -> list[tuple[str, str]]:
    spot = ", which may be taken away" if pool.spot else ""
    idle = show_duration(IDLE_S if pool.idle_s is None else pool.idle_s)
    return [
        ("sessions", f"{pool.min} to {pool.max}, one for {pool.queue:g} of the queue; fewer after {idle} without need"),
        ("each on", f"{pool.gpu} on {pool.on}{spot}"),
    ]


def _figures(pool: Pool) -> list[Figure]:
    of = f"of {show_usd(pool.budget_usd)}" if pool.budget_usd is not None else ""
    if pool.ended_at is not None:
        return [money("cost", pool.spent_usd, of=of)]
    return [
        Figure("sessions", f"{pool.size}", f"of at most {pool.max}"),
        Figure("in the queue", f"{len(pool.waiting)}"),
        money("spent", pool.spent_usd, of=of),
        money("price", pool.hourly_usd, " an hour"),
    ]


def _budget(pool: Pool) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    if pool.ended_at is not None:
        return []
    if pool.budget_usd:
        used = min(1.0, pool.spent_usd / pool.budget_usd)
        meter = Meter(pool.spent_usd, pool.budget_usd, show_share(round(used, 2)), 0.8 * pool.budget_usd)
        rows.append(("budget", meter, f"{show_usd(max(0.0, pool.budget_usd - pool.spent_usd))} left for all of them"))
    if pool.deadline_at is not None:
        whole_s, gone_s = pool.deadline_at - pool.started_at, time.time() - pool.started_at
        share = min(1.0, gone_s / whole_s) if whole_s > 0 else 1.0
        meter = Meter(gone_s, whole_s, show_share(round(share, 2)), 0.8 * whole_s)
        rows.append(("time", meter, f"until {moment(pool.deadline_at)}, {show_duration(whole_s)} in all"))
    return [Table((), rows)] if rows else []


def _members(pool: Pool) -> list[Table]:
    titles = (RowHeader("session"), "state", Number("price an hour"), Number("spent"), "at work for", "ends")
    rows: list[tuple[Cell, ...]] = []
    for each in pool.members:
        mark: StateMark = with_reason(each.state, each.uri)[0]
        ends = moment(each.deadline_at) if each.deadline_at else "with the pool"
        work = each.work or ("free" if each.state == "running" else "")
        rows.append((each.uri, mark, show_usd(each.hourly_usd), show_usd(each.spent_usd), work, ends))
    return [Table(titles, rows)] if rows else []


def _queue(pool: Pool) -> list[Fold]:
    if not pool.waiting:
        return []
    rows = [(str(at), each) for at, each in enumerate(pool.waiting, 1)]
    return [Fold(f"The queue: {len(pool.waiting)} wait", Table((Number("place"), "for"), rows))]


def _next(pool: Pool) -> str:
    name = Uri.parse(pool.uri).label
    if pool.ended_at is not None:
        return f"`{start_again(name, pool.gpu, pool.on, spot=pool.spot, most=pool.max)}` starts it again"
    return f"`%%gpu run {name}` sends a cell to it · `%gpu stop {name}` ends it with all of its sessions"
