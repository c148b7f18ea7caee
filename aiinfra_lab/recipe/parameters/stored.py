"""The form of a value that JSON has too: in records, cache keys and archives, and as `-p NAME=VALUE` takes it again.

It carries no type, which the notebook's own parameters cell has: a date is `2026-01-31`, a path and a decimal number
are texts, a secret is its name.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from ..base import Value
from .marks import Secret


def stored(value: Any) -> Value:
    """The value in that form; what has none there is left as it is."""
    match value:
        case dt.date() | dt.time():  # a datetime is a date
            return value.isoformat()
        case PurePath() | Decimal() | dt.timedelta():
            return str(value)
        case Secret(name=name):
            return name
        case list() | tuple():
            return [stored(item) for item in value]
        case set() | frozenset():
            return sorted((stored(item) for item in value), key=lambda item: (type(item).__name__, str(item)))
        case Mapping():
            return {str(stored(key)): stored(item) for key, item in value.items()}
    plain: Value = value
    return plain


def as_text(value: Value) -> str:
    """The text that `-p NAME=` takes for it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case list() if value and all(isinstance(item, str) for item in value):
            # Without quotes where the comma alone parts them.
            if all(item and item == item.strip() and "," not in item for item in value) and value[0][0] not in "[({":
                return ",".join(value)
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
