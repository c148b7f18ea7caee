"""`features check`: it proves what it says, and finds what is wrong."""

import sqlite3

import polars as pl
import pytest

from aiinfra_lab import features
from aiinfra_lab.errors import Failed, Inconclusive

from .conftest import CELL, put, small_tables

HEAD = "import polars as pl\nfrom aiinfra_lab.features import view\n"


def verdict(body: str, data: object, timestamp: str = "arrived_at") -> features.FeatureCheck:
    """The report on a set of one view of trips, with this body."""
    code = f"{HEAD}@view(entity='line', timestamp='{timestamp}')\ndef seen(trips):\n    return {body}\n"
    features.add("judged", data=data, code=code, timestamp="asked_at")
    return features.check("judged", report=True)


def test_an_honest_set_is_proven(lateness):
    found = features.check("lateness")
    assert found.state == "good"
    assert [each["verdict"] for each in found.verdicts] == ["good"] * 4
    assert "equal" in found.verdicts[2]["why"]


LEAKS = {
    "a mean over all": "trips.drop_nulls('arrived_at').select('line', 'arrived_at', m=pl.col('delay').mean())",
    "the next one's": "trips.sort('arrived_at').select('line', 'arrived_at', m=pl.col('delay').shift(-1))",
    "a rank": "trips.drop_nulls('arrived_at').select('line', 'arrived_at', m=pl.col('delay').rank().over('line'))",
}


@pytest.fixture
def many(workspace, tmp_path):
    """Trips enough that the moments of the sample lie between them."""
    day = pl.duration(days=pl.col("day"))
    trips = small_tables()["trips"].join(pl.DataFrame({"day": range(20)}), how="cross")
    trips = trips.with_columns(pl.col("asked_at", "arrived_at") + day, pl.col("delay") + pl.col("day") % 7)
    return put("trips", {"trips": trips}, tmp_path / "many")


@pytest.mark.parametrize("body", LEAKS.values(), ids=LEAKS)
def test_a_view_that_sees_its_future_is_found(many, body):
    found = verdict(body, many)
    assert (found.state, found.verdicts[0]["verdict"]) == ("bad", "bad")
    assert found.verdicts[0]["why"].startswith("m at 2024-")
    with pytest.raises(Failed, match="seen: no future: bad"):
        features.check("judged")


def test_a_running_mean_is_no_leak(many):
    landed = "trips.drop_nulls('arrived_at').sort('arrived_at')"
    body = f"{landed}.select('line', 'arrived_at', m=pl.col('delay').cum_sum().over('line'))"
    assert verdict(body, many).state == "good"


def test_a_time_that_no_table_carries_cannot_be_told(many):
    body = "trips.select('line', told_at='arrived_at', m='delay')"
    found = verdict(body, many, timestamp="told_at")
    assert (found.state, found.verdicts[1]["verdict"]) == ("cannot tell", "good")
    with pytest.raises(Failed, match="let the table carry it"):
        features.check("judged")


def test_an_online_store_that_says_something_else_is_found(lateness, workspace):
    with sqlite3.connect(workspace / ".aiinfra/features/feast/online.db") as db:
        table = next(name for (name,) in db.execute("SELECT name FROM sqlite_master") if name.endswith("weather_now"))
        (good,) = db.execute(f'SELECT value FROM "{table}" WHERE feature_name = "temp" ORDER BY value DESC').fetchone()
        db.execute(f'UPDATE "{table}" SET value = ? WHERE feature_name = "temp"', (good[:-1] + b"\x41",))
    with pytest.raises(Failed, match="online is offline: bad: temp of"):
        features.check("lateness")


def test_other_rows_can_be_the_sample(lateness, trips):
    rows = small_tables()["trips"].head(1)
    assert features.check("lateness", rows=rows).state == "good"


def test_no_rows_with_a_key_cannot_be_told(lateness):
    rows = small_tables()["trips"].with_columns(place=pl.lit(None, dtype=pl.String))
    found = features.check("lateness", rows=rows, report=True)
    assert (found.state, found.verdicts[0]["verdict"]) == ("cannot tell", "cannot tell")


def test_no_rows_at_all_cannot_be_told(lateness):
    none = small_tables()["trips"].clear()
    found = features.check("lateness", rows=none, report=True)
    assert (found.state, [each["verdict"] for each in found.verdicts]) == ("cannot tell", ["cannot tell"])
    with pytest.raises(Inconclusive, match="no rows"):
        features.check("lateness", rows=none)


@pytest.fixture
def plain(trips):
    """A set without views."""
    return features.add("plain", data=trips, timestamp="asked_at", code="columns = ['delay']")


def test_of_a_set_without_views_only_its_own_columns_are_checked(plain):
    card = features.check("plain").card()
    assert str(card.state) == "✓ passed"
    assert "It has no views" in card.lead
    assert "future" not in card.lead
    assert "online store says" not in card.lead


def test_no_rows_of_a_set_without_views_cannot_be_told(plain):
    with pytest.raises(Inconclusive, match="no rows"):
        features.check("plain", rows=small_tables()["trips"].clear())


@pytest.mark.parametrize("column", ["delay", "asked_at"])
def test_a_column_without_any_value_cannot_be_told(plain, column):
    rows = small_tables()["trips"]
    with pytest.raises(Inconclusive, match=f"no row has a value of {column}"):
        features.check("plain", rows=rows.with_columns(pl.lit(None, dtype=rows.schema[column]).alias(column)))


def test_a_column_of_another_type_is_no_pass(plain):
    with pytest.raises(Failed, match="delay of the rows is text"):
        features.check("plain", rows=small_tables()["trips"].with_columns(delay=pl.lit("late")))


def test_its_card_shows_the_verdicts(lateness):
    text = features.check("lateness").card().text()
    assert text.startswith("Feature check features:lateness@1  ✓ passed")
    assert "No row sees its future" in text
    assert CELL not in text
