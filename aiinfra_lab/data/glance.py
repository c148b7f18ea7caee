"""What the columns of a table hold, at a glance: how much is missing, how many values there are, and which."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..units import show_share
from .tables import DataTable

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

MOST_ROWS = 50_000
"""Of more rows it looks at as many, so that a version of any size is shown within a second."""
MOST_COLUMNS = 7
_MOST_CELLS, _MOST_READ, _STRETCHES, _BINS, _FIRST, _LETTERS = 2_000_000, 300, 5, 14, 3, 24
_COMMON = 0.02  # a text that is rarer says nothing of the column; examples do


@dataclass(frozen=True, slots=True)
class ColumnGlance:
    """A column. missing: the share without a value. distinct: None where values cannot be told apart.

    shares: of the rows, by stretch of the range where `is_range`, else by value, the commonest first. said: the range,
    the commonest values, or examples.
    """

    name: str
    kind: str
    missing: float
    distinct: int | None = None
    shares: tuple[float, ...] = ()
    is_range: bool = False
    said: str = ""


@dataclass(frozen=True, slots=True)
class Glance:
    """A table. rows: how many were looked at. columns: those that say most, in the table's order. first: some rows."""

    rows: int
    columns: tuple[ColumnGlance, ...]
    first: tuple[dict[str, str | None], ...]
    are_first: bool = False
    """Whether the rows are the table's first ones, and not spread over it."""


def glance(folder: Path, table: DataTable, most: int = MOST_COLUMNS) -> Glance | None:
    """A look at a table whose file lies in the folder; None where it cannot be read or has no rows.

    most: of more columns, those with the largest shares that are missing, or else the first ones.
    """
    # Before the import, which takes longer than all the rest.
    if not table.rows or not (folder / table.file).is_file():
        return None
    import polars as pl

    try:
        frame, are_first = _sample(folder, table)
    except (pl.exceptions.PolarsError, OSError):  # altered since it was added: `data check` says so
        return None
    kinds = table.schema
    missing = {column.name: _missing(column) for column in frame}
    chosen = {*sorted(missing, key=lambda name: -missing[name])[:most]}
    columns = [_column(frame[name], kinds.get(name, ""), missing[name]) for name in frame.columns if name in chosen]
    first = [{name: _cell(value) for name, value in row.items()} for row in frame.head(_FIRST).to_dicts()]
    return Glance(frame.height, tuple(columns), tuple(first), are_first)


def _sample(folder: Path, table: DataTable) -> tuple[pl.DataFrame, bool]:
    import polars as pl

    from .tables import scan

    names = [name for name, _ in table.columns[:_MOST_READ]]
    lazy = scan(folder, table).select(names)
    most = min(MOST_ROWS, max(1000, _MOST_CELLS // len(names)))
    if table.rows <= most:
        return lazy.collect(), False
    if not table.file.lower().endswith(".parquet"):  # of a text, what stands further on costs all that is before it
        return lazy.head(most).collect(), True
    size = most // _STRETCHES
    starts = [step * (table.rows - size) // (_STRETCHES - 1) for step in range(_STRETCHES)]
    return pl.concat([lazy.slice(start, size) for start in starts]).collect(), False


def _missing(column: pl.Series) -> float:
    gaps = column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)
    return gaps / len(column)


def _column(column: pl.Series, kind: str, missing: float) -> ColumnGlance:
    import polars as pl

    known = column.drop_nulls()
    known = known.drop_nans() if known.dtype.is_float() else known
    if not len(known):
        return ColumnGlance(column.name, kind, missing, 0, said="no value")
    if known.dtype.is_nested() or known.dtype in (pl.Binary, pl.Object):
        return ColumnGlance(column.name, kind, missing)
    distinct = known.n_unique()
    if known.dtype.is_numeric() or known.dtype.is_temporal():
        low, high = _ends(known.min(), known.max())
        said = f"always {low}" if distinct == 1 else f"{low} to {high}"
        return ColumnGlance(column.name, kind, missing, distinct, _histogram(known), True, said)
    counts = known.cast(pl.String).value_counts(sort=True).head(7)
    values, shares = counts.to_series(0).to_list(), [count / len(column) for count in counts.to_series(1).to_list()]
    if shares[0] < _COMMON:
        examples = known.unique(maintain_order=True).head(3).cast(pl.String).to_list()
        return ColumnGlance(column.name, kind, missing, distinct, said=f"e.g. {', '.join(map(_cut_text, examples))}")
    said = ", ".join(
        f"{_cut_text(value)} {show_share(share)}" for value, share in zip(values[:3], shares[:3], strict=True)
    )
    return ColumnGlance(column.name, kind, missing, distinct, tuple(shares), False, said)


def _histogram(known: pl.Series) -> tuple[float, ...]:
    import numpy as np

    values = known.to_physical().to_numpy().astype(float)
    values = values[np.isfinite(values)]
    if not len(values):
        return ()
    # One value far off would leave all others in one bar.
    low, high = np.quantile(values, [0.005, 0.995])
    counts, _ = np.histogram(values.clip(low, high), _BINS)
    return tuple(float(count) / len(values) for count in counts)


def _ends(low: Any, high: Any) -> tuple[str, str]:
    """The ends of a range; of days alone where it is one of days."""
    if isinstance(low, datetime):
        letters = 10 if high - low >= timedelta(days=2) else 16
        return str(low)[:letters], str(high)[:letters]
    return _shown(low), _shown(high)


def _shown(value: Any) -> str:
    """A value as a person reads it; a number of the size of a year as a year."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value).replace("-", "−")
        text = f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
        return text.replace("-", "−")
    if isinstance(value, int):
        return str(value) if 1900 <= value <= 2100 else f"{value:,}".replace("-", "−")
    return str(value)[:19]


def _cell(value: Any) -> str | None:
    """A value in a row, as it is; None for what is missing."""
    if value is None or value != value:  # noqa: PLR0124  # NaN is not itself
        return None
    if isinstance(value, datetime):
        return str(value)[:16]
    return f"{value:.6g}" if isinstance(value, float) else _cut_text(str(value))


def _cut_text(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
