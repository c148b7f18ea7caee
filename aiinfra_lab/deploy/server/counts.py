"""What happened on each version: requests, rows, errors, and latencies in buckets fine enough for a quantile."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

from ...stats.wander import LogSums
from ..record import VersionCounts

# Steps of about 12 %, so that a quantile is at most that far off; 0.01 ms to 90 s.
_STEPS = (1, 1.12, 1.25, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3.2, 3.6, 4, 4.5, 5, 5.6, 6.3, 7, 8, 9)
EDGES_MS = tuple(round(step * 10.0**power, 6) for power in range(-2, 5) for step in _STEPS)
# Those that Prometheus gets: fewer, and round.
SHOWN_MS = tuple(edge for edge in EDGES_MS if f"{edge:e}"[:3] in ("1.0", "2.5", "5.0"))


_SPAN_S = 10.0
_SPANS = 360


class Minutes:
    """How a version's latency wandered in the last hour: the logarithms of its latencies, in spans of ten seconds.

    Not kept over a restart.
    """

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._spans: deque[LogSums] = deque(maxlen=_SPANS)

    def add(self, latency_ms: float) -> None:
        """Take one answer, of this moment."""
        if (now := time.monotonic()) >= self._ends_at:
            self._ends_at = now + _SPAN_S
            self._spans.append(LogSums())
        self._spans[-1].add(latency_ms)

    def means(self, block_s: float) -> tuple[float, ...]:
        """The mean of each block of so many seconds; those of spans, where blocks are shorter."""
        each, spans = max(1, round(block_s / _SPAN_S)), list(self._spans)[:-1]
        found = []
        for first in range(0, len(spans) - each + 1, each):
            block = LogSums()
            for span in spans[first : first + each]:
                block += span
            found.append(block.mean)
        return tuple(found)


@dataclass
class Counts:
    """Of one version since the endpoint was started.

    errors: requests of which at least one row got no finite score. refused: requests whose rows broke the contract.
    shadowed: what it did besides as a shadow, on a queue of its own; by that nobody is judged.
    lost: processes of the version that died or hung; they are counted since this process began.
    """

    requests: int = 0
    rows: int = 0
    errors: int = 0
    refused: int = 0
    busy_ms: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(EDGES_MS) + 1))
    shadowed: Counts | None = None
    lost: int = 0
    minutes: Minutes = field(default_factory=Minutes, compare=False)

    def add(self, latency_ms: float, rows: int, failed: bool) -> None:
        """Count one answered request."""
        self.requests += 1
        self.rows += rows
        self.errors += failed
        self.busy_ms += latency_ms
        self.minutes.add(latency_ms)
        # An edge falls into the bucket below it, as Prometheus' `le` has it.
        self.buckets[bisect_left(EDGES_MS, latency_ms)] += 1

    def quantile_ms(self, share: float) -> float | None:
        """The latency that this share of the requests stayed within; None without requests."""
        total, seen = sum(self.buckets), 0
        for at, count in enumerate(self.buckets):
            if count and seen + count >= share * total:
                low = EDGES_MS[at - 1] if at else 0.0
                # The last bucket has no upper edge: what lies in it counts as the last edge.
                high = EDGES_MS[min(at, len(EDGES_MS) - 1)]
                return low + (high - low) * max(0.0, share * total - seen) / count
            seen += count
        return None

    def at_most(self, edge_ms: float) -> int:
        """How many requests took no longer than that edge."""
        return sum(self.buckets[: bisect_left(EDGES_MS, edge_ms) + 1])

    def to_record(self) -> VersionCounts:
        """As the endpoint's record keeps it: empty buckets are left out."""
        filled = {str(at): count for at, count in enumerate(self.buckets) if count}
        busy_ms = round(self.busy_ms, 3)
        shadowed = self.shadowed.to_record() if self.shadowed else None
        own = self.requests, self.rows, self.errors, self.refused, busy_ms, filled
        return VersionCounts(*own, shadowed=shadowed)

    @classmethod
    def of(cls, record: VersionCounts) -> Counts:
        """What `to_record` gave."""
        counts = cls(record.requests, record.rows, record.errors, record.refused, record.busy_ms)
        counts.shadowed = cls.of(record.shadowed) if record.shadowed else None
        for at, count in record.buckets.items():
            if is_bucket(at):  # another's target may have been recorded with others
                counts.buckets[int(at)] = count
        return counts


def quantile_ms(record: VersionCounts, share: float) -> float | None:
    """The latency that this share of the requests stayed within, as its target states it or has counted it."""
    return record.latency.of(share) if record.latency else Counts.of(record).quantile_ms(share)


def is_bucket(key: str) -> bool:
    """Whether a key is that of a bucket: the place of its upper edge in EDGES_MS, or the one behind them all."""
    return key.isascii() and key.isdigit() and int(key) <= len(EDGES_MS)
