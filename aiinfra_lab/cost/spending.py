"""What sessions, runs, endpoints and pipelines have cost so far, read from their records and jobs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import jobs
from ..store import Record, open_store
from .pipeline import Step, last_sign, steps
from .prices import machine_usd_per_hour

KINDS = ("gpu", "train", "deploy", "recipe")
SILENT_S = 120.0
"""An endpoint says every second or so that it lives: an end written so long after the last word is no end of its."""


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time. `within` is the session whose time it was; then the money is the session's.

    rows, busy_s: what an endpoint predicted, and how long it took to answer. steps: those of a recipe's run.
    """

    uri: str
    started_at: float
    ended_at: float
    usd_per_hour: float
    live: bool
    on_machine: bool
    within: str = ""
    rows: int = 0
    busy_s: float = 0.0
    steps: tuple[Step, ...] = ()

    @property
    def duration_s(self) -> float:
        return max(0.0, self.ended_at - self.started_at)

    @property
    def usd(self) -> float:
        """Its time at its price."""
        return self.duration_s / 3600 * self.usd_per_hour


def spans() -> list[Span]:
    """Everything that took time, newest first; an earlier start of a session or an endpoint is a span of its own."""
    records = [record for kind in KINDS for record in open_store().list(kind) if "started_at" in record.body]
    known: dict[str, jobs.Job] = {}  # by their ids, and of each subject the newest
    for job in jobs.ls():
        known[job.id] = job
        known.setdefault(job.subject, job)
    rates = {f"gpu:{record.name}": _rate(record.body) for record in records if record.kind == "gpu"}
    found = [span for record in records for span in _spans(record, known, rates)]
    return sorted(found, key=lambda span: span.started_at, reverse=True)


def spent_usd() -> float:
    """What everything in this workspace has cost so far."""
    return total_usd(spans())


def total_usd(found: Iterable[Span]) -> float:
    """The sum: a rented machine each for itself, and this machine once, however much ran on it at a time."""
    paid = [span for span in found if not span.within]
    rented = sum(span.usd for span in paid if not span.on_machine)
    return rented + _machine_usd(span for span in paid if span.on_machine)


def _machine_usd(found: Iterable[Span]) -> float:
    """Sweep over time; at any moment the machine costs what the dearest span on it says."""
    edges: list[tuple[float, int, float]] = []
    for span in found:
        edges += [(span.started_at, 1, span.usd_per_hour), (span.ended_at, -1, span.usd_per_hour)]
    running: Counter[float] = Counter()
    spent, last = 0.0, 0.0
    for at, step, rate in sorted(edges):
        if running:
            spent += (at - last) / 3600 * max(running)
        running[rate] += step
        if not running[rate]:
            del running[rate]
        last = at
    return spent


def _spans(record: Record, known: Mapping[str, jobs.Job], rates: Mapping[str, float]) -> list[Span]:
    body, uri = record.body, f"{record.kind}:{record.name}"
    within = str(body.get("on") or "") if record.kind == "train" else ""
    local = body.get("provider", "local") == "local"
    found = []
    for life in (body, *body.get("earlier_spans", ())):
        rate = rates.get(within, 0.0) if within else _rate(life)
        ended_at, live = _end(life, _job(uri, life, known))
        made = steps(life) if record.kind == "recipe" else ()
        if made and not live and not life.get("ended_at"):
            ended_at = max(float(life["started_at"]), last_sign(made))  # its job's end is when somebody noticed it
        rows, busy_s = _work(life)
        found.append(Span(uri, life["started_at"], ended_at, rate, live, local, within, rows, busy_s, made))
    return found


def _rate(body: Mapping[str, Any]) -> float:
    price = body.get("usd_per_hour")
    return machine_usd_per_hour() if price is None else float(price)


def _job(uri: str, life: Mapping[str, Any], known: Mapping[str, jobs.Job]) -> jobs.Job | None:
    """The job of this very start: the one that its record names, or the subject's newest when it is no older."""
    if life.get("job"):
        return known.get(life["job"])
    job = known.get(uri)
    return job if job and job.started_at + 1 >= life["started_at"] else None


def _end(life: Mapping[str, Any], job: jobs.Job | None) -> tuple[float, bool]:
    """When it ended, and whether it still goes on. Of a process that vanished, its last sign of life counts."""
    began, told = float(life["started_at"]), life.get("ended_at")
    if job is None:
        return float(told or began), False
    if job.live and not told:
        return time.time(), True
    silent_s = job.silent_s
    beat = None if silent_s is None else time.time() - silent_s
    if told and not (life.get("job") and beat and told - beat > SILENT_S):
        return float(told), False
    # The end of a job that nobody watched is when somebody noticed it: its last heartbeat is nearer to the truth.
    return max(began, beat or job.ended_at or job.started_at), False


def _work(life: Mapping[str, Any]) -> tuple[int, float]:
    """Predicted rows, and the seconds spent on answering, of an endpoint's versions together."""
    versions = life.get("versions") or {}
    counts = versions.values() if isinstance(versions, dict) else ()
    busy_ms = life.get("busy_ms") or sum(float(count.get("busy_ms", 0.0)) for count in counts)
    return int(life.get("count") or 0), busy_ms / 1000
