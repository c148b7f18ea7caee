"""Is a canary worse than its champion? Evidence that forgets old health, and compares within the same seconds.

Which arm answers a key is drawn at random, so that whatever happens to both in the same seconds (a stratum) is no
evidence: each stratum gives an e-value, a bet of which the expectation is at most 1 while nothing is wrong with the
canary. Bets that begin at every moment are summed (an e-detector: Shin, Ramdas and Rinaldo, 2024), and a limit on the
sum bounds how often a healthy canary is convicted within t hours, however often one looks. Keys fall into groups, and
each copy of the evidence leaves one out. Keys that ask again and again are one draw for the whole trial: see `keys`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .latencies import ALTERNATIVES as _LATENCIES
from .latencies import BINS, FrozenLatencies
from .wander import LIMIT as WANDER_LIMIT
from .wander import LogSums, Wander

if TYPE_CHECKING:
    from numpy.typing import NDArray

Measure = Literal["errors", "latency"]
MEASURES: tuple[Measure, ...] = ("errors", "latency")
GROUPS = 16
LIMIT = 72_000.0
HEAD_START = 0.0025
LEAST_DIFFERENCE = 0.0025
"""Errors convict only when the canary's share of them is larger by this."""
FEW = 20
LONGEST_S = 60.0
"""A stratum lasts until it has FEW requests, at most so long; one with fewer is judged by the canary's share."""
_ODDS = np.array([1.5, 2, 3, 5, 10, 30, 100])
_ERRORS = len(_ODDS)
_ALL = _ERRORS + _LATENCIES
_COPIES = GROUPS + 1
_FIELDS = 2 + BINS
_UNIT_S = 10.0  # a bet begins every ten seconds
# Bets that neither won nor lost add up to this part of the limit: else the first failure in weeks would convict.
_MOST_IDLE = 1 / 36
_LOG_ODDS = np.log(_ODDS)
_MOST, _MOST_LOG = 1e40, 600.0  # their product is a number


class Stratum:
    """What both arms did between two looks.

    counts: by arm (0 champion, 1 canary), by group of keys: requests, failed ones, and answers by bin of their latency.
    slow: answers beyond the frozen 95th percentile, by arm. logs: of their latencies.
    """

    __slots__ = ("by_group", "counts", "logs", "slow", "total")

    def __init__(self) -> None:
        self.counts = array("q", bytes(8 * 2 * GROUPS * _FIELDS))
        # The same memory: counting one request is fast in an array, and adding groups up is in numpy.
        self.by_group = np.frombuffer(self.counts, dtype=np.int64).reshape(2, GROUPS, _FIELDS)
        self.slow = [0, 0]
        self.logs = (LogSums(), LogSums())
        self.total = 0


@dataclass(frozen=True)
class Shares:
    """What an alternative counted since the evidence for it began: requests that were bad, of so many, by arm."""

    since: float
    canary_bad: int
    canary: int
    champion_bad: int
    champion: int


class ArmComparison:
    """The evidence of one trial of a canary. A change of its share, its salt or its champion begins another.

    share: of the keys that the canary gets. guarded: what may convict it. before: see `Wander`
    """

    def __init__(
        self,
        share: float,
        now: float,
        guarded: Sequence[Measure] = MEASURES,
        *,
        latencies: FrozenLatencies | None = None,
        before: Sequence[float] = (),
        block_s: float = 60.0,
        limit: float = LIMIT,
    ) -> None:
        self.share = share
        self.guarded = tuple(guarded)
        self.limit = limit
        self.latencies = latencies
        self.began_at = self.at = now
        self.stratum = Stratum()
        self.wander = Wander(tuple(before), block_s)
        self.is_new = True
        # One allocation for all looks.
        self._sums = np.zeros((_COPIES, _ALL))
        self._few = np.zeros(_ALL)
        self._cusum = np.zeros((_COPIES, _ALL))
        # Requests, then failed ones, by arm, copy and alternative; answers and slow ones, by arm and alternative.
        self._since = np.zeros((2, 2, _COPIES, _ERRORS))
        self._since_slow = np.zeros((2, _LATENCIES, 2))
        self._since_at = np.full(_ALL, now)
        self._log_e = np.zeros((_COPIES, _ALL))
        self._by_copy = np.zeros((2, _COPIES, _FIELDS))
        self._both = np.zeros((_COPIES, _FIELDS))
        self._latest = np.moveaxis(self._by_copy[..., :2], 2, 0)[..., None]  # the same memory
        self._differences = np.zeros((2, _COPIES, _ERRORS))
        self._counts = np.ones((2, _COPIES))
        self._brackets = np.zeros((2, _COPIES, _ERRORS))
        self._evidence = [0.0, 0.0]
        self.waits_for_blocks = False  # whether all that latency lacks is time, and no request shortens it

    # ---- what is counted ----

    def add(self, group: int, latency_ms: float | None, *, is_canary: bool, failed: bool) -> None:
        """Count one request. latency_ms: None when it got no answer."""
        stratum = self.stratum
        counts, at = stratum.counts, (group + GROUPS * is_canary) * _FIELDS
        stratum.total += 1
        counts[at] += 1
        counts[at + 1] += failed
        if latency_ms is None:
            return
        stratum.logs[is_canary].add(latency_ms)
        if self.latencies:
            counts[at + 2 + self.latencies.bin_of(latency_ms, is_canary=is_canary)] += 1
            stratum.slow[is_canary] += latency_ms > self.latencies.p95_ms

    def freeze(self, latencies: FrozenLatencies) -> None:
        """Compare latencies from now on; what was counted before has no bins."""
        self.latencies = latencies

    # ---- looking ----

    def close(self, now: float) -> Stratum | None:
        """The stratum that is over, with which `weigh` goes on; None while it has too few requests."""
        stratum = self.stratum
        if stratum.total < FEW and (now - self.at < LONGEST_S or not stratum.total):
            return None
        self.stratum = Stratum()
        return stratum

    def weigh(self, stratum: Stratum, now: float) -> None:
        """Take the evidence of a stratum that is over at this moment."""
        seconds, self.at = now - self.at, now
        # Of each copy: the first has all groups, each other lacks one.
        by_group, by_copy = stratum.by_group, self._by_copy
        by_group.sum(axis=1, out=by_copy[:, 0])
        np.subtract(by_copy[:, :1], by_group, out=by_copy[:, 1:])
        np.add(by_copy[0], by_copy[1], out=self._both)
        has_many = stratum.total >= FEW
        if has_many:
            self._weigh_many()
        else:
            self._weigh_few()
        self._gain(self._sums if has_many else self._few, seconds)
        self._renew(stratum, now)
        if self.latencies:
            self.wander.add(seconds, *stratum.logs)
        self._add_up()

    def _weigh_many(self) -> None:
        """Given how many failed and how many the canary got, its failures are a draw without replacement.

        Both brackets bound the expectation of the numerator (Hoeffding, 1963): the draw seen from either side.
        """
        both, canary, counts = self._both, self._by_copy[1], self._counts
        counts[0], counts[1] = both[:, 1], canary[:, 0]
        brackets = self._brackets
        np.multiply((counts[::-1] / np.maximum(both[:, 0], 1))[:, :, None], _ODDS - 1, out=brackets)
        brackets += 1
        np.log(brackets, out=brackets)
        brackets *= counts[:, :, None]
        errors = self._log_e[:, :_ERRORS]
        np.multiply(canary[:, 1:2], _LOG_ODDS, out=errors)
        errors -= np.minimum(brackets[0], brackets[1])
        if self.latencies:
            # The last column of both has how many answers there are.
            means, bets = both[:, 2:] @ self.latencies.weights, canary[:, 2:] @ self.latencies.log_weights
            answered = np.maximum(means[:, -1:], 1)
            means /= answered
            np.log(np.maximum(means, 1e-300, out=means), out=means)
            means *= bets[:, -1:]
            np.subtract(bets[:, :-1], means[:, :-1], out=self._log_e[:, _ERRORS:])

    def _weigh_few(self) -> None:
        """Of a few requests each is its own draw, by the canary's share. All groups at once: few failures are few."""
        both, canary, log_e = self._both[0], self._by_copy[1, 0], self._log_e[0]
        log_e[:_ERRORS] = canary[1] * _LOG_ODDS - both[1] * np.log1p(self.share * (_ODDS - 1))
        if self.latencies:
            drawn = np.log1p(self.share * (self.latencies.weights[:, :-1] - 1))
            log_e[_ERRORS:] = canary[2:] @ self.latencies.log_weights[:, :-1] - both[2:] @ drawn
        self._log_e[1:] = log_e

    def _gain(self, sums: NDArray[np.float64], seconds: float) -> None:
        """Let new bets begin, and all of them win or lose by the stratum."""
        if self.is_new:
            # The head start is for bets that began with the trial: one kind of stratum has it, whichever came first.
            sums[:] = HEAD_START * self.limit
            self.is_new = False
        compared = _ALL if self.latencies else _ERRORS
        log_e = self._log_e if sums is self._sums else self._log_e[0]
        sums, log_e = sums[..., :compared], log_e[..., :compared]
        np.minimum(log_e, _MOST_LOG, out=log_e)
        idle = np.minimum(sums + seconds / _UNIT_S, _MOST_IDLE * self.limit)
        np.maximum(sums, idle, out=sums)
        sums *= np.exp(log_e)
        np.minimum(sums, _MOST, out=sums)

    def _renew(self, stratum: Stratum, now: float) -> None:
        """Since when each alternative has evidence, and what was counted since: begun anew where there is none."""
        cusum = self._cusum
        np.maximum(cusum, 0, out=cusum)
        cusum += self._log_e
        goes_on = cusum > 0
        self._since += self._latest
        self._since *= goes_on[:, :_ERRORS]
        slow, logs = stratum.slow, stratum.logs
        self._since_slow += np.array([[[logs[0].count, slow[0]]], [[logs[1].count, slow[1]]]])
        self._since_slow *= goes_on[0, _ERRORS:, None]
        self._since_at[~goes_on[0]] = now

    def _add_up(self) -> None:
        shares = self._differences
        np.maximum(self._since[0], 1, out=shares)
        np.divide(self._since[1], shares, out=shares)
        # Each copy by its own counts: a key that always fails must not make every difference a large one.
        is_large = shares[1] - shares[0] >= LEAST_DIFFERENCE
        many = (self._sums[:, :_ERRORS] * is_large).sum(axis=1).min()
        few = self._few[:_ERRORS] @ is_large[0]
        errors = float(max(many, few)) / _ERRORS
        if not self.latencies:
            self._evidence = [errors, 0.0]
            return
        latency = float(max(self._sums[:, _ERRORS:].sum(axis=1).min(), self._few[_ERRORS:].sum())) / _LATENCIES
        # Two arms also wander apart by themselves, which only whole blocks can tell.
        by_blocks = self.wander.evidence / WANDER_LIMIT * self.limit
        self._evidence, self.waits_for_blocks = [errors, min(latency, by_blocks)], latency > by_blocks

    # ---- what it means ----

    def evidence(self, measure: Measure) -> float:
        """How strong the evidence is that the canary is worse, of `limit` that convict it."""
        return self._evidence[MEASURES.index(measure)]

    def convicts(self, measure: Measure) -> bool:
        """Whether the canary is worse in it, and it is guarded."""
        return measure in self.guarded and self.evidence(measure) >= self.limit

    @property
    def convicted(self) -> Measure | None:
        """What the canary is worse in; None while nothing shows it."""
        return next((measure for measure in MEASURES if self.convicts(measure)), None)

    def shares(self, measure: Measure) -> Shares:
        """What was counted since the strongest evidence began: failed requests, or those slower than the frozen p95."""
        place = slice(0, _ERRORS) if measure == "errors" else slice(_ERRORS, _ALL)
        strongest = place.start + int(np.argmax(np.maximum(self._sums[0], self._few)[place]))
        at = strongest - place.start
        counted = self._since[:, :, 0, at].T if measure == "errors" else self._since_slow[:, at]
        (champion, champion_bad), (canary, canary_bad) = counted.astype(int).tolist()
        return Shares(float(self._since_at[strongest]), canary_bad, canary, champion_bad, champion)

    @property
    def false_rollbacks_per_hour(self) -> float:
        """At most so many healthy canaries lose their traffic an hour; beside HEAD_START once for each measure."""
        return len(self.guarded) * 3600 / _UNIT_S / self.limit

    @property
    def false_rollbacks_at_start(self) -> float:
        """What the head start adds to it, once a trial."""
        return len(self.guarded) * HEAD_START

    # ---- keeping ----

    def to_state(self) -> dict[str, Any]:
        """As plain values, but for the stratum that is not over."""
        return {
            "share": self.share,
            "guarded": list(self.guarded),
            "limit": self.limit,
            "began_at": self.began_at,
            "at": self.at,
            "is_new": self.is_new,
            "sums": _plain(self._sums),
            "few": _plain(self._few),
            "cusum": _plain(self._cusum),
            "since": self._since.astype(int).tolist(),
            "since_slow": self._since_slow.astype(int).tolist(),
            "since_at": np.round(self._since_at, 1).tolist(),
            "latencies": self.latencies.to_state() if self.latencies else None,
            "wander": self.wander.to_state(),
        }

    @classmethod
    def of_state(cls, state: Any) -> ArmComparison:
        """What `to_state` gave."""
        latencies = FrozenLatencies.of_state(state["latencies"]) if state["latencies"] else None
        found = cls(state["share"], state["began_at"], state["guarded"], latencies=latencies, limit=state["limit"])
        found.at, found.is_new = state["at"], state["is_new"]
        found.wander = Wander.of_state(state["wander"])
        for name in ("sums", "few", "cusum", "since", "since_slow", "since_at"):
            getattr(found, f"_{name}")[:] = state[name]
        found._add_up()
        return found


def _plain(values: NDArray[np.float64]) -> Any:
    """With as many digits as matter: a record is written often."""
    rounded = [float(f"{value:.5g}") for value in values.ravel()]
    return np.array(rounded).reshape(values.shape).tolist()
