"""One result as a person sees it, as content alone: `html.py` and `text.py` draw it.

A sentence may hold `**bold**` words and `code` between backticks. Cells hold values as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..units import show_usd
from .drawing import Picture
from .states import StateMark

MAX_ROWS = 20


class RowHeader(str):
    """The title of a column that says what each row is: its cells are cut at their ends, and whole on hovering."""

    __slots__ = ()


class Number(str):
    """The title of a column of numbers: they stand right, below each other."""

    __slots__ = ()


class NotebookName(str):
    """The name of a run's step whose executed notebook is there: a link to it where our server is, else text."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Strong:
    """A text that stands out."""

    text: str


@dataclass(frozen=True, slots=True)
class Dim:
    """A text that steps back: what is missing, or the same as before."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A command, or something else that can be typed as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text with its `code` and its **bold** words: in a cell, or as a paragraph of its own."""

    text: str


@dataclass(frozen=True, slots=True)
class Meter:
    """How much of a whole was used, as a bar, with its words. high: from where on it is a warning."""

    value: float
    most: float
    text: str
    high: float | None = None
    is_small: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far work has come, as a bar, with its words."""

    value: float
    most: float
    text: str


Piece = str | StateMark | Strong | Dim | Code | Sentence | Meter | Progress | Picture
Cell = Piece | tuple[Piece, ...]
"""What stands in a table's cell: a value, or several side by side."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number at a glance. unit: behind it, small; it may be a limit or a time as well."""

    label: str
    value: str
    unit: str = ""


def money(label: str, usd: float | None, more: str = "", *, of: str = "") -> Figure:
    """An amount of money as a figure; None is unknown. more: behind its unit. of: in its unit's place, a limit."""
    if usd is None:
        return Figure(label, "unknown")
    amount, _, unit = show_usd(usd).partition(" ")
    return Figure(label, amount, of or unit + more)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells below titles, cut after `most` rows; nothing when it has none.

    A column without any content is left out. The first says what a row is, unless another's title is a `RowHeader`.
    total: a last row that sums the others up. label: a heading, only where a card has several tables. A table without
    titles is a list of bars.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    label: str = ""
    total: Sequence[Cell] = ()
    most: int = MAX_ROWS

    def __post_init__(self) -> None:
        lines = [*self.rows, *([self.total] if self.total else [])]
        width = len(self.titles) or max(map(len, lines), default=0)
        full = [at for at in range(width) if any(line[at] != "" for line in lines)]
        # A number must not stand last, where it would be torn away to the far edge: rather an empty column of words.
        if full and self.titles and isinstance(self.titles[full[-1]], Number):
            full += range(full[-1] + 1, width)
        if lines and len(full) < width:
            # Frozen to whoever reads it; this is still its making.
            object.__setattr__(self, "titles", [self.titles[at] for at in full] if self.titles else ())
            object.__setattr__(self, "rows", [[row[at] for at in full] for row in self.rows])
            object.__setattr__(self, "total", [self.total[at] for at in full] if self.total else ())

    @property
    def shown(self) -> Sequence[Sequence[Cell]]:
        """The rows that are drawn."""
        return self.rows[: self.most]

    @property
    def hidden(self) -> int:
        """How many are not."""
        return max(0, len(self.rows) - self.most)

    @property
    def name_at(self) -> int:
        """Which column says what a row is."""
        return next((place for place, title in enumerate(self.titles) if isinstance(title, RowHeader)), 0)


@dataclass(frozen=True, slots=True)
class Plots:
    """Pictures side by side. label: a heading."""

    pictures: Sequence[Picture]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Band:
    """A picture that is stretched to the width of the card and holds no text: how something is split."""

    picture: Picture
    label: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """Names or values without an order that matters, one after another."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Quote:
    """A text as it is, in one piece: output, code, a command to copy. label: a heading."""

    text: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """What is there for whoever asks for it."""

    summary: str
    content: Table | Listed | Quote
    is_open: bool = False


Part = Table | Plots | Band | Quote | Fold | Sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One result. What it does not have is left out.

    kind: the noun in the singular, with a capital. state: its one verdict or state. when: what time the state is of.
    lead: the finding and its cause, one sentence or two; every verdict, failure and end has one. advice: what to do
    now. facts: what does not change, label and value. figures: three to five. parts: tables, pictures, folds, quotes.
    notes: how the verdict was reached, a sentence each. next: one or two commands.
    """

    kind: str
    uri: str
    state: StateMark | None = None
    when: str = ""
    lead: str = ""
    advice: str = ""
    progress: Progress | None = None
    facts: Sequence[tuple[str, str]] = ()
    figures: Sequence[Figure] = ()
    parts: Sequence[Part] = ()
    notes: Sequence[str] = ()
    next: Sequence[str] = ()

    def text(self, translated: Callable[[str], str] = str) -> str:
        """Plain text of at most 100 columns, as far as its words allow. translated: puts commands as a shell has them.

        What the card quotes is not translated.
        """
        from . import text

        return text.render(self, translated)

    def html(self) -> str:
        """At most 5 KB without pictures for an ordinary result."""
        from . import html

        return html.render(self)

    def bundle(self) -> dict[str, str]:
        """Both forms, as Jupyter wants them."""
        return {"text/plain": self.text(), "text/html": self.html()}
