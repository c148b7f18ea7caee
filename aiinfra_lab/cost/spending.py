"""What sessions, runs, endpoints and pipelines have cost so far: the time that the nouns report, at its price."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .. import nouns
from ..jobs import JobRecord
from ..jobs.record import is_here
from ..nouns import Span
from ..store import open_store
from .prices import machine_usd_per_hour


class Rate(NamedTuple):
    """What an hour costs from one moment until another, in epoch seconds. None where nobody knows it."""

    usd_per_hour: float | None
    started_at: float = -math.inf
    ended_at: float = math.inf


@dataclass(frozen=True, slots=True)
class Spending:
    """A span of time with its price. `usd` is the money; of a run within a session it is paid by the session.

    It is None where nobody knows the price. rates: what it costs when, and nothing outside of them: a session may have
    had several machines in the time of a run, and none for a while. machine: "" for the one that it is asked on, else
    the folder that shares the store and began the work: each folder counts as a machine of its own, since a job names
    no other.
    """

    span: Span
    rates: tuple[Rate, ...]
    machine: str = ""

    @property
    def usd_per_hour(self) -> float | None:
        """None where nobody knows it, and where it has changed meanwhile."""
        found = {rate.usd_per_hour for rate in self.during()} or {0.0}
        return found.pop() if len(found) == 1 else None

    @property
    def usd(self) -> float | None:
        known = [
            (rate.ended_at - rate.started_at) / 3600 * rate.usd_per_hour
            for rate in self.during()
            if rate.usd_per_hour is not None
        ]
        return sum(known) if len(known) == len(self.during()) else None

    def during(self) -> list[Rate]:
        """Its rates, within its span. One that took no time has that of its beginning."""
        start, end = self.span.started_at, max(self.span.started_at, self.span.ended_at)
        return [
            rate._replace(started_at=max(start, rate.started_at), ended_at=min(end, rate.ended_at))
            for rate in self.rates
            if (rate.started_at < end and rate.ended_at > start) or rate.started_at <= start == end < rate.ended_at
        ]


def spendings(*, with_steps: bool = False) -> list[Spending]:
    """Everything that took time, newest first; an earlier start of a session or an endpoint stands for itself.

    with_steps: see `Noun.spans`
    """
    spans = [span for noun in nouns.every() for span in noun.spans(with_steps=with_steps)]
    here = machine_usd_per_hour()
    starts: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.started_at):
        starts[span.uri].append(span)
    begun = _jobs()
    found = [Spending(span, _rates(span, starts, here), _machine(span, begun.get(span.uri, ()))) for span in spans]
    return sorted(found, key=lambda item: item.span.started_at, reverse=True)


class Total(NamedTuple):
    """What everything has cost, as far as its price is known. note: of what it is not, else nothing."""

    usd: float
    note: str


def total() -> Total:
    """What everything in this workspace has cost so far."""
    return total_of(spendings())


def total_of(found: Sequence[Spending]) -> Total:
    """What all of these have cost."""
    return Total(total_usd(found), unknown(found))


def now_usd_per_hour(found: Iterable[Spending]) -> float:
    """What an hour costs now: each rented machine that lives, and each of our own that something runs on."""
    paid = [item for item in found if item.span.is_live and not item.span.within]
    own: dict[str, float] = defaultdict(float)
    for item in paid:
        if item.span.on_machine:
            own[item.machine] = max(own[item.machine], item.usd_per_hour or 0.0)
    return sum(own.values()) + sum(item.usd_per_hour or 0.0 for item in paid if not item.span.on_machine)


def spent_usd() -> float:
    """What everything in this workspace has cost so far, as far as its price is known."""
    return total().usd


def unknown(found: Iterable[Spending]) -> str:
    """Of what nobody knows the price; nothing when all are known."""
    uris = dict.fromkeys(item.span.uri for item in found if item.usd is None)
    return f"the price of {', '.join(uris)} is unknown: what it has cost is in no sum here" if uris else ""


def total_usd(found: Iterable[Spending]) -> float:
    """The sum: a rented machine each for itself, and one of our own once, however much ran on it at a time.

    What has an unknown price is not in it.
    """
    paid = [item for item in found if not item.span.within]
    own: dict[str, list[Spending]] = defaultdict(list)
    for item in paid:
        if item.span.on_machine:
            own[item.machine].append(item)
    rented = sum(item.usd or 0.0 for item in paid if not item.span.on_machine)
    return rented + sum(map(_machine_usd, own.values()))


def sessions_usd(found: Iterable[Spending]) -> float:
    """What runs in sessions cost where these do not count themselves: the machine of each once, as in `total_usd`."""
    sessions: dict[str, list[Spending]] = defaultdict(list)
    for item in found:
        if item.span.within:
            sessions[item.span.within].append(item)
    return sum(map(_machine_usd, sessions.values()))


def _jobs() -> Mapping[str, Sequence[tuple[float, str]]]:
    """What the jobs are for (a URI) → when they began, and on which machine, as `Spending.machine` says it."""
    machines: dict[str, str] = {}
    begun: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for job in open_store().list(JobRecord, skip_unreadable=True):
        home = job.body.home
        if home not in machines:  # asked once each: there may be thousands of jobs
            machines[home] = "" if is_here(job) else home
        begun[job.body.subject].append((job.body.started_at, machines[home]))
    return begun


def _machine(span: Span, begun: Sequence[tuple[float, str]]) -> str:
    """Where its job ran: of several starts of a name each has its own, which began at about the same time."""
    return min(begun, key=lambda job: abs(job[0] - span.started_at), default=(0.0, ""))[1]


def _rates(span: Span, starts: Mapping[str, Sequence[Span]], here: float) -> tuple[Rate, ...]:
    """Its own or, of a run in a session, those of the machines that the session had, one at a time."""
    if not span.within:
        return (Rate(_usd_per_hour(span, here)),)
    sessions = starts.get(span.within, ())
    if not sessions:
        return (Rate(None),)
    if span.started_at < sessions[0].started_at >= span.ended_at:  # by a clock that was set
        return (Rate(_usd_per_hour(sessions[0], here)),)
    ends = [*(after.started_at for after in sessions[1:]), math.inf]
    return tuple(
        # Of one that lives the end was read a moment before that of the run.
        Rate(_usd_per_hour(each, here), each.started_at, min(end, math.inf if each.is_live else each.ended_at))
        for each, end in zip(sessions, ends, strict=True)
    )


def _usd_per_hour(span: Span, here: float) -> float | None:
    """None: nobody knows."""
    return here if span.usd_per_hour is None and span.on_machine else span.usd_per_hour


def _machine_usd(found: Iterable[Spending]) -> float:
    """Sweep over time; at any moment the machine costs what the dearest span on it says."""
    edges: list[tuple[float, int, float]] = []
    # Where a clock was set back, an end lies before its start: that took no time.
    for each in (rate for item in found for rate in item.during()):
        rate = each.usd_per_hour or 0.0
        edges += [(each.started_at, 1, rate), (each.ended_at, -1, rate)]
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
