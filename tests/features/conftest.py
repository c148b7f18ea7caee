"""A small world to find features in: trips from two places, and the weather there."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from aiinfra_lab import data, features

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

CELL = """
import polars as pl
from aiinfra_lab.features import view

columns = ["line", "place"]

@view(entity="place", timestamp="observed_at", ttl="3h")
def weather_now(weather: pl.LazyFrame) -> pl.LazyFrame:
    return weather.select("place", "observed_at", "temp")

@view(entity="line", timestamp="arrived_at", ttl="1d")
def line_delay(trips: pl.LazyFrame) -> pl.LazyFrame:
    landed = trips.drop_nulls("arrived_at").sort("arrived_at")
    return landed.rolling("arrived_at", period="6h", group_by="line").agg(delay_6h=pl.col("delay").mean())
"""


def after(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def small_tables() -> dict[str, pl.DataFrame]:
    trips = pl.DataFrame({
        "trip": [11, 12, 13, 14],
        "line": ["red", "blue", "red", "red"],
        "place": ["north", "south", "north", None],
        "asked_at": [after(1), after(2), after(4), after(5)],
        "arrived_at": [after(3), after(4), None, after(7)],
        "delay": [10, -2, None, 4],
        "late": [1, 0, 1, 0],
    })  # fmt: skip
    weather = pl.DataFrame({
        "place": ["north", "north", "south"], "observed_at": [after(0), after(3), after(-4)], "temp": [20.0, 21.5, 9.0],
    })  # fmt: skip
    return {"trips": trips, "weather": weather}


def put(name: str, tables: dict[str, pl.DataFrame], folder: Path) -> data.Dataset:
    """Tables as a data version of the workspace."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, frame in tables.items():
        frame.write_parquet(folder / f"{table}.parquet")
    return data.add(name, folder)


@pytest.fixture
def trips(workspace: Path, tmp_path: Path) -> data.Dataset:
    return put("trips", small_tables(), tmp_path / "trips")


@pytest.fixture
def lateness(trips: data.Dataset) -> features.FeatureSet:
    """The cell above, added."""
    return features.add("lateness", data=trips, timestamp="asked_at", label="late", id_="trip", code=CELL)
