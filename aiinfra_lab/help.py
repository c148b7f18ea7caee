"""A help text: what somebody can type and what it means, as plain text and as a card."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .show import Card, Cell, Code, Quote, Result, RowHeader, Sentence, Table

_WIDTH = 100
_LEAST = 40  # of a meaning, however long the names are


@dataclass(frozen=True, slots=True)
class Terms:
    """Names with what each means. of: what they are, in the singular. title: a line above them.

    defaults: of those that have one, what holds where they are left out.
    """

    of: str
    meanings: Mapping[str, str]
    title: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Below each other, each on as many lines as it takes."""
        if self.title:
            yield self.title
        width = max(map(len, self.meanings), default=0) + 4
        for name, meaning in self.meanings.items():
            default = f" (default {self.defaults[name]})" if name in self.defaults else ""
            first, *more = _wrapped(meaning + default, max(_LEAST, _WIDTH - width)) or [""]
            yield f"  {name:<{width - 2}}{first}".rstrip()
            yield from (" " * width + line for line in more)

    def table(self) -> Table:
        titles = (RowHeader(self.of), "what it means", "default")
        return Table(titles, [self._row(name) for name in self.meanings], self.title, most=len(self.meanings))

    def _row(self, name: str) -> tuple[Cell, ...]:
        default = self.defaults.get(name)
        return Code(name), Sentence(self.meanings[name]), Code(default) if default else ""


@dataclass(frozen=True, slots=True)
class Page:
    """All of one help. subject: what it is of, as it is typed. usage: how it is typed in full, its words."""

    subject: str
    lead: str
    usage: Sequence[str] = ()
    parts: Sequence[Sentence | Terms | Quote] = ()

    def text(self) -> str:
        """Paragraphs of at most 100 columns, as far as what is quoted and what is typed allow."""
        head = [_usage(self.usage), _filled(self.lead)] if self.usage else [_filled(f"{self.subject}: {self.lead}")]
        return "\n\n".join([*head, *map(_paragraph, self.parts)])

    def card(self) -> Card:
        parts = [part.table() if isinstance(part, Terms) else part for part in self.parts]
        usage = [Quote(" ".join(self.usage))] if self.usage else []
        return Card(kind="Help", uri=self.subject, lead=self.lead, parts=[*usage, *parts])


@dataclass(frozen=True)
class Help(Result):
    """A help text as a result, so that every face shows it in its own way."""

    uri: str
    page: Page

    @property
    def content(self) -> str:
        """The text."""
        return self.page.text()

    def card(self) -> Card:
        return self.page.card()

    def as_json(self) -> dict[str, Any]:
        return {"uri": self.uri, "content": self.content}

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        # In a terminal as `--help` shows it, which is no card.
        return {"text/plain": self.content, "text/html": self.card().html()}


def _paragraph(part: Sentence | Terms | Quote) -> str:
    match part:
        case Sentence():
            return _filled(part.text)
        case Terms():
            return "\n".join(part.lines())
        case Quote():
            return f"{part.label}:\n{textwrap.indent(part.text, '  ')}"


def _usage(words: Sequence[str]) -> str:
    # A flag and its value stay together.
    whole = " ".join(word.replace(" ", "\xa0") for word in words)
    return "\n".join(_wrapped(whole, _WIDTH, "    ")).replace("\xa0", " ")


def _filled(text: str) -> str:
    return "\n".join(_wrapped(text, _WIDTH))


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
