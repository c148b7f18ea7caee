"""What a target counts, judges and rolls back, brought into the endpoint's record by whoever observes it.

Our own server is not asked: it writes all this into its record by itself.
"""

from __future__ import annotations

import contextlib
import time

from msgspec.structs import replace

from ..errors import LabError
from ..store import Event, Record, open_store, update
from .base import Report, Reporting, Target
from .desired_state import without_canary
from .record import EndpointRecord, Rollback, Verdict

Stored = Record[EndpointRecord]


def bring_in(record: Stored, target: Target) -> Stored:
    """The record of a live endpoint with what its target reports now; as it was where the target reports nothing.

    A rollback that the target has carried out is written once, with its event. Where nothing can be written, the answer
    is the same, and whoever looks next writes it.
    """
    if not isinstance(target, Reporting):
        return record
    try:
        report = target.report(record.body.job)
    except LabError:  # what is known of it is what was written last
        return record
    if report is None:
        return record
    asked = record.body
    record = _with_counts(record, report)
    # Somebody may have asked for something else since: then the report is on what was served before.
    lost = _rollback(record.body, report) if record.body.generation == asked.generation else None
    return _with_rollback(record, lost, target) if lost else record


def verdict_on(body: EndpointRecord, report: Report) -> Verdict | None:
    """The report's verdict on the record's canary; None while it is still of another generation."""
    return report.verdict if body.canary and report.generation == body.generation else None


def _with_counts(record: Stored, report: Report) -> Stored:
    def change(body: EndpointRecord) -> EndpointRecord | None:
        if body.job != record.body.job or not body.is_open:
            return None
        versions = dict(report.versions) or body.versions
        count = sum(counts.rows for counts in versions.values())
        new = replace(body, versions=versions, count=count, log_lost_rows=report.log_lost_rows)
        new = replace(new, verdict=verdict_on(body, report) or body.verdict)
        return new if new != body else None

    try:
        return update(open_store(), EndpointRecord, record.name, change)
    except LabError:
        return record.of(change(record.body) or record.body)


def _rollback(body: EndpointRecord, report: Report) -> Rollback | None:
    """The rollback that a report shows: a broken rule, and a canary that gets nothing any more."""
    verdict = verdict_on(body, report)
    if not (body.canary and body.champion and verdict and verdict.state == "breach" and not report.canary_share):
        return None
    return Rollback(body.canary, "; ".join(verdict.reasons), time.time(), "rule")


def _with_rollback(record: Stored, lost: Rollback, target: Target) -> Stored:
    body = record.body
    detail = {"reason": lost.reason, "by": lost.by, "rule": str(body.rollback_if or ""), "kept": body.champion}
    event = Event("deploy rollback", record.uri, inputs=(lost.model,), outputs=(record.uri,), detail=detail)

    def change(now: EndpointRecord) -> EndpointRecord | None:
        is_same = now.job == body.job and now.generation == body.generation
        return without_canary(now, lost) if is_same else None

    try:
        record = update(open_store(), EndpointRecord, record.name, change, event)
    except LabError:
        return record.of(without_canary(body, lost))
    if record.body.rolled_back == lost:  # it serves this already; now it learns of which generation that is
        with contextlib.suppress(LabError):
            target.apply(record.body.job, record.body.desired)
    return record
