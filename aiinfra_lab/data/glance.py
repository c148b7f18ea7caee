"""What the columns of a table hold, at a glance: how much is missing, how many values there are, and which."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..units import show_share
from .sample import Spread, TableSample, sample
from .tables import DataTable

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

MOST_COLUMNS = 7
_BINS, _LETTERS = 14, 24
_COMMON = 0.02  # a text that is rarer says nothing of the column; examples do


@dataclass(frozen=True, slots=True)
class ColumnGlance:
    """A column. missing: the share of all rows without a value. distinct: None where values cannot be told apart.

    shares: of the rows, by stretch of the range where `is_range`, else by value, the commonest first. said: the range
    of all rows, the commonest values, or examples. has_more: whether other rows may hold further values.
    """

    name: str
    kind: str
    missing: float
    distinct: int | None = None
    shares: tuple[float, ...] = ()
    is_range: bool = False
    said: str = ""
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Glance:
    """A table. rows: how many were looked at. columns: those that say most, in its order. first: its first rows.

    spread: which rows were looked at; where it is "stretches" or "first", what is missing and the ranges are theirs.
    """

    rows: int
    columns: tuple[ColumnGlance, ...]
    first: tuple[dict[str, str | None], ...]
    spread: Spread = "all"


def glance(folder: Path, table: DataTable, most: int = MOST_COLUMNS) -> Glance | None:
    """A look at a table whose file lies in the folder; None where it cannot be read or has no rows.

    most: of more columns, those with the largest shares that are missing, or else the first ones.
    """
    # Before the import, which takes longer than all the rest.
    if not table.rows or not (folder / table.file).is_file():
        return None
    import polars as pl

    try:
        found = sample(folder, table)
    except (pl.exceptions.PolarsError, OSError):  # altered since it was added: `data check` says so
        return None
    names = found.frame.columns
    chosen = {*sorted(names, key=lambda name: -found.missing[name])[:most]}
    columns = [_column(found, name, table.schema.get(name, "")) for name in names if name in chosen]
    first = [{name: _cell(value) for name, value in row.items()} for row in found.first.to_dicts()]
    return Glance(found.frame.height, tuple(columns), tuple(first), found.spread)


def _column(found: TableSample, name: str, kind: str) -> ColumnGlance:
    import polars as pl

    column, is_all = found.frame[name], found.spread == "all"
    one = ColumnGlance(name, kind, found.missing[name], has_more=not is_all)
    known = column.drop_nulls()
    known = known.drop_nans() if known.dtype.is_float() else known
    if one.missing == 1 and found.is_whole:
        return replace(one, distinct=0, said="no value", has_more=False)
    if known.dtype.is_nested() or known.dtype in (pl.Binary, pl.Object):
        return one
    one = replace(one, distinct=known.n_unique())
    if name in found.ends:
        return _with_range(one, known, found)
    return _with_values(one, known, len(column))


def _with_range(one: ColumnGlance, known: pl.Series, found: TableSample) -> ColumnGlance:
    least, greatest = found.ends[one.name]
    low, high = _ends(least, greatest)
    if least == greatest:
        one = replace(one, distinct=1, has_more=not found.is_whole)
        said = f"always {low}"
    else:  # two at least, even where the rows that were looked at have one
        one = replace(one, distinct=max(2, one.distinct or 0))
        said = f"{low} to {high}" if low != high else f"always about {low}"
    return replace(one, shares=_histogram(known), is_range=True, said=said)


def _with_values(one: ColumnGlance, known: pl.Series, rows: int) -> ColumnGlance:
    import polars as pl

    if not len(known):
        return replace(one, said="no value among these")
    counts = known.cast(pl.String).value_counts(sort=True).head(7)
    values, shares = counts.to_series(0).to_list(), [count / rows for count in counts.to_series(1).to_list()]
    if shares[0] < _COMMON:
        examples = known.unique(maintain_order=True).head(3).cast(pl.String).to_list()
        return replace(one, said=f"e.g. {', '.join(map(_cut_text, examples))}")
    said = ", ".join(
        f"{_cut_text(value)} {show_share(share)}" for value, share in zip(values[:3], shares[:3], strict=True)
    )
    return replace(one, shares=tuple(shares), said=said)


def _histogram(known: pl.Series) -> tuple[float, ...]:
    import polars as pl

    from ..stats.bins import shares_in_bins

    return tuple(shares_in_bins(known.to_physical().cast(pl.Float64).to_numpy(), most=_BINS)[0])


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
