"""A value as the Python that stands in a notebook's injected cell."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from .imports import Meanings
from .marks import Secret


@dataclass(frozen=True)
class LiteralWriter:
    """Writes values for a place where these names mean that for sure.

    A type that has no name there is taken from its module in place: an import would give the notebook a name that it
    may use for something else.
    """

    names: Meanings = field(default_factory=dict)

    def assignments(self, values: Iterable[tuple[str, Any]]) -> str:
        """One line each."""
        return "\n".join(f"{name} = {self.literal(value)}" for name, value in values)

    def literal(self, value: Any) -> str:
        """The expression that gives this value."""
        match value:
            case dt.datetime():
                return self._datetime(value)
            case dt.date():
                return f"{self._type('datetime', 'date')}({value.year}, {value.month}, {value.day})"
            case PurePath():
                return f"{self._type('pathlib', 'Path')}({_text(str(value))})"
            case Decimal():
                return f"{self._type('decimal', 'Decimal')}({_text(str(value))})"
            case Secret(name=name):
                return f"{self._type('aiinfra_lab.recipe', 'Secret')}({_text(name)})"
            case list() | tuple() | set() | frozenset() | dict():
                return self._several(value)
        return f'float("{value}")' if isinstance(value, float) and not math.isfinite(value) else repr(value)

    def _several(self, value: Any) -> str:
        match value:
            case dict():
                pairs = (f"{self.literal(key)}: {self.literal(item)}" for key, item in value.items())
                return f"{{{', '.join(pairs)}}}"
            case list():
                return f"[{', '.join(map(self.literal, value))}]"
            case tuple():
                return f"({', '.join(map(self.literal, value))}{',' * (len(value) == 1)})"
        return self._set(value)

    def _set(self, value: set[Any] | frozenset[Any]) -> str:
        items = ", ".join(sorted(map(self.literal, value)))
        text = f"{{{items}}}" if items else "set()"
        return text if isinstance(value, set) else f"frozenset({text if items else ''})"

    def _datetime(self, value: dt.datetime) -> str:
        kind = self._type("datetime", "datetime")
        if value.tzinfo is not None or value.fold:
            return f"{kind}.fromisoformat({_text(value.isoformat())})"
        parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
        while len(parts) > 5 and not parts[-1]:
            parts.pop()
        return f"{kind}({', '.join(map(str, parts))})"

    def _type(self, module: str, name: str) -> str:
        known = {meaning: each for each, meaning in self.names.items()}
        if f"{module}.{name}" in known:
            return known[f"{module}.{name}"]
        head, _, rest = module.rpartition(".")
        for owner, path in ((module, name), (head, f"{rest}.{name}")):
            if owner and owner in known:
                return f"{known[owner]}.{path}"
        more = f', fromlist=["{name}"]' if head else ""
        return f'__import__("{module}"{more}).{name}'


def _text(text: str) -> str:
    # Double quotes, as formatters write them, wherever that needs no escape.
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else repr(text)
