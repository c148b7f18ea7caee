"""What verbs return."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from .card import Card, Fold, Quote, Table
from .states import StateMark, mark_of
from .values import label, shown


class Result:
    """What a verb returns: a frozen dataclass whose `str()` is its URI, so that `$name` and a parameter can be it.

    Subclasses are frozen dataclasses with a field `uri`; `card` may be overridden.
    """

    uri: str
    kind: ClassVar[str] = ""
    """What it is, as the head of its card says: a noun in the singular, with a capital."""
    labels: ClassVar[Mapping[str, str]] = {}
    """What people read for a field whose own name does not say it."""

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
        return [
            (self.labels.get(name) or label(name), shown(name, value))
            for name, value in fields
            if _is_fact(name, value)
        ]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values; those marked `metadata={"json": False}` are left out."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {field.name: plain(getattr(self, field.name)) for field in fields if field.metadata.get("json", True)}

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


def _is_fact(name: str, value: Any) -> bool:
    return name not in ("uri", "state") and value not in (None, "", [], {})


def plain(value: Any) -> Any:
    """A field's value as JSON has it."""
    if isinstance(value, Result):
        return value.as_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: plain(item) for key, item in dataclasses.asdict(value).items()}
    if isinstance(value, msgspec.Struct):
        return {key: plain(item) for key, item in msgspec.structs.asdict(value).items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
