"""Variances by blocks when blocks are few, or differ in size: how far they can be trusted.

Measured on days with effects of their own, 5 to 25 of them against 60 and 90, and on 20 entities of Pareto's sizes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 20
"""The variance of a sample with fewer degrees of freedom is not taken to be less than the other sample's."""


class Known(NamedTuple):
    """How well the variance of a sample is known: by its degrees of freedom, none from less than two blocks.

    blocks: as how many blocks of one size they count, if rows of a block are all alike (Kish, 1965).
    """

    freedom: float
    blocks: float

    @classmethod
    def by(cls, rows: NDArray[Any]) -> Known:
        """From the rows of each block, with Bell and McCaffrey's (2002) degrees of freedom of `left_out`'s variance.

        Of blocks of one size they are one less than there are blocks, and fewer the more the sizes differ.
        """
        import numpy as np

        rows = rows[rows > 0]
        if len(rows) < 2:
            return cls(0.0, float(len(rows)))
        share = rows / rows.sum()
        root = left_out(rows) * rows
        off = (np.eye(len(rows)) - share - share[:, None] + share @ share) * np.outer(root, root)
        return cls(float(np.trace(off) ** 2 / np.vdot(off, off)), float(1 / (share @ share)))

    def least(self, other: Known) -> float:
        """The least that the variance is taken to be, in those of the other: 0 unless this is of few blocks.

        So few show a skewed variance as too small more often than t allows for; without a change both have one.
        """
        return other.blocks / self.blocks if 0 < self.freedom < min(FEW, other.freedom) else 0.0


def left_out(rows: NDArray[Any]) -> NDArray[Any]:
    """By what the sum of each block is off is multiplied: the sum of squares then is the jackknife's variance.

    It leaves out one block at a time (CR3 of MacKinnon and White, 1985): a large block draws the mean to itself.
    """
    import numpy as np

    blocks = max(1, int((rows > 0).sum()))
    found: NDArray[Any] = math.sqrt((blocks - 1) / blocks) / np.maximum(1, rows.sum() - rows)
    return found


def freedom_of(*parts: tuple[float, Known]) -> float:
    """Satterthwaite's (1946) degrees of freedom of a variance that is a sum, by those of each part."""
    squares = sum(part**2 / known.freedom for part, known in parts)
    return float(sum(part for part, _ in parts) ** 2 / squares)
