"""What an endpoint shows of itself in a list and to whoever looks closer, out of its record alone: nobody is asked."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from functools import lru_cache

from ..jobs.record import show_restarts
from ..models.record import folder
from ..nouns import Action, ArmRow, Details, Fact
from ..providers import chosen
from ..show import log_time
from ..store import Record
from ..units import counted, show_duration, show_share, show_usd
from ..uris import Uri
from .base import State
from .record import Arm, EndpointRecord, VersionCounts
from .server.counts import quantile_ms

_SILENT = "From then on its callers get no answer."
CONSEQUENCE = f"{_SILENT} Its log, its record and its models stay."
_MOST_SHOWN = 2_000  # characters of a body: of an image nobody reads the numbers
_COLUMNS = ("share", "p95", "p99", "errors")
JUDGED = {"ok": "holds", "breach": "breached", "undecided": "cannot tell"}
"""What people read for a rule's verdict."""


def figure(body: EndpointRecord) -> str:
    """The p95 of whichever version answers most; nothing before it has answered."""
    model = body.champion or body.canary or ""
    p95_ms = quantile_ms(_counts(body, model), 0.95)
    return "" if p95_ms is None else f"{_ms(p95_ms)} p95"


def facts(body: EndpointRecord) -> tuple[str, ...]:
    """What else its line says."""
    share = f"canary {show_share(body.desired.canary_share)}" if body.canary else ""
    requests = requests_of(body)
    none = "no requests yet" if _is_counted(body) else ""
    return tuple(filter(None, (share, counted(requests, "request") if requests else none)))


def start_again(name: str, on: str, model: str | None) -> str:
    """The command that brings one that has ended back, to where it was."""
    place = "" if on == chosen("deploy.target") else f" --on {on}"
    return f"%deploy start {name} --model {model or 'models:NAME@N'}{place}"


def _is_counted(body: EndpointRecord) -> bool:
    """Whether anybody counts its requests, as far as its record tells."""
    return body.is_ours or bool(body.versions)


def requests_of(body: EndpointRecord) -> int:
    """Requests that it has answered since its start."""
    return sum(seen.requests for seen in body.versions.values())


def actions(record: Record[EndpointRecord]) -> tuple[Action, ...]:
    """What may be done to one that runs."""
    body = record.body
    found = [*_promotion(record), *_rollback(record)]
    count = requests_of(body)
    ends = CONSEQUENCE if body.is_ours else f"{_SILENT} Its record and its models stay."
    harm = f"It has answered {counted(count, 'request')} since its start. {ends}" if count else ends
    has_two = body.canary and body.champion
    harm = f"{harm} To end only the canary, roll it back." if has_two else harm
    stop = Action("stop", "Stop endpoint", f"Stop endpoint {record.name}?", harm, "rollback" if has_two else "")
    return (*found, stop)


def details(record: Record[EndpointRecord], state: State, log: str) -> Details:
    """All that its record tells. log: the end of what it printed."""
    body = record.body
    is_judged = _is_counted(body)
    lost = str(body.rolled_back) if body.rolled_back and body.rolled_back.by != "rollback" else ""
    unknown = body.report_problem.why if body.report_problem else ""
    problem = (body.problem or lost or unknown) if state.is_live else state.detail or body.detail
    is_unwell = problem or state.word in ("failed", "lost")
    return Details(
        facts=(*_speaks(body, state), *_facts(record, state)),
        problem=problem,
        fix=f"`%deploy log {record.name}` says more" if is_unwell else "",
        columns=_COLUMNS if is_judged and body.desired.models else (),
        arms=tuple(_arm(body, arm) for arm in body.desired.arms) if is_judged else (),
        url=body.url if state.is_live else "",
        example=curl(body.url, body.champion or body.canary or "") if state.is_live else "",
        log=log,
    )


def _promotion(record: Record[EndpointRecord]) -> Iterator[Action]:
    canary, champion = record.body.canary, record.body.champion
    if canary:
        before = f" {champion} then answers none, and is kept to go back to." if champion else ""
        yield Action(
            "promote",
            "Promote canary",
            f"Promote the canary of {record.name}?",
            f"{canary} then answers every request and becomes the champion of its model.{before}",
        )


def _rollback(record: Record[EndpointRecord]) -> Iterator[Action]:
    body = record.body
    if body.canary and body.champion:
        yield Action(
            "rollback",
            "Roll back canary",
            f"Roll back the canary of {record.name}?",
            f"{body.canary} then answers no request, and {body.champion} all of them. Both models stay.",
        )
    elif body.earlier and (lost := body.canary or body.champion):
        yield Action(
            "rollback",
            "Roll back",
            f"Roll back {record.name}?",
            f"{body.earlier[-1]} then answers every request again, and {lost} none. Both models stay.",
        )


def _speaks(body: EndpointRecord, state: State) -> Iterator[Fact]:
    if body.grpc_url and state.is_live:
        yield Fact("gRPC", body.grpc_url)


def _facts(record: Record[EndpointRecord], state: State) -> Iterator[Fact]:
    body = record.body
    if body.desired.judged and (body.rollback_if or body.verdict):
        verdict = body.verdict.state if body.verdict else "undecided"
        yield Fact("rolls back if", str(body.rollback_if or "never"), JUDGED[verdict])
        yield from (Fact("", reason) for reason in (body.verdict.reasons if body.verdict else ()))
    measured_by = {seen.latency.measured_by for seen in body.versions.values() if seen.latency}
    yield from (Fact("p95 measured by", by) for by in sorted(measured_by))
    if (lost := body.rolled_back) and lost.by == "rollback":
        yield Fact("rolled back", f"{lost.model}: {lost.reason}")
    if body.earlier:
        yield Fact("before", body.earlier[-1])
    took_s = (body.ended_at or 0.0) - body.started_at if body.ended_at else _age_s(body)
    if _is_counted(body):
        yield Fact("answered", f"{counted(requests_of(body), 'request')} in {show_duration(took_s)}")
    if state.restarts:
        yield Fact("started again", show_restarts(state.restarts, state.restarted_at))
    if not body.is_ours:
        yield Fact("runs on", body.on)
    elif price := _machine_usd_per_hour():
        yield Fact("machine", f"{show_usd(price)} an hour, this one")
    if body.report_problem and state.is_live and body.reported_at:
        yield Fact("figures of", log_time(body.reported_at))
    if body.log_lost_rows:
        yield Fact("log", f"{counted(body.log_lost_rows, 'row')} missing")


def _age_s(body: EndpointRecord) -> float:
    import time

    return max(0.0, time.time() - body.started_at)


def _machine_usd_per_hour() -> float:
    from ..cost.prices import machine_usd_per_hour

    return machine_usd_per_hour()


def _arm(body: EndpointRecord, arm: Arm) -> ArmRow:
    counts = _counts(body, arm.model)
    counts = counts.shadowed or VersionCounts() if arm.role == "shadow" else counts
    errors = show_share(counts.errors / counts.requests) if counts.requests else "–"
    cells = (show_share(arm.share), _ms(quantile_ms(counts, 0.95)), _ms(quantile_ms(counts, 0.99)), errors)
    return ArmRow(arm.model, arm.role, arm.share, cells)


def _counts(body: EndpointRecord, uri: str) -> VersionCounts:
    return body.versions.get(uri, VersionCounts())


def curl(url: str, model: str) -> str:
    """A command line that asks for one prediction: of the row with which the model was exported. Empty without one."""
    row = _row(model) if url and model else ""
    return (
        f"curl -s {shlex.quote(f'{url}/predict')} -H 'content-type: application/json' -d {shlex.quote(row)}"
        if row
        else ""
    )


@lru_cache(maxsize=64)
def _row(uri: str) -> str:
    """The body of a request for a version, which never changes; empty where its files are not here, or nobody could
    read it.
    """
    try:
        rows = json.loads((folder(Uri.parse(uri).label) / "example.json").read_text("utf-8"))["rows"]
    except (OSError, ValueError, KeyError):
        return ""
    body = json.dumps({"rows": rows[:1]}) if rows else ""
    return body if len(body) <= _MOST_SHOWN else ""


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g} ms" if value < 10 else f"{value:,.0f} ms"
