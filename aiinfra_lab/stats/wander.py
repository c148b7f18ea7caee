"""Whether a canary is slower by more than two processes wander apart by themselves: one comparison a block of time.

Both arms share their environment, but each has a cache, a batch and a garbage collector of its own. So a block's
difference is measured by how much such differences vary, with their dependence. It assumes near-normal blocks: a guard
beside the exact comparison, and no proof.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MARGIN = 1.05
"""A canary that is slower by no more than this is at home."""
BLOCK_S = 60.0
LIMIT = 12_000.0
_KEPT = 60
_FIRST = 15  # blocks without which nobody knows how much they vary
_LEAST = 10  # answers of each arm in a block
_BETS = (0.5, 1.0, 2.0)
_MOST_Z = 4.0
_WIDER = 1.1


@dataclass
class LogSums:
    """Of the logarithms of one arm's latencies: how many, their sum, and that of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, latency_ms: float) -> None:
        """Take one answer."""
        value = math.log(max(latency_ms, 1e-6))
        self.count += 1
        self.total += value
        self.squares += value * value

    def __iadd__(self, other: LogSums) -> LogSums:
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        return self

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def error(self) -> float:
        """The squared standard error of the mean."""
        return max(0.0, self.squares / self.count - self.mean**2) / self.count


@dataclass
class Wander:
    """The evidence of whole blocks. before: the champion's mean log latency in each block before the canary began."""

    before: tuple[float, ...] = ()
    block_s: float = BLOCK_S
    champion: LogSums = field(default_factory=LogSums)
    canary: LogSums = field(default_factory=LogSums)
    seconds: float = 0.0
    differences: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    sums: list[float] = field(default_factory=lambda: [0.0] * len(_BETS))

    @property
    def evidence(self) -> float:
        """Beyond LIMIT the canary is slower by more than noise."""
        return sum(self.sums) / len(self.sums)

    @property
    def unknown_s(self) -> float:
        """So long it lasts at least until it is known how much blocks vary, before which there is no evidence."""
        lacking = 0 if len(self.before) >= _FIRST else max(0, _FIRST + 1 - len(self.differences))
        return max(0.0, lacking * self.block_s - self.seconds)

    def add(self, seconds: float, champion: LogSums, canary: LogSums) -> None:
        """Take what was answered in the last seconds; a block that is over is judged."""
        self.champion += champion
        self.canary += canary
        self.seconds += seconds
        if self.seconds >= self.block_s and min(self.champion.count, self.canary.count) >= _LEAST:
            self._judge()
            self.champion, self.canary, self.seconds = LogSums(), LogSums(), 0.0

    def _judge(self) -> None:
        difference = self.canary.mean - self.champion.mean
        if noise := self._noise(math.sqrt(self.canary.error + self.champion.error)):
            z = (difference - math.log(MARGIN)) / noise
            z = max(-_MOST_Z, min(_MOST_Z, z))
            self.sums = [
                min((before + 1) * math.exp(bet * z - bet * bet / 2), 1e300)
                for before, bet in zip(self.sums, _BETS, strict=True)
            ]
        self.differences.append(difference)

    def _noise(self, sampling: float) -> float:
        """How much a block's difference varies, dependence included, by what came before it; 0 while unknown."""
        spread, correlation = _spread(self.differences), _correlation(self.differences)
        if len(self.differences) < _FIRST:
            if len(self.before) < _FIRST:
                return 0.0
            # Two arms wander apart as one does twice, and no more: what they share is in here too.
            spread, correlation = math.sqrt(2) * _spread(self.before), _correlation(self.before)
        return _WIDER * max(spread, sampling, 1e-4) * math.sqrt((1 + correlation) / (1 - correlation))

    def to_state(self) -> dict[str, Any]:
        """As plain values, but for the block that is not over."""
        rounded = [[float(f"{value:.5g}") for value in values] for values in (self.before, self.differences, self.sums)]
        return dict(zip(("before", "differences", "sums"), rounded, strict=True)) | {"block_s": self.block_s}

    @classmethod
    def of_state(cls, state: Any) -> Wander:
        """What `to_state` gave."""
        found = cls(tuple(state["before"]), state["block_s"], sums=list(state["sums"]))
        found.differences.extend(state["differences"])
        return found


def _median(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _spread(values: Sequence[float]) -> float:
    """The standard deviation by the median absolute deviation: a slow hour within it does not widen it."""
    if not values:
        return 0.0
    middle = _median(values)
    return 1.48 * _median([abs(value - middle) for value in values])


def _correlation(values: Sequence[float]) -> float:
    """That of neighbours, by their signs."""
    if len(values) < 2:
        return 0.0
    middle = _median(values)
    signs = [math.copysign(1, value - middle) if value != middle else 0.0 for value in values]
    products = [one * other for one, other in itertools.pairwise(signs)]
    return max(0.0, min(0.95, math.sin(math.pi / 2 * sum(products) / len(products))))
