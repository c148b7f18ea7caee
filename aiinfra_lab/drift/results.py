"""What drift's verbs answer with, and how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..show import Card, Result, bar_chart, plain_card, shown
from ..store import Record
from ..units import show_share
from .record import ColumnChange, DriftRecord

_BARS = "a bar reaches the dashed line when the column drifted, and beyond it shows powers of ten"
_MOST_DIGITS = 17  # they tell any two numbers apart
LEAST_P = 1e-6
"""A smaller p says no more: the tests' own assumptions do not hold to that many digits."""


@dataclass(frozen=True)
class DriftReport(Result):
    """A verdict: `drift`, `no drift` or `cannot tell`, and every column's change, those that drifted first.

    against, rows_before: the reference. judged, rows_now: the current sample that was compared with it, `deploy:NAME`
    for the endpoint's own log. since_at: where that log was taken from. A verdict from before these were kept has
    neither `judged` nor `since_at`. by: the column that says which rows depend on each other, when it was declared.
    """

    uri: str
    state: str
    endpoint: str
    model: str
    against: str
    rows_before: int
    rows_now: int
    alpha: float
    checked_at: float
    columns: tuple[ColumnChange, ...] = field(repr=False)
    sample: str = field(default="", repr=False, metadata={"json": False})
    judged: str = ""
    since_at: float | None = None
    by: str = ""
    note: str = field(default="", repr=False, metadata={"json": False})

    @classmethod
    def of(cls, record: Record[DriftRecord]) -> DriftReport:
        """The verdict that a record holds."""
        return cls(record.uri, **msgspec.structs.asdict(record.body))

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that drifted, the largest change first."""
        return tuple(change.column for change in self.columns if change.drifted)

    @property
    def units(self) -> Mapping[str, tuple[str, ...]]:
        """What counted as one, and in which columns; what most columns have is the first."""
        found: dict[str, list[str]] = {}
        for change in self.columns:
            found.setdefault(change.unit, []).append(change.column)
        return {unit: tuple(found[unit]) for unit in sorted(found, key=lambda unit: -len(found[unit]))}

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "columns": [msgspec.to_builtins(change) for change in self.columns]}

    def card(self) -> Card:
        header = ("", "column", "effect", "matters from", "p", "missing", "unseen", "why")
        since = f" since {shown('since_at', self.since_at)}" if self.since_at else ""
        facts = [("judged", f"{self.judged or self.endpoint}, {self.rows_now:,} rows{since}")]
        facts.append(("against", f"{self.against}, {self.rows_before:,} rows"))
        # When rows were judged instead of its log, the endpoint has still said which model and which features.
        facts += [("endpoint", self.endpoint)] if self.judged not in ("", self.endpoint) else []
        facts += [("model", self.model), ("unit", _units(self.units))]
        first = ", ".join(self.drifted[:5]) + (", …" if len(self.drifted) > 5 else "")
        summary = f"{len(self.drifted)} of {len(self.columns)} columns drifted" + (f": {first}" if first else "")
        return plain_card(
            f"{self.uri}: {summary}",
            self.state,
            facts,
            header,
            [_row(change, self.alpha) for change in self.columns],
            self._notes(),
            self._picture(),
            f"how far each column moved; {summary}",
        )

    def _picture(self) -> str:
        # Twelve bars can be read; the table below has the rest.
        drawn = self.columns[:12] if self.rows_now else ()
        bars = [(change.column, change.weight(self.alpha)) for change in drawn]
        return bar_chart(bars, mark=self.drifted, limit=1, texts=[_effect(change)[0] for change in drawn])

    def _notes(self) -> list[str]:
        often = f"without a change, a column is called drifted in {show_share(self.alpha)} of such checks at most"
        notes = [
            f"a column drifted when its effect matters and its p is at most {self.alpha:g}: both",
            *([_BARS] if self.rows_now else []),
            f"{often}, as far as rows of different units do not depend on each other",
        ]
        return [*notes, self.note] if self.note else notes


def _units(units: Mapping[str, tuple[str, ...]]) -> str:
    (most, _), *others = units.items() or [("", ())]
    return "; ".join([most, *(f"{', '.join(columns)}: {unit}" for unit, columns in others)])


def _row(change: ColumnChange, alpha: float) -> tuple[str, ...]:
    missing = show_share(change.missing_now)
    if change.missing_before != change.missing_now:
        missing = f"{show_share(change.missing_before)} → {missing}"
    mark = "drift" if change.drifted else "?" if change.p is None else ""
    why = change.why if mark else ""
    return (mark, change.column, *_effect(change), _p(change.p, alpha), missing, show_share(change.unseen), why)


def _p(p: float | None, alpha: float) -> str:
    """With two digits, or with as many as show on which side of alpha it lies."""
    if p is None or p < LEAST_P:
        return "–" if p is None else "< 1e-6"
    texts = (f"{p:.{digits}g}" for digits in range(2, _MOST_DIGITS))
    return next((text for text in texts if _order(float(text), alpha) == _order(p, alpha)), repr(p))


def _effect(change: ColumnChange) -> tuple[str, str]:
    """The effect and the least that matters, with as many digits as show which of them is larger."""
    if change.p is None:
        return "–", "–"
    digits = next((digits for digits in range(3, _MOST_DIGITS) if _is_shown_so(change, digits)), _MOST_DIGITS)
    effect, least = (_value(value, change.effect_unit, digits) for value in (change.effect, change.floor))
    return f"{effect} {change.effect_unit}".rstrip(), least


def _is_shown_so(change: ColumnChange, digits: int) -> bool:
    effect, least = (_value(value, change.effect_unit, digits) for value in (abs(change.effect), change.floor))
    return _order(*(float(text.partition(" ")[0]) for text in (effect, least))) == _order(
        abs(change.effect), change.floor
    )


def _order(one: float, other: float) -> int:
    return (one > other) - (one < other)


def _value(value: float, unit: str, digits: int) -> str:
    """Shares, which are of something, in percent."""
    if not unit.startswith("of "):
        return f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return f"{100 * value:.{digits}g} %" if abs(value) >= 0.0001 else "0 %"
