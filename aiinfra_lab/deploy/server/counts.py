"""What happened on each version: requests, rows, errors, and latencies in buckets fine enough for a quantile."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from ..record import VersionCounts

# Steps of about 12 %, so that a quantile is at most that far off; 0.01 ms to 90 s.
_STEPS = (1, 1.12, 1.25, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3.2, 3.6, 4, 4.5, 5, 5.6, 6.3, 7, 8, 9)
EDGES_MS = tuple(round(step * 10.0**power, 6) for power in range(-2, 5) for step in _STEPS)
# Those that Prometheus gets: fewer, and round.
SHOWN_MS = tuple(edge for edge in EDGES_MS if f"{edge:e}"[:3] in ("1.0", "2.5", "5.0"))


_SPAN_S = 10.0
_SPANS = 360

Cells: TypeAlias = "list[float] | memoryview[float]"


class Minutes:
    """How a version's latency wandered in the last hour: the mean logarithm of its latencies, in spans of ten seconds.

    Not kept over a restart.
    """

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._before = 0, 0.0
        self._spans: deque[tuple[int, float]] = deque(maxlen=_SPANS)

    def sample(self, requests: int, log_sum: float) -> None:
        """Take what was counted until now; to be called every second or so."""
        if (now := time.monotonic()) < self._ends_at:
            return
        if self._ends_at and requests > self._before[0]:
            self._spans.append((requests - self._before[0], log_sum - self._before[1]))
        self._ends_at, self._before = now + _SPAN_S, (requests, log_sum)

    def means(self, block_s: float) -> tuple[float, ...]:
        """The mean of each block of so many seconds; those of spans, where blocks are shorter."""
        each, spans = max(1, round(block_s / _SPAN_S)), [*self._spans]
        blocks = (spans[first : first + each] for first in range(0, len(spans) - each + 1, each))
        return tuple(sum(total for _, total in block) / sum(count for count, _ in block) for block in blocks)


class _Count:
    """A cell that counts."""

    def __init__(self, at: int) -> None:
        self._at = at

    def __get__(self, counts: Counts, owner: type[Counts]) -> int:
        return int(counts.cells[self._at])

    def __set__(self, counts: Counts, value: int) -> None:
        counts.cells[self._at] = value


_BUSY_MS, _LOG_SUM, _BUCKETS = 5, 6, 7
CELLS = _BUCKETS + len(EDGES_MS) + 1


class Counts:
    """Of one version since the endpoint was started, in cells that may be memory of several processes.

    errors: requests of which at least one row got no finite score. refused: requests whose rows broke the contract.
    shadowed: what it did besides as a shadow, on a queue of its own; by that nobody is judged.
    lost: processes of the version that died or hung; they are counted since this process began.
    """

    requests, rows, errors, refused, lost = map(_Count, range(5))

    def __init__(self, cells: Cells | None = None, shadowed: Counts | None = None) -> None:
        self._cells = [0.0] * CELLS if cells is None else cells
        self._shadowed = shadowed
        self.minutes = Minutes()

    @property
    def cells(self) -> Cells:
        return self._cells

    @property
    def shadowed(self) -> Counts | None:
        """None where it was never asked as a shadow."""
        return self._shadowed if self._shadowed and any(self._shadowed.cells) else None

    @property
    def as_shadow(self) -> Counts:
        """What takes the counts of the shadow."""
        self._shadowed = self._shadowed or Counts()
        return self._shadowed

    @property
    def busy_ms(self) -> float:
        """All latencies together."""
        return self.cells[_BUSY_MS]

    @property
    def buckets(self) -> list[int]:
        """How many requests took so long, by the edges."""
        return [int(count) for count in self.cells[_BUCKETS:]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and self.to_record() == other.to_record()

    __hash__ = None  # type: ignore[assignment]

    def add(self, latency_ms: float, rows: int, failed: bool) -> None:
        """Count one answered request."""
        cells = self._cells
        cells[0] += 1
        cells[1] += rows
        if failed:
            cells[2] += 1
        cells[_BUSY_MS] += latency_ms
        cells[_LOG_SUM] += math.log(max(latency_ms, 1e-6))
        # An edge falls into the bucket below it, as Prometheus' `le` has it.
        cells[_BUCKETS + bisect_left(EDGES_MS, latency_ms)] += 1

    def sample(self) -> None:
        """Remember how its latency wanders."""
        cells = self.cells
        self.minutes.sample(int(cells[0]), cells[_LOG_SUM])

    def quantile_ms(self, share: float) -> float | None:
        """The latency that this share of the requests stayed within; None without requests."""
        buckets = self.buckets
        total, seen = sum(buckets), 0
        for at, count in enumerate(buckets):
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
        counts = cls()
        counts.take(record)
        return counts

    def take(self, record: VersionCounts) -> None:
        """Go on from what `to_record` gave."""
        self.requests, self.rows = record.requests, record.rows
        self.errors, self.refused = record.errors, record.refused
        self._cells[_BUSY_MS] = record.busy_ms
        if record.shadowed:
            self.as_shadow.take(record.shadowed)
        for at, count in record.buckets.items():
            if is_bucket(at):  # another's target may have been recorded with others
                self._cells[_BUCKETS + int(at)] = count


class TotalCounts(Counts):
    """Of one version, in several processes together."""

    def __init__(self, parts: Sequence[Counts]) -> None:
        super().__init__([])
        self._parts = parts

    @property
    def cells(self) -> Cells:
        return [*map(sum, zip(*(part.cells for part in self._parts), strict=True))]

    @property
    def shadowed(self) -> Counts | None:
        found = [part.shadowed for part in self._parts if part.shadowed]
        return TotalCounts(found) if found else None


def quantile_ms(record: VersionCounts, share: float) -> float | None:
    """The latency that this share of the requests stayed within, as its target states it or has counted it."""
    return record.latency.of(share) if record.latency else Counts.of(record).quantile_ms(share)


def is_bucket(key: str) -> bool:
    """Whether a key is that of a bucket: the place of its upper edge in EDGES_MS, or the one behind them all."""
    return key.isascii() and key.isdigit() and int(key) <= len(EDGES_MS)
