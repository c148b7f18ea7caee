"""What an error of the noun features advises is done to the letter, and then it works."""

import re

import pandas as pd
import polars as pl
import pytest

from aiinfra_lab import data, features
from aiinfra_lab.errors import Failed, NotFound, UsageProblem
from tests.following import COMMAND, MEANT, follow, provoked, run

from .conftest import CELL, after, put, small_tables


def test_neither_rows_nor_a_key(lateness):
    assert follow(provoked(lambda: features.get("lateness"))).rows == 4


def test_rows_of_another_place_name_the_version_that_has_the_tables(lateness, trips, tmp_path):
    rows = data.add("asked", trips.table())
    for given in (rows, rows.uri):
        problem = provoked(lambda given=given: features.get("lateness", rows=given))
        found = follow(problem)
        assert (found.rows_uri, found.data_uri, found.rows) == ("data:asked@1", "data:trips@1", 4)


def test_rows_whose_file_is_gone_are_made_again_of_the_same_version(lateness, trips, tmp_path):
    rows = data.add("asked", trips.table())
    first = features.get("lateness", rows=rows, data=trips)
    features.add("lateness", data=trips, timestamp="asked_at", code=CELL + "\n# newer\n")
    first.path.unlink()
    problem = provoked(lambda: features.get(first.uri))
    again = follow(problem)
    assert (again.uri, again.digest) == (first.uri, first.digest)


def test_rows_that_were_never_made_are_made(lateness):
    problem = provoked(lambda: features.get("lateness@1#00"))
    assert follow(problem).rows == 4
    assert follow(provoked(lambda: features.open_rows("features:lateness@1#00"))).rows == 4


def test_rows_that_lack_what_a_check_needs_are_given_as_the_fix_says(lateness):
    for rows in (pl.DataFrame({"foo": [1, 2]}), small_tables()["trips"].drop("line", "asked_at")):
        problem = provoked(lambda rows=rows: features.check("lateness", rows=rows))
        assert "line" in problem.what
        assert "asked_at" in problem.what
        assert follow(problem).state == "good"


TIMELESS = {"age": [30, 40], "note": ["a", "b"], "late": [0, 1]}


@pytest.mark.parametrize("timestamp", ["sched_dep", "age", "note"])
def test_rows_without_a_time_need_none_as_the_fix_says(workspace, timestamp):
    df = pd.DataFrame(TIMELESS)
    options = {"label": "late", "code": "columns = ['age']"}
    with pytest.raises((NotFound, Failed)) as problem:
        features.add("stay", data=data.add("visits", df), timestamp=timestamp, **options)
    assert "or leave out --timestamp" in problem.value.fix
    features.add("stay", data="data:visits", **options)
    assert features.get("stay", rows=data.open_rows("data:visits")).rows == 2


def test_where_rows_have_a_time_the_fix_names_it(trips):
    with pytest.raises(Failed) as problem:
        features.add("stay", data=trips, timestamp="delay", code="columns = ['line']")
    assert "leave out --timestamp" not in problem.value.fix


def test_rows_of_a_set_that_made_none_yet_are_made(lateness):
    problem = provoked(lambda: features.open_rows("features:lateness"))
    follow(problem)
    assert features.open_rows("features:lateness").rows == 4


def test_the_past_is_asked_of_the_history(lateness):
    early = after(-3).isoformat()
    problem = provoked(lambda: features.get("lateness", online=f"line=red,place=north,asked_at={early}"))
    assert follow(problem).rows == 4


@pytest.mark.parametrize(
    "given", ["lien=red,place=north", "line=red", "line=red,place=north,asked_at=soon", "red", "{"]
)
def test_a_key_that_cannot_be_read_is_written_as_the_fix_says(lateness, given):
    problem = provoked(lambda: features.get("lateness", online=given))
    assert isinstance(problem, UsageProblem)
    if meant := MEANT.search(problem.fix):
        given = given.replace("lien", meant[1])
    else:
        given = "line=red,place=north"
    assert features.get("lateness", online=given).values[:2] == ("red", "north")


@pytest.mark.parametrize("into", ["rows", "rows.txt"])
def test_a_file_of_another_kind_gets_the_ending_of_the_fix(lateness, trips, tmp_path, into):
    problem = provoked(lambda: features.get("lateness", rows=trips, into=tmp_path / into))
    path = problem.fix.removeprefix("--into ")
    features.get("lateness", rows=trips, into=path)
    assert pl.read_parquet(path).height == 4


@pytest.mark.parametrize(
    "times", [["2024-05-01 13:00:00"] * 2, [1714568400] * 2, pl.Series([1714568400] * 2, dtype=pl.Int32)]
)
def test_what_is_no_time_is_made_one_by_the_code_of_the_fix(workspace, times):
    frame = pl.DataFrame({"at": times, "x": [1.0, 2.0]})
    problem = provoked(lambda: features.add("f", data=data.add("d", frame), timestamp="at", code='columns = ["x"]'))
    assert isinstance(problem, Failed)
    expression = eval(re.search(r"pl\..*?\)\)|pl\..*\(\)|pl\.from_epoch\([^)]*\)[^)]*\)", problem.fix)[0], {"pl": pl})
    mended = data.add("d", frame.with_columns(expression))
    assert features.add("f", data=mended, timestamp="at", code='columns = ["x"]').uri == "features:f@1"


def test_a_misspelled_name_is_the_one_that_was_meant(lateness, trips):
    for line in ("features get lateess --rows data:trips", "features show latness", "features rm latenes"):
        problem = provoked(lambda line=line: run(line))
        wrong = line.split()[2]
        assert isinstance(problem, NotFound)
        run(line.replace(wrong, MEANT.search(problem.fix)[1]))


def test_a_table_that_a_view_reads_and_that_is_called_otherwise(workspace, tmp_path):
    tables = small_tables()
    tables["wether"] = tables.pop("weather")
    given = put("trips", tables, tmp_path / "trips")
    problem = provoked(lambda: features.add("late", data=given, timestamp="asked_at", code=CELL))
    code = CELL.replace("weather: pl", f"{MEANT.search(problem.fix)[1]}: pl").replace("weather.select", "wether.select")
    assert features.add("late", data=given, timestamp="asked_at", code=code).uri == "features:late@1"


def test_several_versions_of_a_set_are_removed_one_by_one(lateness, trips):
    features.add("lateness", data=trips, timestamp="asked_at", code=CELL + "\n# newer\n")
    assert follow(provoked(lambda: features.rm("lateness"))).uri == "features:lateness@2"


def test_rows_that_were_stored_before_an_error_are_named_with_how_to_remove_them(lateness, tmp_path):
    pl.DataFrame({"x": [1]}).write_csv(tmp_path / "x.csv")
    problem = provoked(lambda: features.get("lateness", rows=tmp_path / "x.csv"))
    run(COMMAND.findall(problem.fix)[-1])
    assert [version.uri for version in data.ls("rows")] == []
