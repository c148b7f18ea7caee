"""A card of facts, one table, sentences and texts."""

from __future__ import annotations

from collections.abc import Sequence

from .card import MAX_ROWS, Card, Fold, Part, Plots, Quote, Table
from .drawing import Picture
from .states import mark_of


def plain_card(
    title: str,
    state: str = "",
    facts: Sequence[tuple[str, str]] = (),
    header: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
    notes: Sequence[str] = (),
    picture: str = "",
    picture_alt: str = "",
    details: Sequence[tuple[str, str]] = (),
    max_rows: int = MAX_ROWS,
) -> Card:
    """The card of these. details: (summary, text) folded away."""
    parts: list[Part] = [Table(header, rows, most=max_rows)]
    if picture:
        parts.append(Plots([Picture(picture, picture_alt)]))
    parts += [Fold(name, Quote(text)) for name, text in details]
    return Card(
        kind="", uri=title, state=mark_of(state, title) if state else None, facts=facts, parts=parts, notes=notes
    )
