"""Has a column changed within the current sample, e.g. in its newest rows? Then no verdict holds for the whole of it.

A fault in a few stretches of rows moves the whole sample little, and makes it vary so much that nothing is significant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .profiles import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANGED = "it changed within the sample"
"""How the reason begins."""
_P = 1e-5
"""Of each window and score, of which a check has some thousands, most of them alike."""
_MOST_CELLS = 50
_LEAST_ROWS = 20
"""The mean of fewer rows is far from normal."""
_ANSCOMBE = 0.375


class Looks(NamedTuple):
    """What is looked at: scores, cells x looks, the least effect on the whole sample of each, and which are shares."""

    scores: NDArray[Any]
    floors: NDArray[Any]
    are_shares: NDArray[Any]


def number_looks(count: int, scores: list[NDArray[Any]], groups: NDArray[Any], tails: NDArray[Any]) -> Looks:
    """Of a number: its scores, of place and perhaps of spread, each group of cells, the tails, and what is missing."""
    import numpy as np

    of_values = np.column_stack([*scores, np.eye(int(groups.max(initial=0)) + 1)[groups], tails])
    floors = [0.05, 0.067][: len(scores)] + [0.02] * (of_values.shape[1] - len(scores) - 1) + [0.002]
    return _with_missing(of_values, floors, np.arange(of_values.shape[1]) >= len(scores), count)


def category_looks(count: int, current: NDArray[Any], unseen: NDArray[Any]) -> Looks:
    """Of a category: its commonest values now, those that the reference never has, and what is missing."""
    import numpy as np

    common = np.argsort(-current, kind="stable")[:_MOST_CELLS]
    of_values = np.column_stack([np.eye(count - 1)[:, common], unseen])
    floors = [0.02] * len(common) + [0.005]
    return _with_missing(of_values, floors, np.ones(of_values.shape[1], bool), count)


def changed_rows(reference: Profile, current: Profile, looks: Looks) -> tuple[int, int] | None:
    """The first and the last row (1, 2, …) of the stretches that differ most from the others, if they do beyond doubt.

    Blocks are stretches in the order of rows. What is chance is measured by how stretches of the reference vary, and by
    the median of how those of the current sample do, whichever is more.
    """
    import numpy as np
    from scipy import stats

    rows, sums = current.rows, current.counts @ looks.scores
    if min(len(rows), len(reference.rows)) < 2 or not reference.rows.all() or not rows.all():
        return None
    variance, varies = _row_variance(current, looks.scores), _design_effect(reference, current, looks.scores)
    first, last = _windows(len(rows))
    some, sums_there = _within(rows[:, None], first, last), _within(sums, first, last)
    others, sums_of_others = rows.sum() - some, sums.sum(axis=0) - sums_there
    difference = sums_there / some - sums_of_others / others
    by_mean = difference / np.sqrt(np.maximum(variance, 1e-12) * (1 / some + 1 / others))
    expected = np.maximum(sums_of_others * some / others, 0)
    # A share of few rows is not normal; this root of a Poisson count nearly is (Anscombe, 1948).
    roots = np.sqrt(np.maximum(sums_there, 0) + _ANSCOMBE) - np.sqrt(expected + _ANSCOMBE)
    z = np.where(looks.are_shares, 2 * roots / np.sqrt(1 + some / others), by_mean) / np.sqrt(varies)
    z = np.abs(z) * (np.abs(difference) * some / rows.sum() >= looks.floors) * (some >= _LEAST_ROWS)
    window = int(z.max(axis=1).argmax())
    if 2 * stats.t.sf(z[window].max(), min(len(rows), len(reference.rows)) - 1) > _P:
        return None
    until = np.append(0, np.cumsum(rows))
    return int(until[first[window]]) + 1, int(until[last[window]])


def _with_missing(of_values: NDArray[Any], floors: list[float], are_shares: NDArray[Any], count: int) -> Looks:
    import numpy as np

    scores = np.zeros((count, of_values.shape[1] + 1))
    scores[:-1, :-1] = of_values
    scores[-1, -1] = 1
    return Looks(scores, np.array([*floors, 0.005]), np.append(are_shares, True))


def _windows(blocks: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first block of each window, and the one after its last: of 1, 2, 4, … up to half of the blocks."""
    import numpy as np

    lengths = [2**power for power in range(blocks.bit_length()) if 2**power <= blocks // 2]
    first = [np.arange(blocks - length + 1) for length in lengths]
    last = [start + length for start, length in zip(first, lengths, strict=True)]
    return np.concatenate(first), np.concatenate(last)


def _within(values: NDArray[Any], first: NDArray[Any], last: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    until = np.vstack([values[:1] * 0, np.cumsum(values, axis=0)])
    found: NDArray[Any] = until[last] - until[first]
    return found


def _row_variance(sample: Profile, scores: NDArray[Any]) -> NDArray[Any]:
    total = max(1, sample.cells.sum())
    found: NDArray[Any] = sample.cells @ scores**2 / total - (sample.cells @ scores / total) ** 2
    return found


def _design_effect(reference: Profile, current: Profile, scores: NDArray[Any]) -> NDArray[Any]:
    """How much more than those of independent rows the means of stretches vary, at least 1."""
    import numpy as np

    found = np.ones(scores.shape[1])
    for sample, is_robust in ((reference, False), (current, True)):
        rows, variance = sample.rows[:, None], _row_variance(sample, scores)
        means = sample.counts @ scores / rows
        if is_robust:
            between = (1.4826 * np.median(np.abs(means - np.median(means, axis=0)), axis=0)) ** 2
        else:
            between = means.var(axis=0, ddof=1)
        seen = np.divide(between * rows.mean(), variance, out=np.ones(len(variance)), where=variance > 1e-12)
        found = np.maximum(found, sample.inflation * seen)
    return found
