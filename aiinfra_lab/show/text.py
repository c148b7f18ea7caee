"""A card as plain text, aligned for a terminal of 100 columns: the same facts as its HTML in the same order."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import assert_never

from .card import Band, Card, Cell, Fold, Listed, Meter, Number, Part, Piece, Plots, Progress, Quote, Sentence, Table
from .html import words

WIDTH = 100
_LEAST = 12  # a narrower column would be a tower of single words
_BAR = 20
Translate = Callable[[str], str]


def render(card: Card, translated: Translate = str) -> str:
    """The whole card. translated: what to do with what the card says itself; what it quotes stays as it is."""
    lines = [_head(card)]
    for sentence in filter(None, (card.lead, card.advice and f"Do: {card.advice}")):
        lines += _wrapped(translated(_plain(sentence)))
    if card.progress:
        lines += _wrapped(_bar(card.progress) + " " + _plain(card.progress.text))
    lines += _pairs([*card.facts, *((one.label, f"{one.value} {one.unit}".strip()) for one in card.figures)])
    for part in card.parts:
        lines += (f"  {line}".rstrip() for line in _part(part, WIDTH - 2, translated))
    for note in card.notes:
        lines += _wrapped(translated(_plain(note)))
    if card.next:
        lines += _wrapped(translated(_plain(" · ".join(card.next))))
    return "\n".join(lines)


def _head(card: Card) -> str:
    state = f"  {card.state}" if card.state else ""
    when = (" · " if card.state else "  ") + card.when if card.when else ""
    return f"{card.kind} {card.uri}".strip() + state + when


def _plain(sentence: str) -> str:
    return re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"\1", sentence)


def _wrapped(text: str, indent: str = "  ", width: int = WIDTH) -> list[str]:
    # What is typed, such as a URI or a path, must not be torn apart, however long it is.
    lines = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines or [""]


def _pairs(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max((len(label) for label, _ in pairs), default=0)
    for label, value in pairs:
        first, *rest = _wrapped(value, "", max(_LEAST, WIDTH - width - 4))
        yield f"  {label:<{width}}  {first}".rstrip()
        yield from (f"  {'':<{width}}  {line}" for line in rest)


def _part(part: Part | Listed, width: int, translated: Translate) -> Iterator[str]:
    match part:
        case Table():
            yield from _table(part, width, translated)
        case Quote():
            yield from _labelled(part.label, part.text.splitlines())
        case Sentence():
            yield from _wrapped(translated(_plain(part.text)), "", width)
        case Fold():
            yield f"{part.summary}:"
            yield from (f"  {line}" for line in _part(part.content, width - 2, translated))
        case Listed():
            yield from _wrapped(", ".join(part.items), "", width)
        case Plots():
            yield from _labelled(
                part.label, [line for one in part.pictures for line in _wrapped(one.alt, "", width - 2)]
            )
        case Band():
            yield from _labelled(part.label, _wrapped(part.picture.alt, "", width - 2))
        case _:
            assert_never(part)  # a part without a text would be lost in every terminal


def _labelled(label: str, lines: Sequence[str]) -> Iterator[str]:
    if label:
        yield f"{_plain(label)}:"
    yield from (f"  {line}" if label else line for line in lines)


def _table(table: Table, width: int, translated: Translate) -> Iterator[str]:
    if not table.rows:
        return
    if table.label:
        yield f"{_plain(table.label)}:"
    titles = [*table.titles] or [""] * len(table.rows[0])
    # A picture repeats what stands beside it.
    kept = [at for at in range(len(titles)) if any(_words(row[at]) for row in table.rows)]
    lines = [titles] if table.titles else []
    rows = [*table.shown, *([table.total] if table.total else [])]
    cells = [[str(line[at]) for at in kept] for line in lines]
    cells += [[translated(_words(row[at])) for at in kept] for row in rows]
    numbers = [isinstance(titles[at], Number) for at in kept]
    names = [at == table.name_at for at in kept]
    for line in _aligned(cells, numbers, names, width - 2 * bool(table.label)):
        yield f"  {line}" if table.label else line
    if table.hidden:
        yield f"… and {table.hidden:,} more"


def _words(cell: Cell) -> str:
    pieces = cell if isinstance(cell, tuple) else (cell,)
    return " ".join(filter(None, map(_piece, pieces)))


def _piece(piece: Piece) -> str:
    # A small bar stands beside a number that says the same.
    if isinstance(piece, Progress) or (isinstance(piece, Meter) and not piece.is_small):
        return f"{_bar(piece)} {piece.text}"
    return words(piece)


def _bar(bar: Progress | Meter) -> str:
    full = round(min(1.0, max(0.0, bar.value / bar.most if bar.most else 0.0)) * _BAR)
    return "█" * full + "░" * (_BAR - full)


def _aligned(
    rows: Sequence[Sequence[str]], numbers: Sequence[bool], names: Sequence[bool], width: int
) -> Iterator[str]:
    """Rows below each other; where they are too wide, the widest columns of words are wrapped, but for names."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(numbers))]
    over = sum(widths) + 2 * (len(widths) - 1) - width
    longest = [max(len(word) for row in rows for word in (row[at].split() or [""])) for at in range(len(widths))]
    words_at = [at for at in range(len(widths)) if not numbers[at] and not names[at]]
    for _ in range(over):
        # The widest of them at each step, so that two long ones share the room.
        can_give = [at for at in words_at if widths[at] > max(_LEAST, longest[at])]
        if can_give:
            widths[max(can_give, key=widths.__getitem__)] -= 1
    for row in rows:
        wrapped = [_wrapped(cell, "", max(1, widths[at])) for at, cell in enumerate(row)]
        for place in range(max(map(len, wrapped))):
            line = [cell[place] if place < len(cell) else "" for cell in wrapped]
            yield "  ".join(
                f"{cell:>{widths[at]}}" if numbers[at] else f"{cell:<{widths[at]}}" for at, cell in enumerate(line)
            ).rstrip()
