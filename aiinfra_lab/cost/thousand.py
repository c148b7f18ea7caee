"""The price of 1,000 predictions of an endpoint."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import settings
from . import prices
from .prices import Price
from .spending import Span

COMPARED_WITH = "aws.g4dn.xlarge"


@dataclass(frozen=True)
class Thousand:
    """The price of 1,000 predictions at an hourly price and at the rates that were really measured.

    when_busy_usd: if it answered all the time at the measured rate. so_far_usd: at the use that it really had, idle
    time included.
    """

    whose: str
    usd_per_hour: float
    when_busy_usd: float | None
    so_far_usd: float


def thousands(span: Span) -> tuple[Thousand, ...]:
    """At the price of where it runs, and at a cloud machine's for comparison; nothing without predictions."""
    if not span.rows:
        return ()
    cloud = compared_with()
    here = "this machine" if span.on_machine else "where it runs"
    return (
        _at(here, span.usd_per_hour, span),
        _at(f"{cloud.provider} {cloud.type} ({cloud.as_of})", cloud.usd_per_hour, span),
    )


def compared_with() -> Price:
    """The machine whose price stands beside ours: `cost.compare` of the settings."""
    return prices.of(settings().get("cost.compare", COMPARED_WITH))


def _at(whose: str, usd_per_hour: float, span: Span) -> Thousand:
    # An hour has 3,600 s, and 1,000 rows are bought at a time.
    when_busy = usd_per_hour / (3.6 * span.rows_per_s) if span.rows_per_s else None
    so_far = usd_per_hour * span.duration_s / 3600 / span.rows * 1000
    return Thousand(whose, usd_per_hour, when_busy, so_far)
