"""A verdict as the workspace remembers it: what was compared with what, and every column's change."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ..store import Body

DriftState = Literal["drift", "no drift", "cannot tell"]
ColumnKind = Literal["number", "category"]


class ColumnChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What separates a column of the current sample from the reference.

    effect: how far they are apart, 0 to 1. p: corrected for all tests of the check; None: inconclusive.
    missing_before, missing_now: shares of the reference and of the current sample. unseen: the share of current values
    that the reference has none of. why: the test that decided, or what made it inconclusive.
    """

    column: str
    kind: ColumnKind
    drifted: bool
    effect: float
    p: float | None
    missing_before: float
    missing_now: float
    unseen: float
    why: str


class DriftRecord(Body, frozen=True, kw_only=True):
    """One verdict on an endpoint, `drift:NAME@N`.

    endpoint, model, judged, against: URIs. rows_before, rows_now: rows of the reference and of the current sample.
    columns: the largest change first. sample: the folder of both samples. Verdicts from before they were kept lack
    `judged`, `since_at` and `sample`.
    """

    kind: ClassVar[str] = "drift"

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
