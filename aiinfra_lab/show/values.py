"""Values as a person reads them, by the units that their fields' names carry."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ..units import apart, show_bytes, show_duration, show_share, show_usd

_SHOWN_AS: dict[str, Callable[[float], str]] = {
    "_s": show_duration,
    "_usd": show_usd,
    "usd_per_hour": show_usd,
    "_bytes": show_bytes,
    "_share": show_share,
    "_gib": lambda x: f"{x:g} GiB",
}

_LARGE, _HUGE = 9_999.5, 1e15  # numbers between are read with all their digits


def label(name: str) -> str:
    """A field's name as a person reads it: without its unit."""
    if name == "usd_per_hour":
        return "price an hour"
    for suffix in (*_SHOWN_AS, "_at"):
        name = name.removesuffix(suffix)
    return name.strip("_").replace("_", " ")


def shown(name: str, value: Any) -> str:
    """A value as a person reads it, by the unit that its field's name carries."""
    if value is None or value == "":
        return "–"
    if name.endswith("_at") and isinstance(value, int | float):
        return moment(value)
    for suffix, show in _SHOWN_AS.items():
        if name.endswith(suffix) and isinstance(value, int | float):
            return show(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if _LARGE <= abs(value) < _HUGE else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={shown(str(key), item)}" for key, item in value.items())
    return str(value)


def log_time(at: float) -> str:
    """A moment to the second with its date, as the lines of a log have it."""
    with contextlib.suppress(OSError, OverflowError, ValueError):  # no calendar reaches that far
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    return "–"


def moment(at: float, *, to_second: bool = False) -> str:
    """A moment to the minute or second, one of today without its date."""
    clock = "%H:%M:%S" if to_second else "%H:%M"
    with contextlib.suppress(OSError, OverflowError, ValueError):
        then = time.localtime(at)
        is_today = then[:3] == time.localtime()[:3]
        return time.strftime(clock if is_today else f"%Y-%m-%d {clock}", then)
    return "–"


def sentence(text: str) -> str:
    """A text as a sentence: with a capital, and a full stop unless a command or a question ends it."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "`")) else ".")


def shown_apart(name: str, before: Any, after: Any) -> tuple[str, str]:
    """Two values as a person reads them; numbers that differ never read alike."""
    texts = shown(name, before), shown(name, after)
    if texts[0] == texts[1] and isinstance(before, int | float) and isinstance(after, int | float):
        return apart(before, after)
    return texts
