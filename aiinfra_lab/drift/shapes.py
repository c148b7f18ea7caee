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

    from ..stats.bins import shares_in_bins

    before, now = (side.cast(pl.Float64, strict=False).fill_nan(None).drop_nulls() for side in (reference, current))
    medians = [side.median() for side in (before, now)]
    words = "no values" if None in medians else "median " + " → ".join(_apart(*medians)).replace("-", "−")
    sides = shares_in_bins(before.to_numpy(), now.to_numpy(), most=_BINS)
    # All in one bin: there is no shape to draw.
    drawn = sides if len(sides[0]) > 1 and None not in medians else [[]]
    return ColumnShape(drawing.numbers(*drawn, alt=words), words)


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
