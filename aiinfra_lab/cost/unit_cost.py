"""The unit cost of an endpoint: the price of 1,000 of its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import settings
from . import prices
from .prices import Price
from .spending import Spending

COMPARED_WITH = "aws.g4dn.xlarge"


@dataclass(frozen=True)
class UnitCost:
    """The price of 1,000 predictions at an hourly price and at the rates that were really measured.

    when_busy_usd: if it answered all the time at the measured rate. so_far_usd: at the use that it really had, idle
    time included. All are None where nobody knows the price.
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
    # The newest start stands for all: earlier ones may have been at other prices.
    here = "this machine" if starts[0].span.on_machine else "where it runs"
    return (
        _at(here, starts[0].usd_per_hour, done),
        _at(f"{cloud.provider} {cloud.type} ({cloud.as_of})", cloud.usd_per_hour, done),
    )


def compared_with() -> Price:
    """The machine whose price stands beside ours: `cost.compare` of the settings."""
    return prices.of(settings().get("cost.compare", COMPARED_WITH))


def _at(whose: str, usd_per_hour: float | None, done: Use) -> UnitCost:
    if usd_per_hour is None:
        return UnitCost(whose, None, None, None)
    # An hour has 3,600 s, and 1,000 rows are bought at a time.
    when_busy = usd_per_hour / (3.6 * done.rows_per_s) if done.rows_per_s else None
    so_far = usd_per_hour * done.duration_s / 3600 / done.rows * 1000
    return UnitCost(whose, usd_per_hour, when_busy, so_far)
