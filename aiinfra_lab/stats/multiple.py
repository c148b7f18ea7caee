"""One level for many tests at once."""

from __future__ import annotations

from collections.abc import Sequence


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's (1995) adjusted p-values, in the order given.

    Flagging those up to alpha keeps the share of false flags among the flags below alpha; without any change, the
    chance of a single flag.
    """
    largest_first = sorted(range(len(p_values)), key=lambda index: p_values[index], reverse=True)
    found, smallest = [1.0] * len(p_values), 1.0
    for rank, index in zip(range(len(p_values), 0, -1), largest_first, strict=True):
        smallest = min(smallest, p_values[index] * len(p_values) / rank)
        found[index] = smallest
    return found
