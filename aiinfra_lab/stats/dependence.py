"""How far rows resemble their neighbours: what many rows in their order are worth, and blocks that are independent.

Of numbers, their place and spread are looked at; of categories, the score that changes most slowly from row to row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .profiles import Profile, profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_STRETCHES = 40
LEAST_STRETCHES = 10
"""A sample has so many blocks of consecutive rows; neighbours that depend on each other are added up to no fewer."""
LEAST_ROWS = 60.0
"""With fewer effective rows in either sample a column is inconclusive, unless the change is beyond all doubt."""
LEAST_BEYOND_DOUBT = 18.0
"""With fewer effective rows than this it always is: so few do not show how much a column varies."""
DOUBT = 4.0
"""By this factor the variance of an inconclusive column is raised, so that only a change beyond all doubt is seen."""

MOST_MEMORY = 0.2
"""Blocks depend on each other when correlation lasts for a larger share of a block than this,"""
MOST_ALIKE = 1.3
"""or when sums of neighbouring blocks are correlated by so many standard errors."""

ONE_SIDED = "; those of the reference do not, so it changed meanwhile, or the reference is in no order"
_ONE_SIDED = 4.0
_CLEAR = 3.0
_SIGNIFICANT = 2.5
_ROUNDING = 1e-12
_MOST_GROUPS = 50
_LEAST_OF_A_GROUP = 10
_LEAST_SHARE_OF_A_GROUP = 0.002


class Stretches(NamedTuple):
    """A sample as blocks of consecutive rows.

    scores: cells x what is looked at. time: how many rows are worth one. memory: for how many rows correlation lasts.
    """

    counts: NDArray[Any]
    scores: NDArray[Any]
    time: float
    memory: float

    @property
    def worth(self) -> float:
        """Effective rows."""
        return float(self.counts.sum()) / self.time

    @property
    def relative_memory(self) -> float:
        """For what share of a block correlation lasts."""
        return self.memory * len(self.counts) / float(self.counts.sum())

    def profile(self, *, is_doubtful: bool) -> Profile:
        """The profile, inflated by the covariance of neighbouring blocks where correlation fades exponentially."""
        memory = self.relative_memory
        shared = -memory * math.expm1(-1 / memory) if memory else 0.0
        return Profile(self.counts, (DOUBT if is_doubtful else 1.0) / (1 - shared), self.time)

    @property
    def may_be_halved(self) -> bool:
        """Whether enough blocks are left then."""
        return len(self.counts) >= 2 * LEAST_STRETCHES

    def halved(self) -> Stretches:
        """With each two neighbours as one block."""
        import numpy as np

        counts = self.counts if len(self.counts) % 2 == 0 else np.vstack([self.counts, self.counts[:1] * 0])
        return self._replace(counts=counts[0::2] + counts[1::2])


def stretches(cells: NDArray[Any], count: int, scores: NDArray[Any] | None = None) -> Stretches:
    """Of a sample's cells in the order of its rows; the last cell, what is missing, says nothing of a resemblance.

    scores: cells but the last x what is looked at. Without any it is the score that the sample itself makes slowest.
    """
    import numpy as np

    blocks, noise = np.arange(len(cells)) * MOST_STRETCHES // max(1, len(cells)), 0.0
    if scores is None:
        slowest, noise = slowest_score(cells[cells < count - 1], count - 1)
        scores = slowest[:, None]
    times, memories = zip(*(dependence(np.append(score, 0.0)[cells]) for score in scores.T), strict=True)
    time = max(1.0, max(times) - 2 * noise)
    return Stretches(profile(cells, count, blocks).counts, scores, time, max(memories) if time > 1 else 0.0)


def in_order(cells: NDArray[Any], count: int, blocks: NDArray[Any], scores: NDArray[Any] | None = None) -> Stretches:
    """Of a sample in blocks that are declared: rows of one block may be as alike as they like, neighbouring blocks not.

    scores: see `stretches`.
    """
    import numpy as np

    if scores is None:
        in_turn = cells[np.argsort(blocks, kind="stable")]
        scores = slowest_score(in_turn[in_turn < count - 1], count - 1)[0][:, None]
    return Stretches(profile(cells, count, blocks).counts, scores, 1.0, 0.0)


def independent(reference: Stretches, current: Stretches) -> tuple[Stretches, Stretches, str]:
    """With neighbouring blocks added up until they are no longer alike; and why they never are, if so.

    The order of one sample may say nothing: rows of both are taken to depend on each other as those of either do.
    """
    one_sided = ONE_SIDED if current.time > _ONE_SIDED * reference.time else ""
    time, memory = max(reference.time, current.time), max(reference.memory, current.memory)
    if time >= _CLEAR:  # less may be chance, and many rows would make few of the other sample worth nothing
        reference, current = (sample._replace(time=time, memory=memory) for sample in (reference, current))
    while reference.relative_memory > MOST_MEMORY and reference.may_be_halved:
        reference = reference.halved()
    while current.relative_memory > MOST_MEMORY and current.may_be_halved:
        current = current.halved()
    while _alike(reference, current) >= MOST_ALIKE and (reference.may_be_halved or current.may_be_halved):
        reference, current = (item.halved() if item.may_be_halved else item for item in (reference, current))
    doubt = _doubt(reference, current)
    return reference, current, f"{doubt}{one_sided}" if doubt else ""


def _doubt(reference: Stretches, current: Stretches) -> str:
    worth = min(reference.worth, current.worth)
    if worth < LEAST_ROWS:
        why = f"rows resemble their neighbours so much that they are worth {max(1, worth):.0f} independent ones"
        return f"{why}: {LEAST_ROWS:.0f} are needed"
    if _dependent(reference, current):
        return f"stretches of 1/{len(current.counts)} of the rows still resemble each other"
    return ""


def _dependent(reference: Stretches, current: Stretches) -> bool:
    """Whether blocks still depend on their neighbours."""
    return (
        max(reference.relative_memory, current.relative_memory) > MOST_MEMORY
        or _alike(reference, current) >= MOST_ALIKE
    )


def slowest_score(cells: NDArray[Any], count: int) -> tuple[NDArray[Any], float]:
    """The score of cells with the largest correlation of neighbouring rows, and how large noise alone makes that.

    It is the second eigenvector of the table of neighbours, scaled as in correspondence analysis; the noise is that of
    the largest eigenvalue of a random symmetric matrix (Wigner).
    """
    import numpy as np

    size = np.bincount(cells, minlength=count)
    own = np.argsort(-size, kind="stable")[:_MOST_GROUPS]
    own = own[size[own] >= max(_LEAST_OF_A_GROUP, _LEAST_SHARE_OF_A_GROUP * len(cells))]
    many = len(own) + 1
    group = np.full(count, many - 1)
    group[own] = np.arange(many - 1)
    row = group[cells]
    follows = np.bincount(row[:-1] * many + row[1:], minlength=many * many).reshape(many, many)
    pairs = (follows + follows.T) / 2
    held = np.flatnonzero(pairs.sum(axis=0))
    if len(held) < 2:
        return np.zeros(count), 0.0
    pairs = pairs[np.ix_(held, held)]
    root = np.sqrt(pairs.sum(axis=0))
    score = np.zeros(many)
    score[held] = np.linalg.eigh(pairs / np.outer(root, root))[1][:, -2] / root
    return score[group], 2 * math.sqrt((len(held) - 1) / (2 * len(cells)))


def dependence(series: NDArray[Any]) -> tuple[float, float]:
    """How many rows are worth one (the integrated autocorrelation time), and for how many rows correlation lasts.

    By blocks that double in length (Flyvbjerg and Petersen, 1989): how much more their sums vary than those of
    independent rows, and what sums share with the next ones, by a correlation that fades by a constant factor.
    """
    import numpy as np

    sums = series - series.mean()
    own, time, memory, length = _product(sums, sums), 1.0, 0.0, 1
    while len(sums) >= LEAST_ROWS and (whole := _product(sums, sums)) > _ROUNDING * len(series):
        r, next_r = (_product(sums[lag:], sums[:-lag]) / whole for lag in (1, 2))
        if r * math.sqrt(len(sums)) > _SIGNIFICANT:
            shared = 2 * r / (1 - min(max(next_r / r, 0.0), r, 0.999))
            memory = max(memory, length * shared / (1 + shared))
        else:
            shared = 0.0
        time = max(time, whole / own * (len(series) / (len(sums) * length)) * (1 + shared))
        sums, length = np.add(sums[0 : len(sums) // 2 * 2 : 2], sums[1::2]), length * 2
    return time, memory


def _product(one: NDArray[Any], other: NDArray[Any]) -> float:
    import numpy as np

    # Not `@`: BLAS starts threads for it, which take several times the CPU where other processes work too.
    return float(np.einsum("i,i", one, other))


def _alike(reference: Stretches, current: Stretches) -> float:
    """The largest correlation of neighbouring blocks, in standard errors."""
    import numpy as np

    found = np.zeros(reference.scores.shape[1])
    for sample in (reference, current):
        known = sample.counts[:, :-1]
        rows, sums = known.sum(axis=1)[:, None], known @ sample.scores
        off = sums - rows * sums.sum(axis=0) / max(1, rows.sum())
        size = (off**2).sum(axis=0)
        r = np.divide((off[1:] * off[:-1]).sum(axis=0), size, out=np.zeros(len(size)), where=size > 0)
        found += r * np.sqrt(len(sample.counts) / 2)
    return float(found.max())
