"""A card as HTML, made only of what JupyterLab keeps in an untrusted notebook.

So: semantic tags, classes and tables, pictures as `<img>`; no style sheet, script, inline SVG or data attribute. Glyph,
word, unit and separator are in the markup: colours and widths, which the style sheet gives, only repeat them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .card import (
    Band,
    Card,
    Cell,
    Code,
    Dim,
    Figure,
    Fold,
    Listed,
    Meter,
    NotebookName,
    Number,
    Part,
    Piece,
    Plots,
    Progress,
    Quote,
    Sentence,
    Strong,
    Table,
)
from .drawing import Picture
from .states import StateMark

# In a notebook all HTML is searched for formulas, and two texts with a dollar would be one: by MathJax 3 and 2.
_NO_FORMULAS = "mathjax_ignore tex2jax_ignore"
_MARKUP = re.compile(r"`([^`\n]+)`|\*\*(?=\S)(.+?)(?<=\S)\*\*|(https?://[^\s<>`]*[^\s<>`.,;:)])")


def render(card: Card) -> str:
    """The whole card."""
    tone = f" aiinfra-{card.state.tone}" if card.state else ""
    parts = [
        _head(card),
        *(f'<p class="aiinfra-lead">{sentence(text)}</p>' for text in _leads(card)),
        f"<p>{_progress(card.progress, 'aiinfra-wide')}</p>" if card.progress else "",
        _facts(card.facts),
        _figures(card.figures),
        *(_part(part) for part in card.parts),
        _notes(card.notes),
        f'<p class="aiinfra-next">{" · ".join(map(sentence, card.next))}</p>' if card.next else "",
    ]
    return f'<section class="aiinfra-card{tone} {_NO_FORMULAS}">{"".join(parts)}</section>'


def sentence(text: str) -> str:
    """A sentence with its `code`, its **bold** words and its links."""
    made, end = [], 0
    for found in _MARKUP.finditer(text):
        code, bold, link = found.groups()
        made.append(_e(text[end : found.start()]))
        made.append(
            f"<code>{_e(code)}</code>"
            if code
            else f"<b>{_e(bold)}</b>"
            if bold
            else f'<a href="{_a(link)}">{_e(link)}</a>'
        )
        end = found.end()
    return "".join([*made, _e(text[end:])])


def _leads(card: Card) -> list[str]:
    return [text for text in (card.lead, card.advice and f"**Do:** {card.advice}") if text]


def _head(card: Card) -> str:
    kind = f'<span class="aiinfra-kind">{_e(card.kind)}</span> ' if card.kind else ""
    uri = f'<strong class="aiinfra-uri">{_e(card.uri)}</strong>'
    state = f' <span class="aiinfra-state aiinfra-{card.state.tone}">{_e(card.state)}</span>' if card.state else ""
    # The dot parts state from time where no style sheet does.
    when = f'<i class="aiinfra-dot"> · </i><span class="aiinfra-when">{_e(card.when)}</span>' if card.when else ""
    return f'<p class="aiinfra-head">{kind}{uri}{state}{when}</p>'


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    shown = " · ".join(f"{_e(label)} <b>{_e(value)}</b>" for label, value in facts)
    return f'<p class="aiinfra-facts">{shown}</p>' if facts else ""


def _figures(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    head = "".join(f'<th scope="col">{_e(one.label)}</th>' for one in figures)
    cells = (f"<b>{_e(one.value)}</b>" + (f" <small>{_e(one.unit)}</small>" if one.unit else "") for one in figures)
    body = "".join(f"<td>{cell}</td>" for cell in cells)
    thead = f'<thead align="left"><tr>{head}</tr></thead>'
    return f'<table class="aiinfra-stats">{thead}<tbody><tr>{body}</tr></tbody></table>'


def _notes(notes: Sequence[str]) -> str:
    if len(notes) == 1:
        return f'<p class="aiinfra-note">{sentence(notes[0])}</p>'
    items = "".join(f"<li>{sentence(note)}</li>" for note in notes)
    return f'<ul class="aiinfra-note">{items}</ul>' if notes else ""


def _part(part: Part | Listed) -> str:
    return _PARTS[type(part)](part)


def _label(text: str) -> str:
    return f'<p class="aiinfra-label">{sentence(text)}</p>' if text else ""


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    titles = [*table.titles] or [""] * len(table.rows[0])
    fill, name_at = _fill(table, titles), table.name_at
    marks = [_marks(title, at == fill) for at, title in enumerate(titles)]
    head = "".join(f'<th scope="col"{mark}>{_e(title)}</th>' for title, mark in zip(titles, marks, strict=True))
    thead = f'<thead align="left"><tr>{head}</tr></thead>' if table.titles else ""
    body = "".join(_row(row, marks, name_at) for row in table.shown)
    total = f"<tfoot>{_row(table.total, marks, name_at)}</tfoot>" if table.total else ""
    more = f'<p class="aiinfra-note">… and {table.hidden:,} more</p>' if table.hidden else ""
    return (
        f'{_label(table.label)}<div class="aiinfra-scroll"><table class="aiinfra-table">{thead}'
        f'<tbody align="left">{body}</tbody>{total}</table></div>{more}'
    )


def _marks(title: str, is_fill: bool) -> str:
    """The attributes of a column's cells."""
    return (' align="right"' if isinstance(title, Number) else "") + (' class="aiinfra-fill"' if is_fill else "")


def _fill(table: Table, titles: Sequence[str]) -> int:
    """The column that takes the room that is left: the wordiest that is neither a name nor a number, else the last."""
    wordy = {
        at: max((len(words(row[at])) for row in table.shown), default=0)
        for at, title in enumerate(titles)
        if at != table.name_at and not isinstance(title, Number)
    }
    longest = max(wordy, key=lambda at: wordy[at], default=len(titles) - 1)
    return longest if wordy.get(longest, 0) > _WORDY else len(titles) - 1


_WORDY = 24
_CUT = 18
"""A name of so many letters fits its column, in which a longer one may be cut."""


def _row(row: Sequence[Cell], marks: Sequence[str], name_at: int) -> str:
    made = []
    for at, (cell, mark) in enumerate(zip(row, marks, strict=True)):
        if at == name_at:
            name = words(cell)
            title = f' title="{_a(name)}"' if len(name) > _CUT else ""
            fill = " aiinfra-fill" if "aiinfra-fill" in mark else ""
            made.append(f'<th scope="row" class="aiinfra-name{fill}"{title}>{_cell(cell)}</th>')
        else:
            made.append(f"<td{mark}>{_cell(cell)}</td>")
    return f"<tr>{''.join(made)}</tr>"


def words(cell: Cell) -> str:
    """What a cell says without its markup."""
    if isinstance(cell, tuple):
        return " ".join(filter(None, map(words, cell)))
    if isinstance(cell, Picture):
        return ""
    return str(cell) if isinstance(cell, str | StateMark) else cell.text


def _cell(cell: Cell) -> str:
    return " ".join(map(_piece, cell)) if isinstance(cell, tuple) else _piece(cell)


def _piece(piece: Piece) -> str:
    if isinstance(piece, NotebookName):
        # No link: where nobody of ours serves it, that would be a dead one. The front end makes it one.
        return f'<span class="aiinfra-notebook">{_e(piece)}</span>'
    return _e(piece) if isinstance(piece, str) else _PIECES[type(piece)](piece)


def _mark(state: StateMark) -> str:
    return f'<span class="aiinfra-mark aiinfra-{state.tone}">{_e(state)}</span>'


def _meter(meter: Meter) -> str:
    high = f' high="{meter.high:g}"' if meter.high is not None else ""
    size = "aiinfra-tinybar" if meter.is_small else "aiinfra-wide"
    bar = f'<meter class="{size}" value="{meter.value:g}" max="{meter.most:g}"{high}></meter>'
    return f"{_e(meter.text)} {bar}" if meter.is_small else f"{bar} {_e(meter.text)}"


def _progress(progress: Progress, name: str = "") -> str:
    named = f' class="{name}"' if name else ""
    return f'<progress{named} value="{progress.value:g}" max="{progress.most:g}"></progress> {sentence(progress.text)}'


def _picture(picture: Picture) -> str:
    return f'<img alt="{_a(picture.alt)}" src="{picture.url}">'


def _plots(plots: Plots) -> str:
    shown = " ".join(map(_picture, plots.pictures))
    return f'{_label(plots.label)}<p class="aiinfra-plots">{shown}</p>' if shown else ""


def _band(band: Band) -> str:
    return f'{_label(band.label)}<p class="aiinfra-band">{_picture(band.picture)}</p>'


def _quote(quote: Quote) -> str:
    return f"{_label(quote.label)}<pre>{_e(quote.text)}</pre>"


def _fold(fold: Fold) -> str:
    is_open = " open" if fold.is_open else ""
    return f"<details{is_open}><summary>{_e(fold.summary)}</summary>{_part(fold.content)}</details>"


def _listed(listed: Listed) -> str:
    return f"<p>{_e(', '.join(listed.items))}</p>"


_PARTS: dict[type[Any], Callable[[Any], str]] = {
    Table: _table, Plots: _plots, Band: _band, Quote: _quote, Fold: _fold, Listed: _listed,
    Sentence: lambda part: f"<p>{sentence(part.text)}</p>",
}  # fmt: skip
_PIECES: dict[type[Any], Callable[[Any], str]] = {
    StateMark: _mark, Meter: _meter, Progress: _progress, Picture: _picture,
    Sentence: lambda piece: sentence(piece.text),
    Strong: lambda piece: f"<b>{_e(piece.text)}</b>",
    Dim: lambda piece: f'<span class="aiinfra-dim">{_e(piece.text)}</span>',
    Code: lambda piece: f"<code>{_e(piece.text)}</code>",
}  # fmt: skip


def _e(text: object) -> str:
    # Just what JupyterLab's sanitizer escapes itself, so that it leaves everything as it is.
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _a(text: str) -> str:
    """The same in an attribute."""
    return _e(text).replace('"', "&quot;")
