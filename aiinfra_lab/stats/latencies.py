"""The champion's latencies, frozen before a canary is compared with them: bins, and what slower ones look like.

Any weights keep the comparison honest; those that fit what may go wrong make it fast.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from .wander import MARGIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 13
LEAST = 200
"""So many answers of the champion before its latencies are frozen."""
ALTERNATIVES = 9
_CUTS = (*(decile / 10 for decile in range(1, 10)), 0.95, 0.98, 0.995)
_P95 = _CUTS.index(0.95)
# All answers being slower shows best beyond the one, a few that take very long beyond the other.
_SLOW = (_CUTS.index(0.8), _CUTS.index(0.98))
_SLOWDOWNS = (1.1, 1.2, 1.35, 1.6, 2.5)
_TAILS = ((0.95, 2.0), (0.95, 5.0), (0.995, 3.0), (0.995, 15.0))
# Part of each weight: a bin that was never seen must not end all evidence.
_FLOOR = 0.02


class LatenciesState(TypedDict):
    """As plain values."""

    edges_ms: list[float]
    weights: list[list[float]]


class FrozenLatencies:
    """edges_ms: what divides the bins. weights: how much likelier each bin (row) is under each alternative (column).

    The last column of the weights is 1 throughout, and so is that of their logarithms: it counts.
    """

    def __init__(self, edges_ms: Sequence[float], weights: NDArray[np.float64]) -> None:
        self.edges_ms = tuple(edges_ms)
        self.weights = weights
        self.log_weights = np.log(weights)
        self.log_weights[:, -1] = 1

    @property
    def p95_ms(self) -> float:
        """The champion's 95th percentile."""
        return self.edges_ms[_P95]

    @property
    def slow_ms(self) -> tuple[float, float]:
        """The champion's 80th and 98th percentile."""
        first, second = _SLOW
        return self.edges_ms[first], self.edges_ms[second]

    def bin_of(self, latency_ms: float, *, is_canary: bool) -> int:
        """The bin of a latency; the canary's are forgiven the margin."""
        return bisect_left(self.edges_ms, latency_ms / MARGIN if is_canary else latency_ms)

    def to_state(self) -> LatenciesState:
        """As plain values."""
        rounded: list[list[float]] = np.round(self.weights[:, :-1], 5).tolist()
        return {"edges_ms": [float(f"{edge:.6g}") for edge in self.edges_ms], "weights": rounded}

    @classmethod
    def of_state(cls, state: Any) -> FrozenLatencies:
        """What `to_state` gave."""
        return cls(state["edges_ms"], _counting(np.array(state["weights"], dtype=float)))

    @classmethod
    def of_histogram(cls, edges_ms: Sequence[float], counts: Sequence[int]) -> FrozenLatencies | None:
        """Out of the champion's own histogram; None while it has too few answers.

        edges_ms: upper edges; one count more than edges, for what lies beyond them all
        """
        total = sum(counts)
        if total < LEAST:
            return None
        # As if answers lay evenly on a logarithmic scale within their bucket.
        log_edges = np.log([*edges_ms, 2 * edges_ms[-1]])
        at = np.concatenate([[2 * log_edges[0] - log_edges[1]], log_edges])
        share = np.concatenate([[0.0], np.cumsum(counts) / total])
        used = np.concatenate([[True], np.diff(share) > 0])  # a quantile needs a curve that rises
        used[:-1] |= used[1:]
        cuts = np.interp(_CUTS, share[used], at[used])
        seen = _per_bin(np.interp(cuts, at, share))
        found = [_per_bin(np.interp(cuts - np.log(slower), at, share)) for slower in _SLOWDOWNS]
        ratios = [(one + 1e-3) / (seen + 1e-3) for one in found]
        ratios += [_tail(beyond, more) for beyond, more in _TAILS]
        weights = (1 - _FLOOR) * np.clip(np.column_stack(ratios), 0, 50) + _FLOOR
        return cls(np.exp(cuts).tolist(), _counting(weights))


def _counting(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([weights, np.ones(BINS)])


def _per_bin(cumulated: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diff(np.concatenate([[0.0], cumulated, [1.0]]))


def _tail(beyond: float, more: float) -> NDArray[np.float64]:
    """What lies beyond a quantile is so many times as frequent."""
    share = 1 - beyond
    inside = (1 - more * share) / (1 - share)
    first = _CUTS.index(beyond) + 1
    return np.where(np.arange(BINS) < first, inside, more)
