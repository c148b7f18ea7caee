"""What an hour of a machine costs: the dated table that is shipped, one's own table, and the price of this machine.

A row that cannot be true (a price of nothing, a spot price that is none) never decides anything: public price data has
many of them, and whoever trusts them rents machines that look free.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..config import settings
from ..errors import NotFound, UsageProblem, did_you_mean
from ..show import Result
from .accelerators import fits

SHIPPED = Path(__file__).with_name("prices.csv")
STALE_DAYS = 180
COLUMNS = (
    *("provider", "type", "accelerator", "count", "usd_per_hour", "spot_low_usd", "spot_high_usd"),
    *("region", "source", "date"),
)


@dataclass(frozen=True, kw_only=True)
class Price(Result):
    """One machine's price in US dollars an hour, on demand and as a range of spot prices.

    as_of: the earliest day that it can be from.
    """

    uri: str
    provider: str
    type: str
    accelerator: str
    count: float
    usd_per_hour: float
    spot_low_usd: float | None
    spot_high_usd: float | None
    region: str
    source: str
    as_of: str

    @property
    def age_days(self) -> int:
        """Days since `as_of`."""
        today = dt.datetime.now(dt.UTC).date()
        return (today - dt.date.fromisoformat(self.as_of)).days

    @property
    def stale(self) -> bool:
        """Whether it is too old to be taken for today's."""
        return self.age_days > STALE_DAYS


def table() -> tuple[Price, ...]:
    """The prices that count here, cheapest first: the file that `cost.prices` names, or the shipped one."""
    own = settings().get("cost.prices", "")
    # An absolute path stays what it is: pathlib lets the right side win.
    path = settings().project / Path(own).expanduser() if own else SHIPPED
    try:
        return read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise NotFound(
            f"there is no price table {path}", "correct cost.prices in aiinfra.toml, or take it out"
        ) from None


# The time of the last write is part of the cache's key: an edited table is read again.
@lru_cache(maxsize=4)
def read(path: Path, _written_at: int = 0) -> tuple[Price, ...]:
    """The usable rows of a table, cheapest first. UsageProblem names the line that cannot be read."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise UsageProblem(f"{path} lacks the column {missing[0]}", f"its first line must be {','.join(COLUMNS)}")
        found = [_price(path, rows.line_num, row) for row in rows]
    return tuple(sorted(filter(_credible, found), key=lambda price: price.usd_per_hour))


def of(name: str) -> Price:
    """The price called PROVIDER.TYPE. NotFound with a suggestion."""
    prices = {f"{price.provider}.{price.type}": price for price in table()}
    if name not in prices:
        raise NotFound(f"the price table has no {name!r}", did_you_mean(name, prices))
    return prices[name]


def accelerators() -> list[str]:
    """Every accelerator in the table."""
    return sorted({price.accelerator for price in table()})


def having(gpu: str, prices: Iterable[Price] | None = None) -> Iterator[Price]:
    """Prices of machines with that accelerator: `A100` finds A100-40GB too, and not A10G."""
    return (price for price in (table() if prices is None else prices) if fits(gpu, price.accelerator))


def machine_usd_per_hour() -> float:
    """What an hour of this machine costs: `cost.machine_usd_per_hour` of the settings, 0 when it is not set."""
    price = settings().get("cost.machine_usd_per_hour", 0.0)
    if not 0 <= price < math.inf:
        raise UsageProblem(f"cost.machine_usd_per_hour = {price} is no price", "give it dollars an hour, e.g. 0.12")
    return price


def _price(path: Path, line: int, row: dict[str, str]) -> Price:
    try:
        # Read for the error only, which here can name the line; `age_days` would raise one without it.
        dt.date.fromisoformat(row["date"])
        # NaN is no credible price: a row without one is left out, not refused.
        usd = float(row["usd_per_hour"] or "nan")
        low, high = (float(row[name]) if row[name] else None for name in ("spot_low_usd", "spot_high_usd"))
        count = float(row["count"])
    except (ValueError, TypeError) as problem:
        what = f"{path} line {line} cannot be read: {problem}"
        raise UsageProblem(what, "give numbers, and a date like 2026-08-19") from None
    if not _spot(low, usd) or not _spot(high, usd):
        low = high = None
    return Price(
        uri=f"cost:{row['provider']}.{row['type']}",
        provider=row["provider"],
        type=row["type"],
        accelerator=row["accelerator"],
        count=count,
        usd_per_hour=usd,
        spot_low_usd=low,
        spot_high_usd=high,
        region=row["region"],
        source=row["source"],
        as_of=row["date"],
    )


def _credible(price: Price) -> bool:
    return price.count > 0 and 0 < price.usd_per_hour < math.inf


def _spot(spot: float | None, usd: float) -> bool:
    """Whether it is a market's price: not nothing, not the on-demand price again, not the catalogs' floor of 10 %."""
    return spot is not None and 0 < spot < usd and not math.isclose(spot, usd / 10, rel_tol=1e-6)
