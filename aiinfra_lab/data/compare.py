"""What differs between two versions: files, and in tables rows, columns, types, and each column's summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..show import shown
from ..units import show_share
from .files import Manifest
from .handle import Dataset
from .tables import DataTable, gaps, is_category, is_same_type

if TYPE_CHECKING:
    import polars as pl

Change = tuple[str, str, str]  # what, before, after


@dataclass(frozen=True, slots=True)
class FileChanges:
    """The names of files that came, went, and hold other bytes."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A column whose values differ: each measure that does, with before and after.

    distance: how much of the rows differs, from 0 to 1, alike for all types. Of numbers and times it is Kolmogorov's,
    of others the total variation; what is missing counts as a value of its own, behind all others.
    """

    column: str
    distance: float
    measures: tuple[Change, ...]


@dataclass(frozen=True)
class TableChange:
    """How a table differs. rows_added and rows_removed compare rows over the columns that both have alike.

    compared: how many columns those are; without any, no row can be the same. retyped: (column, type before, type
    after). shifted: the columns that have a measure that differs, the most distant first.
    alike: what differs where none of that does, a sentence each: the order of rows or columns, or the bytes alone.
    """

    name: str
    rows_before: int
    rows_after: int
    rows_added: int
    rows_removed: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    retyped: tuple[Change, ...]
    shifted: tuple[ValueChange, ...]
    compared: int
    alike: tuple[str, ...] = ()

    @property
    def is_another(self) -> bool:
        """Whether a row, a column, a type or a measure differs."""
        columns = (self.columns_added, self.columns_removed, self.retyped, self.shifted)
        return self.rows_added + self.rows_removed > 0 or any(columns)


def files(before: Manifest, after: Manifest, pairs: Sequence[tuple[DataTable, DataTable]] = ()) -> FileChanges:
    """The differences between two lists of files. pairs: tables that are one, whatever their files are called."""
    called = {old.file: new.file for old, new in pairs}
    old = {called.get(file.name, file.name): file.sha256 for file in before.files}
    new = {file.name: file.sha256 for file in after.files}
    return FileChanges(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name in old and old[name] != new[name]),
    )


def tables(
    before: Dataset, after: Dataset, changed: FileChanges, pairs: Sequence[tuple[DataTable, DataTable]]
) -> tuple[TableChange, ...]:
    """How those pairs of tables differ, as far as their files do."""
    # A file whose digest is unchanged need not be read: its tables are equal.
    moved = {*changed.added, *changed.changed}
    return tuple(_table(before, after, old.name, new.name) for old, new in pairs if new.file in moved)


def _table(before: Dataset, after: Dataset, former: str, name: str) -> TableChange:
    old, new = before.describe(former).schema, after.describe(name).schema
    alike = [column for column in new if column in old and _comparable(old[column], new[column])]
    one, two = before.table(former), after.table(name)
    added, removed, is_moved = _rows(one, two, alike)
    found = TableChange(
        name=name,
        rows_before=one.height,
        rows_after=two.height,
        rows_added=added,
        rows_removed=removed,
        columns_added=tuple(column for column in new if column not in old),
        columns_removed=tuple(column for column in old if column not in new),
        retyped=tuple(
            (column, old[column], new[column])
            for column in new
            if column in old and not is_same_type(old[column], new[column])
        ),
        shifted=_shifted(one.select(alike), two.select(alike)),
        compared=len(alike),
    )
    orders = [[column for column in side if column in other] for side, other in ((old, new), (new, old))]
    said = ["the same rows in another order"] * is_moved
    said += ["the same columns in another order"] * (orders[0] != orders[1])
    # A zero's sign, how a file is written, or another file of that name: no value is another one.
    if not said and not found.is_another:
        said = [f"equal values, other bytes: {after.describe(name).file}"]
    return replace(found, alike=tuple(said))


def _comparable(before: str, after: str) -> bool:
    """Whether values of both types can be equal: those of the same type, and categories by their texts."""
    return before == after or (is_category(before) and is_category(after))


def _rows(before: pl.DataFrame, after: pl.DataFrame, columns: list[str]) -> tuple[int, int, bool]:
    """How many rows only the second and only the first has, equal ones counted as often as they occur.

    And whether both have the same rows in another order.
    """
    import polars as pl
    import polars.selectors as cs

    # Without a column in common no row can be the same.
    if not columns:
        return after.height, before.height, False
    # A category's hash is that of its code, which stands for another text once the categories changed.
    texts = (cs.enum() | cs.categorical()).cast(pl.String)
    hashes = [one.select(columns).with_columns(texts).hash_rows().rename("row") for one in (before, after)]
    old, new = (one.to_frame().group_by("row").len() for one in hashes)
    both = old.join(new, on="row", how="full", coalesce=True, suffix="_after").fill_null(0)
    # Signed, for counts are unsigned and their difference would wrap around.
    more = both["len_after"].cast(pl.Int64) - both["len"].cast(pl.Int64)
    added, removed = int(more.clip(lower_bound=0).sum()), int(-more.clip(upper_bound=0).sum())
    return added, removed, added == removed == 0 and not hashes[0].equals(hashes[1])


def _shifted(before: pl.DataFrame, after: pl.DataFrame) -> tuple[ValueChange, ...]:
    found = []
    for name in after.columns:
        old, new = _summary(before[name]), _summary(after[name])
        if measures := tuple((what, old[what], new[what]) for what in new if old[what] != new[what]):
            found.append(ValueChange(name, _distance(before[name], after[name]), measures))
    return tuple(sorted(found, key=lambda change: -change.distance))


def _distance(before: pl.Series, after: pl.Series) -> float:
    """By how much the shares of rows differ, as `ValueChange` has it."""
    import polars as pl

    if not len(before) or not len(after):
        return 1.0
    sides = [
        pl.DataFrame({"value": _values(side), "more": pl.repeat(sign / len(side), len(side), eager=True)})
        for side, sign in ((before, -1.0), (after, 1.0))
    ]
    more = pl.concat(sides).group_by("value").sum().sort("value", nulls_last=True)["more"]
    is_ordered = before.dtype.is_numeric() or before.dtype.is_temporal()
    return min(1.0, float(more.cum_sum().abs().max() if is_ordered else more.abs().sum() / 2))  # type: ignore[arg-type]


def _values(column: pl.Series) -> pl.Series:
    """Values that can be grouped and sorted; what is missing is null. Of nested ones it is all that is looked at."""
    import polars as pl

    if column.dtype.is_float():
        return column.fill_nan(None)
    if column.dtype.is_nested():
        return column.is_null()
    return column.cast(pl.String) if isinstance(column.dtype, pl.Enum | pl.Categorical) else column


def _summary(column: pl.Series) -> dict[str, str]:
    # Few measures that need one pass: a version may have hundreds of columns.
    count = column.to_frame().select(gaps(column.name, column.dtype)).item()
    missing = int(count) / len(column) if len(column) else 0.0
    found = {"missing": show_share(missing)}
    if column.dtype.is_numeric():
        # A single NaN would make the mean of a whole column NaN.
        mean: Any = column.drop_nans().mean() if column.dtype.is_float() else column.mean()
        found["mean"] = shown("mean", None if mean is None else float(mean))
    elif column.dtype.is_temporal():
        found |= {"first": str(column.min() or "–"), "last": str(column.max() or "–")}
    elif not column.dtype.is_nested():
        found["distinct"] = f"{column.drop_nulls().n_unique():,}"
    return found
