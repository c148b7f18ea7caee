"""How two versions of data differ, as a person reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..show import (
    ADDED,
    CHANGED,
    REMOVED,
    Card,
    Cell,
    Dim,
    Figure,
    Fold,
    Number,
    Part,
    RowHeader,
    StateMark,
    Table,
    mark_of,
    sentence,
)
from ..units import counted, show_share
from ..uris import Uri
from .compare import FileChanges, TableChange, ValueChange

_TIME = re.compile(r"(?<=\d{4}-\d\d-\d\d)[ T]\d\d:\d\d(?::[\d.]+)?(?:[+-]\d\d:\d\d|Z)?")
_DISTANCE = (
    "Distance: the largest difference of the shares of rows up to some value, of texts half of all differences of the "
    "values' shares; what is missing counts as a value."
)
_MOST_SHIFTED, _MOST_FOLDED = 5, 7


def difference_card(
    uri: str, other: str, files: FileChanges | None, tables: Sequence[TableChange], note: str = ""
) -> Card:
    """The card of a comparison. note: why there is nothing to hold it against, if so."""
    state, lead = _verdict(files, tables)
    return Card(
        kind="Data comparison",
        uri=uri if note else f"{other} → {_short(uri, other)}",
        state=None if note else state,
        lead=sentence(note) if note else lead,
        figures=_rows(tables[0]) if len(tables) == 1 and tables[0].is_another else [],
        parts=[*_tables(tables, other, uri), *_columns(tables, other, uri), *_files(files, tables)],
        notes=[
            *(f"{table.name}: {one}." for table in tables for one in table.alike),
            *([_DISTANCE] if any(table.shifted for table in tables) else []),
        ],
        next=[f"Next: `%data check {Uri.parse(uri).label} --like {Uri.parse(other).label}`"] if tables else [],
    )


def _short(uri: str, other: str) -> str:
    """The version alone, where both are of one name."""
    one, two = Uri.parse(uri), Uri.parse(other)
    return f"@{one.version}" if one.bare == two.bare and one.version else uri


def _verdict(files: FileChanges | None, tables: Sequence[TableChange]) -> tuple[StateMark, str]:
    came, gone, other = (
        sum(len(getattr(table, name)) for table in tables) for name in ("columns_added", "columns_removed", "retyped")
    )
    said = [
        f"{counted(count, 'column')} {what}" for count, what in
        ((came, "added"), (gone, "removed"), (other, f"of {'another type' if other == 1 else 'other types'}")) if count
    ]  # fmt: skip
    added, removed = (sum(getattr(table, name) for table in tables) for name in ("rows_added", "rows_removed"))
    rows = f"Rows: {added:,} added, {removed:,} removed." if tables else ""
    if said:
        return mark_of("schema changed"), f"**{', '.join(said)}.** {_compared_rows(tables, rows)}"
    if added or removed:
        return mark_of("changed"), f"**{rows.removesuffix('.')}**, in the same columns."
    moved = files and (files.added or files.removed or files.changed)
    if any(table.is_another for table in tables):
        return mark_of("changed"), "**Values differ**, and no row came or went."
    if tables or not moved:
        is_same = mark_of("same")
        return (is_same, "**Nothing differs.**") if not moved else (mark_of("changed"), _of_files(files, tables))
    return mark_of("changed"), _of_files(files, tables)


def _compared_rows(tables: Sequence[TableChange], rows: str) -> str:
    """What became of the rows, which can be the same only as far as their columns are."""
    if any(table.compared for table in tables):
        return f"{rows[:-1]}, by the columns that are of one type in both."
    return "Rows cannot be compared: no column is of one type in both." * bool(rows)


def _of_files(files: FileChanges | None, tables: Sequence[TableChange]) -> str:
    assert files is not None
    counts = ((files.added, "added"), (files.removed, "removed"), (files.changed, "changed"))
    said = ", ".join(f"{len(names)} {what}" for names, what in counts if names)
    equal = " In the tables that both have every value is the same." if tables else ""
    return f"**Files: {said}.**{equal}"


def _rows(table: TableChange) -> list[Figure]:
    before = "as many before" if table.rows_before == table.rows_after else f"{table.rows_before:,} before"
    return [
        Figure("rows", f"{table.rows_after:,}", before),
        *(Figure(f"rows {what}", f"{count:,}") for what, count in
          (("added", table.rows_added), ("removed", table.rows_removed)) if table.compared),
    ]  # fmt: skip


def _tables(tables: Sequence[TableChange], other: str, uri: str) -> list[Part]:
    if len(tables) < 2:
        return []
    rows: list[tuple[Cell, ...]] = [
        (
            table.name,
            f"{table.rows_before:,}",
            f"{table.rows_after:,}",
            f"{table.rows_added:,} added, {table.rows_removed:,} removed" if table.is_another else Dim("= same"),
        )
        for table in sorted(tables, key=lambda table: -(table.rows_added + table.rows_removed))
    ]
    return [Table((RowHeader("table"), Number(f"rows in {other}"), Number(f"in {uri}"), "difference"), rows)]


def _columns(tables: Sequence[TableChange], other: str, uri: str) -> list[Part]:
    """What a pipeline stumbles over first: columns that are gone, then those of other types, new and other values."""
    found: list[list[tuple[Cell, ...]]] = [[], [], []]
    shifted: list[tuple[str, ValueChange]] = []
    for table in tables:
        place = f"{table.name}." if len(tables) > 1 else ""
        found[0] += [(f"{place}{name}", REMOVED, "", "a column", Dim("–")) for name in table.columns_removed]
        found[1] += [(f"{place}{name}", _changed("type"), "", old, new) for name, old, new in table.retyped]
        found[2] += [(f"{place}{name}", ADDED, "", Dim("–"), "a column") for name in table.columns_added]
        shifted += [(f"{place}{change.column}", change) for change in table.shifted]
    shifted.sort(key=lambda one: -one[1].distance)
    values: list[tuple[Cell, ...]] = [
        (name, _changed("values"), show_share(change.distance), *_sides(change)) for name, change in shifted
    ]
    titles = (RowHeader("column"), "change", Number("distance"), other, uri)
    rows = [row for some in found for row in some] + values[:_MOST_SHIFTED]
    parts: list[Part] = [Table(titles, rows)] if rows else []
    if more := values[_MOST_SHIFTED:]:
        parts.append(
            Fold(f"{counted(len(more), 'more column')} whose values differ", Table(titles, more, most=_MOST_FOLDED))
        )
    return parts


def _changed(what: str) -> StateMark:
    return replace(CHANGED, word=what)


def _sides(change: ValueChange) -> tuple[str, str]:
    """All measures that differ, before and after."""
    before, after = (
        ", ".join(
            f"{one[side]} {one[0]}" if one[0] == "missing" else f"{one[0]} {one[side]}" for one in change.measures
        )
        for side in (1, 2)
    )
    return _by_day(before, after)


def _by_day(before: str, after: str) -> tuple[str, str]:
    """Moments as days, which is what fits beside one another; with their times where those alone differ."""
    days = _TIME.sub("", before), _TIME.sub("", after)
    return days if days[0] != days[1] else (before, after)


def _files(files: FileChanges | None, tables: Sequence[TableChange]) -> list[Part]:
    compared = {table.name for table in tables}  # their rows say more than that the file differs
    rows: list[tuple[Cell, ...]] = []
    if files:
        rows += [(name, REMOVED) for name in files.removed]
        rows += [(name, ADDED) for name in files.added]
        rows += [(name, CHANGED) for name in files.changed if Path(name).stem not in compared]
    return [Table((RowHeader("file"), "change"), rows)] if rows else []
