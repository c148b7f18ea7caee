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

_RARE = 5.0
"""Of fewer of the blocks that make a sample vary than this, another sample may have none."""
FEW = 20
"""The variance of a sample with fewer degrees of freedom is not taken to be less than the other sample's."""


class Known(NamedTuple):
    """How well the variance of a sample is known: by its degrees of freedom, none from less than two blocks.

    rows: how many there are. size: of how many a block is, as a row meets it; as many rows are worth one if those of a
    block are all alike (Kish, 1965). is_alike: whether they are, as `Profile.time` tells.
    """

    freedom: float
    rows: float
    size: float
    is_alike: bool

    @classmethod
    def of(cls, sample: Profile) -> Known:
        """From the rows of each block, with Bell and McCaffrey's (2002) degrees of freedom of `left_out`'s variance.

        Of blocks of one size they are one less than there are blocks, and fewer the more the sizes differ.
        """
        import numpy as np

        rows = sample.rows[sample.rows > 0]
        total = float(rows.sum())
        size = sample.time or max(1.0, float(rows @ rows) / max(1.0, total) / sample.merged)
        if len(rows) < 2:
            return cls(0.0, total, size, sample.time is not None)
        share = rows / total
        root = left_out(rows) * rows
        off = (np.eye(len(rows)) - share - share[:, None] + share @ share) * np.outer(root, root)
        freedom = float(np.trace(off) ** 2 / np.vdot(off, off))
        return cls(freedom, total, size, sample.time is not None)

    def worth(self, alike: float = 1.0) -> float:
        """As how many independent rows it counts, if those of a block have that correlation."""
        return self.rows / (self.size if self.is_alike else 1 + (self.size - 1) * alike)

    def alike(self, variance: float, of_rows: float) -> float:
        """The correlation of rows of a block: by the variance of a mean, and that of single rows."""
        if self.size <= 1 or of_rows <= 0:
            return 0.0
        return min(1.0, max(0.0, (variance * self.rows / of_rows - 1) / (self.size - 1)))

    def least(self, other: Known) -> float:
        """The least that the variance is taken to be, in those of the other: 0 unless this is of few blocks.

        So few show a skewed variance as too small more often than t allows for; without a change both have one.
        """
        return other.worth() / self.worth() if 0 < self.freedom < min(FEW, other.freedom) else 0.0


def together(
    parts: tuple[V, V], known: tuple[Known, Known], varied: tuple[Varied, Varied], size: Callable[[V], float]
) -> tuple[V, V]:
    """The parts of the variance of a difference: of each sample its own or, if that is more, that of both together,
    where what makes one of them vary is so rare that the other may lack it.

    Without a change both vary alike. A sample in which something rare did not occur seems not to vary at all, and the
    other one alone says by how much one of its rows and blocks would.

    size: of a part, which may be a matrix
    """
    one, other = known
    if not one.rows or not other.rows:
        return parts
    more, less = (one.worth(each.alike) / other.worth(each.alike) for each in varied)
    if min(varied[0].blocks / more, varied[1].blocks * less) >= _RARE:
        return parts
    return max(parts, (parts[0] * more, parts[1] / less), key=lambda each: size(each[0]) + size(each[1]))


class Varied(NamedTuple):
    """Of how many blocks most of a variance comes, and how rows of a block are correlated."""

    blocks: float
    alike: float

    @classmethod
    def of(cls, known: Known, variance: float, of_rows: float, squares: NDArray[Any]) -> Varied:
        """From the variance of a mean and that of single rows, and the squares that each block adds to the former."""
        most = float(squares @ squares)
        return cls(float(squares.sum() ** 2 / most) if most else math.inf, known.alike(variance, of_rows))


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
