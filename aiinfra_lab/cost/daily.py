"""What was spent on each of the last days."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..show import Plots, drawing
from ..units import show_usd
from .spending import Spending, Total, now_usd_per_hour, spendings, total_of, total_usd

MOST_DAYS = 28
Days = tuple[tuple[dt.date, float], ...]
"""Each day up to today, in this machine's time zone, with its USD."""


def by_day(found: Sequence[Spending], total: Callable[[Sequence[Spending]], float]) -> Days:
    """From the first day of the last four weeks that cost something to today; nothing when there is only one such day.

    total: the money of some of these.
    """
    today = dt.date.today()  # noqa: DTZ011  # a day of the person who asks
    edges = [start_of(today - dt.timedelta(days=back)) for back in range(MOST_DAYS - 1, -2, -1)]
    spent = [total(within(found, *pair)) for pair in pairwise(edges)]
    days = [(dt.date.fromtimestamp(edge + 43_200), usd) for edge, usd in zip(edges, spent, strict=False)]  # noqa: DTZ012
    first = next((at for at, (_, usd) in enumerate(days) if usd > 0), len(days))
    return tuple(days[first:]) if sum(usd > 0 for usd in spent) > 1 else ()


def each_day(found: Sequence[Spending]) -> list[tuple[dt.date, list[Spending]]]:
    """What of these lies on each of the last four weeks' days on which any of it took time, the oldest first."""
    today = dt.date.today()  # noqa: DTZ011  # a day of the person who asks
    days = [today - dt.timedelta(days=back) for back in range(MOST_DAYS - 1, -1, -1)]
    parts = [(day, within(found, start_of(day), start_of(day + dt.timedelta(days=1)))) for day in days]
    return [(day, part) for day, part in parts if part]


def before(found: Sequence[Spending]) -> tuple[dt.date, list[Spending]]:
    """The first of these days, and what of these lies before it."""
    first = dt.date.today() - dt.timedelta(days=MOST_DAYS - 1)  # noqa: DTZ011  # a day of the person who asks
    return first, within(found, -math.inf, start_of(first))


@dataclass(frozen=True, slots=True)
class Summary:
    """What everything in the workspace costs: so far, an hour now, today, and on each of the last days."""

    total: Total
    usd_per_hour: float
    today_usd: float
    days: Days


def summary() -> Summary:
    """Of everything there is."""
    found = spendings()
    today = within(found, start_of(dt.date.today()), math.inf)  # noqa: DTZ011
    return Summary(total_of(found), now_usd_per_hour(found), total_usd(today), by_day(found, total_usd))


def picture(days: Days) -> list[Plots]:
    """Bars of the days; none without any."""
    if not days:
        return []
    amounts = [usd for _, usd in days]
    low, high, last = map(show_usd, (min(amounts), max(amounts), amounts[-1]))
    alt = f"{low} to {high} a day since {days[0][0]}, {last} today"
    labels = {at: f"{day.day} {day:%b}" for at, (day, _) in ((0, days[0]), (len(days) - 1, days[-1]))}
    return [Plots([drawing.days(amounts, labels, alt=alt)], f"Spent by day, {high} at most")]


def start_of(day: dt.date) -> float:
    """When that day began, in this machine's time zone."""
    return dt.datetime.combine(day, dt.time.min).timestamp()


def within(found: Sequence[Spending], start: float, end: float) -> list[Spending]:
    """What of these lies between two moments."""
    return [
        replace(item, span=replace(span, started_at=max(start, span.started_at), ended_at=min(end, span.ended_at)))
        for item in found
        if (span := item.span).started_at < end and span.ended_at > start
    ]
