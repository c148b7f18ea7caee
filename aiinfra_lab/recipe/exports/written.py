"""The text of exported files: heads that say what a file is and whether somebody edited it, quoting, and YAML."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..base import Recipe
from .base import ExportFacts

_SEAL = re.compile(r"^# sha256 of the lines without this one: ([0-9a-f]{64})\n", re.MULTILINE)


def slug(text: str) -> str:
    """A name as keys and files of other systems take it: letters, digits and hyphens, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain == text and plain[:1].isalpha():
        return plain
    # Two names must not become one.
    return "-".join(filter(None, ["r" if not plain[:1].isalpha() else "", plain, _digest(text)[:6]]))


def one_line(text: str) -> str:
    """A text for a comment or a description: without line breaks and control characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def sealed(recipe: Recipe, facts: ExportFacts, about: str, body: str, comments: Iterable[str] = ()) -> str:
    """A file with its head: what it is, how it is written anew, and by what an edit of it shows."""
    head = [
        f"{about}: recipe {one_line(recipe.name)}, {one_line(recipe.title)}",
        f"Written by `{one_line(facts.refresh)}`",
        "Change the recipe and write it anew.",
        *comments,
    ]
    lines = "".join(f"# {line}".rstrip() + "\n" for line in head)
    return f"{lines}# sha256 of the lines without this one: {_digest(lines + body)}\n{body}"


def is_untouched(text: str) -> bool:
    """Whether a file is an export that nobody edited."""
    found = _SEAL.search(text)
    return found is not None and found[1] == _digest(_SEAL.sub("", text, count=1))


def yaml_text(document: Mapping[str, Any]) -> str:
    """A document as YAML."""
    from ...gpu.exports.yaml import written

    return written(json.loads(json.dumps(document)))  # the same object twice would become an anchor


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
