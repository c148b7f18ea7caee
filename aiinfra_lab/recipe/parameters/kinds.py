"""What a parameter may be, and how a text, a TOML or JSON value or a Python object becomes that."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Protocol

from ...errors import nearest
from ...show import Result
from ...verbs import Typed
from .marks import Secret, is_secret_name
from .stored import as_text, stored

_SHOWN_SECRET = re.compile(r'Secret\("(.*)"\)')
_NOTHING = ("none", "null")
_MOST_SHOWN = 80


class Misfit(Exception):
    """A value that is none of its kind. wanted: what it must be, behind "must be". shown: the value, for people."""

    def __init__(self, wanted: str, value: object = None, *, hint: str = "", shown: str = "") -> None:
        super().__init__(wanted)
        text = repr(value)
        self.wanted, self.hint = wanted, hint
        self.shown = shown or (text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…")

    @property
    def value(self) -> str:
        """What must be given, as a noun."""
        return self.wanted if self.wanted.startswith(("a ", "one ", "the ")) else f"a value {self.wanted}"


class ValueKind(Protocol):
    """What a parameter may be."""

    @property
    def name(self) -> str:
        """As an annotation has it."""

    def read(self, value: object) -> Any:
        """The Python value; Misfit where it can be none. Read again, it stays the same."""


@dataclass(frozen=True)
class ScalarKind:
    """One of the types that are read on their own."""

    name: str

    def read(self, value: object) -> Any:
        return _SCALARS[self.name](without_numpy(value))


@dataclass(frozen=True)
class AnyKind:
    """A type that says nothing here: every value stays as it is."""

    name: str = "Any"

    def read(self, value: object) -> Any:
        found = without_numpy(str(value) if isinstance(value, str) else value)
        if not _has_json(stored(found)):
            raise Misfit("a text, a number, a date, a path, or several of them", value)
        return found


@dataclass(frozen=True)
class ChoiceKind:
    """One of a few values."""

    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        return f"Literal[{', '.join(map(repr, self.values))}]"

    def read(self, value: object) -> Any:
        value = without_numpy(value)
        for each in self.values:
            if type(each) is type(value) and each == value:
                return each
        for each in self.values:
            if isinstance(value, str) and value in (str(each), as_text(stored(each))):
                return each
        wanted = f"one of {', '.join(map(repr, self.values))}"
        near = nearest(value, map(str, self.values)) if isinstance(value, str) else ""
        raise Misfit(wanted, value, hint=f"did you mean {near}?" if near else "")


@dataclass(frozen=True)
class OptionalKind:
    """Something, or None."""

    inner: ValueKind

    @property
    def name(self) -> str:
        return f"{self.inner.name} | None"

    def read(self, value: object) -> Any:
        if value is None or (isinstance(value, str) and value.lower() in _NOTHING):
            return None
        return self.inner.read(value)


@dataclass(frozen=True)
class UnionKind:
    """One of several types: the one that leaves the value as it is, else the first that takes it.

    A text may be the stored form of a date or a path; what was typed may be anything that reads so.
    """

    options: tuple[ValueKind, ...]

    @property
    def name(self) -> str:
        return " | ".join(each.name for each in self.options)

    def read(self, value: object) -> Any:
        fitting = []
        # A text last, which everything can be, and a whole number before a fraction.
        for each in sorted(self.options, key=lambda each: {"int": 0, "str": 2}.get(each.name, 1)):
            try:
                fitting.append(each.read(value))
            except Misfit:
                continue
        if not fitting:
            raise Misfit(f"of type {self.name}", value)
        is_text = isinstance(value, str)
        same = (each for each in fitting if (stored(each) == value if is_text else type(each) is type(value)))
        exact = [] if isinstance(value, Typed) else list(same)
        return (exact or fitting)[0]


@dataclass(frozen=True)
class RangedKind:
    """A value that lies between two, both included; None: no bound."""

    inner: ValueKind
    low: Any
    high: Any

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def bounds(self) -> str:
        """The range in words."""
        low, high = stored(self.low), stored(self.high)
        if self.low is None or self.high is None:
            return f"at most {high}" if self.low is None else f"at least {low}"
        return f"from {low} to {high}"

    def read(self, value: object) -> Any:
        found = self.inner.read(value)
        if found is None:
            return None
        try:
            is_inside = (self.low is None or self.low <= found) and (self.high is None or found <= self.high)
        except TypeError:  # a moment with a time zone, and one without
            is_inside = False
        if not is_inside:
            raise Misfit(self.bounds, value)
        return found


@dataclass(frozen=True)
class ListKind:
    """Several of a kind. container: what they are kept in."""

    item: ValueKind
    container: type = list

    @property
    def name(self) -> str:
        more = ", ..." if self.container is tuple else ""
        return f"{self.container.__name__}[{self.item.name}{more}]"

    def read(self, value: object) -> Any:
        items = _each((self.item, item) for item in _items(self.name, value))
        return _hashed(lambda: self.container(items), self.name, value)


@dataclass(frozen=True)
class TupleKind:
    """A tuple of that many, each of its own kind."""

    items: tuple[ValueKind, ...]

    @property
    def name(self) -> str:
        return f"tuple[{', '.join(each.name for each in self.items) or '()'}]"

    def read(self, value: object) -> Any:
        found = list(_items(self.name, value))
        if len(found) != len(self.items):
            raise Misfit(f"of type {self.name}, with {len(self.items)} items", value)
        return tuple(_each(zip(self.items, found, strict=True)))


@dataclass(frozen=True)
class MappingKind:
    """Values by their keys."""

    key: ValueKind
    value: ValueKind

    @property
    def name(self) -> str:
        return f"dict[{self.key.name}, {self.value.name}]"

    def read(self, value: object) -> Any:
        found = _json(value) if isinstance(value, str) and value.lstrip().startswith("{") else value
        if not isinstance(found, Mapping):
            raise Misfit(f"of type {self.name}", value)
        keys = _each((self.key, each) for each in found)
        values = _each((self.value, each) for each in found.values())
        return _hashed(lambda: dict(zip(keys, values, strict=True)), self.name, value)


def takes_many(kind: ValueKind) -> bool:
    """Whether its values are lists of things."""
    if isinstance(kind, OptionalKind | RangedKind):
        return takes_many(kind.inner)
    return isinstance(kind, ListKind)


def takes_path(kind: ValueKind) -> bool:
    """Whether a path, or the URI of a thing, can be one of its values."""
    try:
        kind.read("./path")
    except Misfit:
        return False
    return True


def without_numpy(value: object) -> Any:
    """NumPy's scalars and arrays as Python has them; this module does not import it."""
    if type(value).__module__.partition(".")[0] != "numpy":
        return value
    if type(value).__name__ == "datetime64":
        value = value.astype("datetime64[us]")  # type: ignore[attr-defined]  # of nanoseconds `item` makes a number
    return value.tolist() if hasattr(value, "tolist") else value


def _each(pairs: Iterable[tuple[ValueKind, object]]) -> list[Any]:
    found = []
    for at, (kind, item) in enumerate(pairs, 1):
        try:
            found.append(kind.read(item))
        except Misfit as problem:
            raise Misfit(f"{problem.wanted} in item {at}", hint=problem.hint, shown=problem.shown) from None
    return found


def _hashed(make: Callable[[], Any], name: str, value: object) -> Any:
    try:
        return make()
    except TypeError:  # a list in a set
        raise Misfit(f"of type {name}", value) from None


def _items(name: str, value: object) -> Iterable[object]:
    value = without_numpy(value)
    if isinstance(value, str):
        text = value.strip()
        kind = Typed if isinstance(value, Typed) else str
        parts = [kind(part.strip()) for part in text.split(",")] if text else []
        found = _json(text) if text[:1] in ("[", "(", "{") else parts
        if isinstance(found, list | tuple | set):
            return list(found)
    elif isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return list(value) if not isinstance(value, set | frozenset) else stored_items(value)
    raise Misfit(f"of type {name}", value, hint="" if not isinstance(value, str) else "write a,b,c or a list as JSON")


def stored_items(value: Iterable[object]) -> list[object]:
    """A set's items in an order that stays the same."""
    return sorted(value, key=lambda item: (type(item).__name__, str(stored(item))))


def _json(text: str) -> Any:
    """What a list or a table is that is written as JSON, or as Python prints it; None for anything else."""
    for reader in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return reader(text)
    return None


def _has_json(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_has_json, value))
    if isinstance(value, dict):
        return all(map(_has_json, value.values()))
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    raise Misfit("of type int", value)


def _float(value: object) -> float:
    if isinstance(value, int | float | Decimal | str) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            raise Misfit("of type float", value) from None
        if not math.isfinite(found):
            raise Misfit("a finite number", value)
        return found
    raise Misfit("of type float", value)


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, str | int) and str(value).lower() in known:
        return known[str(value).lower()]
    raise Misfit("of type bool", value)


def _str(value: object) -> str:
    if isinstance(value, str | int | float | Decimal | dt.date | os.PathLike | Result) and not isinstance(value, bool):
        return str(stored(value)) if not isinstance(value, Result) else str(value)
    raise Misfit("of type str", value)


def _date(value: object) -> dt.date:
    if isinstance(value, dt.datetime):
        if value.time() == dt.time() and value.tzinfo is None:
            return dt.date(value.year, value.month, value.day)
    elif isinstance(value, dt.date):
        return value
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):
            return dt.date.fromisoformat(value)
    raise Misfit("of type date", value)


def _datetime(value: object) -> dt.datetime:
    if isinstance(value, dt.datetime):
        value = value.isoformat()  # pandas has a class of its own for them
    elif isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time())
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return dt.datetime.fromisoformat(value)
    raise Misfit("of type datetime", value)


def _path(value: object) -> Path:
    if isinstance(value, str | os.PathLike) and str(value) and "\0" not in str(value):
        return Path(value)
    raise Misfit("of type Path", value)


def _decimal(value: object) -> Decimal:
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        try:
            found = Decimal(str(value))
        except InvalidOperation:
            raise Misfit("of type Decimal", value) from None
        if found.is_finite():
            return found
        raise Misfit("a finite number", value)
    raise Misfit("of type Decimal", value)


def _secret(value: object) -> Secret:
    name = value.name if isinstance(value, Secret) else value
    if isinstance(name, str) and (shown := _SHOWN_SECRET.fullmatch(name)):
        name = shown[1]
    if isinstance(name, str) and is_secret_name(name):
        return Secret(name)
    hint = "give a secret by its name: that of an environment variable, e.g. HF_TOKEN, or STORE:PLACE"
    raise Misfit("the name of a secret", hint=hint, shown="something else, which is not shown here,")


_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "str": _str,
    "date": _date,
    "datetime": _datetime,
    "Path": _path,
    "Decimal": _decimal,
    "Secret": _secret,
}
SCALARS = {name: ScalarKind(name) for name in _SCALARS}
