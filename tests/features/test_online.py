"""One entity's features out of the online store: the same values in the same order as the history has."""

import json

import pytest

from aiinfra_lab import features
from aiinfra_lab.config import settings
from aiinfra_lab.errors import LabError, UsageProblem
from aiinfra_lab.features import online
from aiinfra_lab.features.feast import Feast
from aiinfra_lab.features.record import FeatureSetVersion
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import open_store

from .conftest import after, put, small_tables


def test_the_vector_is_in_the_contracts_order(lateness):
    found = features.get("lateness", online="place=north,line=red")
    assert found.columns == lateness.features
    assert found.values == ("red", "north", 21.5, 10.0)
    assert (found.at, found.as_of, found.data_uri) == (after(5).isoformat(), after(5).isoformat(), "data:trips@1")


def test_online_is_the_row_of_the_history_at_that_time(lateness, trips):
    rows = small_tables()["trips"].with_columns(asked_at=after(5)).drop_nulls("place")
    history = features.get("lateness", rows=rows, data=trips).table()
    for row in history.iter_rows(named=True):
        key = json.dumps({"line": row["line"], "place": row["place"]})
        assert features.get("lateness", online=key).values == tuple(row[name] for name in lateness.features)


@pytest.mark.parametrize(
    ("hour", "temp", "delay"), [(6, 21.5, 10.0), (6.1, None, 10.0), (27, None, 10.0), (27.1, None, None)]
)
def test_values_age_as_they_do_in_the_history(lateness, hour, temp, delay):
    found = features.get("lateness", online=f"place=north,line=red,asked_at={after(hour).isoformat()}")
    assert found.values[2:] == (temp, delay)


def test_the_past_is_refused(lateness):
    with pytest.raises(UsageProblem, match="is earlier") as problem:
        features.get("lateness", online=f"place=north,line=red,asked_at={after(4).isoformat()}")
    assert "--rows" in problem.value.fix


def test_nobody_is_known_by_nothing(lateness):
    assert features.get("lateness", online="place=moon,line=9").values == ("9", "moon", None, None)


def test_newer_data_is_loaded_when_it_is_asked_for(lateness, tmp_path):
    tables = small_tables()
    tables["weather"] = tables["weather"].with_columns(temp=tables["weather"]["temp"] + 1)
    put("trips", tables, tmp_path / "newer")
    found = features.get("lateness", online="place=north,line=red", data="data:trips")
    assert (found.values[2], found.data_uri) == (22.5, "data:trips@2")
    event = list(open_store().events())[-1].event
    assert (event.verb, event.inputs) == ("features get", ("features:lateness@1", "data:trips@2"))
    assert features.get("lateness", online="place=north,line=red").values[2] == 22.5


def test_old_sources_are_cleared_away(lateness, tmp_path, workspace):
    tables = small_tables()
    tables["weather"] = tables["weather"].head(1)
    features.get("lateness", online="place=north,line=red", data=put("trips", tables, tmp_path / "newer"))
    folders = list((workspace / ".aiinfra/features/views/lateness@1").iterdir())
    assert len(folders) == 1


BAD = {
    "no key": ("line=red", "--online place=…,line=…"),
    "an unknown name": ("line=red,place=north,tmp=3", "known: asked_at, line, place"),
    "no pairs": ("north", "write --online"),
    "no JSON": ("{line", "write --online"),
    "no time": ("line=red,place=north,asked_at=noon", "2013-03-31T18:00"),
}


@pytest.mark.parametrize(("key", "fix"), BAD.values(), ids=BAD)
def test_a_key_that_cannot_be_read_says_how(lateness, key, fix):
    with pytest.raises(LabError) as problem:
        features.get("lateness", online=key)
    assert fix in problem.value.fix


def test_values_are_read_as_the_type_they_have(trips):
    cell = "import polars as pl\ncolumns = ['trip', 'delay', 'line']"
    features.add("typed", data=trips, code=cell, timestamp="asked_at")
    assert features.get("typed", online="trip=7,line=007").values == (7, None, "007")
    with pytest.raises(UsageProblem, match=r"trip=x is not a whole number\n.*give trip as a whole number"):
        features.get("typed", online="trip=x")


def test_a_load_that_was_cut_off_is_made_good_when_it_is_needed(lateness):
    """What a kill in the middle leaves: a record that says that nothing is there, beside half of something."""
    record = resolve("lateness", FeatureSetVersion)
    online.emptied(record)
    Feast(settings()).forget(record.body)
    assert features.show("lateness").online_as_of == ""
    assert features.get("lateness", online="place=north,line=red").values[2:] == (21.5, 10.0)
    assert features.show("lateness") == lateness
