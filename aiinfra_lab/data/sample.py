"""Reading a table for a look at it: counts over all rows, and some rows that stand for the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .tables import DataTable, gaps, scan

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 50_000
"""Of more rows it takes as many."""
MOST_CELLS = 100_000_000
"""Rows times columns up to which parquet is read whole, which takes about 2 s on two cores."""
MOST_TEXT_CELLS = 30_000_000
"""The same of CSV and JSON lines, whose values have to be parsed."""
_MOST_TAKEN, _MOST_COLUMNS, _STRETCHES, _FIRST = 2_000_000, 300, 20, 3
_GOLDEN = 0.618  # the golden section: of all shifts, it spreads the places best

Spread = Literal["all", "even", "stretches", "first"]
"""Which rows were taken: all, one of each so many, stretches spread over the table, or its first ones."""


@dataclass(frozen=True, slots=True)
class TableSample:
    """Some rows of a table. first: its first rows. missing: column → the share of its rows without a value.

    ends: column of numbers or times → least and greatest value. These and `missing` are of all rows, unless the table
    is larger than what is read whole, which `is_whole` says: then they are of the rows that were taken.
    """

    frame: pl.DataFrame
    first: pl.DataFrame
    missing: dict[str, float]
    ends: dict[str, tuple[Any, Any]]
    spread: Spread

    @property
    def is_whole(self) -> bool:
        return self.spread in ("all", "even")


def sample(folder: Path, table: DataTable) -> TableSample:
    """A sample of a table that has rows, of its first 300 columns; a polars error or OSError when it was altered."""
    import polars as pl

    lazy = scan(folder, table).select([name for name, _ in table.columns[:_MOST_COLUMNS]])
    taken, spread = _taken(lazy, table)
    # Asked for together, so that a text is parsed once.
    counted = _counts(lazy if spread in ("all", "even") else taken)
    frame, counts, first = pl.collect_all([taken, counted, lazy.head(_FIRST)], engine="streaming")
    measures: dict[str, dict[str, Any]] = {
        name: counts[name].struct.unnest().row(0, named=True) for name in frame.columns
    }
    return TableSample(
        frame,
        first,
        {name: found["gaps"] / found["rows"] for name, found in measures.items()},
        {name: (found["low"], found["high"]) for name, found in measures.items() if found.get("low") is not None},
        spread,
    )


def _taken(lazy: pl.LazyFrame, table: DataTable) -> tuple[pl.LazyFrame, Spread]:
    width, is_parquet = len(lazy.collect_schema()), table.file.lower().endswith(".parquet")
    most = min(MOST_ROWS, max(1000, _MOST_TAKEN // width))
    if table.rows <= most:
        return lazy, "all"
    if table.rows * width <= (MOST_CELLS if is_parquet else MOST_TEXT_CELLS):
        return _even(lazy, -(-table.rows // most)), "even"
    if is_parquet:
        return _stretches(lazy, table.rows, most // _STRETCHES), "stretches"
    return lazy.head(most), "first"  # of a text, what stands further on costs all that is before it


def _even(lazy: pl.LazyFrame, step: int) -> pl.LazyFrame:
    """One row of each `step`."""
    import polars as pl

    # Never the same place in each: rows that repeat with the step's period, like days, would all be of one kind.
    # Without a common divisor each place has its turn.
    shift = next(one for one in range(round(step * _GOLDEN), 2 * step) if math.gcd(one, step) == 1)
    at = pl.col("row in table")
    chosen = lazy.with_row_index("row in table").filter(at % step == at // step * shift % step)
    return chosen.drop("row in table")


def _stretches(lazy: pl.LazyFrame, rows: int, size: int) -> pl.LazyFrame:
    import polars as pl

    return pl.concat([lazy.slice(step * (rows - size) // (_STRETCHES - 1), size) for step in range(_STRETCHES)])


def _counts(lazy: pl.LazyFrame) -> pl.LazyFrame:
    """One row, with a struct for each column."""
    import polars as pl

    return lazy.select(
        pl.struct(pl.len().alias("rows"), gaps(name, dtype).alias("gaps"), *_ends(name, dtype)).alias(name)
        for name, dtype in lazy.collect_schema().items()
    )


def _ends(name: str, dtype: pl.DataType) -> list[pl.Expr]:
    import polars as pl

    if not (dtype.is_numeric() or dtype.is_temporal()):
        return []
    known = pl.col(name).drop_nans() if dtype.is_float() else pl.col(name)
    return [known.min().alias("low"), known.max().alias("high")]
