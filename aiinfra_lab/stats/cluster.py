"""Tests of two profiles whose rows depend on each other within a block, and not between blocks.

Each test holds its level when blocks are independent, however alike the rows of one block are: what varies is measured
between blocks (Liang and Zeger, 1986). Of rows that are independent as well, little power is lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .few import Known, Varied, freedom_of, left_out, together
from .profiles import Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_BLOCKS = 5
"""Of a share, fewer blocks than this in which it occurs are compared by Fisher's exact test."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """p: the chance of such a difference without a change. effect: the difference itself, in the unit of its score."""

    p: float
    effect: float


def mean_difference(reference: Profile, current: Profile, scores: NDArray[Any]) -> Difference:
    """Compare the mean of a score, given by cell.

    The ratio of both with its cluster-robust variance, and a t with Satterthwaite's degrees of freedom.
    """
    return _by_t(_mean(reference, scores), _mean(current, scores))


def share_difference(reference: Profile, current: Profile, cells: NDArray[Any]) -> Difference:
    """Compare the share of rows that are in these cells (True); where few blocks have any, by exact tests."""
    found = mean_difference(reference, current, cells.astype(float))
    if min(_with_any(reference, cells), _with_any(current, cells)) >= LEAST_BLOCKS:
        return found
    return Difference(_exact(reference, current, cells, cells), found.effect)


def unseen_difference(reference: Profile, current: Profile) -> Difference:
    """Compare the share of rows with values that the reference never has with what its own rarity lets expect.

    A reference that lacks a value is evidence as far as its blocks go: of each, the rows whose value no other block has
    are as unseen to the rest (Good, 1953), with Esty's (1983) variance of that estimate, by blocks instead of rows.
    Fewer than expected are no change.
    """
    is_there = reference.counts > 0
    have = is_there.sum(axis=0)
    # A key whose rows lie across the end of a block is in the next one by chance, and not since it is common.
    is_one = (have == 1) | ((have == 2) & (is_there[1:] & is_there[:-1]).any(axis=0))
    expected, found_now = _mean(reference, is_one.astype(float)), _mean(current, (have == 0).astype(float))
    twice = reference.counts[:, (have == 2) & ~is_one]
    pairs = float((twice.sum(axis=0) ** 2).sum() - (twice**2).sum())
    more = reference.inflation * pairs / max(1.0, float(reference.rows.sum())) ** 2
    found = _by_t(expected._replace(variance=expected.variance + more), found_now)
    if found.effect <= 0:
        return Difference(1.0, 0.0)
    if min(_with_any(reference, is_one), _with_any(current, have == 0)) >= LEAST_BLOCKS:
        return found
    # Of so few the variance is not known: values that two blocks have are held against it too, as that variance does.
    rare = (have == 1) | (have == 2)
    is_more = found_now.mean > _mean(reference, rare.astype(float)).mean
    return Difference(_exact(reference, current, rare, have == 0) if is_more else 1.0, found.effect)


def cells_difference(before: Profile, after: Profile) -> Difference:
    """Compare all cells at once; the effect is the total variation distance.

    Pearson's statistic with Rao and Scott's (1984) second-order correction for the design effects of the cells.
    """
    import numpy as np
    from scipy import stats

    reference, current = (sample.counts[sample.rows > 0] for sample in (before, after))
    rows, rows_now = reference.sum(), current.sum()
    if not rows or not rows_now or min(len(reference), len(current)) < 3:
        return Difference(1.0, 0.0)
    share, share_now = reference.sum(axis=0) / rows, current.sum(axis=0) / rows_now
    effect = float(np.abs(share_now - share).sum() / 2)
    pooled = (reference.sum(axis=0) + current.sum(axis=0)) / (rows + rows_now)
    kept = np.flatnonzero(pooled)
    expected, change, free = pooled[kept] * (1 / rows + 1 / rows_now), (share_now - share)[kept], len(kept) - 1
    if not free:
        return Difference(1.0, effect)
    known, known_now = Known.of(before), Known.of(after)
    seen, varied = _covariance(reference[:, kept], before.inflation, expected, known)
    seen_now, varied_now = _covariance(current[:, kept], after.inflation, expected, known_now)
    seen, seen_now = (
        max(seen, known.least(known_now) * seen_now, key=np.trace),
        max(seen_now, known_now.least(known) * seen, key=np.trace),
    )
    seen, seen_now = together((seen, seen_now), (known, known_now), (varied, varied_now), np.trace)
    statistic, effects = float((change**2 / expected).sum()), seen + seen_now
    total, squared = float(np.trace(effects)), float(np.vdot(effects, effects.T))
    if total <= 0:
        return Difference(0.0 if effect > _ROUNDING else 1.0, effect)
    between = freedom_of((np.trace(seen), known), (np.trace(seen_now), known_now))
    # The covariance is itself estimated: without its noise, many cells look as if they differed in their effects.
    squared = max((squared - total**2 / between) / (1 + 1 / between), total**2 / free)
    spread = squared * free / total**2  # 1 + the squared variation of the design effects
    freedom = free / spread
    # Rao and Scott's `freedom * between` holds for cells of one design effect; of unlike ones, a few decide. Measured.
    below = between * max(1.0, freedom**2 / free)
    return Difference(float(stats.f.sf(statistic / total, freedom, below)), effect)


class _Mean(NamedTuple):
    """A mean with its variance, how well that is known, and what it comes from."""

    mean: float
    variance: float
    known: Known
    varied: Varied

    def beside(self, other: _Mean) -> float:
        """The variance, where blocks are few by both samples."""
        return max(self.variance, self.known.least(other.known) * other.variance)


def _by_t(reference: _Mean, current: _Mean) -> Difference:
    from scipy import stats

    effect, variance, variance_now = current.mean - reference.mean, reference.beside(current), current.beside(reference)
    known, varied = (reference.known, current.known), (reference.varied, current.varied)
    variance, variance_now = together((variance, variance_now), known, varied, float)
    if not min(reference.known.freedom, current.known.freedom):
        return Difference(1.0, effect)
    if variance + variance_now <= 0:
        return Difference(0.0 if abs(effect) > _ROUNDING else 1.0, effect)
    freedom = freedom_of((variance, reference.known), (variance_now, current.known))
    return Difference(float(2 * stats.t.sf(abs(effect) / math.sqrt(variance + variance_now), freedom)), effect)


def _with_any(sample: Profile, cells: NDArray[Any]) -> int:
    """How many blocks have rows in these cells."""
    return int((sample.counts @ cells > 0).sum())


def _blocks_with_any(sample: Profile, cells: NDArray[Any]) -> float:
    """The same as if each line of the counts were one block: of several, more have any."""
    share = _with_any(sample, cells) / max(1, sample.blocks)
    return float(sample.blocks * (1 - (1 - share) ** (1 / sample.merged)))


def _exact(reference: Profile, current: Profile, cells: NDArray[Any], cells_now: NDArray[Any]) -> float:
    """The p of Fisher's test of the rows in these cells, and of the blocks with any."""
    with_any = _blocks_with_any(reference, cells), _blocks_with_any(current, cells_now)
    among = reference.blocks, current.blocks
    by_block = _fisher(*(_fewer(pair, reference.inflation, current.inflation) for pair in (with_any, among)))
    seen = reference.cells @ cells, current.cells @ cells_now
    times = reference.time or 1.0, current.time or 1.0
    by_row = _fisher(_fewer(seen, *times), _fewer((reference.rows.sum(), current.rows.sum()), *times))
    # Both: rows of one block are one event, and where each block is one row they are the same.
    return max(by_block, by_row)


def _mean(sample: Profile, scores: NDArray[Any]) -> _Mean:
    rows, sums = sample.rows, sample.counts @ scores
    total = rows.sum()
    mean = float(sums.sum() / total) if total else 0.0
    off = (sums - mean * rows) * left_out(rows)
    of_rows = float(sample.cells @ scores**2 / total - mean**2) if total else 0.0
    known, variance = Known.of(sample), float(sample.inflation * (off @ off))
    return _Mean(mean, variance, known, Varied.of(known, variance, of_rows, off**2))


def _covariance(
    counts: NDArray[Any], inflation: float, expected: NDArray[Any], known: Known
) -> tuple[NDArray[Any], Varied]:
    """The covariance of the shares of cells, by what varies between blocks, in those of independent rows."""
    import numpy as np

    rows = counts.sum(axis=1)
    share = counts.sum(axis=0) / rows.sum()
    off = (counts - np.outer(rows, share)) * left_out(rows)[:, None]
    found: NDArray[Any] = inflation * (off.T @ off) / expected
    of_rows = float((share * (1 - share) / expected).sum())
    return found, Varied.of(known, float(np.trace(found)), of_rows, (off**2 / expected).sum(axis=1))


def _fewer(counts: tuple[float, float], worth_one: float, worth_one_now: float) -> tuple[int, int]:
    """As many independent ones as these are worth."""
    return round(counts[0] / worth_one), round(counts[1] / worth_one_now)


def _fisher(seen: tuple[int, int], among: tuple[int, int]) -> float:
    from scipy import stats

    return float(stats.fisher_exact([[seen[0], among[0] - seen[0]], [seen[1], among[1] - seen[1]]]).pvalue)
