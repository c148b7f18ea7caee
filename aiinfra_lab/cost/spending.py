"""What sessions, runs, endpoints and pipelines have cost so far: the time that the nouns report, at its price."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .. import nouns
from ..nouns import Span
from .prices import machine_usd_per_hour


@dataclass(frozen=True, slots=True)
class Spending:
    """A span of time with its price. `usd` is the money; of a run within a session it is paid by the session.

    Both are None where nobody knows the price.
    """

    span: Span
    usd_per_hour: float | None

    @property
    def usd(self) -> float | None:
        return None if self.usd_per_hour is None else self.span.duration_s / 3600 * self.usd_per_hour


def spendings() -> list[Spending]:
    """Everything that took time, newest first; an earlier start of a session or an endpoint stands for itself."""
    spans = [span for noun in nouns.every() for span in noun.spans()]
    here = machine_usd_per_hour()
    starts: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.started_at):
        starts[span.uri].append(span)
    found = [Spending(span, _rate(_payer(span, starts), here)) for span in spans]
    return sorted(found, key=lambda item: item.span.started_at, reverse=True)


def spent_usd() -> float:
    """What everything in this workspace has cost so far, as far as its price is known."""
    return total_usd(spendings())


def total_usd(found: Iterable[Spending]) -> float:
    """The sum: a rented machine each for itself, and this machine once, however much ran on it at a time.

    What has an unknown price is not in it.
    """
    paid = [item for item in found if not item.span.within]
    rented = sum(item.usd or 0.0 for item in paid if not item.span.on_machine)
    return rented + _machine_usd(item for item in paid if item.span.on_machine)


def _payer(span: Span, starts: Mapping[str, Sequence[Span]]) -> Span | None:
    """Whose price counts: its own or, of a run in a session, that of the start of the session that it began in."""
    if not span.within:
        return span
    sessions = starts.get(span.within, ())
    # A run names its session, not the start of it. A clock that was set may have put the run before all starts.
    before = [start for start in sessions if start.started_at <= span.started_at]
    return before[-1] if before else next(iter(sessions), None)


def _rate(span: Span | None, here: float) -> float | None:
    """What an hour of it costs; nothing of a session that nobody knows any more. None: nobody knows."""
    if span is None:
        return 0.0
    return here if span.usd_per_hour is None and span.on_machine else span.usd_per_hour


def _machine_usd(found: Iterable[Spending]) -> float:
    """Sweep over time; at any moment the machine costs what the dearest span on it says."""
    edges: list[tuple[float, int, float]] = []
    for item in found:
        rate = item.usd_per_hour or 0.0
        # Where a clock was set back, an end lies before its start: that took no time.
        ended_at = max(item.span.started_at, item.span.ended_at)
        edges += [(item.span.started_at, 1, rate), (ended_at, -1, rate)]
    running: Counter[float] = Counter()
    spent, last = 0.0, 0.0
    for at, step, rate in sorted(edges):
        if running:
            spent += (at - last) / 3600 * max(running)
        running[rate] += step
        if not running[rate]:
            # Counter keeps a key at 0, and `max` would still count its price.
            del running[rate]
        last = at
    return spent
