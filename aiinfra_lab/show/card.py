"""One result as a person sees it."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from .pictures import data_url

MAX_ROWS = 20


@dataclass(frozen=True)
class Card:
    """One result as a person sees it.

    title, state: the first line. facts: label and value. header, rows: a table, cut after `max_rows`. notes: sentences
    below. picture: an SVG text, with picture_alt saying the same in words. details: (summary, text) folded away.
    """

    title: str
    state: str = ""
    facts: Sequence[tuple[str, str]] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()
    picture: str = ""
    picture_alt: str = ""
    details: Sequence[tuple[str, str]] = ()
    max_rows: int = MAX_ROWS

    def text(self) -> str:
        """Plain text, aligned."""
        lines = [f"{self.title}  [{self.state}]" if self.state else self.title]
        width = max((len(label) for label, _ in self.facts), default=0)
        lines += [f"  {label:<{width}}  {value}" for label, value in self.facts]
        lines += [f"  {line}" for line in _columns(self.header, self._shown_rows())]
        lines += [f"  {note}" for note in (*self._more(), *self.notes)]
        for name, text in self.details:
            lines += [f"  {name}:", textwrap.indent(text, "    ")]
        return "\n".join(lines)

    def html(self) -> str:
        """At most 5 KB without the picture for an ordinary result."""
        state = (
            f' <span class="aiinfra-state aiinfra-state-{_word(self.state)}">{_e(self.state)}</span>'
            if self.state
            else ""
        )
        parts = [f'<p class="aiinfra-title"><strong>{_e(self.title)}</strong>{state}</p>']
        if self.facts:
            facts = "".join(
                f'<tr><th scope="row">{_e(label)}</th><td>{_e(value)}</td></tr>' for label, value in self.facts
            )
            parts.append(f'<table class="aiinfra-facts"><tbody>{facts}</tbody></table>')
        if self.rows:
            head = "".join(f"<th>{_e(name)}</th>" for name in self.header)
            body = "".join(
                "<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row) + "</tr>" for row in self._shown_rows()
            )
            parts.append(f'<table class="aiinfra-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')
        if self.picture:
            parts.append(f'<p><img alt="{_e(self.picture_alt)}" src="{data_url(self.picture)}"></p>')
        parts += [f'<p class="aiinfra-note">{_e(note)}</p>' for note in (*self._more(), *self.notes)]
        parts += [
            f"<details><summary>{_e(name)}</summary><pre>{_e(text)}</pre></details>" for name, text in self.details
        ]
        return f'<section class="aiinfra-card">{"".join(parts)}</section>'

    def bundle(self) -> dict[str, str]:
        """Both forms, as Jupyter wants them."""
        return {"text/plain": self.text(), "text/html": self.html()}

    def _shown_rows(self) -> Sequence[Sequence[str]]:
        return self.rows[: self.max_rows]

    def _more(self) -> list[str]:
        hidden = len(self.rows) - self.max_rows
        return [f"… and {hidden} more"] if hidden > 0 else []


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    table = [header, *rows]
    widths = [max(len(str(row[column])) for row in table) for column in range(len(header))]
    return ["  ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _word(state: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in state.lower())


def _e(text: object) -> str:
    return html.escape(str(text), quote=True)
