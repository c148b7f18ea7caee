"""A cache key as the named parts that it is the digest of, and what a difference of two of them means in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping

from ...store import canonical_digest
from ..parameters import LiteralWriter, stored

Parts = Mapping[str, str]
"""`KIND` or `KIND NAME` → a short text, or the digest of a long one."""

# Not `canonical`, which sorts: the code may see in which order a dict's items are.
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_MOST_OF_A_VALUE = 120
_SHOWN = 40
_TYPES = {"date": "datetime.date", "datetime": "datetime.datetime", "Decimal": "decimal.Decimal",
          "Path": "pathlib.Path", "Secret": "aiinfra_lab.recipe.Secret"}  # fmt: skip


def digest_of(parts: Parts) -> str:
    """The cache key."""
    return canonical_digest(dict(parts))


def shown_value(value: object) -> str:
    """A parameter's Python value as a part: its text, or of a long one its beginning with a digest of it all.

    Of what JSON has not, as a date or a tuple, the text is Python: the code sees another value than its stored form.
    """
    plain, python = stored(value), LiteralWriter(_TYPES).literal
    text = _JSON.encode(plain) if python(plain) == python(value) else python(value)
    if len(text) <= _MOST_OF_A_VALUE:
        return text
    return f"{text[:_SHOWN]}… {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def changes(old: Parts, new: Parts, inputs: Mapping[str, str], packages: Callable[[str], Iterable[str]]) -> list[str]:
    """What differs, a few words each, in the order of the new parts; then what is no longer there.

    inputs: an input's parameter → what is told of it when it differs. packages: names what differs from the packages of
    a digest
    """
    labels = [label for label in dict.fromkeys([*new, *old]) if old.get(label) != new.get(label)]
    return [_change(label, old.get(label, ""), new.get(label, ""), inputs, packages) for label in labels]


def _change(label: str, old: str, new: str, inputs: Mapping[str, str], packages: Callable[[str], Iterable[str]]) -> str:
    kind, _, name = label.partition(" ")
    match f"{kind} " if name else kind:
        case "code":
            return "its code changed"
        case "outputs":
            return "what it makes is called otherwise"
        case "packages":
            return f"packages changed: {_few(list(packages(old)))}".removesuffix(": ")
        case "parameter " if not (old and new):
            return f"parameter {name} is {'new' if new else 'gone'}"
        case "parameter ":
            return f"{name} {old[:_SHOWN]} → {new[:_SHOWN]}"
        case "type ":
            return f"{name} {old or 'str'} → {new or 'str'}"
        case "in ":
            return inputs.get(name, f"{name} is not taken any more")
        case "variable ":
            return f"{name} of the kernel's environment changed"
        case "after " | "module " | "file ":
            return f"{name} changed"
        case _:
            return f"{kind} {old or 'unknown'} → {new or 'unknown'}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
