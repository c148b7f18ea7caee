"""The verdict: column by column and for the prediction, is the current sample another than the reference?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..stats import samples

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

SCORE = "score"
LEAST_EFFECT = samples.LEAST_EFFECT


@dataclass(frozen=True, slots=True)
class Shifted:
    """One column's change. `p` is corrected for all tests of the check; None: it cannot be told."""

    column: str
    kind: str
    drifted: bool
    effect: float
    p: float | None
    missing_before: float
    missing_now: float
    unseen: float
    why: str


def judge(reference: pl.DataFrame, current: pl.DataFrame, alpha: float) -> list[Shifted]:
    """Compare the columns that both frames have, the largest effect first.

    Without any change, the chance that a single column is called drifted is at most alpha.
    """
    shared = [name for name in reference.columns if name in current.columns]
    found = [_compare(name, reference, current) for name in shared]
    told = [one for one in found if one[0].p is not None]
    corrected = samples.adjusted([one.p for one, _ in told if one.p is not None])
    judged = [_judged(one, p, alpha, blind) for (one, blind), p in zip(told, corrected, strict=True)]
    untold = [one for one, _ in found if one.p is None]
    return sorted([*judged, *untold], key=lambda one: (one.drifted, one.effect), reverse=True)


def overall(columns: Sequence[Shifted]) -> str:
    """`drift` when a column drifted, `cannot tell` when one could not be judged, else `no drift`."""
    if any(one.drifted for one in columns):
        return "drift"
    return "no drift" if columns and all(one.p is not None for one in columns) else "cannot tell"


def _judged(one: Shifted, p: float, alpha: float, blind: str) -> Shifted:
    if p <= alpha and one.effect >= LEAST_EFFECT:
        return replace(one, p=p, drifted=True)
    return replace(one, p=None, why=blind) if blind else replace(one, p=p)


def _compare(name: str, reference: pl.DataFrame, current: pl.DataFrame) -> tuple[Shifted, str]:
    import polars as pl

    old, new = reference[name], current[name]
    if pl.Float32 in (old.dtype, new.dtype) and new.dtype.is_float():
        # 0.1 is another number in 32 bits than in 64: both are compared as what the coarser one can hold.
        old, new = old.cast(pl.Float32), new.cast(pl.Float32)
    # A column that is empty now has no type of its own: it is compared as what it was.
    if old.dtype.is_numeric() and (new.dtype.is_numeric() or new.dtype == pl.Null):
        kind, shift = "number", samples.numbers(_floats(old), _floats(new))
    else:
        kind, shift = "category", samples.categories(_texts(old), _texts(new))
    before, now = shift.missing
    return Shifted(name, kind, False, shift.effect, shift.p, before, now, shift.unseen, shift.why), shift.blind


def _floats(series: pl.Series) -> NDArray[Any]:
    import polars as pl

    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _texts(series: pl.Series) -> list[str | None]:
    import polars as pl

    return series.cast(pl.String).to_list()
