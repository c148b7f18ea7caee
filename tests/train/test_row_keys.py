"""A row is found again by its values, whatever types pandas, polars or another file gave them."""

import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from aiinfra_lab.data.frames import to_pandas, to_polars
from aiinfra_lab.train.row_keys import keys

DAYS = [dt.date(2026, 1, 1), dt.date(1969, 7, 20), None]
MOMENTS = pl.Series(["2026-01-01 12:00:00", "2026-01-02 00:00:00", "2026-01-03 01:02:03.004"]).str.to_datetime()
UTC = MOMENTS.dt.replace_time_zone("UTC")
COLUMNS = {
    "dates": pl.Series(DAYS),
    "milliseconds": MOMENTS.dt.cast_time_unit("ms"),
    "microseconds": MOMENTS,
    "nanoseconds": MOMENTS.dt.cast_time_unit("ns"),
    "zone": UTC.dt.convert_time_zone("Europe/Rome"),
    "times": pl.Series([dt.time(1, 2, 3), dt.time(0), None]),
    "durations": pl.Series([dt.timedelta(days=1), dt.timedelta(0), None]),
    "truth": pl.Series([True, False, None]),
    "whole": pl.Series([1, -2, None]),
    "ids": pl.Series([2**53 - 1, 2**53 - 2, 0], dtype=pl.UInt64),
    "single": pl.Series([0.1, -0.0, None], dtype=pl.Float32),
    "double": pl.Series([0.1, 1e300, float("nan")]),
    "decimals": pl.Series([Decimal("0.10"), Decimal("2.50"), None]),
    "texts": pl.Series(["a", "", None]),
    "categories": pl.Series(["b", "a", None], dtype=pl.Categorical),
    "enum": pl.Series(["b", "a", None], dtype=pl.Enum(["b", "a"])),
    "bytes": pl.Series([b"\xff\x00", b"", None]),
    "arrays": pl.Series([[0.5, 1.0], [2.0], []], dtype=pl.List(pl.Float32)),
    "texts in lists": pl.Series([["a", "b"], ["c"], []]),
    "fixed": pl.Series([[1, 2], [3, 4], [5, 6]], dtype=pl.Array(pl.Int64, 2)),
    "objects": pl.Series([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": "z"}]),
    "nothing": pl.Series([None, None, None]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_that_went_through_pandas_are_the_same(name):
    table = pl.DataFrame({name: COLUMNS[name], "row": [0, 1, 2]})
    ours, theirs = keys([table, to_polars(to_pandas(table))], table.columns)
    assert ours.tolist() == theirs.tolist()
    assert len({*ours}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (COLUMNS["dates"], COLUMNS["dates"].cast(pl.Datetime("ms"))),
        (COLUMNS["dates"], COLUMNS["dates"].cast(pl.String)),
        (COLUMNS["milliseconds"], COLUMNS["nanoseconds"]),
        (COLUMNS["microseconds"], COLUMNS["microseconds"].cast(pl.String)),
        (COLUMNS["microseconds"], COLUMNS["microseconds"].dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")),
        (COLUMNS["microseconds"], UTC),
        (COLUMNS["zone"], UTC),
        (COLUMNS["truth"], COLUMNS["truth"].cast(pl.Int8)),
        (COLUMNS["truth"], COLUMNS["truth"].cast(pl.Float64)),
        (COLUMNS["truth"], pl.Series(["True", "False", None])),
        (COLUMNS["whole"], COLUMNS["whole"].cast(pl.Float64)),
        (COLUMNS["whole"], COLUMNS["whole"].cast(pl.String)),
        (COLUMNS["double"], COLUMNS["double"].cast(pl.String)),
        (pl.Series([0.1, 0.2, 0.3]), pl.Series([0.1, 0.2, 0.3], dtype=pl.Float32)),
        (COLUMNS["categories"], COLUMNS["categories"].cast(pl.String)),
        (COLUMNS["arrays"], COLUMNS["arrays"].cast(pl.List(pl.Float64))),
        (COLUMNS["whole"], pl.Series([1.0, -2.0, float("nan")])),
    ],
)
def test_rows_that_another_file_wrote_otherwise_are_the_same(one, other):
    tables = [pl.DataFrame({"it": each, "row": [0, 1, 2]}) for each in (one, other)]
    ours, theirs = keys(tables, ["it", "row"])
    assert ours.tolist() == theirs.tolist()


def test_other_values_are_other_rows():
    values = pl.DataFrame({"it": ["a", "b", "2026-01-01", "2026-01-02", "1", "2", "", None, "A", "a b"]})
    assert len(np.unique(keys([values], ["it"])[0])) == values.height
