"""What a column may be, and what becomes of it: keys, features, times, and the types of before."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from aiinfra_lab.errors import Failed, NotFound
from aiinfra_lab.features.join import as_feature, as_key, as_kind, as_time, need, once, plain_types

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def column(values: object, dtype: object = None) -> pl.DataFrame:
    return pl.DataFrame({"x": pl.Series(values, dtype=dtype)})


def through(read: object, frame: pl.DataFrame, *more: object, **named: object) -> pl.Series:
    return frame.select(read(frame, "x", *more, "the rows", **named))["x"]


@pytest.mark.parametrize(
    ("values", "dtype", "found", "kind"),
    [
        ([1, None], pl.Int8, [1, None], "integer"),
        ([1.0, None], None, [1, None], "integer"),
        ([1.0, float("nan")], None, [1, None], "integer"),
        (["a", None], None, ["a", None], "text"),
        (["a", "b"], pl.Categorical, ["a", "b"], "text"),
        ([True, None], None, [True, None], "truth"),
    ],
)
def test_a_key_is_a_text_a_whole_number_or_a_truth_value(values, dtype, found, kind):
    read = through(as_key, column(values, dtype))
    assert (read.to_list(), plain_types(read.to_frame(), ["x"])) == (found, {"x": kind})


@pytest.mark.parametrize(
    ("values", "dtype", "found", "kind"),
    [
        ([1, None], pl.UInt8, [1, None], "integer"),
        ([1.5, float("nan")], pl.Float32, [1.5, None], "number"),
        ([None, None], pl.Null, [None, None], "number"),
        (["a", None], None, ["a", None], "text"),
        ([False, None], None, [False, None], "truth"),
    ],
)
def test_a_feature_has_one_of_four_types(values, dtype, found, kind):
    read = through(as_feature, column(values, dtype))
    assert (read.to_list(), plain_types(read.to_frame(), ["x"])) == (found, {"x": kind})


@pytest.mark.parametrize(
    ("read", "values", "dtype", "fix"),
    [
        (as_key, [0.5], None, "use a text or a whole number as key"),
        (as_key, [NOON], None, "make it a number, a text or a truth value"),
        (as_feature, [[1]], None, "make it a number, a text or a truth value"),
        (as_feature, [2**63], pl.UInt64, "make it a text"),
    ],
)
def test_other_types_are_refused_with_what_to_make_of_them(read, values, dtype, fix):
    with pytest.raises(Failed) as problem:
        through(read, column(values, dtype))
    assert problem.value.fix == fix


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([1, 2], "integer", [1, 2]),
        ([1.0, None], "integer", [1, None]),
        ([1, 2], "number", [1.0, 2.0]),
        ([None], "text", [None]),
        ([None], "truth", [None]),
    ],
)
def test_what_loses_nothing_takes_the_type_of_before(values, kind, found):
    assert through(as_kind, column(values), kind).to_list() == found


@pytest.mark.parametrize(("values", "kind"), [([1.5], "integer"), (["1"], "number"), ([1], "text"), ([1], "truth")])
def test_what_would_lose_something_is_refused(values, kind):
    with pytest.raises(Failed) as problem:
        through(as_kind, column(values), kind)
    assert "it becomes a new version" in problem.value.fix


@pytest.mark.parametrize(
    "value", [NOON, NOON.replace(tzinfo=None), NOON.astimezone(__import__("zoneinfo").ZoneInfo("Asia/Tokyo"))]
)
def test_times_are_in_utc_and_those_without_a_zone_are_taken_to_be(value):
    assert through(as_time, column([value])).to_list() == [NOON]


def test_a_date_is_its_first_moment():
    assert through(as_time, column([date(2024, 5, 1)])).to_list() == [datetime(2024, 5, 1, tzinfo=UTC)]


@pytest.mark.parametrize(("later", "microsecond"), [(False, 1), (True, 2)])
def test_nanoseconds_are_cut_off_or_rounded_up(later, microsecond):
    nanoseconds = int(NOON.timestamp()) * 10**9 + 1_500
    frame = column([nanoseconds]).select(pl.col("x").cast(pl.Datetime("ns", "UTC")))
    assert through(as_time, frame, later=later).to_list() == [NOON.replace(microsecond=microsecond)]


def test_a_column_that_is_not_there_suggests_the_nearest():
    with pytest.raises(NotFound) as problem:
        need(pl.DataFrame({"place": ["a"]}), "plcae", "the rows")
    assert problem.value.fix == "did you mean place?"


def test_a_name_twice_is_named():
    once(["a", "b"], "the cell")
    with pytest.raises(Failed, match="'b' twice") as problem:
        once(["a", "b", "b"], "the cell")
    assert 'pl.col("b").alias' in problem.value.fix
