"""What is looked at in a number: scores, groups and tails of its cells, as the reference sets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .profiles import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE_CELLS = 10
LEAST_IN_TAIL = 3
"""Blocks of the reference that must have rows in a tail: beyond its own few extremes, anything would look new."""
_MOST_IN_TAIL = 0.06


def normal_scores(mass: NDArray[Any]) -> NDArray[Any]:
    """Normal scores of the cells' mid-ranks in the reference, of mean 0 and sd 1 there (van der Waerden)."""
    import numpy as np
    from scipy import special

    total = mass.sum()
    if not total:
        return np.zeros(len(mass))
    ranks = (np.cumsum(mass) - mass / 2) / total
    return _standard(special.ndtri(np.clip(ranks, 0.25 / total, 1 - 0.25 / total)), mass)


def spread_scores(scores: NDArray[Any], mass: NDArray[Any]) -> NDArray[Any] | None:
    """The squared scores without what they share with the scores; None when nothing is left, as of two values."""
    import numpy as np

    total = max(1, mass.sum())
    squared = scores**2 - (scores**2) @ mass / total
    squared = squared - scores * ((squared * scores) @ mass / total)
    found = _standard(squared, mass)
    return found if (squared**2) @ mass / total > 1e-6 and np.any(found) else None


def shape_groups(mass: NDArray[Any]) -> NDArray[Any]:
    """The group of each cell: SHAPE_CELLS of about the same mass in the reference."""
    import numpy as np

    ranks = (np.cumsum(mass) - mass / 2) / max(1, mass.sum())
    found: NDArray[Any] = np.minimum((ranks * SHAPE_CELLS).astype(int), SHAPE_CELLS - 1)
    return found


def tails(reference: Profile) -> NDArray[Any]:
    """Which cells are the two tails: as far out as there are blocks of the reference to compare with."""
    import numpy as np

    found = np.zeros(reference.counts.shape[1], bool)
    found[: _cells_of_tail(reference.counts)] = True
    found[len(found) - _cells_of_tail(reference.counts[:, ::-1]) :] = True
    return found


def _cells_of_tail(counts: NDArray[Any]) -> int:
    """How many of the first cells are a tail.

    A tail also ends at a value that many rows of many blocks share, e.g. the least of a few: nothing is beyond it by
    chance, so that the reference need not have any.
    """
    total = counts.sum()
    outside = counts[:, 0] * 0
    for place, cell in enumerate(counts.T):
        if place and cell.sum() > _MOST_IN_TAIL * total and (cell > 0).sum() >= LEAST_IN_TAIL:
            return place
        outside = outside + cell
        if outside.sum() > _MOST_IN_TAIL * total:
            return 0
        if (outside > 0).sum() >= LEAST_IN_TAIL:
            return place + 1
    return 0


def _standard(scores: NDArray[Any], mass: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    total = max(1, mass.sum())
    scores = scores - scores @ mass / total
    sd = np.sqrt((scores**2) @ mass / total)
    return scores / sd if sd > 1e-9 else scores * 0
