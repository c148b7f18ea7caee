"""A rollback rule at work: it counts what one canary does, and says what that means so far.

Only the canary's own requests count, from the moment the canary began under this rule. What a verdict is worth:
each look errs with at most 1 - CONFIDENCE when the canary lies exactly on its bound; it looks again every second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...stats.bounds import Judgement, Rule

CONFIDENCE = 0.99


@dataclass
class Judge:
    """A rule and what it saw of one canary. `bad` counts, by the rule's keys, the requests beyond each bound."""

    rule: Rule
    requests: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    said: Judgement = field(init=False)

    def __post_init__(self) -> None:
        self.said = self.rule.judge({})
        limits = {bound.key: None if bound.metric == "errors" else bound.threshold for bound in self.rule.bounds}
        self._limits_ms = limits
        self.bad = {key: self.bad.get(key, 0) for key in limits}

    def add(self, latency_ms: float, failed: bool) -> None:
        """Count one request that the canary answered, or failed to."""
        self.requests += 1
        for key, limit_ms in self._limits_ms.items():
            self.bad[key] += failed if limit_ms is None else latency_ms > limit_ms

    def look(self) -> Judgement:
        """Judge by what was seen until now; `said` keeps it. It takes longer the more there is to judge."""
        requests = self.requests
        counts = {key: (min(bad, requests), requests) for key, bad in self.bad.items()}
        self.said = self.rule.judge(counts, CONFIDENCE)
        return self.said

    def to_body(self) -> dict[str, Any]:
        """As JSON, to go on after a restart."""
        return {"requests": self.requests, "bad": dict(self.bad)}

    @classmethod
    def from_body(cls, rule: Rule, body: Mapping[str, Any]) -> Judge:
        """What `to_body` gave, for the same rule."""
        return cls(rule, body["requests"], dict(body["bad"]))
