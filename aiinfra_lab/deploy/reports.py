"""What a target counts, judges and rolls back, brought into the endpoint's record by whoever observes it.

Our own server is not asked: it writes all this into its record by itself.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec
from msgspec.structs import replace

from .. import signal_records
from ..errors import Failed, LabError
from ..providers import foreign
from ..store import Event, Record, open_store, update
from .asking import side_by_side
from .base import Report, Reporting, Target
from .desired_state import without_canary
from .record import EndpointRecord, ReportProblem, Rollback, Verdict, VerdictState, VersionCounts
from .server.counts import is_bucket

Stored = Record[EndpointRecord]


def _renew(on: str) -> str:
    """The fix for a target that does not keep the contract."""
    package = next((each.package for each in foreign() if (each.contract, each.name) == ("deploy.target", on)), "")
    newer = f"`pip install -U {package}`" if package else "a newer version of the package that brings it"
    return f"{newer} may mend it; until then nothing newer is known of what it counts"


# How old written counts of a live endpoint may be: a panel that looks every second must not write as often.
WRITE_S = 10.0


class Refused(Failed):
    """A report that no record can hold."""


def bring_in(records: Iterable[tuple[Stored, Target]]) -> dict[str, Stored]:
    """The records of live endpoints with what their targets report now, by name; of those that report anything, or
    fail to.

    A rollback that the target has carried out is written once, with its event, as is what a verdict changes to; counts
    are written every WRITE_S. Where nothing can be written, the answer is the same, and whoever looks next writes it.
    """
    asked = {record.name: (record, target) for record, target in records if isinstance(target, Reporting)}
    questions = {name: partial(_report, record, target) for name, (record, target) in asked.items()}
    found = side_by_side("report", questions).items()
    # Where there is no report, what is known is what was written last.
    return {name: _with_answer(*asked[name], answer) for name, answer in found if answer is not None}


def _with_answer(record: Stored, target: Target, answer: Report | LabError) -> Stored:
    return _with_problem(record, answer) if isinstance(answer, LabError) else _with_report(record, target, answer)


def _with_problem(record: Stored, problem: LabError) -> Stored:
    """Written once for each problem, however often it is met."""
    what = "was refused" if isinstance(problem, Refused) else "does not come"
    why = f"its target's report {what}: {problem.what}"

    def change(body: EndpointRecord) -> EndpointRecord | None:
        is_known = body.report_problem is not None and body.report_problem.why == why
        if body.job != record.body.job or not body.is_open or is_known:
            return None
        return replace(body, report_problem=ReportProblem(why, problem.fix, time.time()))

    return _changed(record, change)


def _changed(record: Stored, change: Callable[[EndpointRecord], EndpointRecord | None]) -> Stored:
    """The record as changed, also where nothing can be written."""
    try:
        return update(open_store(), EndpointRecord, record.name, change)
    except LabError:
        return record.of(change(record.body) or record.body)


def _report(record: Stored, target: Target) -> Report | None:
    assert isinstance(target, Reporting)
    return checked(target.report(record.body.job), record.body.on)


def checked(report: Report | None, on: str) -> Report | None:
    """The report as it is; Refused when a record with it could not be read again. on: the target's name."""
    if report is None:
        return None
    try:
        msgspec.convert(msgspec.to_builtins(report), Report)
    except (msgspec.ValidationError, TypeError) as problem:
        raise Refused(f"{on} reports what cannot be recorded: {problem}", _renew(on)) from None
    wrong = [problem for counts in report.versions.values() for problem in _problems(counts)]
    if wrong:
        raise Refused(f"{on} reports {wrong[0]}", _renew(on))
    return report


def _problems(counts: VersionCounts) -> Iterator[str]:
    """What nobody could read out of one version's counts."""
    for key in counts.buckets:
        if not is_bucket(key):
            yield f"a bucket {key!r}, which is none of `server.counts.EDGES_MS`"
    if (latency := counts.latency) is None:
        return
    if not latency.measured_by.strip():
        yield "a latency without who measured it"
    known = [ms for ms in (latency.p50_ms, latency.p95_ms) if ms is not None]
    if not all(math.isfinite(ms) and ms >= 0 for ms in known) or known != sorted(known):
        yield f"a p50 of {latency.p50_ms} ms and a p95 of {latency.p95_ms} ms"


def _with_report(record: Stored, target: Target, report: Report) -> Stored:
    asked = record.body
    record = _with_counts(record, report)
    # Somebody may have asked for something else since: then the report is on what was served before.
    lost = _rollback(record.body, report) if record.body.generation == asked.generation else None
    return _with_rollback(record, lost, target) if lost else record


def counted(body: EndpointRecord, seen: EndpointRecord) -> EndpointRecord:
    """The record with what somebody has seen counted of this start, where that is more; ours counts by itself."""
    if body.is_ours or seen.job != body.job or seen.count <= body.count:
        return body
    return replace(
        body,
        versions=seen.versions,
        count=seen.count,
        days=seen.days,
        log_lost_rows=seen.log_lost_rows,
        reported_at=seen.reported_at,
    )


def verdict_on(body: EndpointRecord, report: Report) -> Verdict | None:
    """The report's verdict on the record's canary; None while it is still of another generation."""
    return report.verdict if body.canary and report.generation == body.generation else None


def _with_counts(record: Stored, report: Report) -> Stored:
    def change(body: EndpointRecord) -> EndpointRecord | None:
        if body.job != record.body.job or not body.is_open:
            return None
        new = body.with_counts(dict(report.versions) or body.versions)
        new = replace(new, log_lost_rows=report.log_lost_rows)
        new = replace(new, verdict=verdict_on(body, report) or body.verdict, report_problem=None)
        return replace(new, reported_at=time.time()) if new != body else None

    new = change(record.body)
    if new and _same_news(new, record.body) and not _is_due(record):
        return record.of(new)
    return _changed(record, change)


def _same_news(one: EndpointRecord, other: EndpointRecord) -> bool:
    """Whether nothing but counts differs."""
    return (_state(one), one.report_problem) == (_state(other), other.report_problem)


def _state(body: EndpointRecord) -> VerdictState | None:
    return body.verdict.state if body.verdict else None


def _is_due(record: Stored) -> bool:
    """Whether written counts are so old, or there are none, that they are written anew."""
    return not 0 <= time.time() - record.updated_at < WRITE_S or not record.body.count


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
    with contextlib.suppress(LabError):
        signal_records.send(open_store(), record.uri, str(lost), f"look: `%deploy show {record.name}`")
    if record.body.rolled_back == lost:  # it serves this already; now it learns of which generation that is
        with contextlib.suppress(LabError):
            target.apply(record.body.job, record.body.desired)
    return record
