"""What must hold before a version gets traffic: its last check, and of a canary what its rule has counted."""

from __future__ import annotations

from ..errors import Failed
from ..rules import Rule
from ..stats import bounds
from ..store import Record
from ..uris import Uri
from . import desired_state, versions
from .base import Report, Reporting
from .details import start_again
from .lifecycle import target_of
from .record import EndpointRecord


def may_serve(uri: str) -> str:
    """A note on a version that is to serve: empty when its last check found it good. Failed when it was bad."""
    if versions.verdict(uri) == "bad":
        raise Failed(f"{uri} was checked and found bad", _check_fix(uri))
    problem = versions.objection(uri)
    return f"{problem.what}: `%models check {uri}`" if problem else ""


def may_take_all(record: Record[EndpointRecord], canary: str, *, force: bool = False) -> str:
    """A note on a canary that is to get all traffic. Failed unless it may be promoted, and was shown to be good enough.

    Beside a champion that is: not worse by a margin, in errors and in latency; force: without that, since somebody
    answers for it. Where no champion runs the rule must tell something: it cannot when no more requests were judged
    than got no score, nor one of latencies alone when clearly more got none than it lets be too slow.
    """
    if versions.verdict(canary) == "bad":
        raise Failed(
            f"{canary} was checked and found bad",
            f"{without(record)}; {_check_fix(canary)}",
        )
    if problem := versions.objection(canary):
        raise problem
    return _admitted_by_evidence(record, canary, force)


def replacement(record: Record[EndpointRecord]) -> str:
    """The command that gives the traffic to another version: the newest that no check found bad, or the end."""
    lost = record.body.rolled_back
    serving = (*record.body.desired.models, *([lost.model] if lost else []))
    if other := versions.newest_but(serving):
        return f"let another version serve: `{start_again(record.name, record.body.on, other)}`"
    return f"no other version is there to serve; end it: `%deploy stop {record.name}`"


def without(record: Record[EndpointRecord]) -> str:
    """How what is not good enough loses its traffic."""
    if desired_state.can_go_back(record.body):
        return f"take its traffic away: `%deploy rollback {record.name}`"
    return replacement(record)


def _admitted_by_evidence(record: Record[EndpointRecord], canary: str, force: bool) -> str:
    target = target_of(record)
    report = target.report(record.body.job) if isinstance(target, Reporting) else None
    if report is None or report.verdict is None:
        is_unknown = isinstance(target, Reporting) and record.body.canary and record.body.champion
        return _unshown(record, canary, f"{record.body.on} does not compare them", force) if is_unknown else ""
    if report.generation != record.body.generation:
        what = f"the rule of {record.name} cannot tell: what was counted is of an earlier change"
        raise Failed(what, "repeat in a moment")
    if report.verdict.state == "breach":
        raise Failed(
            f"{canary} breaks its rule: {'; '.join(report.verdict.reasons)}",
            without(record),
        )
    if record.body.canary and record.body.champion:
        reasons = "; ".join(report.verdict.reasons) or "its target judges by itself, and is undecided"
        return _unshown(record, canary, reasons, force) if report.verdict.state != "ok" else ""
    if report.requests <= report.unanswered:
        raise Failed(f"the rule of {record.name} cannot tell: {_lack(report, canary)}", _way_out(record.name, canary))
    if lack := _unjudged(record.body.rollback_if, report):
        what = f"the rule of {record.name} judges latencies alone, and {lack} got no score from {canary}"
        raise Failed(what, _way_out(record.name, canary))
    is_undecided = report.verdict.state == "undecided"
    return f"the rule was undecided after {report.requests:,} requests" if is_undecided else ""


def _unshown(record: Record[EndpointRecord], canary: str, why: str, force: bool) -> str:
    champion = record.body.champion
    if force:
        return f"{canary} was not shown to be as good as {champion}: {why}"
    raise Failed(
        f"cannot tell yet whether {canary} is as good as {champion}: {why}",
        f"let it answer more: `%deploy run {record.name} --rows …`, or give it a larger share; "
        f"to answer for it yourself: `%deploy promote {record.name} --force`",
    )


def _unjudged(rule: Rule | None, report: Report) -> str:
    """How many got no score, when that is more than a rule without a bound on errors lets be too slow; else empty.

    What was never answered was not answered in time either, but has no latency that a rule could judge.
    """
    stated = bounds.bounds_of(rule) if rule else ()
    if not stated or any(bound.limit_ms is None for bound in stated):
        return ""
    total = report.requests + report.unanswered
    low, _ = bounds.binomial_interval(report.unanswered, total, bounds.CONFIDENCE)
    return f"{report.unanswered:,} of {total:,} requests" if low > max(bound.share for bound in stated) else ""


def _lack(report: Report, canary: str) -> str:
    if not report.unanswered:
        return f"{canary} has answered no request"
    return f"it judges by {report.requests:,} requests, and {report.unanswered:,} got no score from {canary}"


def _way_out(name: str, canary: str) -> str:
    return (
        f"send rows that it can answer: `%deploy run {name} --rows …`; "
        f"or do without the rule: `%deploy start {name} --model {canary}`"
    )


def _check_fix(uri: str) -> str:
    model = Uri.parse(uri)
    return f"`%models show {model.label}` shows why; `%models policy {model.name}` shows what is good enough"
