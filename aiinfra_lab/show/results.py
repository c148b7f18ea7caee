"""What verbs return."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from .card import MAX_ROWS, Card, Cell, Fold, Number, Quote, RowHeader, Table
from .states import StateMark, mark_of, with_reason
from .values import label, shown


class Result:
    """What a verb returns: a frozen dataclass whose `str()` is its URI, so that `$name` and a parameter can be it.

    Subclasses are frozen dataclasses with a field `uri`; `card` may be overridden.
    """

    uri: str
    kind: ClassVar[str] = ""
    """What it is, as the head of its card says: a noun in the singular, with a capital."""

    def __str__(self) -> str:
        return self.uri

    def card(self) -> Card:
        """How it looks; by default its fields, with the units their names carry."""
        return Card(kind=self.kind, uri=self.uri, state=self.mark, facts=self.facts())

    @property
    def mark(self) -> StateMark | None:
        """How its state looks, when it has one."""
        state = str(getattr(self, "state", ""))
        return mark_of(state, self.uri) if state else None

    def facts(self, *left_out: str) -> list[tuple[str, str]]:
        """Label and value of each field that says something, but for the fields of these names."""
        fields = ((name, value) for name, value in self.as_json().items() if name not in left_out)
        return [(label(name), shown(name, value)) for name, value in fields if _is_fact(name, value)]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values; those marked `metadata={"json": False}` are left out."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {field.name: _plain(getattr(self, field.name)) for field in fields if field.metadata.get("json", True)}

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.card().bundle()


@dataclass(frozen=True)
class Comparison(Result):
    """Two things compared by meaning. `changes` holds (what, before, after) of what differs; `code` the lines."""

    kind = "Comparison"

    uri: str
    other: str
    changes: tuple[tuple[str, str, str], ...]
    note: str = ""
    code: str = field(default="", repr=False)

    def card(self) -> Card:
        lead = self.note or ("" if self.changes or self.code else "Nothing differs.")
        table = Table(("what", self.other, self.uri), self.changes)
        folds = [Fold("the code that differs", Quote(self.code))] if self.code else []
        return Card(kind=self.kind, uri=f"{self.other} → {self.uri}", lead=lead, parts=[table, *folds])


@dataclass(frozen=True, repr=False)
class Listing(Result):
    """Things in a table, newest first. `header` names the fields of each that are shown.

    unreadable: how many it lacks because their records cannot be read.
    """

    uri: str
    items: tuple[Any, ...]
    header: tuple[str, ...]
    empty: str = "there is none yet"
    unreadable: int = 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __repr__(self) -> str:
        return self.card().text()

    def card(self) -> Card:
        values = [{name: _plain(getattr(item, name)) for name in self.header} for item in self.items]
        title_of = {name: self._title(name, [each[name] for each in values]) for name in self.header}
        names = _words_last(title_of)
        uris = [str(getattr(item, "uri", self.uri)) for item in self.items]
        rows = [
            tuple(self._cell(name, each[name], uri) for name in names) for each, uri in zip(values, uris, strict=True)
        ]
        lead = "" if rows or self.unreadable else self.empty[:1].upper() + self.empty[1:]
        notes = [lacking(self.unreadable)] if self.unreadable else []
        count = f"{len(rows):,} in all" if len(rows) > MAX_ROWS else ""
        table = Table([title_of[name] for name in names], rows)
        return Card(kind=self.kind, uri=self.uri, when=count, lead=lead, parts=[table], notes=notes)

    @staticmethod
    def _title(name: str, values: Sequence[Any]) -> str:
        if name == "uri":
            return RowHeader("name")
        is_number = not name.endswith("_at") and any(isinstance(value, int | float) for value in values)
        return (Number if is_number else str)(label(name))

    @staticmethod
    def _cell(name: str, value: Any, uri: str) -> Cell:
        if name not in _STATES or not value:
            return shown(name, value)
        mark, reason = with_reason(value, uri)
        return (mark, f"({reason})") if reason else mark


def _words_last(title_of: Mapping[str, str]) -> list[str]:
    """The names in their order, but that the last one is no number: it would be torn away to the far edge."""
    names = [*title_of]
    words = [name for name in names if type(title_of[name]) is str]
    if words and isinstance(title_of[names[-1]], Number):
        names.append(names.pop(names.index(words[-1])))
    return names


def lacking(count: int) -> str:
    """The sentence below a list that lacks so many records."""
    return f"{count} record{'s' * (count > 1)} cannot be read: `%lab check` names what helps"


_STATES = ("state", "checked")
"""The fields whose values are words of the alphabet of states."""


def _is_fact(name: str, value: Any) -> bool:
    return name not in ("uri", "state") and value not in (None, "", [], {})


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.as_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(item) for key, item in dataclasses.asdict(value).items()}
    if isinstance(value, msgspec.Struct):
        return {key: _plain(item) for key, item in msgspec.structs.asdict(value).items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
