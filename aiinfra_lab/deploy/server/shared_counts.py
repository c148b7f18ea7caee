"""Memory that the fronts of an endpoint count in: each writes a part of its own, and reads all of them.

No part is written by two processes, so that nothing is lost without a lock; and it outlives a front that is killed.
"""

from __future__ import annotations

import mmap
import os

from ...errors import Failed
from .counts import CELLS, Counts, TotalCounts
from .tallies import SIZE, Tallies

MOST_VERSIONS = 4096
_CELL = 8
_COUNTS = CELLS * _CELL


class SharedCounts:
    """descriptor: of the memory, see `create`. fronts: how many there are. own: which of them this process is.

    tallies: of each front. own_versions, versions: what each version did in this front, and in all.
    """

    def __init__(self, descriptor: int, fronts: int, own: int) -> None:
        self._memory = memoryview(mmap.mmap(descriptor, _size(fronts)))
        self._fronts, self._own = fronts, own
        self.tallies = [self._tallies(front) for front in range(fronts)]
        self.own_versions: dict[str, Counts] = {}
        self.versions: dict[str, Counts] = {}

    def add(self, uri: str, place: int) -> None:
        """Count a version there."""
        if place >= MOST_VERSIONS:
            what = f"{MOST_VERSIONS} versions have served here, and several fronts count no more of them"
            raise Failed(what, "set `deploy.fronts` to 1, or start an endpoint of another name")
        parts = [self._counts(place, front) for front in range(self._fronts)]
        self.own_versions[uri], self.versions[uri] = parts[self._own], TotalCounts(parts)

    def clear(self, front: int) -> None:
        """What a front that has ended does no more; what it has counted stays."""
        tallies = self._tallies(front)
        for name in ("waiting", "connections", "generation", "beat"):
            tallies.set(name, 0)

    def _tallies(self, front: int) -> Tallies:
        return Tallies(self._memory[front * SIZE : (front + 1) * SIZE])

    def _counts(self, place: int, front: int) -> Counts:
        at = self._fronts * SIZE + (place * self._fronts + front) * 2 * _COUNTS
        own, shadowed = (self._memory[start : start + _COUNTS].cast("d") for start in (at, at + _COUNTS))
        return Counts(own, Counts(shadowed))


def create(fronts: int) -> int:
    """The descriptor of such memory; it takes up what is used of it."""
    descriptor = os.memfd_create("counts")
    os.ftruncate(descriptor, _size(fronts))
    return descriptor


def _size(fronts: int) -> int:
    return fronts * (SIZE + MOST_VERSIONS * 2 * _COUNTS)
