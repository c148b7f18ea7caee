"""What a column is said to hold, at a glance."""

import polars as pl
import pytest

from aiinfra_lab.data import sample as module
from aiinfra_lab.data.glance import MOST_COLUMNS, glance
from aiinfra_lab.data.tables import DataTable, type_name

NONE = pl.Series([None] * 4, dtype=pl.Float64)


def look(folder, **columns):
    frame = pl.DataFrame(columns)
    frame.write_parquet(folder / "t.parquet")
    kinds = tuple((name, type_name(dtype)) for name, dtype in frame.schema.items())
    return glance(folder, DataTable("t", "t.parquet", frame.height, kinds))


@pytest.mark.parametrize(
    ("values", "missing", "distinct", "said"),
    [
        ([-5, 1, 1, None], 0.25, 2, "−5 to 1"),
        ([1.5, float("nan"), 2000.25, 3.0], 0.25, 3, "1.5 to 2,000"),
        ([2013, 2013, 2013, 2013], 0.0, 1, "always 2013"),
        ([48.1401, 48.1402, 48.1401, 48.1401], 0.0, 2, "always about 48.14"),
        ([48.14, 48.14, None, 48.14], 0.25, 1, "always 48.14"),
        (["UA", "UA", "B6", None], 0.25, 2, "UA 50 %, B6 25 %"),
        ([True, False, True, True], 0.0, 2, "true 75 %, false 25 %"),
        (NONE, 1.0, 0, "no value"),
        ([[1], [2], [3], None], 0.25, None, ""),
        (pl.Series(["2026-01-01", "2026-03-01"] * 2).str.to_date(), 0.0, 2, "2026-01-01 to 2026-03-01"),
        (pl.Series([0, 1, 2, 3600]).cast(pl.Datetime("ms")), 0.0, 4, "always about 1970-01-01 00:00"),
    ],
)  # fmt: skip
def test_a_column_is_summed_up(tmp_path, values, missing, distinct, said):
    (column,) = look(tmp_path, x=values).columns
    assert (column.missing, column.distinct, column.said) == (missing, distinct, said)


def test_texts_that_are_all_rare_are_shown_by_examples(tmp_path):
    (column,) = look(tmp_path, tail=[f"N{number}" for number in range(100)]).columns
    assert (column.said, column.shares) == ("e.g. N0, N1, N2", ())


def test_shares_add_up_to_what_is_known(tmp_path):
    numbers, texts = look(tmp_path, x=[1.0, 2.0, 3.0, 1e9], t=["a", "a", "b", None]).columns
    assert (sum(numbers.shares), numbers.is_range) == (1.0, True)
    assert (texts.shares, texts.is_range) == ((0.5, 0.25), False)


def test_whole_numbers_that_are_all_as_common_are_drawn_flat(tmp_path):
    (column,) = look(tmp_path, items=[*range(1, 9)] * 50).columns
    assert column.shares == pytest.approx([1 / 8] * 8)


def of_many(folder, ending, frame):
    getattr(frame, f"write_{ending}")(folder / f"t.{ending}")
    kinds = tuple((name, type_name(dtype)) for name, dtype in frame.schema.items())
    return glance(folder, DataTable("t", f"t.{ending}", frame.height, kinds, ","))


BURST = pl.DataFrame({"x": [None if 4000 <= row < 4400 else row for row in range(10_000)]})
"""Missing in one place, between the stretches that a look at some places would read; even in all others."""


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_what_is_missing_and_the_ends_are_those_of_all_rows(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(module, "MOST_ROWS", 1000)
    found = of_many(tmp_path, ending, BURST)
    (column,) = found.columns
    assert (found.rows, found.spread) == (1000, "even")
    assert (column.missing, column.said, column.has_more) == (0.04, "0 to 9,999", True)


def test_the_distribution_of_a_large_table_is_that_of_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 1000)
    # Rows that repeat every ten: a sample that takes every tenth would see one value alone.
    frame = pl.DataFrame({"even": range(10_000), "day": [row % 10 for row in range(10_000)]})
    for column in of_many(tmp_path, "parquet", frame).columns:
        assert max(column.shares) < 0.13, column


@pytest.mark.parametrize(("ending", "spread", "said"), [
    ("parquet", "stretches", "0 to 9,999"), ("csv", "first", "0 to 999"),
])  # fmt: skip
def test_of_a_table_too_large_to_read_whole_a_part_is_looked_at_and_says_so(
    tmp_path, monkeypatch, ending, spread, said
):
    for name, limit in (("MOST_ROWS", 1000), ("MOST_CELLS", 5000), ("MOST_TEXT_CELLS", 5000)):
        monkeypatch.setattr(module, name, limit)
    found = of_many(tmp_path, ending, pl.DataFrame({"x": range(10_000)}))
    assert (found.rows, found.spread, found.columns[0].said) == (1000, spread, said)


def test_a_value_that_is_rare_is_told_from_none(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 1000)
    rare = ["x"] + [None] * 9_999
    (text,) = of_many(tmp_path, "parquet", pl.DataFrame({"t": rare[::-1]})).columns
    assert (text.missing, text.said) == (0.9999, "no value among these")


def test_a_file_that_is_gone_or_altered_has_no_glance(tmp_path):
    table = DataTable("t", "t.parquet", 3, (("x", "int64"),))
    assert glance(tmp_path, table) is None
    (tmp_path / "t.parquet").write_text("no parquet")
    assert glance(tmp_path, table) is None


def test_the_columns_with_gaps_are_among_those_shown(tmp_path):
    columns = {f"c{number}": [1, 2] for number in range(20)} | {"gaps": [1, None]}
    shown = look(tmp_path, **columns).columns
    assert (len(shown), shown[-1].name) == (MOST_COLUMNS, "gaps")
    assert [column.name for column in shown[:2]] == ["c0", "c1"]
