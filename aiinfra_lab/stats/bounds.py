"""Bounds on what an endpoint may do, and how they and a comparison of two versions are judged, as numbers.

A bound is a share that may not be exceeded: `errors > 1%` is exceeded when more than 1 % of the requests fail, and
`p95_ms > 80` when more than 5 % of them take longer than 80 ms. It also names what is guarded in a canary: its errors,
or its latency. Standard library only, since verbs read these numbers too.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal

from .. import rules
from ..errors import UsageProblem
from ..rules import Connective, Rule, Sign, Term
from ..units import plain, show_share

Verdict = Literal["breach", "ok", "undecided"]
CONFIDENCE = 0.99
_VAST = 1000
METRICS = ("errors", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
_SIGNS: tuple[Sign, ...] = (">",)
_CONNECTIVES: tuple[Connective, ...] = ("or",)
_EXAMPLE = "p95_ms > 80 or errors > 1%"


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
    """How one bound is judged on all requests of an endpoint.

    bad, total: how many requests lie beyond it, of how many. low, high: the interval of their share, at `confidence`;
    allowed: the share that may. limit_ms: the bound's latency; None of one on errors. more: about how many more
    requests decide, if as large a share as now lies beyond it; None where no number does.
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
    more: int | None = None

    @classmethod
    def of(cls, bound: Bound, verdict: Verdict, bad: int, total: int, more: int | None) -> JudgedBound:
        """With the interval of what was counted."""
        low, high = binomial_interval(bad, total, CONFIDENCE)
        return cls(str(bound), verdict, bad, total, low, high, bound.share, bound.limit_ms, CONFIDENCE, more)

    def __str__(self) -> str:
        if not self.total:
            return f"{self.bound}: no {'requests' if self.limit_ms is None else 'answers'} yet"
        what = "failed" if self.limit_ms is None else f"took longer than {plain(self.limit_ms)} ms"
        interval = f"between {show_share(self.low)} and {show_share(self.high)}"
        seen = f"{self.bad} of {self.total} {what} ({interval}, {show_share(self.allowed)} allowed)"
        return f"{self.bound}: {self.verdict}, {seen}"


@dataclass(frozen=True, slots=True)
class JudgedMeasure:
    """How a canary compares with its champion in errors, or in latency.

    canary_bad of canary requests failed, or were slower than p95_ms, the champion's own 95th percentile when the
    comparison began; and so did champion_bad of champion. since: when the evidence began, or the comparison where there
    is none. evidence: of `limit` that convict. is_guarded: whether it convicts. margin: by which share the canary is
    shown to be not worse. more: about how many more of the canary's requests decide; None where no number does. keys:
    how many keys the bad requests are worth, where evidence is held back since those may be bad by themselves. minutes:
    how long at least it takes to know how latencies vary, where that is what lacks.
    """

    measure: Literal["errors", "latency"]
    verdict: Verdict
    canary_bad: int
    canary: int
    champion_bad: int
    champion: int
    since: float
    evidence: float
    limit: float
    is_guarded: bool
    margin: float
    more: int | None = None
    p95_ms: float | None = None
    keys: float | None = None
    minutes: float | None = None

    @property
    def interval(self) -> tuple[float, float, float]:
        """The canary's share less the champion's, in the middle of its interval."""
        return difference_interval(self.canary_bad, self.canary, self.champion_bad, self.champion)

    @property
    def by_keys(self) -> str:
        """How many keys what is bad comes from, in words; empty where that holds nothing back."""
        return "" if self.keys is None else "one key" if self.keys < 1.5 else f"about {self.keys:.0f} keys"

    @property
    def by_time(self) -> str:
        """How long it lasts at least, in words; empty where it depends on requests alone."""
        if self.minutes is None:
            return ""
        minutes = math.ceil(self.minutes)
        return f"at least {minutes} more minute{'s' if minutes > 1 else ''} show how much latencies vary by themselves"

    def __str__(self) -> str:
        if self.measure == "latency" and self.p95_ms is None:
            return "latency is not compared yet: the champion has answered too few requests"
        if not (self.canary and self.champion):
            return f"{self.measure}: no requests of both yet"
        beyond = "" if self.p95_ms is None else f" slower than {self.p95_ms:.3g} ms"
        canary, champion = (show_share(bad / of) for bad, of in self._counts)
        seen = f"{self.measure}{beyond} {canary} against the champion's {champion}"
        if self.verdict == "breach":
            at = time.strftime("%H:%M", time.localtime(self.since))
            is_vast = self.evidence > _VAST * self.limit
            evidence = f"far beyond {self.limit:,.0f}" if is_vast else f"{self.evidence:,.0f} of {self.limit:,.0f}"
            return f"{seen} since {at} (evidence {evidence})"
        if self.verdict == "ok":
            return f"{seen}: not worse by {_points(self.margin)}"
        if self.keys is not None:
            return f"{seen}: not decided, what is bad comes from {self.by_keys}, whose rows may be the reason"
        if self.minutes is not None:
            return f"{seen}: not decided, {self.by_time}"
        lack = "more requests are needed" if self.more is None else f"about {round_up(self.more):,} more are needed"
        return f"{seen}: not decided, {lack}"

    @property
    def _counts(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.canary_bad, self.canary), (self.champion_bad, self.champion)


def _points(share: float) -> str:
    return f"{plain(round(100 * share, 3))} points"


def round_up(count: int) -> int:
    """With two digits that matter: an estimate."""
    unit = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // unit) * unit


def parse_bounds(text: str) -> Rule:
    """Read `p95_ms > 80 or errors > 1%`; UsageProblem for anything that cannot be judged on counts of requests."""
    rule = rules.parse(text, metrics=METRICS, signs=_SIGNS, connectives=_CONNECTIVES, example=_EXAMPLE)
    bounds_of(rule)
    return rule


def bounds_of(rule: Rule) -> tuple[Bound, ...]:
    """The bounds that a rule of `parse_bounds` states. UsageProblem when one holds always, or never."""
    return tuple(map(_bound, rule.terms))


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


def difference_interval(bad: int, total: int, other_bad: int, other: int) -> tuple[float, float, float]:
    """The low end, the difference and the high end, at 95 %, of one share less another (Newcombe, 1998).

    (-1, 0, 1) while one of the two has no data.
    """
    if not (total and other):
        return -1.0, 0.0, 1.0
    share, other_share = bad / total, other_bad / other
    (low, high), (other_low, other_high) = _wilson(bad, total), _wilson(other_bad, other)
    difference = share - other_share
    down = math.hypot(share - low, other_high - other_share)
    up = math.hypot(high - share, other_share - other_low)
    return difference - down, difference, difference + up


def _wilson(bad: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    share, weight = bad / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * share * (1 - share) + weight * weight / 4) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


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
        if beta_cdf(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return high


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only on the other side
        return 1 - beta_cdf(1 - x, b, a)
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
