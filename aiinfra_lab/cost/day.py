"""How a day's load lies over its hours, when all that is known of it is the mean and the busiest hour."""

from __future__ import annotations

import math
from functools import lru_cache

HOURS = 24


@lru_cache(maxsize=16)
def curve(peak: float) -> tuple[float, ...]:
    """The load of each hour as a multiple of the day's mean: it rises to `peak` once, and falls again.

    exp(k cos) is the smoothest such curve that is never negative; k is what makes its highest hour the peak.
    """
    low, high = 0.0, 1.0
    while _ratio(high) < min(peak, HOURS * 0.999):
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _ratio(middle) < peak else (low, middle)
    hours = _hours(high)
    mean = sum(hours) / HOURS
    return tuple(each / mean for each in hours)


def _ratio(k: float) -> float:
    hours = _hours(k)
    return max(hours) * HOURS / sum(hours)


def _hours(k: float) -> list[float]:
    # Less k, so that no large one overflows.
    return [math.exp(k * (math.cos(2 * math.pi * hour / HOURS) - 1)) for hour in range(HOURS)]
