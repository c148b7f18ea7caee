"""What the verbs return: an endpoint as it is at this moment, traffic that was sent, and the log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

from ..errors import LabError, Unavailable
from ..jobs.record import show_restarts
from ..show import Card, Result, log_time
from ..stats.bounds import JudgedBound, JudgedMeasure
from ..store import Record
from ..uris import Uri
from . import admission, cards, client, freeze, versions
from .agreement import ROWS, Agreement, agreements
from .asking import side_by_side
from .base import PredictedRow, PredictionLog, Reporting, Serving, State
from .desired_state import NO_CHAMPION
from .lifecycle import find, target_of
from .record import BY_ENDPOINT, OURS, Arm, EndpointRecord, Role, Verdict, VersionCounts
from .reports import verdict_on
from .server.counts import quantile_ms

KIND = cards.KIND

__all__ = ["KIND", "Endpoint", "Load", "Log", "Served", "endpoint", "endpoints"]


SCORE = "score"


@dataclass(frozen=True)
class Served:
    """What one version did since the endpoint was started. refused: requests that broke its columns contract.

    Of a shadow these are what it was asked as one. answered: requests that somebody got the answer of. measured_by: who
    has measured p50 and p95, where the target that counts it has not.
    """

    model: str
    role: Role | Literal[""]
    share: float
    requests: int
    rows: int
    errors: int
    refused: int
    p50_ms: float | None
    p95_ms: float | None
    measured_by: str = ""
    answered: int = 0


@dataclass(frozen=True)
class Endpoint(Result):
    """An endpoint as it is now; `predict` asks it.

    state: starting, running, stopping, stopped, failed, or lost (nobody knows its end). canary_share: what the
    canary really gets. verdict: what is known of the canary; reasons: why, a sentence for each thing that was
    judged; measures: how it compares with its champion, and bounds: the endpoint against what the rule allows, as
    numbers, where the target tells them. false_per_hour: how often at most a healthy canary is rolled back, beside
    false_at_start once. rolled_back: the version that its rule took the traffic from last, until the next change.
    others: candidates, and a shadow. agreements: how the shadow's newest answers compare, where `show` was asked.
    cannot_serve: one that could not be served, so that an earlier one serves in its place.
    count: rows predicted since it was started, but for those of a shadow. detail: why it failed. figures_at: when its
    counts are from, where nobody knows newer ones. on: its target.
    grpc_url: where it speaks gRPC, if it does.
    """

    labels: ClassVar = {"count": "rows predicted"}

    uri: str
    state: str
    url: str
    champion: str | None
    canary: str | None
    canary_share: float
    previous: str | None
    rollback_if: str
    verdict: str
    reasons: tuple[str, ...]
    bounds: tuple[JudgedBound, ...]
    versions: tuple[Served, ...]
    count: int
    started_at: float
    log_dir: str
    notes: tuple[str, ...] = ()
    rolled_back: str = ""
    detail: str = ""
    figures_at: float | None = None
    on: str = OURS
    measures: tuple[JudgedMeasure, ...] = ()
    false_per_hour: float = 0.0
    false_at_start: float = 0.0
    steps: tuple[float, ...] = ()
    bake_s: float = 0.0
    others: tuple[Arm, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    cannot_serve: str = ""
    grpc_url: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether our own server serves it, so that what it counts and how is ours to tell."""
        return self.on == OURS

    def predict(self, rows: Any, *, key: str | None = None) -> list[Any]:
        """What it answers to these rows (dicts, or a data frame with the model's columns), asked over HTTP.

        Of each row the model's one output, such as its score; of a model that answers several a dict of them by name.
        A row without an answer is None. key: what decides, for as long as a canary runs, which version answers. Failed
        when a row is refused, Unavailable when nobody answers.
        """
        from ..features.contract import as_dicts

        listed = as_dicts(rows.to_dict("records") if hasattr(rows, "to_dict") else rows)
        clean = [{name: _plain(value) for name, value in row.items()} for row in listed]
        return [_answer(item) for item in client.predict(self._address(), clean, key)]

    def _address(self) -> str:
        """Where it answers; of one that was still loading when this was made, as it is by now."""
        if self.state != "starting":
            return self.url
        record = find(self.uri)
        now = target_of(record).serving(record.body.job)
        if now.generation:
            return now.url
        loads = " and ".join(record.body.desired.models)
        raise Unavailable(
            f"{record.name} is not ready: it still loads {loads}",
            f"`%deploy start` with `--within 5m` waits for it; `%deploy show {record.name}` says whether it serves",
        )

    def card(self) -> Card:
        return cards.endpoint_card(self)


@dataclass(frozen=True)
class Exported(Result):
    """Files for another system. uri: of the endpoint; model: the version that they serve; into: their folder."""

    uri: str
    model: str
    to: str
    into: str
    count: int

    kind: ClassVar[str] = "Export"
    labels: ClassVar = {"count": "files"}

    def card(self) -> Card:
        head = super().card()
        lead = f"`{self.into}` is a project of its own that serves {self.model}; its README says how."
        return replace(head, lead=lead)


@dataclass(frozen=True)
class Load(Result):
    """Traffic that was sent. refused: answers that blamed the request; errors: failures, no score, or no answer.

    per_s: answers a second. Latencies count from when a request was due, so that waiting is not hidden.
    """

    uri: str
    rows: str
    sent: int
    ok: int
    refused: int
    errors: int
    for_s: float
    per_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    versions: dict[str, int]
    first_problem: str = ""
    notes: tuple[str, ...] = ()

    def card(self) -> Card:
        return cards.load_card(self)


@dataclass(frozen=True)
class Log(Result):
    """The newest predicted rows, what happened to the endpoint, and the end of what its process printed.

    more: how to see more events, where there are any.
    """

    uri: str
    rows: tuple[PredictedRow, ...]
    events: tuple[str, ...]
    output: str
    log_dir: str
    notes: tuple[str, ...] = ()
    more: str = ""

    def card(self) -> Card:
        return cards.log_card(self)

    def as_json(self) -> dict[str, Any]:
        """With `score` beside a row's outputs and `canary` beside its arm, as 0.1.0 had them: programs read those."""
        rows = [
            {**row, "canary": row["arm"] == "canary", SCORE: (row["outputs"] or {}).get(SCORE)} for row in self.rows
        ]
        return {**super().as_json(), "rows": rows}


def endpoint(record: Record[EndpointRecord], state: State | LabError, *notes: str) -> Endpoint:
    """One endpoint, see `endpoints`, with what else there is to say of it."""
    [(_, seen)] = _seen([(record, state)])
    return _endpoint(record, seen, notes)


def with_agreements(endpoint: Endpoint, record: Record[EndpointRecord]) -> Endpoint:
    """The same with how far its shadow agrees, as far as its log tells."""
    target = target_of(record)
    if not isinstance(target, PredictionLog) or all(arm.role != "shadow" for arm in endpoint.others):
        return endpoint
    found = agreements(target.predictions(record.body.job, record.body.log_dir, ROWS))
    return replace(endpoint, agreements=found)


def endpoints(observed: Iterable[tuple[Record[EndpointRecord], State | LabError]]) -> list[Endpoint]:
    """The endpoints of records: asked themselves while they live, else as their records were written last.

    observed: each with its state, or with why its target cannot be asked
    """
    return [_endpoint(record, seen) for record, seen in _seen(observed)]


def _endpoint(record: Record[EndpointRecord], seen: _Seen, notes: Iterable[str] = ()) -> Endpoint:
    body = record.body
    served = tuple(_served(body, uri, seen.versions[uri], seen.canary_share) for uri in _newest_first(seen.versions))
    verdict = seen.verdict
    is_judged = body.rollback_if or (body.desired.judged and (body.is_ours or verdict))
    on_canary = verdict if verdict and body.desired.judged else Verdict("undecided")
    return Endpoint(
        uri=record.uri,
        state=seen.word,
        url=body.url if seen.url is None else seen.url,
        champion=body.champion,
        canary=body.canary,
        canary_share=seen.canary_share,
        previous=next(reversed(body.earlier), None),
        rollback_if=str(body.rollback_if or ""),
        verdict=(verdict.state if verdict else "undecided") if is_judged else "",
        reasons=on_canary.reasons,
        bounds=on_canary.bounds,
        measures=on_canary.measures,
        false_per_hour=on_canary.false_per_hour,
        false_at_start=on_canary.false_at_start,
        steps=body.steps,
        bake_s=body.bake_s,
        others=body.others,
        versions=served,
        count=sum(counts.rows for counts in seen.versions.values()),
        started_at=body.started_at,
        log_dir=body.log_dir,
        rolled_back=_lost_by(body, "rule"),
        cannot_serve=_lost_by(body, BY_ENDPOINT),
        detail=seen.detail,
        figures_at=_figures_at(body, seen),
        on=body.on,
        # Where nobody can be asked for a row from here, nobody can by gRPC either.
        grpc_url=body.grpc_url if seen.url != "" else "",
        notes=tuple(dict.fromkeys(filter(None, (*notes, *_found_bad(record, seen), *_notes(body, seen))))),
    )


def _lost_by(body: EndpointRecord, by: str) -> str:
    """The version that lost its traffic so, if one did."""
    return body.rolled_back.model if body.rolled_back and body.rolled_back.by == by else ""


@dataclass(frozen=True)
class _Seen:
    """What is known of an endpoint at this moment, from itself or from its record. url: None when it was not asked."""

    word: str
    url: str | None
    canary_share: float
    versions: Mapping[str, VersionCounts]
    verdict: Verdict | None
    log_lost_rows: int
    notes: tuple[str, ...]
    detail: str = ""

    @classmethod
    def written(cls, record: Record[EndpointRecord], state: State | LabError) -> _Seen:
        """As far as it is told without asking the endpoint."""
        body = record.body
        written = cls(
            "cannot tell", None, body.desired.canary_share, body.versions, body.verdict, body.log_lost_rows, ()
        )
        if isinstance(state, LabError):
            return replace(written, notes=(_unasked(state),))
        detail = state.detail if state.word in ("failed", "lost") else ""
        return replace(written, word=state.word, notes=tuple(_state_notes(body, state)), detail=detail)

    def asked(self, record: Record[EndpointRecord]) -> _Seen:
        """With what the endpoint itself answers."""
        target = target_of(record)
        now = target.serving(record.body.job)
        # A process runs some time before it has loaded its versions: nobody can ask it for a prediction yet.
        word = "starting" if self.word == "running" and not now.generation else self.word
        seen = replace(self, word=word, url=now.url, notes=(*self.notes, *_serving_notes(record.body, now)))
        if not isinstance(target, Reporting):
            return replace(seen, notes=(*seen.notes, f"{record.body.on} counts no requests by version"))
        # What another's target reports stands in the record since it was observed; our server writes its own later.
        if not record.body.is_ours or (report := target.report(record.body.job)) is None:
            return seen
        return replace(
            seen,
            canary_share=report.canary_share,
            versions=report.versions or self.versions,
            verdict=verdict_on(record.body, report) or self.verdict,
            log_lost_rows=report.log_lost_rows,
        )


def _seen(
    observed: Iterable[tuple[Record[EndpointRecord], State | LabError]],
) -> list[tuple[Record[EndpointRecord], _Seen]]:
    """What is known of each; those that live are asked side by side."""
    written = {record.name: (record, state, _Seen.written(record, state)) for record, state in observed}
    live = {
        name: partial(seen.asked, record)
        for name, (record, state, seen) in written.items()
        if isinstance(state, State) and state.is_live
    }
    answers = side_by_side("serving", live)
    found = []
    for name, (record, _, seen) in written.items():
        answer = answers.get(name, seen)
        if isinstance(answer, LabError):  # the others of a list are shown all the same
            answer = replace(seen, notes=(*seen.notes, _unasked(answer)))
        found.append((record, answer))
    return found


def _figures_at(body: EndpointRecord, seen: _Seen) -> float | None:
    """When another's target has counted last what is shown, where it goes on and nobody knows what it counts now."""
    is_late = body.report_problem is not None or seen.word == "cannot tell"
    return body.reported_at or None if is_late and not body.is_ours else None


def _unasked(problem: LabError) -> str:
    return f"its target cannot be asked: {problem.what}; {problem.fix}"


def _newest_first(versions: Iterable[str]) -> list[str]:
    parsed = [Uri.parse(uri) for uri in versions]  # as text, @10 would come before @9
    return [str(uri) for uri in sorted(parsed, key=lambda uri: (uri.name, uri.version or 0), reverse=True)]


def _served(body: EndpointRecord, uri: str, counted: VersionCounts, canary_share: float) -> Served:
    arm = next((arm for arm in body.desired.arms if arm.model == uri), None)
    role: Role | Literal[""] = arm.role if arm else ""
    share = arm.share if arm else 0.0
    if role in ("champion", "canary"):  # what the canary really gets, a target may have changed
        share = {"champion": share + body.desired.canary_share - canary_share, "canary": canary_share}[role]
    answered = counted.requests
    counted = counted.shadowed or VersionCounts() if role == "shadow" else counted
    return Served(
        uri, role, share, counted.requests, counted.rows, counted.errors, counted.refused,
        quantile_ms(counted, 0.5), quantile_ms(counted, 0.95), counted.latency.measured_by if counted.latency else "",
        answered,
    )  # fmt: skip


def _found_bad(record: Record[EndpointRecord], seen: _Seen) -> Iterator[str]:
    """Versions that serve although a check found them bad since: a check moves no traffic."""
    body = record.body
    if seen.word in ("starting", "running"):
        for uri in filter(versions.found_bad, body.desired.models):
            away = admission.without(record)
            yield f"{uri} serves, and its last check found it bad: {away}; `%models show {uri}` shows why"


def _notes(body: EndpointRecord, seen: _Seen) -> Iterator[str]:
    if body.canary and not body.champion:
        yield NO_CHAMPION
    if (lost := body.rolled_back) and not (lost.by == BY_ENDPOINT and body.problem):
        at = time.strftime("%H:%M:%S", time.localtime(lost.at))
        yield f"{lost.model} was rolled back at {at} by {lost.by}: {lost.reason}"
    if body.problem:
        yield _one_line(body.problem)
    if body.grpc_port is not None and not body.grpc_url and seen.word == "running" and seen.url:
        yield "it does not speak gRPC at this moment: its output says why, see `%deploy log NAME`; over HTTP it answers"
    yield from _held_step(body)
    if (problem := body.report_problem) and body.is_open:
        yield f"{problem.why}; first at {log_time(problem.since)}; {problem.fix}"
    yield from seen.notes
    if seen.log_lost_rows:
        yield f"{seen.log_lost_rows} predicted rows could not be logged"


def _held_step(body: EndpointRecord) -> Iterator[str]:
    """What holds the canary's next step up, whatever its evidence says."""
    if not (body.canary and body.champion and body.steps):
        return
    if end := freeze.frozen_until():
        yield f"no step is taken until {end:%a %Y-%m-%d %H:%M}: the setting {freeze.SETTING}"
    if body.steps[0] >= 1 and (problem := versions.objection(body.canary)):
        yield f"its last step waits: {problem.what}; {problem.fix}"


def _state_notes(body: EndpointRecord, state: State) -> Iterator[str]:
    if state.restarts:
        what = "its process died and was started" if body.is_ours else f"{body.on} started it"
        yield f"{what} again {show_restarts(state.restarts, state.restarted_at)}"
    elif state.is_live and state.detail:
        yield f"it is {state.word}: {state.detail}"


def _serving_notes(body: EndpointRecord, now: Serving) -> Iterator[str]:
    if now.generation and not now.url:
        yield "it cannot be asked from here: use it where it runs, or start one here by another name"
    if now.problem and now.problem != body.problem:
        yield _one_line(now.problem)


def _one_line(problem: str) -> str:
    return problem.replace("\n  ", "; ")


def _answer(prediction: dict[str, Any]) -> Any:
    from ..features.contract import ROW_ID

    if "error" in prediction:
        return None
    outputs = {name: value for name, value in prediction.items() if name != ROW_ID}
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _plain(value: Any) -> Any:
    """A value out of a data frame as JSON has it."""
    if hasattr(value, "item"):
        value = value.item()
    return None if value is None or value != value else value  # noqa: PLR0124  # only NaN differs from itself
