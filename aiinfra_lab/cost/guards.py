"""Which rows of a price table cannot be true. Public price data has many; whoever trusts them rents "free" machines.

Each was seen in the tables of libcloud, SkyPilot or a cloud's own price list. A price that is refused decides nothing;
a spot price that is refused is unknown, and the machine's price on demand stays.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .prices import Price

Distrust = Literal["price", "count", "dedicated", "older"]
SpotDistrust = Literal["", "price", "on-demand", "floor"]

DEDICATED = 1.1
FLOOR = 0.1
# Sources round to four decimals: 10 % of 75.9552 stands there as 7.5955, which would pass for a market's price.
_ROUNDED_USD = 0.5001e-4


def of_row(price: Price) -> Distrust | None:
    """What is wrong with a row by itself: a price of nothing, or none; no accelerator, as shares are misread."""
    if not 0 < price.usd_per_hour < math.inf:
        return "price"
    return None if 0 < price.count < math.inf else "count"


def of_spot(spot_usd: float, usd_per_hour: float) -> SpotDistrust:
    """What is wrong with a spot price: nothing or endless; on demand again, or dearer; exactly 10 % of it."""
    if not 0 < spot_usd < math.inf:
        return "price"
    if spot_usd > usd_per_hour or math.isclose(spot_usd, usd_per_hour, rel_tol=1e-6, abs_tol=_ROUNDED_USD):
        return "on-demand"
    is_floor = math.isclose(spot_usd, usd_per_hour * FLOOR, rel_tol=1e-6, abs_tol=_ROUNDED_USD)
    return "floor" if is_floor else ""


def of_others(prices: Sequence[Price]) -> Iterable[tuple[Price, Distrust | None]]:
    """Each row, with what is wrong with it beside the others of the same machine in the same region.

    Of two days the later counts: a source that is read again lists other zones, or calls them otherwise. 1.1 times the
    price of the same day is that of dedicated tenancy, under the same name.
    """
    newest: dict[tuple[str, str, str], str] = {}
    usual: defaultdict[tuple[str, str, str], set[float]] = defaultdict(set)
    for price in prices:
        newest[price.machine] = max(price.as_of, newest.get(price.machine, ""))
    for price in prices:
        if price.as_of == newest[price.machine]:
            usual[price.machine].add(price.usd_per_hour)
    for price in prices:
        if price.as_of < newest[price.machine]:
            yield price, "older"
        elif len(usual[price.machine]) > 1 and _is_dedicated(price.usd_per_hour, usual[price.machine]):
            yield price, "dedicated"
        else:
            yield price, None


def _is_dedicated(usd: float, usual: Iterable[float]) -> bool:
    return any(math.isclose(usd, each * DEDICATED, rel_tol=1e-3) for each in usual)
