"""How a version of data looks: what it holds, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..show import (
    Card,
    Cell,
    Dim,
    Figure,
    Fold,
    Listed,
    Number,
    Part,
    Picture,
    StateMark,
    Strong,
    Table,
    drawing,
    moment,
    shown,
)
from ..units import counted, show_share
from .glance import MOST_COLUMNS, ColumnGlance, Glance, glance
from .tables import DataTable

_MUCH_MISSING = 0.1
_MOST_TABLES, _MOST_FOLDED, _MOST_NAMED, _MOST_OF_OTHERS, _MOST_OF_MAIN = 20, 4, 40, 10, 5
_ROOM = 92  # letters of a row


def version_card(
    uri: str,
    main: str | None,
    tables: Sequence[DataTable],
    *,
    files: int,
    size_bytes: int,
    added_at: float,
    facts: Sequence[tuple[str, str]],
    folder: Path | None,
    state: StateMark | None = None,
    lead: str = "",
    advice: str = "",
    next_: Sequence[str] = (),
) -> Card:
    """The card of a version. main: the table that is shown with its columns. folder: where its files are, if here."""
    table = next((one for one in tables if one.name == main), None)
    look = glance(folder, table, MOST_COLUMNS if len(tables) == 1 else _MOST_OF_MAIN) if folder and table else None
    parts: list[Part] = []
    if len(tables) > 1 or (tables and table is None):
        parts.append(_tables(tables, "tables" if table else ""))
    parts += _columns(table, look, is_one=len(tables) == 1) if table else []
    others = [one for one in tables if one is not table][:_MOST_FOLDED]
    parts += [Fold(f"columns of {one.name}", Listed(_named(one.columns, _MOST_OF_OTHERS))) for one in others]
    size, _, unit = shown("size_bytes", size_bytes).partition(" ")
    rows = [Figure("rows", f"{table.rows:,}"), Figure("columns", f"{len(table.columns):,}")] if table else []
    if not table and tables:
        rows = [Figure("tables", f"{len(tables):,}")]
    return Card(
        kind="Data version",
        uri=uri,
        state=state,
        when=f"added {moment(added_at)}",
        lead=lead,
        advice=advice,
        facts=facts,
        figures=[*rows, Figure("files", f"{files:,}"), Figure("size", size, unit)],
        parts=parts,
        notes=_notes(table, look),
        next=next_,
    )


def _tables(tables: Sequence[DataTable], label: str) -> Table:
    rows = [(table.name, f"{table.rows:,}", f"{len(table.columns):,}", table.file) for table in tables]
    return Table(("table", Number("rows"), Number("columns"), "file"), rows, label, most=_MOST_TABLES)


def _columns(table: DataTable, look: Glance | None, *, is_one: bool) -> list[Part]:
    label = "" if is_one else f"columns of {table.name}"
    if look is None:
        rows = [(name, kind) for name, kind in table.columns[:MOST_COLUMNS]]
        return [Table(("column", "type"), rows, label), *_more(table, {name for name, _ in rows})]
    titles = ("column", "type", Number("missing"), Number("distinct"), "values", "examples or range")
    drawn = Table(titles, [_column(one) for one in look.columns], label)
    return [drawn, *_more(table, {one.name for one in look.columns}), *(_first(table, look) if is_one else ())]


def _column(one: ColumnGlance) -> tuple[Cell, ...]:
    share = show_share(one.missing)
    missing: Cell = Strong(share) if one.missing >= _MUCH_MISSING else share
    return one.name, _kind(one.kind), missing, _distinct(one), _picture(one), one.said


def _distinct(one: ColumnGlance) -> str:
    if one.distinct is None:
        return "–"
    if one.has_more and one.distinct < 2:  # "at least 1" is true of any column
        return f"{one.distinct} seen"
    return f"{'≥ ' * one.has_more}{one.distinct:,}"


def _picture(one: ColumnGlance) -> Picture | str:
    alt = f"values of {one.name}: {one.said}"
    if not one.shares:
        return ""
    return drawing.numbers(one.shares, alt=alt) if one.is_range else drawing.categories(one.shares, alt=alt)


def _kind(kind: str) -> str:
    """Without a unit, and without the categories, which may be many: the examples name them."""
    if kind.startswith("timestamp["):
        return "timestamp UTC" if "UTC" in kind else "timestamp"
    return "category" if kind.startswith("category[") else kind


def _more(table: DataTable, known: set[str]) -> list[Part]:
    others = [column for column in table.columns if column[0] not in known]
    title = counted(len(others), "more column")
    return [Fold(title, Listed(_named(others)))] if others else []


def _named(columns: Sequence[tuple[str, str]], most: int = _MOST_NAMED) -> list[str]:
    names = [f"{name} {_kind(kind)}" for name, kind in columns[:most]]
    return [*names, *([f"… and {len(columns) - most:,} more"] if len(columns) > most else [])]


def _first(table: DataTable, look: Glance) -> list[Part]:
    if not look.first or look.rows < len(look.first):
        return []
    names = _fitting(table, look)
    numbers = {name for name, kind in table.columns if kind.startswith(("int", "uint", "float"))}
    # A number is not the last of a row, where it would stand at the card's far end, unless the row is all there is.
    while len(names) < len(table.columns) and names[-1] in numbers and not numbers.issuperset(names):
        names.pop()
    titles = [Number(name) if name in numbers and name != names[-1] else name for name in names]
    rows: list[tuple[Cell, ...]] = [
        tuple(Dim("missing") if row[name] is None else str(row[name]) for name in names) for row in look.first
    ]
    all_of = counted(len(table.columns), "column")
    cut = f", {len(names)} of {all_of}" if len(names) < len(table.columns) else ""
    return [Fold(f"first {len(rows)} of {counted(table.rows, 'row')}{cut}", Table(titles, rows), is_open=True)]


def _fitting(table: DataTable, look: Glance) -> list[str]:
    """The columns whose values stand side by side."""
    names, room = [], _ROOM
    for name in (name for name, _ in table.columns if name in look.first[0]):
        room -= 2 + max(len(name), *(len(str(row[name] or "missing")) for row in look.first))
        if room < 0:
            break
        names.append(name)
    return names or [table.columns[0][0]]


def _notes(table: DataTable | None, look: Glance | None) -> list[str]:
    if table is None or look is None or look.rows >= table.rows:
        return []
    rows, whole = f"{look.rows:,} rows", "`%data check` counts what is missing in all rows."
    match look.spread:
        case "even":
            return [f"Missing and ranges are those of all rows; distinct and values those of {rows}, evenly spread."]
        case "stretches":
            return [f"All of it is of {rows} in stretches, for the table is too large for a quick look; {whole}"]
        case _:
            return [f"All of it is of the first {rows}, for the table is too large for a quick look; {whole}"]
