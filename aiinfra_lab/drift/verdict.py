"""The verdict: column by column and for the prediction, is the current sample another than the reference?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from ..stats import blocks
from ..stats.blocks import Blocks, Ordered
from ..stats.columns import ColumnShift, categories, numbers
from ..stats.multiple import adjusted
from .record import ColumnChange, ColumnKind, DriftState

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray


class _Pair(NamedTuple):
    """A column of both samples as values of one type: floats or texts."""

    kind: ColumnKind
    reference: pl.Series
    current: pl.Series


def judge(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    alpha: float,
    units: Blocks | Ordered | None = None,
    outputs: Collection[str] = (),
) -> list[ColumnChange]:
    """Compare the columns that both frames have, those that drifted first, by the weight of what was found.

    units: which rows count as one; without any they are found. outputs: the columns that the model answered. As far as
    rows of different blocks are independent, the chance that a single column is called drifted is at most alpha when
    nothing changed. What was measured for blocks that are found stands in `stats.blocks`.
    """
    pairs = _pairs(reference, current)
    units = found_units(reference, current, outputs) if units is None else units
    found = [_compare(pair, units.of_column(pair.reference.name)) for pair in pairs]
    # What could not be tested is no test: it must not make the correction of the others stricter.
    tested = [(change, change.p, inconclusive) for change, inconclusive in found if change.p is not None]
    corrected = adjusted([p for _, p, _ in tested])
    judged = [
        _judged(change, p, alpha, inconclusive) for (change, _, inconclusive), p in zip(tested, corrected, strict=True)
    ]
    untested = [change for change, _ in found if change.p is None]
    return sorted([*judged, *untested], key=lambda change: change.weight(alpha), reverse=True)


def found_units(reference: pl.DataFrame, current: pl.DataFrame, outputs: Collection[str] = ()) -> Blocks | Ordered:
    """Which rows count as one, where nothing is declared. outputs: the columns that the model answered."""
    import polars as pl

    pairs = _pairs(reference, current)
    # An answer follows from the other columns: it is alike wherever one of them is, and says nothing of entities.
    given = [pair for pair in pairs if pair.reference.name not in outputs] or pairs
    return blocks.find(*(pl.DataFrame(list(sample)) for sample in _samples(given)))


def overall(columns: Sequence[ColumnChange]) -> DriftState:
    """`drift` when a column drifted, `cannot tell` when one could not be judged, else `no drift`."""
    if any(change.drifted for change in columns):
        return "drift"
    return "no drift" if columns and all(change.p is not None for change in columns) else "cannot tell"


def _judged(change: ColumnChange, p: float, alpha: float, inconclusive: str) -> ColumnChange:
    # Both: with many rows a trifle is significant, and with few a large difference may be chance.
    if p <= alpha and change.times_floor >= 1:
        return replace(change, p=p, drifted=True)
    # What could be compared did not change, but not all could: that is no verdict either way.
    return replace(change, p=None, why=inconclusive) if inconclusive else replace(change, p=p)


def _pairs(reference: pl.DataFrame, current: pl.DataFrame) -> list[_Pair]:
    return [_pair(reference[name], current[name]) for name in reference.columns if name in current.columns]


def _pair(reference: pl.Series, current: pl.Series) -> _Pair:
    import polars as pl

    if pl.Float32 in (reference.dtype, current.dtype) and current.dtype.is_float():
        # 0.1 is another number in 32 bits than in 64: both are compared as what the coarser one can hold.
        reference, current = reference.cast(pl.Float32), current.cast(pl.Float32)
    # A column that is empty now has no type of its own: it is compared as what it was.
    if reference.dtype.is_numeric() and (current.dtype.is_numeric() or current.dtype == pl.Null):
        return _Pair("number", *(values.cast(pl.Float64).fill_nan(None) for values in (reference, current)))
    return _Pair("category", *(values.cast(pl.String) for values in (reference, current)))


def _samples(pairs: Sequence[_Pair]) -> tuple[Sequence[pl.Series], Sequence[pl.Series]]:
    return [pair.reference for pair in pairs], [pair.current for pair in pairs]


def _compare(pair: _Pair, units: Blocks | Ordered) -> tuple[ColumnChange, str]:
    """The column's change with its own p, and what could not be compared."""
    shift = _shift(pair, units)
    change = ColumnChange(
        column=pair.reference.name,
        kind=pair.kind,
        drifted=False,
        effect=shift.effect,
        floor=shift.floor,
        effect_unit=shift.effect_unit,
        p=shift.p,
        missing_before=shift.missing[0],
        missing_now=shift.missing[1],
        unseen=shift.unseen,
        why=shift.why,
        unit=shift.unit,
    )
    return change, shift.inconclusive


def _shift(pair: _Pair, units: Blocks | Ordered) -> ColumnShift:
    if pair.kind == "number":
        return numbers(_floats(pair.reference), _floats(pair.current), units)
    return categories(pair.reference, pair.current, units)


def _floats(values: pl.Series) -> NDArray[Any]:
    return values.fill_null(float("nan")).to_numpy()
