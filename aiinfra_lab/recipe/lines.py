"""Where something stands in a recipe's file, which a parsed table no longer knows."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import LabError
from .base import Recipe, RecipeStep


def text_of(path: Path) -> str:
    """What stands in a recipe's file; some editors of Windows put a byte order mark first, which TOML does not know."""
    return path.read_text("utf-8-sig")


def line_of(text: str, header: str, key: str) -> int:
    """Where a key of a table stands in the recipe's file, or else the table's head."""
    at, is_inside = 1, False
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[([^\]]+)\]", line):
            inner = found[1].replace('"', "").replace(" ", "")
            is_inside = inner == header or inner.startswith(f"{header}.")
            at = number if is_inside else at
        elif is_inside and re.search(rf"(?:^|[\s{{,])\"?{re.escape(key)}\"?\s*=", line):
            return number
    return at


def place_in(recipe: Recipe, header: str, key: str) -> str:
    """The file and the line, for people; see `line_of`."""
    return f"{recipe.path.name} line {line_of(text_of(recipe.path), header, key)}"


@contextlib.contextmanager
def of_step(recipe: Recipe, step: RecipeStep, key: str) -> Iterator[None]:
    """An error of the block names the step, and the line of that key of it."""
    try:
        yield
    except LabError as problem:
        place = place_in(recipe, f"steps.{step.declared_name}", key)
        raise type(problem)(f"{step.name}: {problem.what} ({place})", problem.fix) from None
