"""What an hour of a machine costs: the dated table that is shipped, what was fetched since, one's own table, and the
price of this machine.

Rows that cannot be true never decide anything, see `guards`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from ..config import settings
from ..errors import NotFound, UsageProblem, did_you_mean
from ..show import Result
from . import guards
from .accelerators import fits
from .guards import Distrust, SpotDistrust

# Rows name the repository and the commit that they were read from, and the earliest day that they can be from: what
# they list came then. SkyPilot lists GCP's machines and accelerators apart, here are their sums; what it has below a
# spot price, or at less than half of another region's, is the price of a commitment and was left out.
SHIPPED = Path(__file__).with_name("prices.csv")
FETCHED = "prices.csv"
STALE_DAYS = 180
COLUMNS = (
    *("provider", "type", "accelerator", "count", "usd_per_hour", "spot_low_usd", "spot_high_usd"),
    *("region", "source", "date"),
)
# Tables of people from before it was there lack it, and stay readable.
ZONE = "zone"


@dataclass(frozen=True, kw_only=True)
class Price(Result):
    """One machine's price in US dollars an hour, on demand and on the spot market, in a region or a zone of it.

    count: how many accelerators it has; a share of one where it has less. spot_low_usd, spot_high_usd: the same in a
    zone, a range over the zones of a region. as_of: the earliest day that it can be from.
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
    zone: str = ""
    source: str
    as_of: str
    spot_distrust: SpotDistrust = field(default="", metadata={"json": False})

    @property
    def machine(self) -> tuple[str, str, str]:
        """What has one price on demand: a provider's type in a region."""
        return self.provider, self.type, self.region

    @property
    def place(self) -> str:
        """As narrow as it is known."""
        return self.zone or self.region

    @property
    def age_days(self) -> int:
        """Days since `as_of`."""
        today = dt.datetime.now(dt.UTC).date()
        return (today - dt.date.fromisoformat(self.as_of)).days

    @property
    def stale(self) -> bool:
        """Whether it is too old to be taken for today's."""
        return self.as_of < stale_before()


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Prices that can be true, cheapest first, and of those that cannot how many there are, by accelerator and why.

    by_spot: the same by accelerator and by spot price, as far as that is known.
    """

    rows: tuple[Price, ...]
    by_accelerator: Mapping[str, tuple[Price, ...]]
    by_spot: Mapping[str, tuple[Price, ...]]
    distrusted: Mapping[str, Mapping[Distrust, int]]

    @classmethod
    def of(cls, prices: Iterable[Price]) -> Catalogue:
        """All of them, looked at once."""
        distrusted: defaultdict[str, Counter[Distrust]] = defaultdict(Counter)
        possible = []
        for price in prices:
            if reason := guards.of_row(price):
                distrusted[price.accelerator][reason] += 1
            else:
                possible.append(_with_true_spot(price))
        by_accelerator: defaultdict[str, list[Price]] = defaultdict(list)
        for price, wrong in guards.of_others(possible):
            if wrong:
                distrusted[price.accelerator][wrong] += 1
            else:
                by_accelerator[price.accelerator].append(price)
        ordered = {name: tuple(sorted(rows, key=_order)) for name, rows in by_accelerator.items()}
        by_spot = {
            name: tuple(sorted((row for row in rows if row.spot_high_usd is not None), key=_by_spot))
            for name, rows in ordered.items()
        }
        everything = sorted((row for rows in ordered.values() for row in rows), key=_order)
        return cls(tuple(everything), ordered, by_spot, distrusted)


def catalogue() -> Catalogue:
    """The prices that count here: the file that `cost.prices` names alone, or the shipped one and what was fetched."""
    own = settings().get("cost.prices", "")
    # An absolute path stays what it is: pathlib lets the right side win.
    paths = [settings().project / Path(own).expanduser()] if own else [SHIPPED, fetched_path()]
    try:
        # The time of the last write is part of the cache's key: an edited table is read again.
        return _catalogue(
            tuple((path, path.stat().st_mtime_ns) for path in paths if path != fetched_path() or path.exists())
        )
    except FileNotFoundError:
        raise NotFound(
            f"there is no price table {paths[0]}", "correct cost.prices in aiinfra.toml, or take it out"
        ) from None


def table() -> tuple[Price, ...]:
    """The same as a list, cheapest first."""
    return catalogue().rows


def fetched_path() -> Path:
    """Where the prices are that `%cost get --refresh` fetched for this workspace."""
    return settings().home / FETCHED


def read(path: Path) -> list[Price]:
    """Every row of a table, also those that cannot be true. UsageProblem names the line that cannot be read."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise UsageProblem(f"{path} lacks the column {missing[0]}", f"its first line must be {','.join(COLUMNS)}")
        return [_price(path, rows.line_num, row) for row in rows]


def written(prices: Iterable[Price]) -> str:
    """The text of a table of them, which `read` reads."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*COLUMNS, ZONE))
    for one in prices:
        spot = ("" if usd is None else usd for usd in (one.spot_low_usd, one.spot_high_usd))
        table.writerow(
            (one.provider, one.type, one.accelerator, f"{one.count:g}", one.usd_per_hour, *spot, one.region, one.source,
             one.as_of, one.zone)
        )  # fmt: skip
    return text.getvalue()


def of(name: str) -> Price:
    """The cheapest price of a machine called PROVIDER.TYPE. NotFound with a suggestion."""
    names = set()
    for price in table():
        if f"{price.provider}.{price.type}" == name:
            return price
        names.add(f"{price.provider}.{price.type}")
    raise NotFound(f"the price table has no {name!r}", did_you_mean(name, names))


def accelerators() -> list[str]:
    """Every accelerator in the table."""
    return sorted({price.accelerator for price in table()})


def having(gpu: str, prices: Iterable[Price] | None = None) -> Iterator[Price]:
    """Prices of machines that are what was asked for: `A100` finds A100-40GB too, and not A10G nor a quarter of one."""
    return (price for price in (table() if prices is None else prices) if fits(gpu, price.accelerator, price.count))


def machine_usd_per_hour() -> float:
    """What an hour of this machine costs: `cost.machine_usd_per_hour` of the settings, 0 when it is not set."""
    price = settings().get("cost.machine_usd_per_hour", 0.0)
    if not 0 <= price < math.inf:
        raise UsageProblem(f"cost.machine_usd_per_hour = {price} is no price", "give it dollars an hour, e.g. 0.12")
    return price


def stale_before() -> str:
    """The day, as dates are written, before which a price is too old to be taken for today's."""
    return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=STALE_DAYS)).isoformat()


@lru_cache(maxsize=4)
def _catalogue(written: tuple[tuple[Path, int], ...]) -> Catalogue:
    return Catalogue.of(price for path, _ in written for price in read(path))


def _order(price: Price) -> tuple[float, float, str]:
    return price.usd_per_hour, math.inf if price.spot_high_usd is None else price.spot_high_usd, price.uri


def _by_spot(price: Price) -> float:
    assert price.spot_high_usd is not None
    return price.spot_high_usd


def _price(path: Path, line: int, row: dict[str, str]) -> Price:
    try:
        as_of = dt.date.fromisoformat(row["date"]).isoformat()
        # NaN is no credible price: a row without one is left out, not refused.
        usd = float(row["usd_per_hour"] or "nan")
        low, high = (float(row[name]) if row[name] else None for name in ("spot_low_usd", "spot_high_usd"))
        count = float(row["count"])
    except (ValueError, TypeError) as problem:
        what = f"{path} line {line} cannot be read: {problem}"
        raise UsageProblem(what, "give numbers, and a date like 2026-08-19") from None
    provider, name, region, zone = row["provider"], row["type"], row["region"], row.get(ZONE) or ""
    return Price(
        uri=uri_of(provider, name, zone or region),
        provider=provider,
        type=name,
        accelerator=row["accelerator"],
        count=count,
        usd_per_hour=usd,
        # One price is that of every zone.
        spot_low_usd=high if low is None else low,
        spot_high_usd=low if high is None else high,
        region=region,
        zone=zone,
        source=row["source"],
        as_of=as_of,
    )


def uri_of(provider: str, name: str, place: str) -> str:
    """How the price of a machine in a place is called."""
    return f"cost:{provider}.{name}" + (f".{place}" if place else "")


def _with_true_spot(price: Price) -> Price:
    spots = (price.spot_low_usd, price.spot_high_usd)
    found = (guards.of_spot(usd, price.usd_per_hour) for usd in spots if usd is not None)
    wrong: SpotDistrust = next((each for each in found if each), "")
    return replace(price, spot_low_usd=None, spot_high_usd=None, spot_distrust=wrong) if wrong else price
