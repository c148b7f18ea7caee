"""Feast with our offline store and our repository: its own calls give our answers."""

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from aiinfra_lab import features
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.features.feast import Feast
from aiinfra_lab.features.record import FeatureSetVersion, Spec, TypedColumn, ViewSpec
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.features import OnlineStoreContract

from .conftest import after, small_tables

VIEWS = ["lateness.v1.weather_now:temp", "lateness.v1.line_delay:delay_6h"]


class TestFeast(OnlineStoreContract):
    @pytest.fixture
    def store(self, workspace) -> Feast:
        return Feast(settings())


@pytest.fixture
def rows() -> pd.DataFrame:
    return small_tables()["trips"].select("trip", "line", "place", event_timestamp="asked_at").to_pandas()


def test_feasts_history_is_ours_row_for_row(lateness, trips, rows):
    theirs = Feast(settings()).open().get_historical_features(rows, VIEWS).to_df()
    ours = features.get("lateness", rows=trips).df()
    assert theirs[["temp", "delay_6h"]].equals(ours[["temp", "delay_6h"]])
    assert theirs["trip"].tolist() == [11, 12, 13, 14]


def test_feast_keeps_every_row_in_its_order(lateness, rows):
    many = pd.concat([rows.assign(event_timestamp=after(hour)) for hour in (-100, 1, 4, -5)], ignore_index=True)
    found = Feast(settings()).open().get_historical_features(many, VIEWS).to_df()
    assert found["event_timestamp"].tolist() == many["event_timestamp"].tolist()
    assert found["trip"].tolist() == many["trip"].tolist()


def test_feast_knows_the_set_as_a_service_and_full_names(lateness, rows):
    store = Feast(settings()).open()
    service = store.get_feature_service("lateness.v1")
    found = store.get_historical_features(rows, service, full_feature_names=True).to_df()
    assert found["lateness.v1.weather_now__temp"].tolist()[2] == 21.5


def test_the_time_may_have_any_name_and_no_zone(lateness, rows):
    naive = rows.assign(when=rows["event_timestamp"].dt.tz_localize(None)).drop(columns="event_timestamp")
    assert Feast(settings()).open().get_historical_features(naive, VIEWS).to_df()["temp"].tolist()[0] == 20.0


def test_feast_pulls_all_events_between_two_times(lateness):
    store, view = Feast(settings()).open(), "lateness.v1.weather_now"
    source = store.get_feature_view(view).batch_source
    job = store._get_provider().offline_store.pull_all_from_table_or_query(
        store.config, source, ["place"], ["temp"], "observed_at", None, after(0), after(3)
    )
    assert job.to_df()["temp"].tolist() == [20.0, 21.5]


def test_a_query_in_words_is_refused(lateness):
    with pytest.raises(Unavailable, match="data frame"):
        Feast(settings()).open().get_historical_features("SELECT 1", VIEWS)


def test_damaged_files_are_told_and_made_again(lateness, workspace):
    folder = workspace / ".aiinfra" / "features" / "feast"
    (folder / "registry.db").write_bytes(b"\xff" * 100)
    with pytest.raises(Unavailable, match="cannot be used") as problem:
        features.get("lateness", online="line=red,place=north")
    assert "move that folder away" in problem.value.fix
    folder.rename(workspace / "aside")
    assert features.get("lateness", online="line=red,place=north").values == ("red", "north", 21.5, 10.0)


def test_a_workspace_can_be_moved(lateness, trips, rows, workspace, monkeypatch):
    found = features.get("lateness", rows=trips)
    open_store().close()
    moved = workspace.rename(workspace.with_name("moved"))
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(moved))
    monkeypatch.chdir(moved)
    assert features.open_rows(found.uri).df()["temp"].tolist()[2] == 21.5
    assert Feast(settings()).open().get_historical_features(rows, VIEWS).to_df()["temp"].tolist()[2] == 21.5
    assert features.get("lateness", online="line=red,place=north").values == ("red", "north", 21.5, 10.0)


def test_what_feast_prints_stays_out_of_the_cell(lateness, trips, capfd):
    features.add("quiet", data=trips, code=lateness.code, timestamp="asked_at")
    assert capfd.readouterr() == ("", "")


def test_feast_and_ipython_each_keep_times_in_sqlite_their_own_way(lateness, monkeypatch):
    """Both set the one converter that a process has for times; whichever came last used to break the other."""
    monkeypatch.setitem(sqlite3.converters, "TIMESTAMP", lambda value: datetime.fromisoformat(value.decode()))
    before = dict(sqlite3.adapters), dict(sqlite3.converters)
    assert features.get("lateness", online="line=red,place=north").values == ("red", "north", 21.5, 10.0)
    assert (sqlite3.adapters, sqlite3.converters) == before


def test_importing_our_feast_leaves_the_process_as_it_was():
    code = (
        "import sqlite3, warnings, polars, pandas\n"
        "def state(): return dict(sqlite3.adapters), dict(sqlite3.converters), list(warnings.filters)\n"
        "before = state()\nimport aiinfra_lab.features.feast\nprint(state() == before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def test_feasts_own_command_answers_on_our_repository(lateness, workspace):
    folder = workspace / ".aiinfra" / "features" / "feast"
    entities = ["-e", "line=red", "-e", "place=north"]
    features_asked = [part for view in VIEWS for part in ("-f", view)]
    command = [str(Path(sys.executable).with_name("feast")), "get-online-features", *entities, *features_asked]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    assert (answer["temp"], answer["delay_6h"]) == ([21.5], [10.0])


OWN_CALL = """
import sqlite3
from datetime import datetime
def ipythons(value): return datetime.fromisoformat(value.decode())
if {is_ipython}: sqlite3.register_converter("timestamp", ipythons)
from feast import FeatureStore
found = FeatureStore(repo_path=".").get_online_features(["lateness.v1.weather_now:temp"], [dict(place="north")])
db = sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES)
db.execute("CREATE TABLE t (at timestamp)")
db.execute("INSERT INTO t VALUES ('2024-05-01T12:00:00')")
print(found.to_dict()["temp"], db.execute("SELECT at FROM t").fetchone()[0] if {is_ipython} else "")
"""


@pytest.mark.parametrize(("is_ipython", "told"), [(False, "[21.5]"), (True, "[21.5] 2024-05-01 12:00:00")])
def test_feasts_own_calls_answer_beside_whoever_reads_times_another_way(lateness, workspace, is_ipython, told):
    code, folder = OWN_CALL.format(is_ipython=is_ipython), workspace / ".aiinfra" / "features" / "feast"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == told, done.stderr[-2000:]


def test_events_of_a_whole_year_all_go_online(workspace, tmp_path):
    """Feast writes the first batch of an Arrow table only; ours comes in one piece."""
    store, spec = Feast(settings()), spec_of_one_view()
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=n) for n in range(3)]
    parts = [pl.DataFrame({"k": [f"{n}"], "t": [time], "v": [float(n)]}) for n, time in enumerate(times)]
    frame = pl.concat(parts, rechunk=False).with_columns(w__time=pl.col("t").dt.epoch("us"))
    frame.write_parquet(tmp_path / "w.parquet", row_group_size=1)
    store.load(spec, {"w": tmp_path / "w.parquet"}, times[-1])
    assert [item[1]["v"] for item in store.read(spec, {"k": ["0", "1", "2"]})["w"]] == [0.0, 1.0, 2.0]


def spec_of_one_view() -> Spec:
    keys, values = (TypedColumn("k", "text"),), (TypedColumn("v", "number"),)
    views = (ViewSpec("w", keys, "t", None, None, values, ("x",)),)
    return Spec(name="w", version=1, code="", timestamp="at", label="", row_id="", columns=(), views=views)


def test_history_needs_no_feast(lateness, trips):
    """`features get --rows` in a process of its own: Feast costs seconds, and is not asked."""
    code = (
        "import sys; from aiinfra_lab import features; features.get('lateness', rows='data:trips');"
        "print('feast' in sys.modules, 'torch' in sys.modules, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 3


def test_the_record_says_what_the_store_holds(lateness):
    record = resolve("lateness", FeatureSetVersion)
    assert record.body.online is not None
    assert (record.body.online.as_of, record.body.uri) == (after(5).isoformat(), lateness.uri)
