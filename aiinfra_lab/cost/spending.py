"""What sessions, runs, endpoints and pipelines have cost so far: the time that the nouns report, at its price."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Spending:
    """A span of time with its price. `usd` is the money; of a run within a session it is paid by the session.

    Both are None where nobody knows the price. machine: "" for the one that it is asked on, else the folder that shares
    the store and began the work: each folder counts as a machine of its own, since a job names no other.
    """

    span: Span
    usd_per_hour: float | None
    machine: str = ""

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
    begun = _jobs()
    found = [
        Spending(span, _rate(_payer(span, starts), here), _machine(span, begun.get(span.uri, ()))) for span in spans
    ]
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
    uris = dict.fromkeys(item.span.uri for item in found if item.usd_per_hour is None)
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


def _payer(span: Span, starts: Mapping[str, Sequence[Span]]) -> Span | None:
    """Whose price counts: its own or, of a run in a session, that of the start of the session that it began in."""
    if not span.within:
        return span
    sessions = starts.get(span.within, ())
    # A run names its session, not the start of it. A clock that was set may have put the run before all starts.
    before = [start for start in sessions if start.started_at <= span.started_at]
    return before[-1] if before else next(iter(sessions), None)


def _rate(span: Span | None, here: float) -> float | None:
    """What an hour of it costs. None: nobody knows, as of a session that is not known any more."""
    if span is None:
        return None
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
