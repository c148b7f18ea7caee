"""The verdict: column by column and for the prediction, is the current sample another than the reference?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ..stats import samples
from ..stats.multiple import adjusted
from .record import ColumnChange, ColumnKind, DriftState

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

SCORE = "score"
LEAST_EFFECT = samples.LEAST_EFFECT


def judge(reference: pl.DataFrame, current: pl.DataFrame, alpha: float) -> list[ColumnChange]:
    """Compare the columns that both frames have, the largest effect first.

    Without any change, the chance that a single column is called drifted is at most alpha.
    """
    shared = [name for name in reference.columns if name in current.columns]
    found = [_compare(name, reference, current) for name in shared]
    # What could not be tested is no test: it must not make the correction of the others stricter.
    tested = [(change, change.p, inconclusive) for change, inconclusive in found if change.p is not None]
    corrected = adjusted([p for _, p, _ in tested])
    judged = [
        _judged(change, p, alpha, inconclusive) for (change, _, inconclusive), p in zip(tested, corrected, strict=True)
    ]
    untested = [change for change, _ in found if change.p is None]
    return sorted([*judged, *untested], key=lambda change: (change.drifted, change.effect), reverse=True)


def overall(columns: Sequence[ColumnChange]) -> DriftState:
    """`drift` when a column drifted, `cannot tell` when one could not be judged, else `no drift`."""
    if any(change.drifted for change in columns):
        return "drift"
    return "no drift" if columns and all(change.p is not None for change in columns) else "cannot tell"


def _judged(change: ColumnChange, p: float, alpha: float, inconclusive: str) -> ColumnChange:
    # Both: with many rows a trifle is significant, and with few a large difference may be chance.
    if p <= alpha and change.effect >= LEAST_EFFECT:
        return replace(change, p=p, drifted=True)
    # What could be compared did not change, but not all could: that is no verdict either way.
    return replace(change, p=None, why=inconclusive) if inconclusive else replace(change, p=p)


def _compare(name: str, reference_table: pl.DataFrame, current_table: pl.DataFrame) -> tuple[ColumnChange, str]:
    """The column's change with its own p, and what could not be compared."""
    import polars as pl

    reference, current = reference_table[name], current_table[name]
    if pl.Float32 in (reference.dtype, current.dtype) and current.dtype.is_float():
        # 0.1 is another number in 32 bits than in 64: both are compared as what the coarser one can hold.
        reference, current = reference.cast(pl.Float32), current.cast(pl.Float32)
    kind: ColumnKind
    # A column that is empty now has no type of its own: it is compared as what it was.
    if reference.dtype.is_numeric() and (current.dtype.is_numeric() or current.dtype == pl.Null):
        kind, shift = "number", samples.numbers(_floats(reference), _floats(current))
    else:
        kind, shift = "category", samples.categories(_texts(reference), _texts(current))
    change = ColumnChange(
        column=name,
        kind=kind,
        drifted=False,
        effect=shift.effect,
        p=shift.p,
        missing_before=shift.missing[0],
        missing_now=shift.missing[1],
        unseen=shift.unseen,
        why=shift.why,
    )
    return change, shift.inconclusive


def _floats(series: pl.Series) -> NDArray[Any]:
    import polars as pl

    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _texts(series: pl.Series) -> list[str | None]:
    import polars as pl

    return series.cast(pl.String).to_list()
