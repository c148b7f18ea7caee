"""Several processes and threads on one feature set: nothing is added twice, and the record says what is loaded."""

import signal
import subprocess
import sys
import threading

import pytest

from aiinfra_lab import features
from aiinfra_lab.errors import NotFound
from aiinfra_lab.features import online, sets
from aiinfra_lab.features.record import FeatureSetVersion, JoinedRows
from aiinfra_lab.features.rows import made_with, tables_of
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import open_store

from .conftest import CELL, put, small_tables

ADDING = """
import sys
from aiinfra_lab import features
code = sys.stdin.read()
print(features.add("lateness", data="data:trips", timestamp="asked_at", label="late", id_="trip", code=code))
"""


def adding(code: str) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", ADDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdin is not None
    started.stdin.write(code)
    started.stdin.close()
    started.stdin = None
    return started


def test_two_that_add_the_same_cell_end_with_one_version(trips):
    started = [adding(CELL), adding(CELL)]
    assert [process.communicate() for process in started] == [("features:lateness@1\n", "")] * 2
    assert features.get("lateness", online="place=north,line=red").values == ("red", "north", 21.5, 10.0)


def test_two_that_add_different_cells_end_with_two(trips):
    started = [adding(CELL), adding(CELL.replace("3h", "2h"))]
    assert [process.communicate()[1] for process in started] == ["", ""]
    assert [item.uri for item in features.ls()] == ["features:lateness@2", "features:lateness@1"]


def test_threads_that_ask_for_the_same_rows_get_the_same_file(lateness, trips):
    found: list[str] = []

    def ask() -> None:
        found.append(features.get("lateness", rows=trips).digest)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found)), len(open_store().list(JoinedRows))) == (3, 1, 1)


def test_the_same_again_writes_nothing(lateness, trips):
    spec = resolve("lateness", FeatureSetVersion).body
    events = sets.run_views(spec, tables_of(trips))
    before = open_store().list(FeatureSetVersion)
    record, new = sets.keep(spec, events, trips.uri)
    assert (record.uri, new) == (lateness.uri, False)
    assert open_store().list(FeatureSetVersion) == before


def test_a_store_that_holds_that_data_is_not_loaded_again(lateness, trips):
    record = resolve("lateness", FeatureSetVersion)
    assert online.fill(record, trips, None, "features check") is record


def test_an_emptied_record_is_filled_by_the_next_who_asks(lateness, trips):
    empty = online.emptied(resolve("lateness", FeatureSetVersion))
    assert (empty.body.online, features.show("lateness").online_as_of) == (None, "")
    filled = online.fill(empty, trips, None, None)
    assert filled.body.online is not None
    assert (filled.body.online.uri, filled.body.online.digest) == (trips.uri, trips.digest)


@pytest.mark.parametrize("remove", [False, True])
def test_rows_made_with_a_version_are_those_that_are_left(lateness, trips, remove):
    made = features.get("lateness", rows=trips)
    if remove:
        features.rm(made)
    found = made_with(resolve("lateness", FeatureSetVersion))
    assert [record.uri for record in found] == ([] if remove else [made.uri])


KILLED = """
import os, signal
from aiinfra_lab import features
from aiinfra_lab.features import feast
feast.FeatureStore.materialize = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
features.get("lateness", online="place=north,line=red", data="data:trips@2")
"""


def test_what_a_killed_process_left_half_filled_is_not_read(lateness, tmp_path):
    tables = small_tables()
    put(
        "trips",
        {**tables, "weather": tables["weather"].with_columns(temp=tables["weather"]["temp"] + 1)},
        tmp_path / "b",
    )
    known = resolve("lateness", FeatureSetVersion)  # as somebody else has read it before the other began
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -signal.SIGKILL
    assert online.read_held(known, {"place": "north", "line": "red"}) is None
    found = features._online(known, "place=north,line=red", None)
    assert (found.values, found.data_uri) == (("red", "north", 21.5, 10.0), "data:trips@1")


def test_a_removed_version_leaves_nothing_of_a_fill_that_was_killed(lateness, trips):
    features.add("other", data=trips, timestamp="asked_at", label="late", id_="trip", code=CELL)
    online.emptied(resolve("other", FeatureSetVersion))  # as it is while somebody fills it
    features.rm("other")
    with pytest.raises(NotFound):
        online.provider().read(
            resolve("other", FeatureSetVersion, removed=True).body, {"place": ["north"], "line": ["red"]}
        )
