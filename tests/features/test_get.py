"""Rows with their features: as they were known at each row's time, kept, and answered again."""

import pandas as pd
import polars as pl
import pytest

from aiinfra_lab import features
from aiinfra_lab.errors import Conflict, Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.features.record import JoinedRows
from aiinfra_lab.store import open_store

from .conftest import CELL, after, put, small_tables

TEMPS = [20.0, None, 21.5, None]  # trip 12: its weather is six hours old; trip 14 has no place
DELAYS = [None, None, 10.0, 10.0]  # the red line's trip 11 arrives at hour 3


def test_each_row_gets_what_was_known_at_its_time(lateness, trips):
    found = features.get("lateness", rows=trips)
    frame = found.table()
    assert (frame["temp"].to_list(), frame["delay_6h"].to_list()) == (TEMPS, DELAYS)
    assert found.coverage == {"weather_now": 0.5, "line_delay": 0.5}


def test_its_file_holds_id_time_features_in_order_and_label(lateness, trips):
    found = features.get("lateness", rows=trips)
    columns = ["row_id", "asked_at", "line", "place", "temp", "delay_6h", "late"]
    assert pl.read_parquet(found.path).columns == columns == list(found.df().columns)
    assert found.df()["row_id"].tolist() == [11, 12, 13, 14]
    assert (found.columns, found.label, found.rows) == (("line", "place", "temp", "delay_6h"), "late", 4)
    assert (found.entity, found.timestamp, found.features_uri) == (("place", "line"), "asked_at", lateness.uri)


def test_a_key_that_is_no_feature_is_kept_beside_them(trips):
    features.add("lean", data=trips, code=CELL.replace('"line", "place"', '"delay"'), timestamp="asked_at")
    columns = ["row_id", "place", "line", "asked_at", "delay", "temp", "delay_6h"]
    found = features.get("lean", rows=trips)
    assert (found.table().columns, found.label, found.table()["row_id"].to_list()) == (columns, "", [0, 1, 2, 3])


def test_rows_of_another_place_need_the_tables_named(lateness, trips):
    rows = trips.df().iloc[::-1].reset_index(drop=True)
    with pytest.raises(NotFound, match="'weather'") as problem:
        features.get("lateness", rows=rows)
    assert "--data data:trips@1" in problem.value.fix
    assert features.get("lateness", rows=rows, data=trips).table()["temp"].to_list() == TEMPS[::-1]


def test_the_same_question_is_answered_from_the_store(lateness, trips):
    first = features.get("lateness", rows=trips)
    before = (first.path.stat().st_mtime_ns, len(list(open_store().events())))
    again = features.get("lateness@1", rows="data:trips@1")
    assert (again, before) == (first, (first.path.stat().st_mtime_ns, len(list(open_store().events()))))


def test_a_lost_file_is_made_again_the_same(lateness, trips):
    first = features.get("lateness", rows=trips)
    first.path.unlink()
    with pytest.raises(NotFound, match="is gone"):
        features.open_rows(first)
    assert features.get("lateness", rows=trips).digest == first.digest
    assert first.path.exists()


def test_it_commits_one_event_with_everything_that_went_in(lateness, trips):
    found = features.get("lateness", rows=trips)
    event = list(open_store().events())[-1].event
    assert (event.verb, event.outputs) == ("features get", (found.uri,))
    assert event.inputs == ("features:lateness@1", "data:trips@1")


def test_rows_are_opened_by_uri_and_handle_and_anything_else_by_data(lateness, trips):
    found = features.get("lateness", rows=trips)
    assert features.open_rows(found) == features.open_rows(found.uri) == features.get(found.uri) == found
    assert features.show(found.uri) == found
    assert features.open_rows("data:trips").uri == "data:trips@1"
    assert features.open_rows(pd.DataFrame({"x": [1]}), name="mine").uri == "data:mine@1"


@pytest.mark.parametrize("name", ["features:lateness", "features:lateness@1"])
def test_a_version_as_rows_means_those_that_were_made_with_it_last(lateness, trips, name):
    older = features.get("lateness", rows=trips)
    newer = features.get("lateness", rows=asked(), data=trips)
    assert features.open_rows(name).uri == newer.uri
    features.rm(newer.uri)
    assert features.open_rows(name).uri == older.uri
    assert features.open_rows(lateness).uri == older.uri


def test_rows_that_a_verb_made_for_itself_are_not_meant_until_somebody_asks_for_them(lateness, trips):
    older = features.get("lateness", rows=trips)
    aside = features.join_aside("features:lateness@1", asked(), trips)
    assert features.open_rows("features:lateness").uri == older.uri
    asked_for = features.get("lateness", rows=asked(), data=trips)
    assert (asked_for.uri, asked_for.digest) == (aside.uri, aside.digest)
    assert features.open_rows("features:lateness").uri == aside.uri
    # What somebody has asked for stays so, whoever needs it later.
    features.join_aside("features:lateness@1", asked(), trips)
    assert features.open_rows("features:lateness").uri == aside.uri


def test_rows_of_another_version_are_not_meant(lateness, trips):
    older = features.get("lateness", rows=trips)
    features.add("lateness", data=trips, code=CELL, timestamp="asked_at")
    newer = features.get("lateness", rows=trips)
    assert features.open_rows("features:lateness@1").uri == older.uri
    assert features.open_rows("features:lateness").uri == newer.uri


def test_a_version_without_rows_says_how_to_make_them(lateness, trips):
    lost = features.get("lateness", rows=trips)
    lost.path.unlink()
    with pytest.raises(NotFound, match="no rows were made with features:lateness@1") as problem:
        features.open_rows("features:lateness")
    assert problem.value.fix == "make some: `%features get lateness@1 --rows data:trips@1`"
    with pytest.raises(NotFound) as problem:
        features.open_rows("features:nothing")
    assert problem.value.fix == "known: lateness, lateness@1"


@pytest.mark.parametrize("name", ["lateness", "lateness@1"])
def test_the_bare_name_of_a_set_suggests_its_uri(lateness, name):
    with pytest.raises(NotFound, match="there is no file or folder") as problem:
        features.open_rows(name)
    assert f"write features:{name} for the rows of that feature set" in problem.value.fix


def test_no_words_are_no_rows(lateness, trips):
    with pytest.raises(UsageProblem, match="no rows were given"):
        features.open_rows("")
    with pytest.raises(UsageProblem, match="no rows were given"):
        features.get("lateness", rows="")


def test_into_writes_them_to_disk(lateness, trips, workspace):
    found = features.get("lateness", rows=trips, into="out/rows.parquet")
    features.get(found.uri, into="out/rows.csv")
    assert pl.read_parquet("out/rows.parquet").equals(found.table())
    assert pl.read_csv("out/rows.csv")["temp"].to_list() == TEMPS
    with pytest.raises(UsageProblem, match="neither"):
        features.get(found.uri, into="rows.xlsx")


def test_into_overwrites_nothing_and_writes_through_no_link(lateness, trips, workspace):
    found = features.get("lateness", rows=trips)
    (workspace / "kept.csv").write_text("mine")
    (workspace / "link.csv").symlink_to(workspace / "made.csv")
    for name in ("kept.csv", "link.csv"):
        with pytest.raises(Conflict) as problem:
            features.get(found.uri, into=name)
        assert problem.value.fix == "choose another --into"
    assert ((workspace / "kept.csv").read_text(), (workspace / "made.csv").exists()) == ("mine", False)


def test_removed_rows_are_gone_and_can_be_made_again(lateness, trips):
    found = features.get("lateness", rows=trips)
    removed = features.rm(found.uri)
    assert (removed.uri, removed.removed, found.path.exists()) == (found.uri, "4 rows", False)
    assert "`%features get` of the same rows makes them again" in removed.card().text()
    with pytest.raises(NotFound):
        features.open_rows(found.uri)
    assert features.get("lateness", rows=trips).uri == found.uri


def test_rows_outlive_their_set(lateness, trips):
    found = features.get("lateness", rows=trips)
    features.rm("lateness")
    assert features.open_rows(found.uri).df().equals(found.df())


def asked(**columns: object) -> pl.DataFrame:
    return small_tables()["trips"].with_columns(**columns)


BAD = {
    "no rows": (lambda: asked().clear(), "something with rows"),
    "no key": (lambda: asked().drop("line"), "known: "),
    "no timestamp": (lambda: asked().drop("asked_at"), "known: "),
    "an id twice": (lambda: asked(trip=pl.lit(1)), "choose another --id"),
    "a key of another type": (lambda: asked(line=pl.lit(7)), "cast"),
    "a time that is text": (lambda: asked(asked_at=pl.lit("noon")), "str.to_datetime"),
}


@pytest.mark.parametrize(("rows", "fix"), BAD.values(), ids=BAD)
def test_bad_rows_name_the_fix(lateness, trips, rows, fix):
    with pytest.raises(LabError) as problem:
        features.get("lateness", rows=rows(), data=trips)
    assert fix in problem.value.fix
    assert list(open_store().list(JoinedRows)) == []


def test_rows_or_a_key_must_be_given(lateness):
    with pytest.raises(UsageProblem, match="needs either --rows or --online"):
        features.get("lateness")


def test_views_that_changed_what_they_return_are_refused(lateness, tmp_path):
    tables = small_tables()
    tables["weather"] = tables["weather"].with_columns(temp=pl.lit("warm"))
    with pytest.raises(Failed, match="temp of view weather_now is text, and was number"):
        features.get("lateness", rows=put("trips", tables, tmp_path / "other"))


def test_whole_numbers_stand_in_for_numbers(lateness, tmp_path):
    tables = small_tables()
    tables["weather"] = tables["weather"].with_columns(temp=pl.Series([20, 21, 9]))
    found = features.get("lateness", rows=put("trips", tables, tmp_path / "other"))
    assert found.table()["temp"].to_list() == [20.0, None, 21.0, None]


def test_a_row_that_is_asked_later_knows_more(lateness, trips):
    rows = asked(asked_at=pl.lit(after(7)))
    found = features.get("lateness", rows=rows, data=trips).table()
    assert (found["temp"].to_list(), found["delay_6h"].to_list()) == ([None] * 4, [7.0, -2.0, 7.0, 7.0])


def test_the_magic_and_the_command_are_the_same_call(lateness, trips, workspace, capsys):
    from IPython.core.interactiveshell import InteractiveShell

    from aiinfra_lab.cli import main

    found = features.get("lateness", rows=trips)
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "aiinfra_lab")
    try:
        shell.user_ns["rows"] = trips
        assert shell.run_cell("X = %features get lateness --rows $rows").success
        line = "%%features add lateness --data $rows --timestamp asked_at --label late --id trip -o added\n"
        assert shell.run_cell(line + CELL).success
        assert (shell.user_ns["X"], shell.user_ns["added"]) == (found, lateness)
    finally:
        InteractiveShell.clear_instance()
    assert main(["features", "get", "lateness", "--rows", "data:trips", "--json"]) == 0
    assert f'"uri": "{found.uri}"' in capsys.readouterr().out
