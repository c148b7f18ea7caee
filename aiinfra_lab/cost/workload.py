"""What is known of a workload: the load test that says how much a machine carries, and the times of a pipeline's steps.

Nothing is guessed: what was not measured is refused, with the verb that measures it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .. import nouns
from ..errors import NotFound
from ..nouns import Span, Throughput
from ..show import moment
from ..units import counted, show_duration, show_share
from ..uris import Uri
from .premises import Premise

# A load test of which more requests than that got no prediction says nothing of how much was carried.
MOST_FAILED = 0.01
# Of fewer, the p95 rests on fewer than fifty slow ones.
FEW_REQUESTS = 1000
_RUNS_LOOKED_AT = 10
_DONE = "done"


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """How many requests a second one machine was measured to answer within a latency, and by which load test."""

    test: Throughput
    p95_ms: float | None

    @property
    def per_s(self) -> float:
        return self.test.per_s

    @property
    def premise(self) -> Premise:
        """As a forecast states it."""
        test = self.test
        models = f", by {' and '.join(test.models)}" if test.models else ""
        source = (
            f"load test of {test.uri} at {moment(test.at)} for {show_duration(test.for_s)}: {test.ok:,} of "
            f"{test.sent:,} answered{_p95(test.p95_ms)}{models}"
        )
        return Premise("rate of this machine", f"{show_rate(self.per_s)} requests a second", source)

    @property
    def notes(self) -> list[str]:
        """What somebody should know of it."""
        found = []
        if self.p95_ms and self.test.p95_ms and self.test.p95_ms < self.p95_ms / 2:
            again = f"`%deploy run {Uri.parse(self.test.uri).label} --rows ROWS --rate {_round(2 * self.per_s)}`"
            found.append(
                f"the load test asked for no more and was far from that latency: {again} may show a higher rate"
            )
        if not self.test.is_current:
            found.append(f"{self.test.uri} serves another version than the one that was measured")
        if self.test.sent < FEW_REQUESTS:
            found.append(f"the load test had {self.test.sent:,} requests only: a longer one says more of its p95")
        return found


def measured_rate(endpoint: str | None, p95_ms: float | None) -> MeasuredRate:
    """The highest rate that a load test has seen answered within that latency, of the versions that are served now.

    endpoint: the one that was tested last when None. NotFound when none was tested, or none was fast enough.
    """
    found = nouns.find("deploy").throughputs()
    uri = endpoint or next((test.uri for test in found), None)
    mine = [test for test in found if test.uri == uri]
    if not mine:
        name = Uri.parse(uri).label if uri else "NAME"
        what = f"no load test of {uri} was ever run" if uri else "no endpoint was ever measured by a load test"
        raise NotFound(f"{what}, so nobody knows what a machine carries", measure(name))
    of_now = [test for test in mine if test.is_current] or mine
    kept = [test for test in of_now if 1 - test.ok_share <= MOST_FAILED and _is_within(test, p95_ms) and test.per_s > 0]
    if not kept:
        raise NotFound(_none_kept(of_now, p95_ms), _slower(of_now))
    return MeasuredRate(max(kept, key=lambda test: test.per_s), p95_ms)


def measure(name: str, rate: int = 400) -> str:
    """What measures the rate of an endpoint."""
    return f"measure it: `%deploy run {name} --rows ROWS --rate {rate} --for 20s`"


def _is_within(test: Throughput, p95_ms: float | None) -> bool:
    return p95_ms is None or (test.p95_ms is not None and test.p95_ms <= p95_ms)


def _none_kept(tests: Sequence[Throughput], p95_ms: float | None) -> str:
    uri, best = tests[0].uri, min(tests, key=lambda test: (test.ok_share < 1 - MOST_FAILED, test.p95_ms or 1e9))
    within = f" within {p95_ms:g} ms" if p95_ms else ""
    reached = f"{show_rate(best.per_s)} requests a second{_p95(best.p95_ms)}, {show_share(best.ok_share)} answered"
    return f"no load test of {uri} was answered{within}: the best of {counted(len(tests), 'test')} had {reached}"


def _slower(tests: Sequence[Throughput]) -> str:
    slowest = min(tests, key=lambda test: test.per_s)
    name, rate = Uri.parse(slowest.uri).label, max(1, _round(slowest.per_s / 2))
    return f"measure a lower rate, `%deploy run {name} --rows ROWS --rate {rate} --for 20s`, or allow a longer p95"


def _p95(p95_ms: float | None) -> str:
    return "" if p95_ms is None else f", p95 {p95_ms:.3g} ms"


def show_rate(per_s: float) -> str:
    """A rate that was measured; a small one is not none."""
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.2g}"


def _round(per_s: float) -> int:
    """A rate as somebody would type it."""
    return int(float(f"{per_s:.1g}")) or 1


# ---- pipelines ----


@dataclass(frozen=True, slots=True)
class StepTime:
    """A step of a pipeline: what became of it in the newest run, and how long it took where it was done.

    runs: of how many runs that is the median.
    """

    name: str
    state: str
    usual_s: float
    runs: int


@dataclass(frozen=True, slots=True)
class PipelineTimes:
    """A pipeline by the times of its steps. newest: its newest run, whose plan the steps are."""

    newest: Span
    steps: tuple[StepTime, ...]

    @property
    def whole_s(self) -> float:
        """A run that skips nothing: one step after another."""
        return sum(step.usual_s for step in self.steps)

    @property
    def premise(self) -> Premise:
        """As a forecast states it."""
        runs = [step.runs for step in self.steps]
        few, many = min(runs), max(runs)
        of = counted(many, "run") if few == many else f"{few} to {many} runs"
        source = f"the median of each step's time in {of} of {Uri.parse(self.newest.uri).name}, on this machine"
        return Premise("time of a run that skips nothing", show_duration(self.whole_s), source)


def pipeline_times(uri: str) -> PipelineTimes:
    """The steps of a pipeline's newest run, each with its usual time.

    NotFound when it never ran, or when a step of it never was done: nobody knows what such a one takes.
    """
    asked = Uri.parse(uri, noun="recipe")
    runs = [span for span in nouns.find("recipe").spans(with_steps=True) if Uri.covers(str(asked.bare), span.uri)]
    runs.sort(key=lambda span: span.started_at, reverse=True)
    spans = [span for span in runs if Uri.covers(str(asked), span.uri) and span.steps]
    if not spans:
        raise NotFound(f"{asked} never ran, so nobody knows what a run takes", f"run it: `%recipe run {asked.name}`")
    newest, every = spans[0], runs[:_RUNS_LOOKED_AT]
    steps, unknown = [], []
    for step in newest.steps:
        took = [
            each.duration_s
            for span in every
            for each in span.steps
            if each.name == step.name and each.state == _DONE and each.duration_s is not None and not each.went_on
        ]
        if took:
            steps.append(StepTime(step.name, step.state, statistics.median(took), len(took)))
        else:
            unknown.append(step.name)
    if unknown:
        what = f"{' and '.join(unknown)} of {asked.bare} never ran to the end, so nobody knows what that takes"
        raise NotFound(what, f"run it: `%recipe run {asked.name}`")
    return PipelineTimes(newest, tuple(steps))
