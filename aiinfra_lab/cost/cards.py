"""How a cost looks: what was spent, on what, when, and what 1,000 predictions cost here and elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import show
from ..show import (
    Card,
    Cell,
    Dim,
    Figure,
    Number,
    RowHeader,
    StateMark,
    Table,
    drawing,
    mark_of,
    moment,
    money,
    sentence,
)
from ..units import counted, show_duration, show_share, show_usd
from ..uris import Uri
from . import budgets, daily
from .workload import show_rate

if TYPE_CHECKING:
    from . import Cost, Part
    from .unit_cost import UnitCost

UNKNOWN = "unknown"
_NOW = StateMark("●", "now", "busy")
_MANY = 10.0
_NO_STATE = "·"


def card(cost: Cost) -> Card:
    """The whole card of a cost."""
    (lead, advice), (dearest, _) = _lead(cost), _dearest(cost)
    parts: list[show.Part] = [
        *_month(cost),
        *_trend(cost),
        *daily.picture(cost.days),
        *_unit_costs(cost),
        *_parts(cost),
    ]
    return Card(
        kind=cost.kind,
        uri="everything" if cost.is_all else cost.uri,
        state=cost.mark,
        when=f"as of {moment(time.time())}" if cost.is_live else "",
        lead=lead,
        advice=advice,
        figures=_figures(cost),
        parts=parts,
        notes=list(map(sentence, cost.notes)),
        next=[f"Next: `%cost show {dearest}` shows it alone"]
        if cost.is_all and dearest and cost.by not in ("day", "tag")
        else [],
    )


def _lead(cost: Cost) -> tuple[str, str]:
    here = cost.thousand[0] if cost.thousand else None
    if Uri.is_one(cost.uri, "deploy") and not cost.predictions:
        return "**No predictions yet**, so no cost of 1,000 of them.", "send some with `%deploy run`."
    if here and here.so_far_usd:
        busy = f"; answering all the time they would cost {show_usd(here.when_busy_usd)}" if here.when_busy_usd else ""
        return f"**1,000 predictions have cost {show_usd(here.so_far_usd)} so far**{busy}.", ""
    if cost.spent_usd is None:
        return ("**What it has cost is unknown**: nobody knows its price.", "") if cost.parts else ("", "")
    dearest, usd = _dearest(cost)
    if usd:
        return f"**{show_usd(cost.spent_usd)} so far**; {dearest} cost most, {show_usd(usd)}.", ""
    return f"**{show_usd(cost.spent_usd)} so far.**", ""


def _dearest(cost: Cost) -> tuple[str, float]:
    """Which of several things cost most, with all of its starts, and how much."""
    spent: dict[str, float] = {}
    for part in cost.parts:
        spent[part.uri] = spent.get(part.uri, 0.0) + (part.spent_usd or 0.0)
    return max(spent.items(), key=lambda item: item[1]) if len(spent) > 1 else ("", 0.0)


def _figures(cost: Cost) -> list[Figure]:
    figures = []
    if cost.thousand and cost.thousand[0].so_far_usd is not None:
        figures.append(money("per 1,000 predictions", cost.thousand[0].so_far_usd, _since_before(cost)))
    if cost.budget_usd is not None:
        figures.append(money("this month", cost.month_usd, of=f"of {show_usd(cost.budget_usd)}"))
    figures.append(money("spent", cost.spent_usd, ", and what is unknown" if cost.is_partly_unknown else ""))
    if cost.usd_per_hour is not None:
        figures.append(money("price", cost.usd_per_hour, " an hour"))
    elif cost.spent_usd is None:
        figures.append(Figure("price", UNKNOWN))
    if cost.predictions:
        figures.append(Figure("predictions", f"{cost.predictions:,}", _in_starts(cost)))
        rate = ("cannot tell", "") if cost.rows_per_s is None else (show_rate(cost.rows_per_s), "a second of answering")
        figures.append(Figure("measured rate", *rate))
    else:
        figures.append(Figure("time", show_duration(cost.duration_s), _in_starts(cost)))
    return figures


def _month(cost: Cost) -> list[Table]:
    if cost.budget_usd is None:
        return []
    return [Table((), [("this month", budgets.meter(cost.month_usd or 0.0, cost.budget_usd))])]


def _trend(cost: Cost) -> list[show.Plots]:
    """1,000 predictions by day."""
    if len(cost.trend) < 2:
        return []
    amounts = [usd for _, usd in cost.trend]
    low, high, last = map(show_usd, (min(amounts), max(amounts), amounts[-1]))
    (first, _), (newest, _) = cost.trend[0], cost.trend[-1]
    labels = {0: f"{first.day} {first:%b}", len(amounts) - 1: f"{newest.day} {newest:%b}"}
    alt = f"{low} to {high} since {first}, {last} on {newest}"
    return [show.Plots([drawing.days(amounts, labels, alt=alt)], f"1,000 predictions by day, {alt}")]


def _since_before(cost: Cost) -> str:
    """How the newest day's compares with the day's before it that had predictions."""
    if len(cost.trend) < 2 or not cost.trend[-2][1]:
        return ""
    ratio = cost.trend[-1][1] / cost.trend[-2][1]
    if ratio < 1:
        return f", ↓ {show_share(round(1 - ratio, 2))} since {cost.trend[-2][0]}"
    return f", ↑ {show_share(round(ratio - 1, 2))} since {cost.trend[-2][0]}" if ratio < _MANY else ""


def _in_starts(cost: Cost) -> str:
    starts = cost.starts if {part.uri for part in cost.parts} == {cost.uri} else 1
    return f"in {counted(starts, 'start')}" if starts > 1 else ""


def _unit_costs(cost: Cost) -> list[Table]:
    if not cost.thousand:
        return []
    titles = (RowHeader("machine"), Number("price an hour"), "prices of", Number("busy all the time"),
              Number("at the use so far"), "against now")  # fmt: skip
    here = cost.thousand[0]
    rows = [
        (machine, _amount(each.usd_per_hour), as_of.rstrip(")") or Dim("–"),
         _amount(each.when_busy_usd), _amount(each.so_far_usd), _against(each, here))
        for each in cost.thousand
        for machine, _, as_of in (each.whose.partition(" ("),)
    ]  # fmt: skip
    rate = f", at the rate measured here ({show_rate(cost.rows_per_s)} rows a second)" if cost.rows_per_s else ""
    return [Table(titles, rows, f"1,000 predictions here and elsewhere{rate}")]


def _amount(usd: float | None) -> Cell:
    return Dim(UNKNOWN) if usd is None else show_usd(usd)


def _against(each: UnitCost, here: UnitCost) -> Cell:
    if each is here:
        return _NOW
    if not here.so_far_usd or each.so_far_usd is None:
        return Dim("–")
    ratio = each.so_far_usd / here.so_far_usd
    if ratio < 1:
        return StateMark("↓", f"{show_share(round(1 - ratio, 2))} less", "good")
    return f"↑ {show_share(round(ratio - 1, 2))} more" if ratio < _MANY else f"↑ {ratio:,.0f} times as much"


def _parts(cost: Cost) -> list[Table]:
    """What it is the cost of: steps in their order, all else the dearest first."""
    if cost.by:
        return [_groups(cost)]
    if len(cost.parts) == 1 and cost.uri == cost.parts[0].uri:
        return []
    is_steps = all(part.uri.startswith(f"{cost.uri}/") for part in cost.parts)
    parts = cost.parts if is_steps else sorted(cost.parts, key=lambda part: -(part.spent_usd or 0.0))
    rows: list[Sequence[Cell]] = [
        (part.uri, show_duration(part.duration_s), _amount(part.spent_usd), _at(part.started_at), _note(part))
        for part in parts
    ]
    total = ("together", show_duration(cost.duration_s), _amount(cost.spent_usd), "", "")
    width = 5 if any(part.note for part in parts) else 4
    titles = (RowHeader("what"), Number("time"), Number("spent"), "started", "note")[:width]
    label = "On what" if cost.thousand or cost.days else ""
    return [Table(titles, [row[:width] for row in rows], label, total[:width] if len(rows) > 1 else ())]


def _groups(cost: Cost) -> Table:
    """Sums of a kind, in their order."""
    rows = [(part.uri, show_duration(part.duration_s), _amount(part.spent_usd), part.note) for part in cost.parts]
    total = ("together", show_duration(cost.duration_s), _amount(cost.spent_usd), "")
    return Table((RowHeader(cost.by), Number("time"), Number("spent"), "of"), rows, f"By {cost.by}", total, most=40)


def _note(part: Part) -> Cell:
    """A step's state looks like one; the rest is words."""
    mark = mark_of(part.note)
    return mark if part.note and mark.glyph != _NO_STATE else part.note


def _at(started_at: float | None) -> str:
    return "" if started_at is None else moment(started_at)
