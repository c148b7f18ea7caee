"""The form of packed values: a head in JSON, and behind it parts of memory, each where an array may begin."""

from __future__ import annotations

from typing import Any

Node = Any
"""A value in the head: a plain one of JSON for itself, anything else a list whose first item says what it is."""

MAGIC = b"aiinfra3"
ALIGNED = 64  # what Arrow asks for; all others are content with less


def size_of(views: list[memoryview]) -> int:
    return sum(view.nbytes for view in views)


def aligned(size: int) -> int:
    return size + -size % ALIGNED
