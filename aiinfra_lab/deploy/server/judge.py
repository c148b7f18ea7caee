"""A rollback rule at work: it counts what one canary does, and says what that means so far.

Only the canary's own requests count, from the moment the canary began under this rule. What a verdict is worth:
each judgement errs with at most 1 - CONFIDENCE when the canary lies exactly on its bound, and is made every second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...rules import Rule
from ...stats import bounds
from ...stats.bounds import Judgement
from ..record import RuleCounts

CONFIDENCE = 0.99


@dataclass
class Judge:
    """A rule and what it counted of one canary. `bad` has, by the bounds' keys, the requests beyond each bound.

    unanswered: those of `requests` that got no score; they count for the bound on errors, and have no latency.
    """

    rule: Rule
    requests: int = 0
    unanswered: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    judgement: Judgement = field(init=False)

    def __post_init__(self) -> None:
        self._bounds = bounds.bounds_of(self.rule)
        self._limits_ms = {bound.key: bound.limit_ms for bound in self._bounds}
        self.judgement = bounds.judge(self._bounds, {}, CONFIDENCE)
        self.bad = {key: self.bad.get(key, 0) for key in self._limits_ms}

    def add(self, latency_ms: float | None, *, failed: bool) -> None:
        """Count one request of the canary's. latency_ms: None when it got no score at all, however soon."""
        self.requests += 1
        self.unanswered += latency_ms is None
        for key, limit_ms in self._limits_ms.items():
            if limit_ms is None:
                self.bad[key] += failed
            elif latency_ms is not None:
                self.bad[key] += latency_ms > limit_ms

    @property
    def judged(self) -> int:
        """How many requests the bound was judged by that has seen the fewest."""
        return min(map(self._seen, self._limits_ms))

    def _seen(self, key: str) -> int:
        return self.requests if self._limits_ms[key] is None else self.requests - self.unanswered

    def evaluate(self) -> Judgement:
        """Judge by what was counted until now; `judgement` keeps it. It takes longer the more there is to judge."""
        seen = {key: self._seen(key) for key in self.bad}
        # The loop's thread counts on meanwhile: without `min`, more requests could be bad than there were.
        counts = {key: (min(bad, seen[key]), seen[key]) for key, bad in self.bad.items()}
        self.judgement = bounds.judge(self._bounds, counts, CONFIDENCE)
        return self.judgement

    def to_record(self, of: tuple[str, str, str]) -> RuleCounts:
        """As the endpoint's record keeps it, to go on after a restart."""
        return RuleCounts(of, self.requests, dict(self.bad), self.unanswered)

    @classmethod
    def of(cls, rule: Rule, record: RuleCounts) -> Judge:
        """What `to_record` gave, for the same rule."""
        return cls(rule, record.requests, record.unanswered, dict(record.bad))
