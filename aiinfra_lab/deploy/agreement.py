"""How far a shadow agrees with who answered: row by row, from the log of predictions."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .base import PredictedRow

SAME = 1e-6
"""Numbers that differ by no more, relative to the row's own or to the median row's of that output, are the same."""
ROWS = 2000
"""So many of the newest logged rows are looked at."""


@dataclass(frozen=True)
class Agreement:
    """Of one output, over the rows that both were asked for.

    same: rows with the same value. mean, largest: of the absolute differences of a number, and of a vector or of
    probabilities of the place where they differ most; None of what has no differences, such as labels.
    """

    output: str
    rows: int
    same: int
    mean: float | None = None
    largest: float | None = None


def agreements(rows: Iterable[PredictedRow]) -> tuple[Agreement, ...]:
    """Each output's, in the order in which the outputs come. A row that one of the two failed on has no same value."""
    answered, shadowed = dict[_Key, PredictedRow](), dict[_Key, PredictedRow]()
    for row in rows:
        side = shadowed if row["arm"] == "shadow" else answered
        # Clients may call several rows of a request alike: both arms have them in the same order.
        key = next(each for at in itertools.count() if (each := (row["request_id"], row["row_id"], at)) not in side)
        side[key] = row
    both = [key for key in shadowed if key in answered]
    pairs = [(answered[key]["outputs"] or {}, shadowed[key]["outputs"] or {}) for key in both]
    names = dict.fromkeys(name for one, other in pairs for name in (*one, *other))
    return tuple(_of(name, [(one.get(name), other.get(name)) for one, other in pairs]) for name in names)


_Key = tuple[str, str, int]


def _of(name: str, pairs: Sequence[tuple[Any, Any]]) -> Agreement:
    differences = [_difference(one, other) for one, other in pairs]
    sizes = [max((abs(number) for each in pair for number in _numbers(each)), default=0.0) for pair in pairs]
    # Near 0 a row's own size is no measure of what rounding may do; and one large row is none of the others.
    usual = statistics.median(sizes)
    same = sum(
        one is not None and (one == other if apart is None else apart <= SAME * max(size, usual))
        for (one, other), apart, size in zip(pairs, differences, sizes, strict=True)
    )
    found = [apart for apart in differences if apart is not None]
    return Agreement(name, len(pairs), same, sum(found) / len(found) if found else None, max(found, default=None))


def _difference(one: Any, other: Any) -> float | None:
    """By how much two values differ, where that is a number."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        # A label that only one of them knows has no probability with the other.
        labels = dict.fromkeys((*one, *other))
        one, other = ([side.get(label, 0.0) for label in labels] for side in (one, other))
    ones, others = _numbers(one), _numbers(other)
    if not ones or len(ones) != len(others):
        return None
    return max(abs(a - b) for a, b in zip(ones, others, strict=True))


def _numbers(value: Any) -> list[float]:
    """The numbers that a value is made of; none of anything else."""
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list):
        each = [_numbers(item) for item in value]
        return [number for numbers in each for number in numbers] if all(each) else []
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [float(value)] if is_number else []
