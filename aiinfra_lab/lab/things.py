"""What there is in a workspace: one line for each thing that a noun's own `ls` lists, with what it does now."""

from __future__ import annotations

from typing import Any

from .. import nouns
from ..errors import LabError
from ..nouns import Noun, Observation, Thing


def things() -> list[Thing]:
    """Everything, the last changed first."""
    found = [thing for noun in nouns.every() for thing in noun.things()]
    return sorted(found, key=lambda thing: thing.changed_at, reverse=True)


def seen() -> list[Observation]:
    """Everything that lives, and what ended last, in the order of the nouns."""
    return [item for noun in nouns.every() for item in _watched(noun)]


def _watched(noun: Noun[Any]) -> list[Observation]:
    try:
        return list(noun.watched())
    except LabError:
        return []  # its provider cannot be asked now, and the others still can
