"""Data frames of three libraries as one parquet file."""

import re

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from aiinfra_lab.data.frames import is_frame, to_pandas, to_polars, write_frame
from aiinfra_lab.errors import Failed, UsageProblem

FIXES = re.compile(r"df\.\w+\([^)]*\)")
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


@pytest.mark.parametrize(
    "index", [["u", "v"], [1, 0], [5, 6], pd.to_datetime(["2024-01-01", "2024-01-02"]), [[1, 2]] * 2]
)
def test_an_index_without_a_name_that_holds_something_is_refused_and_both_ways_out_work(index):
    frame = pd.DataFrame(ROWS, index=index)
    with pytest.raises(Failed) as caught:
        to_polars(frame)
    kept, dropped = (eval(code, {"df": frame}) for code in FIXES.findall(caught.value.fix))
    assert to_polars(dropped).to_dict(as_series=False) == ROWS
    levels = [to_polars(kept)[name].to_list() for name in kept.index.names]
    assert levels == [frame.index.get_level_values(level).tolist() for level in range(frame.index.nlevels)]


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(ROWS), pd.DataFrame(ROWS, index=pd.Index([0, 1])), pd.DataFrame({"x": []})]
)
def test_an_index_that_counts_the_rows_is_left_out(frame):
    assert to_polars(frame).columns == list(frame.columns)


def test_an_index_that_is_called_like_a_column_is_refused_and_the_fix_keeps_both():
    frame = pd.DataFrame(ROWS, index=pd.Index([7, 8], name="x"))
    with pytest.raises(Failed) as caught:
        to_polars(frame)
    mended = eval(caught.value.fix.partition(": df = ")[2], {"df": frame})
    assert to_polars(mended).to_dict(as_series=False) == {"x": [7, 8], "x_2": [1, 2], "y": ["a", None]}


@pytest.mark.parametrize("values", [[1, 2.5, None], [True, None], ["a", None], [None, None]])
def test_objects_of_one_kind_with_gaps_are_a_column(values):
    assert to_polars(pd.DataFrame({"x": pd.Series(values, dtype=object)}))["x"].to_list() == values


@pytest.mark.parametrize("values", [[1, "a"], [True, 1], [b"a", "a"]])
def test_objects_of_several_kinds_are_refused_with_what_to_write(values):
    with pytest.raises(Failed) as caught:
        to_polars(pd.DataFrame({"x": pd.Series(values, dtype=object)}))
    assert "df['x'].astype(str)" in caught.value.fix


def test_whole_numbers_of_more_than_64_bits_are_refused_with_what_to_write():
    frame = pd.DataFrame({"x": pd.Series([1, 2**70], dtype=object)})
    with pytest.raises(Failed) as caught:
        to_polars(frame)
    # A model takes them as floats, as it does what an endpoint is sent.
    as_floats = "or by .astype(float) as floats, which keep 15 digits"
    assert caught.value.fix == f"write them as texts, {as_floats}: df['x'] = df['x'].astype(str)"
    assert to_polars(frame.astype(str))["x"].to_list() == ["1", str(2**70)]
    assert to_polars(frame.astype(float))["x"].to_list() == [1.0, 2.0**70]


def test_nested_whole_numbers_of_more_than_64_bits_are_refused():
    with pytest.raises(Failed):
        to_polars(pd.DataFrame({"x": [[2**70]]}))


def ordered(categories: list) -> pd.Categorical:
    return pd.Categorical([categories[0], None], categories=categories, ordered=True)


@pytest.mark.parametrize(
    "column",
    [
        pd.array([1, None, 2**60 + 1], dtype="Int64"),
        pd.array([1, None, 2**64 - 1], dtype="UInt64"),
        pd.array([True, None, False], dtype="boolean"),
        ordered(["low", "middle", "high"]),
        pd.Categorical(["b", None, "a"]),
        [1.5, None, 2.0],
        [1, 2, 3],
    ],
)
def test_a_column_comes_back_as_pandas_had_it(tmp_path, column):
    frame = pd.DataFrame({"x": column})
    assert write_frame(frame, tmp_path / "x.parquet") == ""
    pd.testing.assert_frame_equal(to_pandas(pl.read_parquet(tmp_path / "x.parquet")), frame, check_categorical=False)
    assert to_pandas(pl.read_parquet(tmp_path / "x.parquet")).x.dtype == frame.x.dtype


@pytest.mark.parametrize("column", [ordered([3, 1]), pd.Categorical(["a"], categories=["a", "b"])])
def test_categories_that_cannot_be_kept_are_named(tmp_path, column):
    assert write_frame(pd.DataFrame({"x": column}), tmp_path / "x.parquet").startswith("column x ")


def test_the_same_rows_are_the_same_bytes_however_they_are_chunked(tmp_path):
    whole = pl.DataFrame({"x": range(10)})
    write_frame(whole, tmp_path / "one")
    write_frame(pl.concat([whole[:3], whole[3:]], rechunk=False), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
