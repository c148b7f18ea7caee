"""Variances by blocks when blocks are few, or differ in size: how far they can be trusted.

Measured on days with effects of their own, 5 to 25 of them against 60 and 90, and on 20 entities of Pareto's sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .profiles import Profile

V = TypeVar("V", float, Any)

FEW = 20
"""The variance of a sample with fewer degrees of freedom is not taken to be less than the other sample's."""


class Known(NamedTuple):
    """How well the variance of a sample is known: by its degrees of freedom, none from less than two blocks.

    worth: as how many independent units the sample counts, see `Profile.worth`.
    """

    freedom: float
    worth: float

    @classmethod
    def of(cls, sample: Profile) -> Known:
        """From the rows of each block, with Bell and McCaffrey's (2002) degrees of freedom of `left_out`'s variance.

        Of blocks of one size they are one less than there are blocks, and fewer the more the sizes differ.
        """
        import numpy as np

        rows = sample.rows[sample.rows > 0]
        if len(rows) < 2:
            return cls(0.0, sample.worth)
        share = rows / rows.sum()
        root = left_out(rows) * rows
        off = (np.eye(len(rows)) - share - share[:, None] + share @ share) * np.outer(root, root)
        return cls(float(np.trace(off) ** 2 / np.vdot(off, off)), sample.worth)

    def least(self, other: Known) -> float:
        """The least that the variance is taken to be, in those of the other: 0 unless this is of few blocks.

        So few show a skewed variance as too small more often than t allows for; without a change both have one.
        """
        return other.worth / self.worth if 0 < self.freedom < min(FEW, other.freedom) else 0.0


def variances(one: V, other: V, known: Known, known_other: Known, size: Callable[[V], float]) -> tuple[V, V]:
    """The parts of a difference's variance: of each sample its own or, if that is more, that of both together.

    Without a change both vary alike. A sample in which something rare did not occur seems not to vary at all, and the
    other one alone says by how much a sample of that size would.
    """
    if not known.worth or not known_other.worth:
        return one, other
    ratio = known.worth / known_other.worth
    together = one * ratio, other / ratio
    return max((one, other), together, key=lambda parts: size(parts[0]) + size(parts[1]))


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
