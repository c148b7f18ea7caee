"""What drift's verbs answer with, and how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..show import MAX_ROWS, Card, Cell, Fold, Listed, Number, Result, RowHeader, Table, mark_of, shown
from ..stats.columns import LEAST_P
from ..store import Record
from ..units import counted, show_share
from ..uris import Uri
from . import advice
from .record import ColumnChange, DriftRecord, reasons
from .shapes import ColumnShape, shapes

_TITLES = (
    RowHeader("column"), "verdict", Number("effect"), Number("floor"), Number("p"), "reference grey, current blue",
    Number("missing"), "what changed",
)  # fmt: skip
_LEAST_SHOWN = 5
_MANY_MORE = 0.1
"""So much more of a column is missing that this is the first thing to look at."""
_MOST_DIGITS = 9  # of effects that more would tell apart, nothing but rounding differs


@dataclass(frozen=True)
class DriftReport(Result):
    """A verdict: `drift`, `no drift` or `cannot tell`, and every column's change, those that drifted first.

    against, rows_before: the reference. judged, rows_now: the current sample that was compared with it, `deploy:NAME`
    for the endpoint's own log. since_at: where that log was taken from. A verdict from before these were kept has
    neither `judged` nor `since_at`. by: the column that says which rows depend on each other, when it was declared.
    outputs: those of the columns that the model answered. projected: those that are vectors.
    """

    kind = "Drift check"

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
    outputs: tuple[str, ...] = field(default=(), repr=False)
    projected: tuple[str, ...] = field(default=(), repr=False)
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
        """The verdict, and every column with what changed, those that drifted first."""
        ordered = sorted(self.columns, key=lambda change: (not change.drifted, change.p is not None))
        apart = [change for change in ordered if change.drifted or change.p is None]
        # Where little or nothing drifted, the nearest say how far away from it everything is.
        shown_first = ordered[: max(len(apart), _LEAST_SHOWN)]
        rest = ordered[len(shown_first) :]
        looks = shapes(self.sample, shown_first[:MAX_ROWS])
        rows = [_row(change, self.alpha, looks.get(change.column)) for change in shown_first]
        folded = Listed([_quiet(change, self.alpha) for change in rest])
        return Card(
            kind=self.kind,
            uri=self.uri,
            state=self.mark,
            when=shown("_at", self.checked_at),
            lead=self._lead(looks),
            advice=self._advice(),
            facts=self._facts(),
            parts=[
                Table(_TITLES, rows),
                *(
                    [Fold(f"{counted(len(rest), 'more column')} without drift: effect of its floor, and p", folded)]
                    if rest
                    else []
                ),
            ],
            notes=self._notes(),
            next=[f"Next: `%drift log {self.name}` shows the verdicts before"],
        )

    @property
    def name(self) -> str:
        """The endpoint's."""
        return Uri.parse(self.uri).name

    def _facts(self) -> list[tuple[str, str]]:
        since = f" since {shown('since_at', self.since_at)}" if self.since_at else ""
        facts = [("reference", f"{self.against}, {self.rows_before:,} rows")]
        facts.append(("current", f"{self.judged or self.endpoint}, {self.rows_now:,} rows{since}"))
        # When rows were judged instead of its log, the endpoint has still said which model and which features.
        facts += [("endpoint", self.endpoint)] if self.judged not in ("", self.endpoint) else []
        return [*facts, ("model", self.model), ("by", self.by or "no column declared")]

    def _lead(self, looks: Mapping[str, ColumnShape]) -> str:
        inputs = [change for change in self.columns if change.column not in self.outputs]
        unjudged = [change for change in inputs if change.p is None]
        of = counted(len(inputs), "column")
        if self.state == "no drift":
            return f"**None of {of} drifted**, nor did the predictions."
        if (first := self._first) is not None:
            untold = f" {counted(len(unjudged), 'column')} cannot be judged." if unjudged else ""
            return f"**{self._finding(of)}.** Most of all **{first.column}**, {_cause(first, looks)}.{untold}"
        if not self.columns:
            return "**There is no column to compare.**"
        which = f"{len(unjudged)} of {of}" if unjudged else "The predictions"
        whys = {change.why for change in self.columns if change.p is None}
        head = f"**{which} cannot be judged**," if len(whys) == 1 else f"**{which} cannot be judged.**"
        return f"{head} {reasons(self.columns)}."

    def _finding(self, of: str) -> str:
        count = len({*self.drifted} - {*self.outputs})
        if not count:
            return "The predictions drifted, and no column that could be judged"
        return (
            f"{count} of {of} drifted{', and the predictions with them' if {*self.drifted} & {*self.outputs} else ''}"
        )

    @property
    def _first(self) -> ColumnChange | None:
        """What drifted most: a column if there is one, since the predictions follow from those."""
        drifted = [change for change in self.columns if change.drifted]
        return next(
            (change for change in drifted if change.column not in self.outputs), drifted[0] if drifted else None
        )

    def _advice(self) -> str:
        first = self._first
        if first is None:
            return f"{advice.more(self)}." if self.state == "cannot tell" else ""
        if first.missing_now - first.missing_before > _MANY_MORE:
            return f"find out why **{first.column}** is missing, and check again: training now would learn the gap."
        is_input = first.column not in self.outputs
        what = f"what changed **{first.column}**" if is_input else "what changed in several columns together"
        return f"find out {what}. If it will stay so, train on newer rows."

    def _notes(self) -> list[str]:
        often = f"without a change, one is called so in {show_share(self.alpha)} of such checks at most"
        how = (
            f"A column drifted when its effect reaches its floor and its p is at most {self.alpha:g}, both; {often}, "
            f"as far as rows of different units do not depend on each other. Units: {_units(self.units)}."
        )
        vectors = (
            f"Of a vector one number is compared, along the direction in which both samples together differ most "
            f"(their first principal component): {', '.join(self.projected)}."
        )
        return [how, *([vectors] if self.projected else []), *([self.note] if self.note else [])]


def _units(units: Mapping[str, tuple[str, ...]]) -> str:
    (most, _), *others = units.items() or [("", ())]
    return "; ".join([most, *(f"{', '.join(columns)}: {unit}" for unit, columns in others)])


def _row(change: ColumnChange, alpha: float, look: ColumnShape | None) -> tuple[Cell, ...]:
    missing = show_share(change.missing_now)
    if change.missing_before != change.missing_now:
        missing = f"{show_share(change.missing_before).removesuffix(' %')} → {missing}"
    state = mark_of("drift" if change.drifted else "cannot tell" if change.p is None else "same")
    said = [*([look.change] if look else []), *([change.why] if change.drifted or change.p is None else [])]
    picture = look.picture if look else ""
    return change.column, state, *_effect(change), _p(change.p, alpha), picture, missing, "; ".join(said)


def _quiet(change: ColumnChange, alpha: float) -> str:
    """A column without drift, in a few words."""
    effect, floor = _effect(change)
    return f"{change.column} {effect} of {floor} (p {_p(change.p, alpha)})"


def _cause(change: ColumnChange, looks: Mapping[str, ColumnShape]) -> str:
    look = looks.get(change.column)
    return f"{change.why}: {look.change}" if look else change.why


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
    # A share is in percent already; of what it is a share, the words beside it say.
    unit = "sd" if change.effect_unit.startswith("sd") else ""
    return f"{effect} {unit}".rstrip().replace("-", "−"), least


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
    if digits == 3:
        return show_share(value) if abs(value) >= 0.0001 else "0 %"
    return f"{100 * value:.{digits}g} %"
