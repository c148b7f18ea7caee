"""What drift's verbs answer with, and how it looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..show import Card, Result, bar_chart, shown
from ..store import Record
from ..units import show_share
from .record import ColumnChange, DriftRecord
from .verdict import LEAST_EFFECT

LEAST_P = 1e-6
"""A smaller p says no more: the tests' own assumptions do not hold to that many digits."""


@dataclass(frozen=True)
class DriftReport(Result):
    """A verdict: `drift`, `no drift` or `cannot tell`, and every column's change, the largest first.

    against, rows_before: the reference. judged, rows_now: the current sample that was compared with it, `deploy:NAME`
    for the endpoint's own log. since_at: where that log was taken from. A verdict from before these were kept has
    neither `judged` nor `since_at`.
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
    note: str = field(default="", repr=False, metadata={"json": False})

    @classmethod
    def of(cls, record: Record[DriftRecord]) -> DriftReport:
        """The verdict that a record holds."""
        return cls(record.uri, **msgspec.structs.asdict(record.body))

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that drifted, the largest change first."""
        return tuple(change.column for change in self.columns if change.drifted)

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "columns": [msgspec.to_builtins(change) for change in self.columns]}

    def card(self) -> Card:
        header = ("", "column", "effect", "p", "missing", "unseen", "why")
        since = f" since {shown('since_at', self.since_at)}" if self.since_at else ""
        facts = [("judged", f"{self.judged or self.endpoint}, {self.rows_now:,} rows{since}")]
        facts.append(("against", f"{self.against}, {self.rows_before:,} rows"))
        # When rows were judged instead of its log, the endpoint has still said which model and which features.
        facts += [("endpoint", self.endpoint)] if self.judged not in ("", self.endpoint) else []
        facts.append(("model", self.model))
        # Twelve bars can be read; the table below has the rest.
        bars = [(change.column, change.effect) for change in self.columns[:12]]
        first = ", ".join(self.drifted[:5]) + (", …" if len(self.drifted) > 5 else "")
        summary = f"{len(self.drifted)} of {len(self.columns)} columns drifted" + (f": {first}" if first else "")
        picture = bar_chart(bars, mark=self.drifted, limit=LEAST_EFFECT) if self.rows_now else ""
        return Card(
            f"{self.uri}: {summary}",
            self.state,
            facts,
            header,
            [_row(change) for change in self.columns],
            self._notes(),
            picture,
            f"how far each column moved; {summary}",
        )

    def _notes(self) -> list[str]:
        least = f"{LEAST_EFFECT:g} (the dashed line of the picture)" if self._has_line() else f"{LEAST_EFFECT:g}"
        notes = [
            f"a column drifted when its effect reaches {least} and its p is at most {self.alpha:g}: both",
            f"without a change, a column is called drifted in {show_share(self.alpha)} of such checks at most",
        ]
        return [*notes, self.note] if self.note else notes

    def _has_line(self) -> bool:
        """Whether the picture has the line: it has where a bar is as long."""
        return self.rows_now > 0 and any(change.effect >= LEAST_EFFECT for change in self.columns)


def _row(change: ColumnChange) -> tuple[str, ...]:
    missing = show_share(change.missing_now)
    if change.missing_before != change.missing_now:
        missing = f"{show_share(change.missing_before)} → {missing}"
    p = "–" if change.p is None else "< 1e-6" if change.p < LEAST_P else f"{change.p:.2g}"
    mark = "drift" if change.drifted else "?" if change.p is None else ""
    effect = "–" if change.p is None else f"{change.effect:.3f}"
    why = change.why if mark else ""
    return (mark, change.column, effect, p, missing, show_share(change.unseen), why)
