"""The shares of numbers in bins, to draw how they are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TAIL = 0.005  # what lies further out than this share would make all the rest one bar


def shares_in_bins(*samples: NDArray[Any], most: int) -> list[list[float]]:
    """Each sample's shares in at most `most` bins that all samples have in common; no bins without a finite number.

    What lies beyond the bins counts to the first and the last.
    """
    finite = [sample[np.isfinite(sample)].astype(float) for sample in samples]
    together = np.concatenate(finite)
    if not len(together):
        return [[] for _ in samples]
    edges = _edges(together, most)
    inside = [sample.clip(edges[0], edges[-1]) for sample in finite]
    return [[float(count) / max(len(one), 1) for count in np.histogram(one, edges)[0]] for one in inside]


def _edges(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    if low == high:
        return np.asarray([low - 0.5, low + 0.5])
    if not np.array_equal(values, np.floor(values)):
        return np.histogram_bin_edges(values.clip(low, high), most)
    # Narrower than a whole number, or not a multiple of one, some bins would hold fewer values than others.
    low, span = np.floor(low), np.ceil(high) - np.floor(low) + 1
    width = np.ceil(span / most)
    # Half below the whole numbers: the last bin of a histogram includes its upper edge.
    return np.asarray(low - 0.5 + width * np.arange(np.ceil(span / width) + 1), dtype=np.float64)
