"""Bets on shares, request by request: that a canary is not worse by a margin, and that an endpoint keeps its bounds.

A bettor's wealth has expectation at most 1 while what he bets against holds, so that wealth of 20 shows the contrary
at 5 %, whenever one looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .arms import HEAD_START, LIMIT

SHOWN = 20.0
"""So much wealth shows it at 5 %."""
_STAKES = (0.15, 0.3, 0.5, 0.7)
_MOST = 1e300
_WAITING = 25  # where the canary has most of the traffic, several of its requests are one
_UNIT_S = 10.0


@dataclass
class NotWorse:
    """Bets that the canary's share of bad requests is not larger than the champion's by the margin or more.

    Each request of the champion's is used once, and so is each of the canary's: a canary's with all of the champion's
    since the one before, or with the next one where there was none. With one mean of the champion's for several of the
    canary's, the bets would win too often. counts: requests and bad ones, by arm.
    """

    margin: float
    wealths: list[float] = field(default_factory=lambda: [1.0] * len(_STAKES))
    most: float = 1.0
    counts: list[list[int]] = field(default_factory=lambda: [[0, 0], [0, 0]])
    champion: list[int] = field(default_factory=lambda: [0, 0])
    waiting: list[int] = field(default_factory=list)

    def add(self, bad: bool, *, is_canary: bool) -> None:
        """Take one request, in the order of their answers."""
        counts = self.counts[is_canary]
        counts[0] += 1
        counts[1] += bad
        if is_canary and not self.champion[0]:
            self.waiting.append(int(bad))
        elif is_canary:
            self._bet(self.champion[1] / self.champion[0], float(bad))
            self.champion = [0, 0]
        elif waiting := self.waiting[: max(1, len(self.waiting) // _WAITING)]:
            del self.waiting[: len(waiting)]
            self._bet(float(bad), sum(waiting) / len(waiting))
        else:
            self.champion[0] += 1
            self.champion[1] += bad

    def _bet(self, champion: float, canary: float) -> None:
        gain = self.margin + champion - canary
        pairs = zip(self.wealths, _STAKES, strict=True)
        self.wealths = [min(wealth * (1 + stake * gain), _MOST) for wealth, stake in pairs]
        self.most = max(self.most, self.wealth)

    @property
    def wealth(self) -> float:
        """What the bettor has now."""
        return sum(self.wealths) / len(self.wealths)

    @property
    def is_shown(self) -> bool:
        """Whether it was shown at some moment: then it counts."""
        return self.most >= SHOWN

    def needed(self) -> int | None:
        """About how many more of the canary's requests show it, if the shares stay; None where no number does."""
        if self.is_shown:
            return 0
        champion, canary = (bad / max(total, 1) for total, bad in self.counts)
        gain = self.margin + champion
        lacking = [
            (math.log(SHOWN * len(_STAKES)) - math.log(max(wealth, 1e-300))) / growth
            for wealth, stake in zip(self.wealths, _STAKES, strict=True)
            if (growth := canary * math.log1p(stake * (gain - 1)) + (1 - canary) * math.log1p(stake * gain)) > 1e-9
        ]
        return math.ceil(min(lacking)) if lacking else None

    def to_state(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "margin": self.margin, "wealths": [float(f"{each:.6g}") for each in self.wealths],
            "most": float(f"{self.most:.6g}"), "counts": [list(each) for each in self.counts],
            "champion": list(self.champion), "waiting": list(self.waiting),
        }  # fmt: skip

    @classmethod
    def of_state(cls, state: Any) -> NotWorse:
        """What `to_state` gave."""
        return cls(**state)


class OneSample:
    """An endpoint's requests against a bound on the share that may be bad: since when it is exceeded, or is it kept.

    Requests that fail together are one event and count as many: this raises an alarm, and convicts nobody who has a
    champion to be compared with.
    """

    def __init__(self, allowed: float) -> None:
        self.allowed = allowed
        more = [allowed * times for times in (1.5, 2, 3, 5, 10, 30) if allowed * times < 0.98]
        less = [allowed * times for times in (0.9, 0.7, 0.4, 0.1)]
        self._alternatives = [*(more or [(1 + allowed) / 2]), *less]
        self._more = len(self._alternatives) - len(less)
        self.sums = [HEAD_START * LIMIT] * self._more
        self.wealths = [1.0] * len(less)
        self.counts = [0, 0]

    def add(self, bad: int, total: int, seconds: float) -> None:
        """Take what was answered in the last seconds."""
        self.counts[0] += bad
        self.counts[1] += total
        e_values = [self._e_value(share, bad, total) for share in self._alternatives]
        self.sums = [
            min(max(before, min(before + seconds / _UNIT_S, LIMIT / 36)) * e, _MOST)
            for before, e in zip(self.sums, e_values[: self._more], strict=True)
        ]
        # Once it was exceeded, that it is kept has to be shown anew.
        kept = [1.0] * len(self.wealths) if self.is_exceeded else self.wealths
        self.wealths = [min(before * e, _MOST) for before, e in zip(kept, e_values[self._more :], strict=True)]

    def _e_value(self, share: float, bad: int, total: int) -> float:
        log_e = 0.0
        if bad and self.allowed:
            log_e += bad * math.log(share / self.allowed)
        elif bad:
            return _MOST  # none may be bad
        log_e += (total - bad) * math.log((1 - share) / (1 - self.allowed))
        return math.exp(min(log_e, 600.0))

    @property
    def evidence(self) -> float:
        """Beyond LIMIT the bound is exceeded."""
        return sum(self.sums) / len(self.sums)

    @property
    def is_exceeded(self) -> bool:
        return self.evidence >= LIMIT

    @property
    def is_kept(self) -> bool:
        return sum(self.wealths) / len(self.wealths) >= SHOWN and not self.is_exceeded

    def needed(self) -> int | None:
        """About how many more requests decide, if the share that is bad stays; None where no number does."""
        if self.is_exceeded or self.is_kept:
            return 0
        bad, total = self.counts
        share = bad / max(total, 1)
        lacking = []
        for at, other in enumerate(self._alternatives):
            is_more = at < self._more
            has, goal = (self.sums[at], LIMIT) if is_more else (self.wealths[at - self._more], SHOWN)
            of = self._more if is_more else len(self.wealths)
            growth = (1 - share) * math.log((1 - other) / (1 - self.allowed))
            growth += share * math.log(other / self.allowed) if share and self.allowed else 0.0
            if growth > 1e-9:
                lacking.append(math.log(max(1.0, of * goal / max(has, 1e-300))) / growth)
        return math.ceil(min(lacking)) if lacking else None

    def to_state(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "allowed": self.allowed, "sums": [float(f"{each:.5g}") for each in self.sums],
            "wealths": [float(f"{each:.5g}") for each in self.wealths], "counts": list(self.counts),
        }  # fmt: skip

    @classmethod
    def of_state(cls, state: Any) -> OneSample:
        """What `to_state` gave."""
        found = cls(state["allowed"])
        found.sums, found.wealths, found.counts = (list(state[name]) for name in ("sums", "wealths", "counts"))
        return found
