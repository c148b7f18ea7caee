"""What sessions, runs and endpoints have cost so far, read from their records and jobs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import jobs
from ..store import Record, open_store
from .prices import machine_usd_per_hour

KINDS = ("gpu", "train", "deploy")


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time. `within` is the session whose time it was; then the money is the session's."""

    uri: str
    started_at: float
    ended_at: float
    usd_per_hour: float
    live: bool
    on_machine: bool
    within: str = ""
    rows: int = 0
    busy_s: float = 0.0

    @property
    def duration_s(self) -> float:
        return max(0.0, self.ended_at - self.started_at)

    @property
    def usd(self) -> float:
        """Its time at its price."""
        return self.duration_s / 3600 * self.usd_per_hour

    @property
    def rows_per_s(self) -> float | None:
        """Predicted rows per second of answering; None when it cannot be told."""
        return self.rows / self.busy_s if self.rows and self.busy_s > 0 else None


def spans() -> list[Span]:
    """Everything that took time, newest first; an earlier start of the same session is a span of its own."""
    records = [record for record in open_store().list() if record.kind in KINDS and "started_at" in record.body]
    newest: dict[str, jobs.Job] = {}
    for job in jobs.ls():
        newest.setdefault(job.subject, job)
    rates = {f"gpu:{record.name}": _rate(record.body) for record in records if record.kind == "gpu"}
    found = [span for record in records for span in _spans(record, newest, rates)]
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


def _spans(record: Record, newest: Mapping[str, jobs.Job], rates: Mapping[str, float]) -> list[Span]:
    body, uri = record.body, f"{record.kind}:{record.name}"
    within = str(body.get("on") or "") if record.kind == "train" else ""
    rate = rates.get(within, 0.0) if within else _rate(body)
    local = body.get("provider", "local") == "local"
    ended_at, live = _end(body, newest.get(uri))
    rows, busy_s = _work(body)
    now = Span(uri, body["started_at"], ended_at, rate, live, local, within, rows, busy_s)
    before = [
        Span(uri, item["started_at"], item["ended_at"], item["usd_per_hour"], False, local)
        for item in body.get("earlier_spans", ())
    ]
    return [now, *before]


def _rate(body: Mapping[str, Any]) -> float:
    price = body.get("usd_per_hour")
    return machine_usd_per_hour() if price is None else float(price)


def _end(body: Mapping[str, Any], job: jobs.Job | None) -> tuple[float, bool]:
    """When it ended, and whether it still goes on. Of a process that vanished, its last sign of life counts."""
    if body.get("ended_at"):
        return float(body["ended_at"]), False
    if job is None or job.started_at + 1 < body["started_at"]:
        return float(body["started_at"]), False
    if job.live:
        return time.time(), True
    silent_s = job.silent_s
    last = job.ended_at or (time.time() - silent_s if silent_s is not None else job.started_at)
    return max(float(body["started_at"]), last), False


def _work(body: Mapping[str, Any]) -> tuple[int, float]:
    """Predicted rows, and the seconds spent on answering, of an endpoint's versions together."""
    versions = body.get("versions") or {}
    rows = int(body.get("count", 0))
    counts = versions.values() if isinstance(versions, dict) else ()
    return rows, sum(float(count.get("busy_ms", 0.0)) for count in counts) / 1000
