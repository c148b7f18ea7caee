"""The join as it is kept: ids, label, coverage, and files written whole or not at all."""

import hashlib
from pathlib import Path

import polars as pl
import pytest

from aiinfra_lab import features
from aiinfra_lab.data import tables
from aiinfra_lab.errors import Failed, NotFound, UsageProblem
from aiinfra_lab.features import rows as joined
from aiinfra_lab.features.record import FeatureSetVersion, JoinedRows, Spec
from aiinfra_lab.features.sets import run_views
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import open_store

from .conftest import after, put, small_tables


@pytest.fixture
def spec(lateness) -> Spec:
    return resolve(lateness, FeatureSetVersion).body


def asked(spec: Spec, trips: object, **columns: object) -> tuple[pl.DataFrame, dict[str, float]]:
    rows = small_tables()["trips"].with_columns(**columns)
    return joined.join(spec, rows, run_views(spec, joined.tables_of(trips)))


def without_id(spec: Spec) -> Spec:
    return type(spec)(**{**{name: getattr(spec, name) for name in spec.__struct_fields__}, "row_id": ""})


def test_the_ids_are_those_of_the_named_column(spec, trips):
    assert asked(spec, trips)[0]["row_id"].to_list() == [11, 12, 13, 14]


def test_without_a_named_column_row_id_is_taken_and_else_the_position(spec, trips):
    plain = without_id(spec)
    assert asked(plain, trips, row_id=pl.Series(["d", "c", "b", "a"]))[0]["row_id"].to_list() == ["d", "c", "b", "a"]
    assert asked(plain, trips)[0]["row_id"].to_list() == [0, 1, 2, 3]


@pytest.mark.parametrize("ids", [[1, 1, 2, 3], [1, None, 2, 3]])
def test_an_id_that_does_not_name_each_row_is_refused(spec, trips, ids):
    with pytest.raises(Failed) as problem:
        asked(spec, trips, trip=pl.Series(ids))
    assert problem.value.fix.startswith("choose another --id when the feature set is added")


def test_rows_without_the_label_are_joined_without_it(lateness, trips):
    rows = small_tables()["trips"].drop("late")
    found = features.get("lateness", rows=rows, data=trips)
    assert (found.label, found.table().columns[-1]) == ("", "delay_6h")


@pytest.mark.parametrize(("hours", "share"), [(-10, 0.0), (3.5, 0.5)])
def test_coverage_is_the_share_of_rows_that_a_view_knew_something_of(spec, trips, hours, share):
    assert asked(spec, trips, asked_at=pl.lit(after(hours)))[1]["weather_now"] == share


def test_no_rows_are_refused(spec, trips):
    with pytest.raises(Failed) as problem:
        joined.join(spec, small_tables()["trips"].clear(), run_views(spec, joined.tables_of(trips)))
    assert "something with rows" in problem.value.fix


def test_a_table_that_the_data_lacks_is_named_with_a_version_that_has_it(spec, tmp_path, trips):
    other = put("other", {"trips": small_tables()["trips"]}, tmp_path / "other")
    joined.need_tables(spec, other, trips, "data:trips@1")
    with pytest.raises(NotFound) as problem:
        joined.need_tables(spec, other, other, "data:trips@1")
    assert f"--rows {other.uri} --data data:trips@1`" in problem.value.fix


def test_the_digest_is_that_of_the_file(tmp_path):
    path = tmp_path / "deep" / "x.parquet"
    digest = joined.write(pl.DataFrame({"x": [1]}), path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [file.name for file in path.parent.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize("name", ["x.parquet", "x.csv"])
def test_a_copy_takes_the_form_that_its_name_says(tmp_path, name):
    tables.write(pl.LazyFrame({"x": [1, 2]}), tmp_path / name)
    read = pl.read_csv if name.endswith("csv") else pl.read_parquet
    assert read(tmp_path / name)["x"].to_list() == [1, 2]


def test_a_copy_that_cannot_be_computed_leaves_nothing(tmp_path: Path):
    (tmp_path / "x.csv").write_text("mine")
    with pytest.raises(pl.exceptions.PolarsError):
        tables.write(pl.LazyFrame({"x": [1]}).select("y"), tmp_path / "new.csv")
    with pytest.raises(UsageProblem):
        tables.write(pl.LazyFrame({"x": [1]}), tmp_path / "x.xlsx")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.csv", "mine")]


def test_the_same_content_under_another_name_is_the_same_question(lateness, trips, tmp_path):
    first = features.get("lateness", rows=trips)
    again = features.get("lateness", rows=put("trips-again", small_tables(), tmp_path / "again"))
    assert (again.uri, len(open_store().list(JoinedRows))) == (first.uri, 1)


def test_removed_rows_that_are_made_again_are_there_again(lateness, trips):
    made = features.get("lateness", rows=trips)
    features.rm(made)
    assert resolve(made, JoinedRows, removed=True).body.is_removed
    features.get("lateness", rows=trips)
    assert not resolve(made, JoinedRows).body.is_removed
