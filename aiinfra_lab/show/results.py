"""What verbs return."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .card import Card
from .values import label, shown


class Result:
    """What a verb returns: a frozen dataclass whose `str()` is its URI, so that `$name` and a parameter can be it.

    Subclasses are frozen dataclasses with a field `uri`; `card` may be overridden.
    """

    uri: str

    def __str__(self) -> str:
        return self.uri

    def card(self) -> Card:
        """How it looks; by default its fields, with the units their names carry."""
        facts = [(label(name), shown(name, value)) for name, value in self.as_json().items() if _is_fact(name, value)]
        return Card(self.uri, state=str(getattr(self, "state", "")), facts=facts)

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values; those marked `metadata={"json": False}` are left out."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {field.name: _plain(getattr(self, field.name)) for field in fields if field.metadata.get("json", True)}

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.card().bundle()


@dataclass(frozen=True)
class Comparison(Result):
    """Two things compared by meaning. `changes` holds (what, before, after) of what differs; `code` the lines."""

    uri: str
    other: str
    changes: tuple[tuple[str, str, str], ...]
    note: str = ""
    code: str = field(default="", repr=False)

    def card(self) -> Card:
        notes = [self.note] if self.note else [] if self.changes else ["nothing differs"]
        details = [("the code that differs", self.code)] if self.code else []
        header = ["", self.other, self.uri] if self.changes else []
        return Card(f"{self.other} → {self.uri}", header=header, rows=self.changes, notes=notes, details=details)


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
        rows = [[shown(name, _plain(getattr(item, name))) for name in self.header] for item in self.items]
        notes = [lacking(self.unreadable)] if self.unreadable else [] if rows else [self.empty]
        return Card(self.uri, header=[label(name) for name in self.header], rows=rows, notes=notes)


def lacking(count: int) -> str:
    """The sentence below a list that lacks so many records."""
    return f"{count} record{'s' * (count > 1)} cannot be read: `%lab check` names what helps"


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
