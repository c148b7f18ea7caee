"""How far a shadow agrees with who answered: row by row, from the log of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .base import PredictedRow

SAME = 1e-6
"""Numbers that differ by no more, relative to the larger or to 1, are the same."""
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
    shadowed: dict[tuple[str, str], PredictedRow] = {}
    answered: dict[tuple[str, str], PredictedRow] = {}
    for row in rows:
        (shadowed if row["arm"] == "shadow" else answered)[row["request_id"], row["row_id"]] = row
    both = [key for key in shadowed if key in answered]
    pairs = [(answered[key]["outputs"] or {}, shadowed[key]["outputs"] or {}) for key in both]
    names = dict.fromkeys(name for one, other in pairs for name in (*one, *other))
    return tuple(_of(name, [(one.get(name), other.get(name)) for one, other in pairs]) for name in names)


def _of(name: str, pairs: Sequence[tuple[Any, Any]]) -> Agreement:
    found = [difference for one, other in pairs if (difference := _difference(one, other)) is not None]
    same = sum(_is_same(one, other) for one, other in pairs)
    mean = sum(found) / len(found) if found else None
    return Agreement(name, len(pairs), same, mean, max(found, default=None))


def _is_same(one: Any, other: Any) -> bool:
    if (difference := _difference(one, other)) is None:
        return one is not None and bool(one == other)
    numbers = [abs(value) for value in (*_numbers(one), *_numbers(other))]
    return difference <= SAME * max(1.0, *numbers)


def _difference(one: Any, other: Any) -> float | None:
    """By how much two values differ, where that is a number."""
    ones, others = _numbers(one), _numbers(other)
    if not ones or len(ones) != len(others):
        return None
    return max(abs(a - b) for a, b in zip(ones, others, strict=True))


def _numbers(value: Any) -> list[float]:
    """The numbers that a value is made of, those of labels in the labels' order; none of anything else."""
    if isinstance(value, Mapping):
        value = [value[name] for name in sorted(value)]
    if isinstance(value, list):
        each = [_numbers(item) for item in value]
        return [number for numbers in each for number in numbers] if all(each) else []
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [float(value)] if is_number else []
