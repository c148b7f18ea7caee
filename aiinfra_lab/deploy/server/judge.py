"""A canary on trial: it counts what both versions do, key by key, and says what that means so far.

Beside a champion the canary is compared with it, see `stats.arms`; what the rule allows is an alarm of the whole
endpoint, and decides about the canary only where no champion runs. It counts on the event loop's thread, and judges on
another.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any

from msgspec import to_builtins

from ...config import Settings
from ...errors import UsageProblem
from ...rules import Rule
from ...stats.arms import GROUPS, MEASURES, ArmComparison, Measure
from ...stats.betting import NotWorse, OneSample
from ...stats.bounds import Bound, JudgedBound, JudgedMeasure, bounds_of
from ...stats.bounds import Verdict as State
from ...stats.keys import CHANCE, BadKeys, chance_of
from ...stats.latencies import LEAST, FrozenLatencies
from ...stats.power import requests_to_convict
from ..record import DesiredState, RuleCounts, Verdict
from .counts import EDGES_MS, Counts
from .judged_requests import JudgedRequests

MARGINS: dict[Measure, float] = {"errors": 0.005, "latency": 0.05}
"""By so much the canary's share of errors, or of answers beyond the champion's p95, is shown to be not worse."""
_SEEN = 1 << 16
# Of the champion's answers, so many lie beyond what is taken for its 95th percentile.
_FEWEST, _MOST = 0.01, 0.2


def look_seconds(where: Settings) -> float:
    """How often a canary is judged. UsageProblem for a setting that is no time."""
    seconds = where.get("deploy.look_s", 10.0)
    if not 0 < seconds <= 60:
        raise UsageProblem(f"deploy.look_s = {seconds:g} is no time between two looks", "give it seconds, e.g. 10")
    return seconds


@dataclass
class _Alarm:
    bound: Bound
    sample: OneSample
    bad: int = 0
    total: int = 0

    def add(self, latency_ms: float | None, failed: bool) -> None:
        if self.bound.limit_ms is None:
            self.bad += failed
            self.total += 1
        elif latency_ms is not None:
            self.bad += latency_ms > self.bound.limit_ms
            self.total += 1

    def close(self, seconds: float) -> None:
        bad, total, self.bad, self.total = self.bad, self.total, 0, 0
        if total:
            self.sample.add(bad, total, seconds)

    @property
    def judged(self) -> JudgedBound:
        state: State = "breach" if self.sample.is_exceeded else "ok" if self.sample.is_kept else "undecided"
        bad, total = self.sample.counts
        return JudgedBound.of(self.bound, state, bad, total, self.sample.needed())


class Judge(JudgedRequests):
    """What one trial of a canary has counted, and its verdict by the last look.

    rule: what is guarded, and what the endpoint may do at most; None for a canary that nothing takes off
    share, salt: by which keys are dealt to the canary. champion: the counts of whom it is compared with
    look_s: how often it is asked to `evaluate`
    """

    def __init__(
        self,
        rule: Rule | None,
        *,
        share: float = 1.0,
        salt: str = "",
        champion: Counts | None = None,
        look_s: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(salt)
        self.rule, self._champion, self._clock = rule, champion, clock
        self.requests = self.unanswered = 0
        self.trials = 1
        self._lock = threading.Lock()
        self._buckets = [0] * (len(EDGES_MS) + 1)  # the champion's answers since its latencies were frozen
        self._seen = bytearray(_SEEN)
        self._at = clock()
        bounds = bounds_of(rule) if rule else ()
        self._alarms = [_Alarm(bound, OneSample(bound.share)) for bound in bounds]
        self.guarded = tuple(measure for measure in MEASURES if measure in {_measure(bound) for bound in bounds})
        self._not_worse = {measure: NotWorse(MARGINS[measure]) for measure in MEASURES}
        self._bad = _bad_keys(share)
        self._compared: ArmComparison | None = None
        if champion is not None:
            before = champion.minutes.means(6 * look_s)
            self._compared = ArmComparison(share, self._at, self.guarded, before=before, block_s=6 * look_s)
            self._freeze()
        self.verdict = self._judged()

    # ---- counting ----

    def take(self, digest: int, latency_ms: float | None, is_canary: bool, failed: bool) -> None:
        """Count one request that is over, of whichever front. digest: of its key."""
        with self._lock:
            if is_canary:
                self.requests += 1
                self.unanswered += latency_ms is None
            for alarm in self._alarms:
                alarm.add(latency_ms, failed)
            if self._compared is None or self._is_seen(digest // GROUPS):
                return
            self._compared.add(digest % GROUPS, latency_ms, is_canary=is_canary, failed=failed)
            self._not_worse["errors"].add(failed, is_canary=is_canary)
            if failed:
                self._bad["errors"][0].add(digest, is_canary=is_canary)
            if latency_ms is not None and (frozen := self._compared.latencies):
                self._not_worse["latency"].add(latency_ms > frozen.p95_ms, is_canary=is_canary)
                for limit_ms, slow in zip(frozen.slow_ms, self._bad["latency"], strict=True):
                    if latency_ms > limit_ms:
                        slow.add(digest, is_canary=is_canary)
                if not is_canary:
                    self._buckets[bisect_left(EDGES_MS, latency_ms)] += 1

    def _is_seen(self, digest: int) -> bool:
        """Whether the key has counted in this stratum: one that asks often, and always fails, hides all others."""
        place = digest % _SEEN
        seen, self._seen[place] = self._seen[place], 1
        return bool(seen)

    def shown(self) -> dict[str, Any]:
        """The verdict of the last look, with how many requests it is of."""
        return {**to_builtins(self.verdict), "requests": self.judged, "unanswered": self.unanswered}

    @property
    def judged(self) -> int:
        """How many of the canary's requests what was judged by the fewest has seen."""
        return self.requests if self.guarded == ("errors",) else self.requests - self.unanswered

    # ---- judging ----

    def evaluate(self) -> Verdict:
        """Judge what was counted until now; `verdict` keeps it."""
        self.expire()
        now = self._clock()
        with self._lock:
            seconds, self._at = now - self._at, now
            for alarm in self._alarms:
                alarm.close(seconds)
            stratum = self._compared.close(now) if self._compared else None
            if stratum:
                self._seen = bytearray(_SEEN)
                for bad in chain.from_iterable(self._bad.values()):
                    bad.close(now)
        if self._compared and stratum:
            self._compared.weigh(stratum, now)
        self._freeze()
        self.verdict = self._judged()
        return self.verdict

    def _freeze(self) -> None:
        compared, champion = self._compared, self._champion
        if not (compared and champion):
            return
        if compared.latencies is None:
            if frozen := FrozenLatencies.of_histogram(EDGES_MS, champion.buckets):
                compared.freeze(frozen)
            return
        # Its load may be another one than before: where hardly an answer, or many, lie beyond its 95th percentile, no
        # canary is shown to be as fast by that. What was weighed stays: the bins are chosen by the past alone.
        (total, beyond), _ = self._not_worse["latency"].counts
        if total >= LEAST and not _FEWEST <= beyond / total <= _MOST:
            with self._lock:
                frozen = FrozenLatencies.of_histogram(EDGES_MS, self._buckets)
                self._buckets = [0] * len(self._buckets)
                self._not_worse["latency"] = NotWorse(MARGINS["latency"])
            if frozen:
                compared.freeze(frozen)

    def _judged(self) -> Verdict:
        bounds = tuple(alarm.judged for alarm in self._alarms)
        if (compared := self._compared) is None:
            return Verdict(_overall([bound.verdict for bound in bounds]), tuple(map(str, bounds)), bounds)
        measures = tuple(self._measured(compared, measure) for measure in MEASURES)
        convicting = [each for each in measures if each.verdict == "breach"]
        return Verdict(
            _overall([each.verdict for each in measures]),
            tuple(map(str, convicting or measures)),
            bounds,
            measures,
            compared.false_rollbacks_per_hour,
            self.trials * compared.false_rollbacks_at_start,
        )

    def _measured(self, compared: ArmComparison, measure: Measure) -> JudgedMeasure:
        bets, evidence = self._not_worse[measure], compared.evidence(measure)
        p95_ms = compared.latencies.p95_ms if measure == "latency" and compared.latencies else None
        given: dict[str, Any] = {"is_guarded": measure in compared.guarded, "margin": bets.margin, "p95_ms": p95_ms}
        if compared.convicts(measure):
            seen = compared.shares(measure)
            counts = (seen.canary_bad, seen.canary, seen.champion_bad, seen.champion, seen.since)
            keys, chance = chance_of(self._bad[measure], seen.since)
            if chance <= CHANCE:
                return JudgedMeasure(measure, "breach", *counts, evidence, compared.limit, **given, more=0)
            evidence = compared.limit * CHANCE / chance
            return JudgedMeasure(measure, "undecided", *counts, evidence, compared.limit, **given, keys=keys)
        # Shown once is shown, unless evidence of the contrary has come up since.
        (champion, champion_bad), (canary, canary_bad) = bets.counts
        is_shown = bets.is_shown and (measure == "errors" or champion >= LEAST)
        state: State = "ok" if is_shown and evidence < compared.limit / 100 else "undecided"
        counts = (canary_bad, canary, champion_bad, champion, compared.began_at)
        more, minutes = bets.needed(), None
        if more is None and measure == "latency" and compared.waits_for_blocks:
            minutes = compared.wander.unknown_s / 60 or None
        elif more is None and champion and canary:
            shares = champion_bad / champion, canary_bad / canary
            more = requests_to_convict(compared.share, *shares, max(1.0, evidence))
        return JudgedMeasure(measure, state, *counts, evidence, compared.limit, **given, more=more, minutes=minutes)

    # ---- keeping ----

    def to_record(self, of: tuple[str, ...]) -> RuleCounts:
        """As the endpoint's record keeps it, to go on after a restart."""
        with self._lock:
            evidence: dict[str, Any] = {
                "alarms": [alarm.sample.to_state() for alarm in self._alarms],
                "not_worse": {measure: bets.to_state() for measure, bets in self._not_worse.items()},
                "bad": {measure: [each.to_state() for each in bad] for measure, bad in self._bad.items()},
            }
            counts = self.requests, self.unanswered, self.trials
        evidence["compared"] = self._compared.to_state() if self._compared else None
        return RuleCounts(of, *counts, evidence)

    def restore(self, kept: RuleCounts) -> None:
        """Go on from what `to_record` gave of the same trial: a canary that crashes must not begin anew each time."""
        self.requests, self.unanswered, self.trials = kept.requests, kept.unanswered, kept.trials
        for alarm, state in zip(self._alarms, kept.evidence["alarms"], strict=True):
            alarm.sample = OneSample.of_state(state)
        self._not_worse = {measure: NotWorse.of_state(kept.evidence["not_worse"][measure]) for measure in MEASURES}
        if self._compared:
            self._compared = ArmComparison.of_state(kept.evidence["compared"])
            # Of a trial that an earlier version of this package began, none were kept.
            self._bad = _bad_keys(self._compared.share, kept.evidence.get("bad", {}))
        self.verdict = self._judged()

    @classmethod
    def of(
        cls, desired: DesiredState, champion: Counts | None, kept: RuleCounts | None, look_s: float = 10.0
    ) -> Judge | None:
        """The judge of what is to be served; None where there is nothing to judge by."""
        if desired.judged is None:
            return None
        judge = cls(
            desired.rollback_if,
            share=desired.compared_share,
            salt=desired.salt,
            champion=champion if desired.champion else None,
            look_s=look_s,
        )
        if kept and kept.of == desired.judged and kept.evidence:
            judge.restore(kept)
        elif kept and kept.of[:2] == desired.judged[:2]:
            judge.trials = kept.trials + 1
            judge.verdict = judge._judged()
        return judge


def _bad_keys(share: float, kept: Mapping[Measure, Any] = MappingProxyType({})) -> dict[Measure, list[BadKeys]]:
    """Of failed requests, and of those beyond each of `FrozenLatencies.slow_ms`."""
    numbers: dict[Measure, int] = {"errors": 1, "latency": 2}
    return {
        measure: [BadKeys.of_state(share, state) for state in kept.get(measure, [()] * number)]
        for measure, number in numbers.items()
    }


def _measure(bound: Bound) -> Measure:
    return "errors" if bound.limit_ms is None else "latency"


def _overall(verdicts: list[State]) -> State:
    if "breach" in verdicts:
        return "breach"
    return "ok" if verdicts and all(verdict == "ok" for verdict in verdicts) else "undecided"
