"""Data frames of three libraries as one parquet file."""

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from aiinfra_lab.data.frames import is_frame, to_polars, write_frame
from aiinfra_lab.errors import Failed, UsageProblem

ROWS = {"x": [1, 2], "y": ["a", None]}


@pytest.mark.parametrize("frame", [pd.DataFrame(ROWS), pl.DataFrame(ROWS), pl.LazyFrame(ROWS), pa.table(ROWS)])
def test_frames_of_three_libraries_are_the_same_table(frame):
    assert is_frame(frame)
    assert to_polars(frame).to_dict(as_series=False) == ROWS


@pytest.mark.parametrize("value", [ROWS, [1], "x.csv", 7, None])
def test_anything_else_is_no_frame(value):
    assert not is_frame(value)


@pytest.mark.parametrize("value", [pd.Series([1]), pl.Series([1]), pa.array([1])])
def test_a_single_column_is_refused_with_what_makes_it_a_frame(value):
    with pytest.raises(UsageProblem) as caught:
        to_polars(value)
    assert "series.to_frame()" in caught.value.fix


def test_an_index_of_several_names_becomes_columns():
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])
    assert to_polars(pd.DataFrame({"x": [5, 6]}, index=index)).columns == ["k", "n", "x"]


@pytest.mark.parametrize("values", [[1, 2.5, None], [True, None], ["a", None], [None, None]])
def test_objects_of_one_kind_with_gaps_are_a_column(values):
    assert to_polars(pd.DataFrame({"x": pd.Series(values, dtype=object)}))["x"].to_list() == values


@pytest.mark.parametrize("values", [[1, "a"], [True, 1], [b"a", "a"]])
def test_objects_of_several_kinds_are_refused_with_what_to_write(values):
    with pytest.raises(Failed) as caught:
        to_polars(pd.DataFrame({"x": pd.Series(values, dtype=object)}))
    assert "df['x'].astype(str)" in caught.value.fix


def test_the_same_rows_are_the_same_bytes_however_they_are_chunked(tmp_path):
    whole = pl.DataFrame({"x": range(10)})
    write_frame(whole, tmp_path / "one")
    write_frame(pl.concat([whole[:3], whole[3:]], rechunk=False), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
