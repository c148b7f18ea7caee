"""How a run and its curve are drawn."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ..show import Card, line_chart, plain_card, shown
from .history import Point, curves, latest


def frame(uri: str, points: Sequence[Point], state: str) -> Card:
    """A run while it goes on: where its numbers stand, and the curve so far."""
    # The same card as the result's, so that the last frame reads like what a later look shows.
    picture, alt = curve(points)
    facts = [(name, shown(name, value)) for name, value in latest(points).items()]
    return plain_card(uri, state=state, facts=facts, picture=picture, picture_alt=alt)


def curve(points: Sequence[Point]) -> tuple[str, str]:
    """The picture of the losses, and a text for whoever cannot see it."""
    lines = curves(points)
    alt = "; ".join(f"{name} went from {line[0][1]:.4g} to {line[-1][1]:.4g}" for name, line in lines.items())
    return line_chart(lines, x="steps"), alt


def about_metrics(measured_by: str) -> str:
    """Whose metrics a run shows, when they are not its own."""
    return measured_by and f"no epoch was left to train: the metrics are those of {measured_by} at its checkpoint"


def code_diff(ours: str, theirs: str, names: tuple[str, str]) -> str:
    """What differs between two codes, as a unified diff."""
    return "\n".join(difflib.unified_diff(ours.splitlines(), theirs.splitlines(), *names, lineterm="", n=1))
