"""The unit cost of an endpoint: the price of 1,000 of its predictions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import settings
from . import daily, prices
from .prices import Price
from .spending import Spending

COMPARED_WITH = "aws.g4dn.xlarge"


@dataclass(frozen=True)
class UnitCost:
    """The price of 1,000 predictions at an hourly price and at the rates that were really measured.

    usd_per_hour: of starts at several prices their mean over the time. when_busy_usd: if it had answered all the time
    at the measured rate. so_far_usd: at the use that it really had, idle time included. All are None where nobody knows
    the price of some start.
    """

    whose: str
    usd_per_hour: float | None
    when_busy_usd: float | None
    so_far_usd: float | None


@dataclass(frozen=True)
class Use:
    """What an endpoint did in all its starts together: its time, predicted rows, and the time spent on answering."""

    duration_s: float
    rows: int
    busy_s: float

    @property
    def rows_per_s(self) -> float | None:
        """Predicted rows per second of answering; None when it cannot be told."""
        return self.rows / self.busy_s if self.rows and self.busy_s > 0 else None


def use(starts: Sequence[Spending]) -> Use:
    """Of these starts together."""
    spans = [start.span for start in starts]
    return Use(sum(one.duration_s for one in spans), sum(one.rows for one in spans), sum(one.busy_s for one in spans))


def unit_costs(starts: Sequence[Spending]) -> tuple[UnitCost, ...]:
    """At the price of where it runs, and at a cloud machine's for comparison; nothing without predictions."""
    done = use(starts)
    if not done.rows:
        return ()
    cloud = compared_with()
    here = "this machine" if starts[0].span.on_machine else "where it runs"
    return (
        _at(here, [(start, start.usd_per_hour) for start in starts], done),
        _at(f"{cloud.provider} {cloud.type} ({cloud.as_of})", [(start, cloud.usd_per_hour) for start in starts], done),
    )


Trend = tuple[tuple[dt.date, float], ...]
"""The price of 1,000 predictions on each day that had any, the oldest first."""


def trend(starts: Sequence[Spending]) -> Trend:
    """Of an endpoint, by what it cost and what it predicted on each day; nothing where nobody knows the price."""
    rows = {day: count for start in starts for day, count in start.span.days if count}
    if any(start.usd is None for start in starts):
        return ()
    days = [(dt.date.fromisoformat(day), count) for day, count in sorted(rows.items())]
    return tuple((day, _usd_on(day, starts) / count * 1000) for day, count in days)


def _usd_on(day: dt.date, starts: Sequence[Spending]) -> float:
    begin, end = daily.start_of(day), daily.start_of(day + dt.timedelta(days=1))
    return sum(each.usd or 0.0 for each in daily.within(starts, begin, end))


def compared_with() -> Price:
    """The machine whose price stands beside ours: `cost.compare` of the settings."""
    return prices.of(settings().get("cost.compare", COMPARED_WITH))


def _at(whose: str, rates: Sequence[tuple[Spending, float | None]], done: Use) -> UnitCost:
    """At the price of each start, which may be another one."""
    known = [(start.span, rate) for start, rate in rates if rate is not None]
    if len(known) < len(rates):
        return UnitCost(whose, None, None, None)
    paid = sum(span.duration_s * rate for span, rate in known)
    mean = paid / done.duration_s if done.duration_s else known[0][1]
    # An hour has 3,600 s, and 1,000 rows are bought at a time.
    each = 1000 / 3600 / done.rows
    busy = sum(span.busy_s * rate for span, rate in known)
    return UnitCost(whose, mean, busy * each if done.busy_s > 0 else None, paid * each)
