"""Things in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..units import counted
from .card import Card, Cell, Number, RowHeader, Table
from .results import Result, plain
from .states import mark_of, with_reason
from .values import label, moment, shown

_STATES = ("state", "checked")
"""The fields whose values are words of the alphabet of states."""
_SPREAD = ("metrics",)
"""The fields with numbers by their names, of which each gets a column of its own, as far as there is room."""
_ALL = "`.df()` of this result has all of them, and `--json` in a shell."
_ROOM = 40  # of the 100 columns of a terminal, for all of those


class TableColumn(NamedTuple):
    """A title, and a cell for every row."""

    title: str
    cells: Sequence[Cell]


@dataclass(frozen=True, repr=False)
class Listing(Result):
    """Things in a table, newest first. `header` names the fields of each that are shown.

    unreadable: how many it lacks because their records cannot be read. title: what they are, in the plural with a
    capital. of: the URI whose things they are, where they are not all. first: the command that makes the first of them.
    """

    uri: str
    items: tuple[Any, ...]
    header: tuple[str, ...]
    empty: str = "there is none yet"
    unreadable: int = 0
    title: str = field(default="", metadata={"json": False})
    of: str = field(default="", metadata={"json": False})
    first: str = field(default="", metadata={"json": False})

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __repr__(self) -> str:
        return self.card().text()

    def df(self) -> Any:
        """All of them as a pandas data frame, a column for each field that is shown."""
        import pandas as pd

        return pd.DataFrame([{name: plain(getattr(item, name)) for name in self.header} for item in self.items])

    def card(self) -> Card:
        is_empty = not self.items and not self.unreadable
        table = self.table()
        return Card(
            kind=self.title if self.of else self.kind,
            uri=self.of or self.title or self.uri,
            when="" if is_empty else f"{len(self.items):,} in all",
            lead=self.empty[:1].upper() + self.empty[1:] if is_empty else "",
            parts=[table],
            next=[f"Next: {self.first}"] if is_empty and self.first else [],
            notes=[*([lacking(self.unreadable)] if self.unreadable else []), *([_ALL] if table.hidden else [])],
        )

    def table(self) -> Table:
        """The rows, of which each has a cell for every column."""
        columns = _words_last([column for name in self.header for column in self.columns(name)])
        rows = [*zip(*(column.cells for column in columns), strict=True)]
        return Table([column.title for column in columns], rows)

    def columns(self, name: str) -> Sequence[TableColumn]:
        """The columns that show a field."""
        values = [plain(getattr(item, name)) for item in self.items]
        if name in _SPREAD:
            return _spread(name, values)
        uris = [str(getattr(item, "uri", self.uri)) for item in self.items]
        title = _title(name, getattr(self.items[0], "labels", {}) if self.items else {}, values)
        return [TableColumn(title, [_cell(name, *pair) for pair in zip(values, uris, strict=True)])]


def _spread(name: str, values: Sequence[dict[str, float] | None]) -> Sequence[TableColumn]:
    """A column for each of the numbers that there is room for, and one of words for the rest."""
    found = [value or {} for value in values]
    keys, room = [], _ROOM
    # Those that most of the rows have come first.
    for key, _ in Counter(key for value in found for key in value).most_common():
        room -= max(len(key), 6) + 2
        if room >= 0:
            keys.append(key)
    columns = [TableColumn(Number(key), [shown(key, value.get(key)) for value in found]) for key in keys]
    rest = [{key: one for key, one in value.items() if key not in keys} for value in found]
    more = f"more {label(name)}" if keys else label(name)
    return [*columns, TableColumn(more, [_rest(name, value) for value in rest])]


def _rest(name: str, value: Mapping[str, float]) -> str:
    """Those that there is no room for: one as it is, and of several how many, since all would make a wide table."""
    return f"{len(value)} more" if len(value) > 1 else shown(name, value) if value else ""


def _title(name: str, labels: Mapping[str, str], values: Sequence[Any]) -> str:
    if name == "uri":
        return RowHeader("name")
    is_number = not name.endswith("_at") and any(isinstance(value, int | float) for value in values)
    return (Number if is_number else str)(labels.get(name) or label(name))


def _cell(name: str, value: Any, uri: str) -> Cell:
    if name.endswith("_at") and isinstance(value, int | float):
        return moment(value)
    if name not in _STATES:
        return shown(name, value)
    if not value:
        return mark_of("not checked") if name == "checked" else "–"
    mark, reason = with_reason(value, uri)
    return (mark, f"({reason})") if reason else mark


def _words_last(columns: Sequence[TableColumn]) -> Sequence[TableColumn]:
    """The columns in their order, but that the last one is no number: it would be torn away to the far edge."""
    ordered = [*columns]
    words = [column for column in columns if type(column.title) is str and any(column.cells)]
    if words and isinstance(ordered[-1].title, Number):
        ordered.remove(words[-1])
        ordered.append(words[-1])
    return ordered


def lacking(count: int) -> str:
    """The sentence below a list that lacks so many records."""
    return f"{counted(count, 'record')} cannot be read: `%lab check` names what helps"
