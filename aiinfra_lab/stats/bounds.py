"""Bounds on what an endpoint may do, judged on counts: breached, kept, or undecided yet.

A bound is a share that may not be exceeded: `errors > 1%` is breached when surely more than 1 % of the requests fail,
and `p95_ms > 80` when surely more than 5 % of them take longer than 80 ms. Standard library only, since the endpoint's
process judges too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .. import rules
from ..errors import UsageProblem
from ..rules import Connective, Rule, Sign, Term
from ..units import plain, show_share

Verdict = Literal["breach", "ok", "undecided"]
METRICS = ("errors", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
_SIGNS: tuple[Sign, ...] = (">",)
_CONNECTIVES: tuple[Connective, ...] = ("or",)
_EXAMPLE = "p95_ms > 80 or errors > 1%"
_MOST_NEEDED = 10_000_000  # beyond, the share lies so near to what is allowed that nobody waits for a verdict


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound: more of the metric than the term's threshold (a share, or milliseconds) is a breach.

    share: the share of requests that may be bad before it is one.
    """

    term: Term
    share: float

    @property
    def limit_ms(self) -> float | None:
        """The latency beyond which a request is bad; None when what is bad is a request that failed."""
        return None if self.term.metric == "errors" else self.term.threshold

    @property
    def key(self) -> str:
        """What is counted for it: `errors`, or `slower_than_80ms`."""
        return "errors" if self.limit_ms is None else f"slower_than_{plain(self.limit_ms)}ms"

    def __str__(self) -> str:
        return str(self.term)


@dataclass(frozen=True, slots=True)
class JudgedBound:
    """How one bound is judged on what was counted.

    bad, total: how many requests lie beyond it, of how many. low, high: the interval of their share, at `confidence`;
    allowed: the share that may. limit_ms: the bound's latency; None of one on errors.
    """

    bound: str
    verdict: Verdict
    bad: int
    total: int
    low: float
    high: float
    allowed: float
    limit_ms: float | None
    confidence: float

    @property
    def needed(self) -> int | None:
        """About how many requests decide, if as large a share as now lies beyond it; None where no number does."""
        if self.verdict != "undecided":
            return self.total
        share = self.bad / self.total if self.total else 0.0
        few, many = self.total, max(2 * self.total, 2)
        while not self._is_decided_by(share, many):
            few, many = many, 2 * many
            if many > _MOST_NEEDED:
                return None
        while many - few > max(1, few // 100):
            middle = (few + many) // 2
            few, many = (few, middle) if self._is_decided_by(share, middle) else (middle, many)
        return many

    def _is_decided_by(self, share: float, total: int) -> bool:
        low, high = binomial_interval(round(share * total), total, self.confidence)
        return low > self.allowed or high <= self.allowed

    def __str__(self) -> str:
        if not self.total:
            return f"{self.bound}: no {'requests' if self.limit_ms is None else 'answers'} yet"
        what = "failed" if self.limit_ms is None else f"took longer than {plain(self.limit_ms)} ms"
        interval = f"between {show_share(self.low)} and {show_share(self.high)}"
        seen = f"{self.bad} of {self.total} {what} ({interval}, {show_share(self.allowed)} allowed)"
        return f"{self.bound}: {self.verdict}, {seen}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a rule, and on each of its bounds."""

    verdict: Verdict
    bounds: tuple[JudgedBound, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for every bound."""
        return tuple(map(str, self.bounds))


def parse_bounds(text: str) -> Rule:
    """Read `p95_ms > 80 or errors > 1%`; UsageProblem for anything that cannot be judged on counts of requests."""
    rule = rules.parse(text, metrics=METRICS, signs=_SIGNS, connectives=_CONNECTIVES, example=_EXAMPLE)
    bounds_of(rule)
    return rule


def bounds_of(rule: Rule) -> tuple[Bound, ...]:
    """The bounds that a rule of `parse_bounds` states. UsageProblem when one holds always, or never."""
    return tuple(map(_bound, rule.terms))


def judge(bounds: Sequence[Bound], counts: Mapping[str, tuple[int, int]], confidence: float = 0.95) -> Judgement:
    """Judge by `counts[bound.key] = (bad, all)`; a bound without counts is undecided, one that is breached decides.

    Each bound is compared with the exact interval of its share: breached when all of the interval lies above
    what is allowed, kept when none of it does. The confidence is that of one look: who looks again and again
    should ask for more.
    """
    judged = [_judge(bound, *counts.get(bound.key, (0, 0)), confidence) for bound in bounds]
    verdicts = [each.verdict for each in judged]
    overall: Verdict = "ok" if all(verdict == "ok" for verdict in verdicts) else "undecided"
    return Judgement("breach" if "breach" in verdicts else overall, tuple(judged))


def binomial_interval(bad: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a share, of which `bad` of `total` were seen (Clopper and Pearson, 1934).

    It covers the true share with at least that confidence, whatever the share. (0, 1) without data.
    """
    if not 0 <= bad <= total:
        raise ValueError(f"{bad} of {total} is no count")
    tail = (1 - confidence) / 2
    low = 0.0 if bad == 0 else _beta_quantile(tail, bad, total - bad + 1)
    high = 1.0 if bad == total else _beta_quantile(1 - tail, bad + 1, total - bad)
    return low, high


def _judge(bound: Bound, bad: int, total: int, confidence: float) -> JudgedBound:
    low, high = binomial_interval(bad, total, confidence)
    verdict: Verdict = "breach" if low > bound.share else "ok" if high <= bound.share else "undecided"
    return JudgedBound(str(bound), verdict, bad, total, low, high, bound.share, bound.limit_ms, confidence)


def _bound(term: Term) -> Bound:
    limit = term.threshold
    if term.metric == "errors":
        if limit >= 1:
            raise UsageProblem(f"{str(term)!r} can never be breached: that is 100 %", 'write "errors > 1%"')
        share = limit
    else:
        # Half of the requests may be slower than their median, 5 % slower than the 95th percentile.
        # Rounded, since 1 - 0.95 is 0.050000000000000044 as a float.
        share = round(1 - int(term.metric[1:3]) / 100, 2)
    if limit < 0 or (limit == 0 and term.metric != "errors"):
        raise UsageProblem(f"{str(term)!r} is breached by every request", f'write "{_EXAMPLE}"')
    return Bound(term, share)


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """Where the beta distribution's function reaches that probability, by bisection to 12 digits."""
    low, high = 0.0, 1.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if _beta_cdf(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return high


def _beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only on the other side
        return 1 - _beta_cdf(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / a * _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """1 / (1 + d1 / (1 + d2 / (1 + …))) by the modified Lentz method (Thompson and Barnett, 1986)."""
    ahead, behind, value = 1.0, 0.0, 1.0
    for term in range(1, 100_000):
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        behind = 1 / (1 + d * behind)
        ahead = 1 + d / ahead
        value *= ahead * behind
        if abs(ahead * behind - 1) < 1e-15:
            break
    return 1 / value
