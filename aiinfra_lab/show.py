"""What a result looks like: plain text, and HTML made only of what JupyterLab keeps in an untrusted notebook.

So: semantic tags and classes, tables, `<details>` and pictures as `<img>`; no style sheet, script, inline SVG or data
attribute. A result stays readable in a file that is reopened, converted or run by a scheduler. This file draws; it
decides nothing.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import html
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .units import apart, show_bytes, show_duration, show_share, show_usd

MAX_ROWS = 20
_INK = "#808080"  # readable on white and on JupyterLab's dark background alike
_LINES = ("#2f7fc1", "#d9822b", "#3d9a50", "#b4539b")
_SHOWN_AS: dict[str, Callable[[float], str]] = {
    "_s": show_duration,
    "_usd": show_usd,
    "_bytes": show_bytes,
    "_share": show_share,
    "_gib": lambda x: f"{x:g} GiB",
}


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


class Result:
    """What a verb returns: a frozen dataclass whose `str()` is its URI, so that `$name` and a parameter can be it.

    Subclasses are frozen dataclasses with a field `uri`; `card` may be overridden.
    """

    uri: str

    def __str__(self) -> str:
        return self.uri

    def card(self) -> Card:
        """How it looks; by default its fields, with the units their names carry."""
        facts = [(label(name), shown(name, value)) for name, value in self.as_json().items() if _is_fact(name, value)]
        return Card(self.uri, state=str(getattr(self, "state", "")), facts=facts)

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values; those marked `metadata={"json": False}` are left out."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {field.name: _plain(getattr(self, field.name)) for field in fields if field.metadata.get("json", True)}

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.card().bundle()


@dataclass(frozen=True)
class Comparison(Result):
    """Two things compared by meaning. `changes` holds (what, before, after) of what differs; `code` the lines."""

    uri: str
    other: str
    changes: tuple[tuple[str, str, str], ...]
    note: str = ""
    code: str = field(default="", repr=False)

    def card(self) -> Card:
        notes = [self.note] if self.note else [] if self.changes else ["nothing differs"]
        details = [("the code that differs", self.code)] if self.code else []
        header = ["", self.other, self.uri] if self.changes else []
        return Card(f"{self.other} → {self.uri}", header=header, rows=self.changes, notes=notes, details=details)


@dataclass(frozen=True, repr=False)
class Listing(Result):
    """Things in a table, newest first. `header` names the fields of each that are shown.

    unreadable: how many it lacks because their records cannot be read.
    """

    uri: str
    items: tuple[Any, ...]
    header: tuple[str, ...]
    empty: str = "there is none yet"
    unreadable: int = 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __repr__(self) -> str:
        return self.card().text()

    def card(self) -> Card:
        rows = [[shown(name, _plain(getattr(item, name))) for name in self.header] for item in self.items]
        notes = [lacking(self.unreadable)] if self.unreadable else [] if rows else [self.empty]
        return Card(self.uri, header=[label(name) for name in self.header], rows=rows, notes=notes)


def lacking(count: int) -> str:
    """The sentence below a list that lacks so many records."""
    return f"{count} record{'s' * (count > 1)} cannot be read: `%lab check` names what helps"


class LiveFrame:
    """Work in progress as one output, updated at most four times a second, whose last frame stays in the file.

    Outside a notebook it writes nothing: a command line prints the result at its end.
    """

    MIN_S = 0.25

    def __init__(self, first: Card) -> None:
        self._handle: Any = None
        self._shown_at = time.monotonic()
        if in_notebook():
            from IPython.display import display

            self._handle = display(first.bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def update(self, card: Card) -> None:
        """Show this frame, unless the last one is too young."""
        if time.monotonic() - self._shown_at >= self.MIN_S:
            self.close(card)

    def close(self, card: Card) -> None:
        """Show this frame in any case."""
        self._shown_at = time.monotonic()
        if self._handle is not None:
            self._handle.update(card.bundle(), raw=True)

    def clear(self) -> None:
        """Take the frame away, when the result that follows says all of it."""
        if self._handle is not None:
            # `clear_output` would take all of the cell's outputs.
            self._handle.update({"text/plain": ""}, raw=True)


def waiting(uri: str, what: str, state: str = "waiting") -> None:
    """Say what a verb waits for, or did first: an output of the cell, outside a notebook a line of stderr."""
    if in_notebook():
        LiveFrame(Card(uri, state, notes=[what]))
    else:
        sys.stderr.write(f"{what}\n")
        sys.stderr.flush()


def in_notebook() -> bool:
    """Whether outputs of this process go to a notebook."""
    # Looked up, not imported: a notebook's process has it in memory, and a command need not wait for it.
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and getattr(shell, "kernel", None) is not None


def label(name: str) -> str:
    """A field's name as a person reads it: without its unit."""
    for suffix in (*_SHOWN_AS, "_at"):
        name = name.removesuffix(suffix)
    return name.strip("_").replace("_", " ")


def shown(name: str, value: Any) -> str:
    """A value as a person reads it, by the unit that its field's name carries."""
    if value is None or value == "":
        return "–"
    if name.endswith("_at") and isinstance(value, int | float):
        with contextlib.suppress(OSError, OverflowError, ValueError):  # no calendar reaches that far
            return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    for suffix, show in _SHOWN_AS.items():
        if name.endswith(suffix) and isinstance(value, int | float):
            return show(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={shown(str(key), item)}" for key, item in value.items())
    return str(value)


def shown_apart(name: str, before: Any, after: Any) -> tuple[str, str]:
    """Two values as a person reads them; numbers that differ never read alike."""
    texts = shown(name, before), shown(name, after)
    if texts[0] == texts[1] and isinstance(before, int | float) and isinstance(after, int | float):
        return apart(before, after)
    return texts


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], *, x: str = "", y: str = "") -> str:
    """An SVG text with one line per series (at most 4, at most 200 points each), axes labelled with their ranges."""
    width, height, left, bottom = 420, 160, 52, 28
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    (x0, x1), (y0, y1) = (_range([point[axis] for point in points]) for axis in (0, 1))

    def at(px: float, py: float) -> str:
        across = left + (px - x0) / (x1 - x0) * (width - left - 8)
        return f"{across:.1f},{height - bottom - (py - y0) / (y1 - y0) * (height - bottom - 18):.1f}"

    drawn = []
    for colour, (name, line) in zip(_LINES, series.items(), strict=False):
        path = " ".join(at(*point) for point in _thin(line, 200))
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        drawn.append(f'<text x="{left + 90 * len(drawn) // 2 - 40}" y="11" fill="{colour}">{_e(name)}</text>')
    axes = (
        f'<path d="M{left} 16V{height - bottom}H{width - 8}" fill="none" stroke="{_INK}"/>'
        f'<text x="2" y="24" fill="{_INK}">{y1:.3g}</text>'
        f'<text x="2" y="{height - bottom}" fill="{_INK}">{y0:.3g}</text>'
        f'<text x="{left}" y="{height - 10}" fill="{_INK}">{x0:g}</text>'
        f'<text x="{width - 8}" y="{height - 10}" text-anchor="end" fill="{_INK}">{x1:g} {_e(x)}</text>'
        f'<text x="2" y="11" fill="{_INK}">{_e(y)}</text>'
    )
    return _svg(width, height, axes + "".join(drawn))


def bar_chart(
    bars: Sequence[tuple[str, float]],
    *,
    mark: Sequence[str] = (),
    limit: float | None = None,
    texts: Sequence[str] = (),
) -> str:
    """An SVG text with one horizontal bar per (label, value >= 0), at most 20; labels in `mark` stand out.

    limit: a dashed line. texts: what stands behind each bar instead of its value.
    """
    if not bars:
        return ""
    bars, width, left, step, right = bars[:20], 420, 150, 18, 60
    if texts:
        width, right = width + 90, right + 90
    top = max([value for _, value in bars] + ([] if limit is None else [limit])) or 1.0
    drawn = []
    for row, (name, value) in enumerate(bars):
        y, long = row * step + 4, value / top * (width - left - right)
        colour = _LINES[1] if name in mark else _LINES[0]
        text = texts[row] if texts else f"{value:.3g}"
        drawn.append(
            f'<text x="{left - 6}" y="{y + 11}" text-anchor="end" fill="{_INK}">{_e(name[:24])}</text>'
            f'<rect x="{left}" y="{y}" width="{long:.1f}" height="13" fill="{colour}"/>'
            f'<text x="{left + long + 4:.1f}" y="{y + 11}" fill="{_INK}">{_e(text)}</text>'
        )
    if limit is not None:
        x = left + limit / top * (width - left - right)
        drawn.append(f'<path d="M{x:.1f} 0V{len(bars) * step + 4}" stroke="{_INK}" stroke-dasharray="3"/>')
    return _svg(width, len(bars) * step + 8, "".join(drawn))


def data_url(svg: str) -> str:
    """An SVG text as the source of an `<img>`, the only form that untrusted notebooks keep."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _svg(width: int, height: int, inner: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="11">{inner}</svg>'
    )


def _thin(line: Sequence[tuple[float, float]], most: int) -> Sequence[tuple[float, float]]:
    step = max(1, -(-len(line) // most))
    return [*line[::step], line[-1]] if step > 1 else line


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    # A range of no width would divide by zero.
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    table = [header, *rows]
    widths = [max(len(str(row[column])) for row in table) for column in range(len(header))]
    return ["  ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _is_fact(name: str, value: Any) -> bool:
    return name not in ("uri", "state") and value not in (None, "", [], {})


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.as_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(item) for key, item in dataclasses.asdict(value).items()}
    if isinstance(value, msgspec.Struct):
        return {key: _plain(item) for key, item in msgspec.structs.asdict(value).items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _word(state: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in state.lower())


def _e(text: object) -> str:
    return html.escape(str(text), quote=True)
