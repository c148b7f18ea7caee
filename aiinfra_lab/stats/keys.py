"""Whether bad requests of a canary may be bad by their keys alone.

A key is dealt to an arm once, so what differs between keys (customers whose rows fail, or take long) is a single draw
for the whole trial, however many requests show it. Counted by key, bad requests are worth as many keys as would have
them in equal parts (Kish, 1965), and each of those is the canary's by its share.
"""

from __future__ import annotations

import operator
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .arms import HEAD_START
from .bounds import beta_cdf

CHANCE = HEAD_START
"""Rarer than that, the draw of the keys is no explanation; it is made once a trial, as the head start is given once."""
_CELLS = 1 << 20
_MOST = 1 << 17
_KEPT = 256


class BadKeys:
    """The keys of the latest bad requests, of both arms, by the stratum in which they were.

    share: of the keys that the canary gets
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._open = array("I")
        self._strata: deque[tuple[float, array[int]]] = deque()
        self._count = 0

    def add(self, digest: int, *, is_canary: bool) -> None:
        """Take one request that is bad, by a digest of its key."""
        self._open.append(digest % _CELLS * 2 + is_canary)

    def close(self, now: float) -> None:
        """What was taken since the last time belongs to the stratum that is over now."""
        if self._open:
            self._append(now, self._open)
            self._open = array("I")

    def _append(self, at: float, codes: array[int]) -> None:
        self._strata.append((at, codes))
        self._count += len(codes)
        while self._count > _MOST and len(self._strata) > 1:
            self._count -= len(self._strata.popleft()[1])

    def since(self, at: float) -> tuple[float, float]:
        """How many keys the bad requests after that moment are worth, and the chance that as many of them as were seen,
        or more, are the canary's by the draw of the keys alone.
        """
        found = [np.frombuffer(codes, np.uint32) for when, codes in self._strata if when > at]
        if not found:
            return 0.0, 1.0
        codes = np.concatenate(found)
        _, counts = np.unique(codes // 2, return_counts=True)
        keys = len(codes) ** 2 / float(np.square(counts, dtype=float).sum())
        of_canary = keys * float(np.count_nonzero(codes % 2)) / len(codes)
        if not of_canary:
            return keys, 1.0
        # P(Binomial(keys, share) >= of_canary), carried on between whole numbers.
        return keys, beta_cdf(self.share, of_canary, keys - of_canary + 1)

    def to_state(self) -> list[Any]:
        """The latest as plain values."""
        kept: list[tuple[float, list[int]]] = []
        lack = _KEPT
        for at, codes in reversed(self._strata):
            if lack <= 0:
                break
            kept.append((round(at, 1), codes[-lack:].tolist()))
            lack -= len(codes)
        return kept[::-1]

    @classmethod
    def of_state(cls, share: float, state: Iterable[Any]) -> BadKeys:
        """What `to_state` gave."""
        found = cls(share)
        for at, codes in state:
            found._append(at, array("I", codes))
        return found


def chance_of(bad: Sequence[BadKeys], at: float) -> tuple[float, float]:
    """The same as `since` of the one that the keys explain least, corrected for their number (Bonferroni)."""
    keys, chance = min((each.since(at) for each in bad), key=operator.itemgetter(1))
    return keys, min(1.0, len(bad) * chance)
