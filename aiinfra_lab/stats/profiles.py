"""What a sample holds of a column, as counts by block and cell: all that the tests of two samples need.

A cell is a range of numbers, or a value of a category; which cells there are is decided once, before what they judge. A
block is a unit of evidence, see `blocks`. Profiles of the same cells add up: counts of equal blocks are added, those of
other blocks become further lines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

CUTS = (0.001, 0.002, 0.004, 0.01, 0.02, *(step / 20 for step in range(1, 20)), 0.98, 0.99, 0.996, 0.998, 0.999)
"""Numbers are cut at these shares of the reference: in equal steps, and finer at the ends, where outliers are."""

MOST_VALUES = 1000
"""Of more values, the commonest of both samples together are cells; the others are one."""


@dataclass(frozen=True)
class Profile:
    """Counts, blocks x cells.

    inflation: how much more the sum over blocks varies than independent blocks would. time: how many rows are worth
    one; None where blocks say that. merged: how many blocks are one line of the counts.
    """

    counts: NDArray[Any]
    inflation: float = 1.0
    time: float | None = None
    merged: float = 1.0

    @property
    def rows(self) -> NDArray[Any]:
        """The rows of each block."""
        found: NDArray[Any] = self.counts.sum(axis=1)
        return found

    @property
    def blocks(self) -> int:
        """How many blocks have rows."""
        return int((self.rows > 0).sum())

    @property
    def cells(self) -> NDArray[Any]:
        """The rows of each cell."""
        found: NDArray[Any] = self.counts.sum(axis=0)
        return found

    @property
    def known(self) -> Profile:
        """Without the last cell, which holds what is missing."""
        return replace(self, counts=self.counts[:, :-1])

    def grouped(self, groups: NDArray[Any]) -> Profile:
        """With cells added up: the group (0, 1, …) of each cell."""
        import numpy as np

        return replace(self, counts=self.counts @ np.eye(int(groups.max(initial=-1)) + 1)[groups])


@dataclass(frozen=True)
class NumberCells:
    """The cells of a number: `edges` between them, in order; one more for what is missing."""

    edges: NDArray[Any]

    @property
    def count(self) -> int:
        """How many cells there are; the last is what is missing."""
        return len(self.edges) + 2

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The cell of each value; NaN is missing."""
        import numpy as np

        # Not `searchsorted`: with so few edges, counting those below each value takes a third of the time.
        below, is_beyond = np.zeros(len(values), np.uint8), np.empty(len(values), bool)
        for edge in self.edges:
            below += np.greater_equal(values, edge, out=is_beyond).view(np.uint8)
        found = below.astype(np.int64)
        return np.where(np.isnan(values), self.count - 1, found)


@dataclass(frozen=True)
class CategoryCells:
    """The cells of a category, by value; after them one for all other values, and one for what is missing."""

    values: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many cells there are; the last is what is missing."""
        return len(self.values) + 2

    def of(self, values: pl.Series) -> NDArray[Any]:
        """The cell of each text; null is missing."""
        import numpy as np
        import polars as pl

        codes = values.cast(pl.Enum(self.values), strict=False).to_physical().cast(pl.Int64)
        found = codes.fill_null(len(self.values)).to_numpy()
        return np.where(values.is_null().to_numpy(), self.count - 1, found) if values.null_count() else found


def number_cells(reference: NDArray[Any]) -> NumberCells:
    """The cells that a reference of floats sets; NaN is missing."""
    import numpy as np

    known = np.sort(reference[~np.isnan(reference)])
    if not len(known):
        return NumberCells(np.array([]))
    # Values that occur, not numbers between them: a value that many rows have must not be cut in two by rounding.
    edges = known[(np.array(CUTS) * len(known)).astype(int)]
    last = np.nextafter(known[-1], np.inf) if edges[-1] == known[-1] else edges[-1]
    return NumberCells(np.unique(np.append(edges, last)))


def category_cells(reference: pl.Series, current: pl.Series) -> CategoryCells:
    """The cells of two samples together: chosen from one alone, they would take that one for the truth."""
    import polars as pl

    counts = pl.concat([reference.rename("value"), current.rename("value")]).drop_nulls().value_counts()
    if len(counts) > MOST_VALUES:
        # Of those that are as common any: in the order of values, keys of one sample would be before the other's.
        counts = counts.with_columns(pl.col("value").hash(0).alias("any"))
        counts = counts.sort("count", "any", "value", descending=[True, False, False]).head(MOST_VALUES)
    return CategoryCells(tuple(counts.sort("count", "value", descending=[True, False])["value"].to_list()))


def profile(cells: NDArray[Any], count: int, blocks: NDArray[Any]) -> Profile:
    """The profile of a sample, from the cell and the block (0, 1, …) of each row."""
    import numpy as np

    many = int(blocks.max(initial=-1)) + 1
    return Profile(np.bincount(blocks * count + cells, minlength=many * count).reshape(many, count))
