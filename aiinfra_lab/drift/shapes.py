"""What a column's values look like in both samples: a small picture, and in words what changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import LabError
from ..show import Picture, drawing
from ..units import apart
from . import exports
from .record import ColumnChange

if TYPE_CHECKING:
    import polars as pl

_BINS = 18
_TAIL = 0.005  # what lies further out than this share of the reference would make all the rest one bar
_MOST_NEW = 3


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """Both samples of a column, drawn; and what changed, in a few words."""

    picture: Picture
    change: str


def shapes(sample: str, columns: Sequence[ColumnChange]) -> Mapping[str, ColumnShape]:
    """Column → its shape; nothing for a verdict whose samples are gone, or are from before they were kept."""
    if not sample or not columns:
        return {}
    try:
        reference, current = exports.samples(sample, "")
    except LabError:
        return {}
    found = {}
    for one in columns:
        if one.column in reference.columns and one.column in current.columns:
            pair = reference[one.column], current[one.column]
            shape = _numbers(*pair) if one.kind == "number" else _categories(*pair)
            found[one.column] = shape
    return found


def _numbers(reference: pl.Series, current: pl.Series) -> ColumnShape:
    import polars as pl

    before, now = (side.cast(pl.Float64, strict=False).fill_nan(None).drop_nulls() for side in (reference, current))
    medians = [side.median() for side in (before, now)]
    words = "no values" if None in medians else "median " + " → ".join(_apart(*medians)).replace("-", "−")
    both = pl.concat([before, now])
    low, high = (both.quantile(share) for share in (_TAIL, 1 - _TAIL))
    if low is None or high is None or not high > low:
        return ColumnShape(drawing.numbers([], alt=words), words)
    step = (high - low) / _BINS
    sides = [_shares(side, low, step) for side in (before, now)]
    return ColumnShape(drawing.numbers(*sides, alt=words), words)


def _shares(values: pl.Series, low: float, step: float) -> list[float]:
    """The share of the values in each bin; what lies beyond the ends counts to them."""
    counts = dict(((values - low) / step).floor().clip(0, _BINS - 1).value_counts().iter_rows())
    return [counts.get(float(place), 0) / max(len(values), 1) for place in range(_BINS)]


def _categories(reference: pl.Series, current: pl.Series) -> ColumnShape:
    import polars as pl

    sides = [_by_value(side.cast(pl.String).drop_nulls()) for side in (reference, current)]
    before, now = sides
    values = sorted({**before, **now}, key=lambda value: (-before.get(value, 0) - now.get(value, 0), value))
    moved = max(values, key=lambda value: abs(now.get(value, 0) - before.get(value, 0)), default="")
    words = f"{moved} {100 * before.get(moved, 0):.3g} → {100 * now.get(moved, 0):.3g} %" if values else "no values"
    if new := [value for value in values if value not in before]:
        words += f"; never seen: {', '.join(new[:_MOST_NEW])}" + ", …" * (len(new) > _MOST_NEW)
    drawn = [[side.get(value, 0.0) for value in values] for side in sides]
    return ColumnShape(drawing.categories(*drawn, alt=words), words)


def _by_value(values: pl.Series) -> dict[str, float]:
    return {value: count / len(values) for value, count in values.value_counts().iter_rows()} if len(values) else {}


def _apart(before: object, now: object) -> tuple[str, str]:
    assert isinstance(before, float) and isinstance(now, float)  # noqa: PT018  # the median of numbers
    return apart(before, now)
