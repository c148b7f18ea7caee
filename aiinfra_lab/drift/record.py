"""A verdict as the workspace remembers it: what was compared with what, and every column's change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from ..store import Body
from ..units import counted

DriftState = Literal["drift", "no drift", "cannot tell"]
ColumnKind = Literal["number", "category"]

_MOST_REASONS, _MOST_NAMES = 3, 3


class ColumnChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What separates a column of the current sample from the reference.

    effect, floor: what the deciding test found, and the least of it that matters, both in `effect_unit`, e.g. sd.
    p: corrected for all tests of the check; None: inconclusive. missing_before, missing_now: shares of the reference
    and of the current sample. unseen: the share of current values that the reference has none of. why: the test that
    decided, or what made it inconclusive. unit: what counted as one in both samples, e.g.
    `31 and 64 blocks of day`.
    """

    column: str
    kind: ColumnKind
    drifted: bool
    effect: float
    floor: float
    effect_unit: str
    p: float | None
    missing_before: float
    missing_now: float
    unseen: float
    why: str
    unit: str

    @property
    def times_floor(self) -> float:
        """How many times the least that matters the effect is."""
        # Not less than 1 by rounding alone: 0.52 - 0.5 is not 0.02.
        return round(abs(self.effect) / self.floor, 9) if self.floor else 0.0

    def weight(self, alpha: float) -> float:
        """How much there is in the change: 1 or more when the column drifted, less than 1 when not.

        Of a column that drifted it grows by 1 with each power of ten of its effect in multiples of the floor, since
        those reach from 1 to some hundreds; of another, how far effect or p, whichever is further away, are on the way.
        """
        if self.drifted:
            return 1.0 + math.log10(max(1.0, self.times_floor))
        if self.p is None or self.p >= 1:
            return 0.0
        evidence = math.log(self.p) / math.log(alpha) if self.p else math.inf
        return min(self.times_floor, evidence)


def reasons(columns: Sequence[ColumnChange]) -> str:
    """Why columns cannot be judged: each reason once, with its columns where there are several; empty without any."""
    found: dict[str, list[str]] = {}
    for column in columns:
        if column.p is None:
            found.setdefault(column.why, []).append(column.column)
    if len(found) < 2:
        return next(iter(found), "")
    ordered = sorted(found, key=lambda why: -len(found[why]))
    left = sum(len(found[why]) for why in ordered[_MOST_REASONS:])
    more = [f"{counted(left, 'column')} more for other reasons"] if left else []
    return "; ".join([*(f"{_listed(found[why])}: {why}" for why in ordered[:_MOST_REASONS]), *more])


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMES:
        return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


class DriftRecord(Body, frozen=True, kw_only=True):
    """One verdict on an endpoint, `drift:NAME@N`.

    endpoint, model, judged, against: URIs. rows_before, rows_now: rows of the reference and of the current sample.
    by: the column that was declared to say which rows depend on each other. columns: those that drifted first.
    sample: the folder of both samples. outputs: those of the columns that the model answered. projected: those that are
    vectors, of which one number was compared. Verdicts from before they
    were kept lack `judged`, `since_at` and `sample`, and of those before 0.3 a model answered nothing but a score.
    """

    kind: ClassVar[str] = "drift"
    schema_version: ClassVar[int] = 2
    has_event: ClassVar[bool] = True

    state: DriftState
    endpoint: str
    model: str
    against: str
    rows_before: int
    rows_now: int
    alpha: float
    checked_at: float
    columns: tuple[ColumnChange, ...]
    sample: str = ""
    judged: str = ""
    since_at: float | None = None
    by: str = ""
    outputs: tuple[str, ...] = ("score",)
    projected: tuple[str, ...] = ()

    @classmethod
    def upgrade(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 1 took each row as independent, and had one floor for every effect, a distance from 0 to 1."""
        if version > 1:
            return fields
        before = {"floor": 0.02, "effect_unit": "", "unit": "rows"}
        return {**fields, "columns": [{**before, **column} for column in fields["columns"]]}
