"""A name that stands twice in one JSON object: readers differ in which value they take, so a request must have none."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

_decode = msgspec.json.Decoder().decode
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class _Repeated(Exception):
    """Carries the name out of the parser."""


def repeated_name(body: bytes) -> str | None:
    """A name that stands twice in one of the body's objects; None when there is none, and for what is no JSON.

    Each name has a colon behind it, and the parser keeps one of two that are the same. So a usual body costs one quick
    parse; texts with colons in them are taken out first, and only what still has too many is read slowly.
    """
    try:
        names = _names(_decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if names == body.count(b":") or names == _TEXT.sub(b"", body).count(b":"):
        return None
    try:
        json.loads(body, object_pairs_hook=_once)
    except _Repeated as found:
        return str(found)
    except (ValueError, RecursionError):
        pass
    return None


def _names(found: Any) -> int:
    """How many names are in a body of rows, and of any other at most as many as it has."""
    try:
        return len(found) + sum(map(len, found["rows"])) if isinstance(found, dict) else 0
    except (KeyError, TypeError):
        return 0


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Repeated(name)
        found[name] = value
    return found
