"""Traffic on a champion and a canary, look by look, and the rules that judge it: ours, and those of others."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from scipy import special

from aiinfra_lab.deploy.server.counts import EDGES_MS
from aiinfra_lab.stats.arms import GROUPS, MEASURES, ArmComparison, Stratum
from aiinfra_lab.stats.bounds import binomial_interval
from aiinfra_lab.stats.keys import CHANCE, BadKeys, chance_of
from aiinfra_lab.stats.latencies import BINS, FrozenLatencies
from aiinfra_lab.stats.wander import MARGIN

LOOK_S = 10.0
ERRORS, ALLOWED_ERRORS = 0.005, 0.01
MEDIAN_MS, P95_MS, LIMIT_MS = 30.0, 60.0, 80.0
MIDDLE, SPREAD = math.log(MEDIAN_MS), math.log(P95_MS / MEDIAN_MS) / special.ndtri(0.95)
SHARE = 0.05


@dataclass(frozen=True)
class Traffic:
    """What happens at a moment. errors: by arm. slower: the logarithm of the factor of latency, by arm.

    failing_s: how often a key on the canary asks that fails always
    """

    per_s: float = 50.0
    share: float = SHARE
    errors: tuple[float, float] = (ERRORS, ERRORS)
    slower: tuple[float, float] = (0.0, 0.0)
    failing_s: float = 0.0


Story = Callable[[Generator], Iterator[Traffic]]
"""One moment for every look, for ever."""


@dataclass
class Look:
    """What was counted between two looks. over: the canary's answers beyond LIMIT_MS."""

    stratum: Stratum
    requests: int
    failed: int
    over: int
    answered: int


def frozen() -> FrozenLatencies:
    """The champion's latencies, as a hundred thousand answers have them."""
    cumulated = special.ndtr((np.log([*EDGES_MS]) - MIDDLE) / SPREAD)
    counts = np.diff(np.concatenate([[0.0], cumulated, [1.0]])) * 100_000
    found = FrozenLatencies.of_histogram(EDGES_MS, counts.round().astype(int).tolist())
    assert found
    return found


FROZEN = frozen()
_LOG_EDGES = np.log(FROZEN.edges_ms)


def look(rng: Generator, now: Traffic, seconds: float = LOOK_S) -> Look:
    """Draw what both arms do in so many seconds."""
    stratum, found = Stratum(), []
    for arm, share in enumerate((1 - now.share, now.share)):
        answered = int(rng.poisson(now.per_s * share * seconds))
        margin = math.log(MARGIN) if arm else 0.0
        cumulated = special.ndtr((_LOG_EDGES + margin - MIDDLE - now.slower[arm]) / SPREAD)
        each = np.diff(np.concatenate([[0.0], cumulated, [1.0]])) / GROUPS
        bins = rng.multinomial(answered, np.tile(each, GROUPS)).reshape(GROUPS, BINS)
        requests = bins.sum(axis=1)
        failed = rng.binomial(requests, now.errors[arm])
        stratum.by_group[arm, :, 0], stratum.by_group[arm, :, 1], stratum.by_group[arm, :, 2:] = requests, failed, bins
        if arm and rng.random() < 1 - math.exp(-now.failing_s * seconds):
            stratum.by_group[arm, 3, :2] += 1  # a key counts once a stratum, and has no latency
        middle, logs = MIDDLE + now.slower[arm], stratum.logs[arm]
        logs.count = answered
        logs.total = answered * middle + rng.normal() * SPREAD * math.sqrt(answered)
        logs.squares = answered * (middle**2 + SPREAD**2)
        over = float(special.ndtr((middle - math.log(LIMIT_MS)) / SPREAD))
        found.append((int(stratum.by_group[arm, :, 0].sum()), int(stratum.by_group[arm, :, 1].sum()), over, answered))
    stratum.total = sum(requests for requests, *_ in found)
    requests, failed, over, answered = found[1]
    return Look(stratum, requests, failed, int(rng.binomial(answered, over)), answered)


class Rule(Protocol):
    """Sees every look; whether it rolls the canary back now."""

    def sees(self, found: Look, now: float) -> bool: ...


class Ours:
    """What an endpoint runs. before: the champion's minutes before the canary."""

    def __init__(self, share: float = SHARE, before: tuple[float, ...] = ()) -> None:
        self.comparison = ArmComparison(share, 0.0, latencies=FROZEN, before=before)
        self.bad = [[BadKeys(share)], [BadKeys(share), BadKeys(share)]]
        self.keys = 0

    def sees(self, found: Look, now: float) -> bool:
        if not found.stratum.total:
            return False
        for is_canary, arm in enumerate(found.stratum.by_group.sum(axis=1)):
            for bad, count in zip((*self.bad[0], *self.bad[1]), (arm[1], arm[10:].sum(), arm[13:].sum()), strict=True):
                for _ in range(count):  # each of a key of its own
                    self.keys += 1
                    bad.add(self.keys, is_canary=bool(is_canary))
        return self.looks(found.stratum, now)

    def looks(self, stratum: Stratum, now: float) -> bool:
        """Weigh what was counted; whether it rolls the canary back."""
        self.comparison.weigh(stratum, now)
        for bad in (*self.bad[0], *self.bad[1]):
            bad.close(now)
        if (convicted := self.comparison.convicted) is None:
            return False
        since = self.comparison.shares(convicted).since
        return chance_of(self.bad[MEASURES.index(convicted)], since)[1] <= CHANCE


@dataclass
class _Counting:
    since: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def takes(self, found: Look) -> None:
        """Count a look of the canary."""
        new = (found.requests, found.failed, found.over, found.answered)
        self.since = [before + more for before, more in zip(self.since, new, strict=True)]


@dataclass
class OneMinute(_Counting):
    """A fixed rule: the canary's errors and slow answers in one minute, as such; so many bad minutes decide."""

    failed_checks: int = 1
    looks: int = 0
    failures: int = 0

    def sees(self, found: Look, now: float) -> bool:
        self.takes(found)
        self.looks += 1
        if self.looks * LOOK_S < 60:
            return False
        requests, failed, over, answered = self.since
        self.since, self.looks = [0, 0, 0, 0], 0
        self.failures += failed > ALLOWED_ERRORS * requests or over > 0.05 * answered
        return self.failures >= self.failed_checks


@dataclass
class AllAlong(_Counting):
    """The rule before: exact intervals at 99 % of all that the canary did, against the bounds; each minute."""

    looks: int = 0

    def sees(self, found: Look, now: float) -> bool:
        self.takes(found)
        self.looks += 1
        if self.looks % 6:  # the intervals take long
            return False
        requests, failed, over, answered = self.since
        return (
            binomial_interval(failed, requests, 0.99)[0] > ALLOWED_ERRORS
            or binomial_interval(over, answered, 0.99)[0] > 0.05
        )


# ---- hours without a fault of the canary ----


def calm(rng: Generator) -> Iterator[Traffic]:
    """Both arms are alike."""
    while True:
        yield Traffic()


def bursts(rng: Generator) -> Iterator[Traffic]:
    """Errors of both are ten times as frequent six times an hour, for 30 to 90 s."""
    while True:
        for _ in range(int(rng.exponential(600) / LOOK_S)):
            yield Traffic()
        for _ in range(int(rng.uniform(30, 90) / LOOK_S)):
            yield Traffic(errors=(10 * ERRORS, 10 * ERRORS))


def outage(rng: Generator) -> Iterator[Traffic]:
    """Everything fails for 60 s of each hour."""
    while True:
        at = int(rng.integers(0, 354))
        for look in range(360):
            yield Traffic(errors=(1.0, 1.0) if at <= look < at + 6 else (ERRORS, ERRORS))


def beyond_bound(rng: Generator) -> Iterator[Traffic]:
    """Both fail twice as often as the bound allows."""
    while True:
        yield Traffic(errors=(2 * ALLOWED_ERRORS, 2 * ALLOWED_ERRORS))


def one_key(rng: Generator) -> Iterator[Traffic]:
    """A key that is the canary's fails on purpose."""
    while True:
        yield Traffic(failing_s=0.5)


def wandering(rng: Generator) -> Iterator[Traffic]:
    """Each arm's latency wanders by itself: 10 %, with a memory of 50 s."""
    keep = math.exp(-LOOK_S / 50)
    at = rng.normal(size=2) * 0.1
    while True:
        at = keep * at + math.sqrt(1 - keep * keep) * 0.1 * rng.normal(size=2)
        yield Traffic(slower=(float(at[0]), float(at[1])))


HEALTHY: dict[str, Story] = {
    "identical canary": calm,
    "bursts x10 on both": bursts,
    "a shared outage of 60 s an hour": outage,
    "both at 2 %, bound 1 %": beyond_bound,
    "one key that fails on purpose": one_key,
    "latencies that wander apart": wandering,
}


def minutes_before(rng: Generator, story: Iterator[Traffic], count: int = 60) -> tuple[float, ...]:
    """The champion's mean log latency in the minutes before the canary began."""
    found = deque[float]()
    for _ in range(count):
        looks = [look(rng, next(story)).stratum.logs[0] for _ in range(6)]
        found.append(sum(one.total for one in looks) / max(1, sum(one.count for one in looks)))
    return tuple(found)


def rolled_back_within(hours: float, rng: Generator, story: Story) -> dict[str, bool]:
    """Which rules take a healthy canary's traffic away."""
    moments = story(rng)
    rules: dict[str, Any] = {
        "ours": Ours(before=minutes_before(rng, moments)),
        "one minute": OneMinute(),
        "five failed checks": OneMinute(failed_checks=5),
        "before": AllAlong(),
    }
    found = dict.fromkeys(rules, False)
    for at in range(round(hours * 3600 / LOOK_S)):
        seen = look(rng, next(moments))
        for name, rule in rules.items():
            found[name] = found[name] or rule.sees(seen, (at + 1) * LOOK_S)
    return found


def seconds_to_find(
    rng: Generator, fault: Traffic, healthy_h: float, rule: Rule | None = None, most_s: float = 4 * 3600.0
) -> float | None:
    """Seconds from the fault until the canary loses its traffic; None when it keeps it, or lost it before.

    rule: by default ours
    """
    healthy = replace(fault, errors=(ERRORS, ERRORS), slower=(0.0, 0.0))
    judge = rule or Ours(fault.share, minutes_before(rng, iter(lambda: healthy, None)))
    looks = round(healthy_h * 3600 / LOOK_S)
    for at in range(looks + round(most_s / LOOK_S)):
        if judge.sees(look(rng, healthy if at < looks else fault), (at + 1) * LOOK_S):
            return (at + 1 - looks) * LOOK_S if at >= looks else None
    return None
