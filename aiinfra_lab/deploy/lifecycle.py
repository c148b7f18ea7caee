"""Bringing an endpoint up, changing what it serves, waiting until it does, and ending it.

The record comes first, in one transaction with its event and with whatever the target needs; then the target applies
it. Of two that start one name at once, one wins and the other finds it alive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from ..config import context
from ..errors import Conflict, Denied, Failed, Interrupted, LabError, NotFound, Unavailable, UsageProblem
from ..files import until
from ..logs import last_problem
from ..providers import Patience, make, names
from ..resolve import resolve
from ..show import moment
from ..store import Event, LoggedEvent, Record, open_store, update
from ..units import show_duration
from . import desired_state, reports
from .asking import TARGET_S, side_by_side
from .base import PredictionLog, Reporting, Role, Serving, ServingOthers, State, Target
from .desired_state import ServeRequest
from .details import start_again
from .grpc.sidecar import check_installed
from .record import BY_ENDPOINT, OURS, DesiredState, EndpointRecord
from .versions import unbuilt

# For targets that do not say how long they take, see `Paced`.
READY_S = 60.0
STOP_S = 20.0
# A process more has to come up, which imports little.
GRPC_S = 10.0
# By whom and since when a version serves is looked for in so many events.
_EVENTS_SEEN = 50

Stored = Record[EndpointRecord]

_log = logging.getLogger(__name__)


class Overtaken(Conflict):
    """Somebody else started it, or wrote its record, at the same moment."""


def find(name: object) -> Stored:
    """The endpoint's record; NotFound with a suggestion."""
    return resolve(name, EndpointRecord)


def target_of(record: Stored) -> Target:
    """Where the endpoint runs."""
    return _target(record.body.on, record.name)


def _target(on: str, name: str) -> Target:
    if on not in names("deploy.target"):
        raise NotFound(
            f"{name} runs on {on}, which no package that is installed brings",
            f"install its package again to ask or end it; `%deploy stop {name}` forgets it here, and it goes on there",
        )
    target: Target = make("deploy.target", on)
    return target


def written(record: Stored) -> None:
    """Have what was answered by now logged and counted where others read it, as far as its target can be asked to."""
    target = target_of(record)
    if isinstance(target, PredictionLog):
        with contextlib.suppress(LabError):
            target.predictions(record.body.job, record.body.log_dir, 0)


def newest_events(record: Stored, most: int) -> tuple[list[LoggedEvent], bool]:
    """What happened to the endpoint, the newest first, and whether that is all of it."""
    asked = most + 1
    while True:
        naming = list(open_store().events(naming=record.uri, last=asked))
        # A check for drift and the like name it too, and are no history of its own.
        own = [item for item in naming if item.event.subject == record.uri][::-1]
        if len(own) > most or len(naming) < asked:
            return own[:most], len(own) <= most
        asked *= 4


# ---- observing ----


def observe_all(records: Sequence[Stored], target: Target | None = None) -> list[tuple[Stored, State | LabError]]:
    """Each with its state, or with why its target cannot be asked.

    Ends that are found are written down, at once, and so is what another's target counted, judged and rolled back.

    target: where all of them run, for whoever has it already.
    """
    found = _states(records, target)
    live = [record for record, state in found if isinstance(state, State) and state.is_live]
    reported = reports.bring_in([(record, target or target_of(record)) for record in live if not record.body.is_ours])
    return [(reported.get(record.name, record), state) for record, state in found]


def _states(records: Sequence[Stored], target: Target | None) -> list[tuple[Stored, State | LabError]]:
    """Each with its state, or with why its target cannot be asked; ends that are found are written down."""
    # One question for each target: a workspace may list many endpoints, and a cloud answers for all at once.
    asked: dict[str, State | LabError] = {}
    by_target: dict[str, list[Stored]] = {}
    for record in records:
        if record.body.is_open:
            by_target.setdefault(record.body.on, []).append(record)
    questions = {on: partial(_ask, on, those, target) for on, those in by_target.items()}
    for on, states in side_by_side("observe", questions, TARGET_S).items():
        asked |= dict.fromkeys(_names(by_target[on]), states) if isinstance(states, LabError) else states
    found = [(record, asked.get(record.name) or _final(record.body)) for record in records]
    ended = _written(_with_end(record, state) for record, state in found if _has_ended(record, state))
    return [(ended.get(record.name, record), state) for record, state in found]


def _names(records: Iterable[Stored]) -> list[str]:
    return [record.name for record in records]


def observe(record: Stored, target: Target | None = None) -> tuple[Stored, State]:
    """The endpoint and its state. Unavailable, or whatever the target raises, when it cannot be asked."""
    [(record, state)] = observe_all([record], target)
    if isinstance(state, LabError):
        raise state
    return record, state


def _ask(on: str, records: Sequence[Stored], target: Target | None) -> dict[str, State | LabError]:
    target = target or _target(on, records[0].name)
    states = target.observe([record.body.job for record in records])
    return {record.name: _as_requested(record.body, states.get(record.body.job, State("lost"))) for record in records}


def _as_requested(body: EndpointRecord, state: State) -> State:
    """Of one that was asked to end: it does so, whether its target has heard of it or not, and has when it is gone."""
    if body.stop_requested_at is None:
        return state
    return dataclasses.replace(state, word="stopping" if state.is_live else "stopped")


def _final(body: EndpointRecord) -> State:
    """What was written when the end was observed."""
    return State(body.outcome or "lost", body.restarts, body.detail, body.ended_at)


def _has_ended(record: Stored, state: State | LabError) -> bool:
    return record.body.is_open and isinstance(state, State) and not state.is_live


def _with_end(record: Stored, state: State | LabError) -> Stored:
    assert isinstance(state, State)
    return record.of(_ended(record.body, state))


def _ended(body: EndpointRecord, state: State) -> EndpointRecord:
    outcome = state.word
    assert outcome in ("stopped", "failed", "lost")
    ended_at = body.ended_at or state.ended_at or time.time()
    body = replace(body, outcome=outcome, detail=state.detail, restarts=state.restarts, ended_at=ended_at)
    return replace(body, stopped_at=body.stopped_at or ended_at) if body.stop_requested_at else body


def _written(records: Iterable[Stored]) -> dict[str, Stored]:
    ended = list(records)
    # A store that may not be written now, or a record that changed meanwhile: whoever looks next observes it again.
    with contextlib.suppress(LabError):
        if ended:
            return {record.name: record for record in open_store().commit(ended)}
    return {}


# ---- starting and changing ----


def bring_up(name: str, before: Stored | None, request: ServeRequest, on: str, port: int | None) -> tuple[Stored, str]:
    """Start an endpoint that is not live. Overtaken when another starts it at this moment."""
    target: Target = make("deploy.target", on)
    _check(request, target, on)
    body, note = desired_state.fresh(before.body if before else None, request)
    body = body if on == OURS else replace(body, grpc_port=None)  # another's server is spoken to as it wishes
    _check_grpc(body)
    claim = target.claim(name, port)
    body = replace(body, on=on, job=claim.id, port=claim.port, log_dir=claim.log_dir, context=context())
    record = Record(EndpointRecord.kind, name, body, before.rev if before else 0)
    try:
        *_, record = open_store().commit([*claim.records, record], _started(record, request))
    except Conflict:
        target.stop(claim.id, 0)  # nothing was committed, so nobody else would ever forget it
        raise Overtaken(f"another {name} is started at this moment", "repeat in a moment") from None
    except LabError:  # a full disk, a store that is away
        with contextlib.suppress(LabError):
            target.stop(claim.id, 0)
        raise
    try:
        target.apply(claim.id, body.desired)
    except LabError as problem:
        _give_up(record, target, problem)
        raise
    return record, note


def change(record: Stored, request: ServeRequest, on: str | None, port: int | None) -> tuple[Stored, str]:
    """Change what a live endpoint serves; without an event when nothing changes."""
    body, target = record.body, target_of(record)
    if port not in (None, 0, body.port) and body.port:
        raise Conflict(
            f"{record.name} is running and listens on port {body.port}",
            f"stop it first: `%deploy stop {record.name}`",
        )
    if on not in (None, body.on):
        raise Conflict(f"{record.name} is running on {body.on}", f"stop it first: `%deploy stop {record.name}`")
    _check(request, target, body.on)
    new, note = desired_state.updated(body, request)
    if request.grpc:
        _check_grpc(new)
    if new.generation == body.generation:
        target.apply(body.job, body.desired)  # whoever committed it may have died before applying it
        return record, note
    replaced = replaced_by(record, new)
    event = _started(record.of(new), request, replaced.detail if replaced else {})

    def decide(now: EndpointRecord) -> EndpointRecord:
        # What is said and recorded of the change is true of what was seen: with another's in between it is seen anew.
        if now.generation != body.generation:
            raise Overtaken(f"{record.name} was changed by somebody else at this moment", "repeat in a moment")
        return desired_state.updated(now, request)[0]

    return reconcile(record, decide, event), str(replaced) if replaced else note


def is_changed(record: Stored, request: ServeRequest) -> bool:
    """Whether the request changes what the endpoint is to serve. UsageProblem when its target cannot do that."""
    _check(request, target_of(record), record.body.on)  # said first: what else is in the way need not be mended
    return desired_state.updated(record.body, request)[0].generation != record.body.generation


def reconcile(record: Stored, decide: Callable[[EndpointRecord], EndpointRecord], event: Event) -> Stored:
    """Commit a change of what is to be served, and have the target apply it; taken back when it refuses."""
    before = record.body.desired
    # Committed first: should this process die before it is applied, the next change or start applies it.
    record = update(open_store(), EndpointRecord, record.name, decide, event)
    try:
        target_of(record).apply(record.body.job, record.body.desired)
    except LabError as problem:
        _take_back(record, before, problem)
        raise
    return record


def running(name: object) -> Stored:
    """An endpoint that can be changed; NotFound when there is none, Unavailable when it has ended or is about to."""
    record, state = observe(find(name))
    if not state.is_live or record.body.stop_requested_at:
        again = start_again(record.name, record.body.on, record.body.champion or record.body.canary)
        raise Unavailable(f"{record.name} is not running", f"start it: `{again}`")
    return record


@dataclasses.dataclass(frozen=True)
class Replacement:
    """What a change takes all traffic from, and who had given it that, as far as the last events tell."""

    name: str
    replaces: str
    model: str
    ends_canary: str
    undo: str
    started: LoggedEvent | None

    @property
    def detail(self) -> dict[str, Any]:
        """As the event of the change keeps it."""
        by = {"served_since": self.started.at, "started_by": self.started.actor} if self.started else {}
        return {"replaces": self.replaces, **by}

    def __str__(self) -> str:
        seen = self.started
        since = f" since {moment(seen.at)}, started by {seen.actor}" if seen else ""
        canary = f", and ends its canary {self.ends_canary}" if self.ends_canary else ""
        return (
            f"{self.name} served {self.replaces}{since}; this replaces it with {self.model} for all traffic{canary}; "
            f"undo: `{self.undo}`"
        )


def replaced_by(record: Stored, new: EndpointRecord) -> Replacement | None:
    """What loses all traffic when the record changes to that; None when nothing that served does."""
    body = record.body
    lost, model = body.champion or body.canary, new.champion
    if model is None or new.canary or lost in (None, model):
        return None
    ended = body.canary if body.champion and body.canary != model else None
    undo = f"%deploy rollback {record.name}" if new.earlier else start_again(record.name, body.on, lost)
    return Replacement(record.name, str(lost), model, ended or "", undo, _giving(record, str(lost)))


def _giving(record: Stored, model: str) -> LoggedEvent | None:
    """The event since which the version serves, of the last ones."""
    found = None
    for item in newest_events(record, _EVENTS_SEEN)[0]:
        event = item.event
        if event.verb == "deploy stop" or (event.verb == "deploy rollback" and model in event.inputs):
            break
        gives = {event.detail.get("champion"), event.detail.get("canary"), *event.inputs}
        if event.verb != "deploy rollback" and model not in gives:
            break
        found = item
    return found


# ---- waiting ----


class NotServingYet(Unavailable):
    """The time to wait is over, and what is to be served still is."""


def wait(record: Stored, before: DesiredState | None = None, within_s: float | None = None) -> Stored:
    """Wait until the endpoint serves the record's generation, or a later one, and return its record.

    Failed with the reason when it cannot, NotServingYet when it takes too long. Ctrl-C ends only the waiting.

    before: what it served until then; it is to serve that again when the target cannot serve the new one
    within_s: for how long; by default for as long as its target says that it takes
    """
    name, generation, first = record.name, record.body.generation, target_of(record)
    patience = Patience.of(first, "ready", READY_S)
    patience = patience if within_s is None else patience._replace(within_s=within_s)

    def serving() -> Stored | None:
        now = find(name)
        # Somebody may have stopped it meanwhile, and started it on another target.
        target = first if now.body.on == record.body.on else target_of(now)
        served = target.serving(now.body.job)
        if served.generation != generation:  # one that was refused is followed by another, which takes it back
            _raise_problem(now, target, served, generation, before)
        return _with_url(name, served.url) if served.generation >= generation else None

    def late() -> NotServingYet:
        return NotServingYet(
            f"{name} does not serve after {show_duration(patience.within_s)}: it still {_work(record.body)}",
            f"it goes on by itself: `%deploy show {name}` says whether it serves, `%deploy log {name}` what it printed",
        )

    try:
        return until(serving, late, **patience._asdict())
    except KeyboardInterrupt:
        raise Interrupted(
            f"you stopped waiting; {name} goes on",
            f"look with `%deploy show {name}`; end it with `%deploy stop {name}`",
        ) from None


def await_grpc(record: Stored) -> Stored:
    """Wait until an endpoint that serves speaks gRPC too, if it shall. NotServingYet when it takes too long."""

    def speaking() -> Stored | None:
        now = find(record.name)
        return now if now.body.grpc_port is None or now.body.grpc_url else None

    if not record.body.url:  # it is elsewhere, and so is this
        return record
    problem = NotServingYet(
        f"{record.name} does not speak gRPC after {show_duration(GRPC_S)}, and answers over HTTP",
        f"`%deploy log {record.name}` says why; it is tried again and again",
    )
    return until(speaking, problem, within_s=GRPC_S)


def _work(body: EndpointRecord) -> str:
    """What is to be done before it serves."""
    waiting = [uri for uri in body.desired.models if unbuilt(uri)] if body.is_ours else []
    if waiting:
        return f"builds the environment of {waiting[0]}, with {unbuilt(waiting[0])}"
    return f"loads {' and '.join(body.desired.models)}"


def _with_url(name: str, url: str) -> Stored:
    """The record, with the address that the endpoint was found at; with none, unwritten, where it cannot be asked."""
    if not url:
        record = find(name)
        return record.of(replace(record.body, url=""))
    return update(open_store(), EndpointRecord, name, lambda body: replace(body, url=url) if url != body.url else None)


def _raise_problem(
    record: Stored, target: Target, served: Serving, generation: int, before: DesiredState | None
) -> None:
    """Failed when this very generation cannot be served, or the endpoint has ended."""
    if served.problem_generation == generation and served.problem:
        what, _, fix = served.problem.partition("\n  fix: ")
        problem = Failed(what, fix or "choose another version")
        # Read again: what serves an earlier version in its place writes that together with the problem.
        is_current = find(record.name).body.generation == generation
        if not served.generation and is_current:
            _give_up(record, target, problem)  # it would try again and again
        elif is_current and before:
            _take_back(record, before, problem)
        raise problem
    [(_, state)] = _states([record], target)
    if isinstance(state, LabError):
        raise state
    if not state.is_live:
        last = last_problem(target.output(record.body.job, 5)) or "it printed nothing"
        raise Failed(f"the endpoint ended before it served: {last}", f"`%deploy log {record.name}` shows its output")


def _take_back(record: Stored, before: DesiredState, problem: LabError) -> None:
    """What was served before is to be served again, unless somebody has asked for something else meanwhile."""
    generation = record.body.generation
    event = rejection(record.uri, record.body.desired, before, problem)

    def change(body: EndpointRecord) -> EndpointRecord | None:
        return desired_state.back_to(body, before, str(problem)) if body.generation == generation else None

    record = update(open_store(), EndpointRecord, record.name, change, event)
    with contextlib.suppress(LabError):  # the first problem is the one that the caller raises
        target_of(record).apply(record.body.job, record.body.desired)


def rejection(uri: str, refused: DesiredState, kept: DesiredState, problem: LabError) -> Event:
    """The event of an endpoint that cannot serve what it should, and goes on with what it serves."""
    detail = {"reason": problem.what, "by": BY_ENDPOINT, "kept": list(kept.models)}
    return Event("deploy rollback", uri, inputs=refused.models, outputs=(uri,), detail=detail)


# ---- ending ----


def end(record: Stored) -> Stored:
    """End the endpoint and write that it was ended; returns when it is gone."""
    try:
        target = target_of(record)
    except NotFound as problem:
        return _forgotten(record, problem)
    record, state = observe(record, target)
    if record.body.stopped_at and not record.body.is_open:
        return _acknowledged(record)
    record = request_stop(record) if state.is_live else record
    # Also when it was found dead: its target may be about to bring it back.
    target.stop(record.body.job, _ended_within_s(target))
    return update(open_store(), EndpointRecord, record.name, lambda body: _stopped(body, state))


def _forgotten(record: Stored, problem: NotFound) -> Stored:
    """Written as lost: nobody can end it, nor tell whether it goes on."""
    lost = State("lost", detail=problem.what)
    event = Event("deploy stop", record.uri, record.body.desired.models, (record.uri,), {"reason": problem.what})
    return update(open_store(), EndpointRecord, record.name, partial(_stopped, before=lost), event)


def _acknowledged(record: Stored) -> Stored:
    """One that was ended since it could serve nothing is as good as stopped for whoever stops it."""
    if record.body.outcome != "failed":
        return record
    return update(open_store(), EndpointRecord, record.name, lambda body: replace(body, outcome="stopped", detail=""))


def _ended_within_s(target: Target) -> float:
    """How long its end may take; what a target says of that wrongly keeps nothing running."""
    try:
        return Patience.of(target, "ended", STOP_S).within_s
    except LabError as problem:
        _log.warning("%s; fix: %s", problem.what, problem.fix)
        return STOP_S


def request_stop(record: Stored) -> Stored:
    """Write down that the endpoint is to end, before its target is asked; when that is written already: nothing.

    Where nothing can be written its target is to be asked all the same.
    """
    event = Event("deploy stop", record.uri, record.body.desired.models, (record.uri,))

    def change(body: EndpointRecord) -> EndpointRecord | None:
        is_new = body.is_open and body.job == record.body.job and body.stop_requested_at is None
        return replace(reports.counted(body, record.body), stop_requested_at=time.time()) if is_new else None

    with contextlib.suppress(Denied, Unavailable):
        return update(open_store(), EndpointRecord, record.name, change, event)
    return record


def _stopped(body: EndpointRecord, before: State) -> EndpointRecord | None:
    """The record with its end; None when it has that already."""
    now = time.time()
    end = State("stopped", before.restarts, ended_at=now) if before.is_live else before
    if body.stopped_at and not body.is_open:
        return None
    body = _ended(body, end) if body.is_open else body
    return replace(body, stopped_at=body.stopped_at or now)


def _give_up(record: Stored, target: Target, problem: LabError) -> None:
    """End what cannot serve anything: it has failed, although it was ended."""
    with contextlib.suppress(LabError):  # why it cannot serve is what the caller raises
        target.stop(record.body.job, _ended_within_s(target))
    end = State("failed", detail=problem.what, ended_at=time.time())
    update(open_store(), EndpointRecord, record.name, lambda body: _stopped(body, end))


def _check(request: ServeRequest, target: Target, on: str) -> None:
    """UsageProblem when the target cannot do what is asked for."""
    if request.rollback_if and not isinstance(target, Reporting):
        raise UsageProblem(
            f"{on} counts nothing by version, so that --rollback-if has nothing to judge by",
            "leave it out, and take the canary off with `%deploy rollback`; or choose another target with --on",
        )

    asked: dict[Role, bool] = {"candidate": bool(request.candidate), "shadow": bool(request.shadow)}
    served = target.other_roles() if isinstance(target, ServingOthers) else ()
    for role, is_asked in asked.items():
        if is_asked and role not in served:
            raise UsageProblem(f"{on} serves no {role}", f"leave --{role} out, or choose another target with --on")
    if request.grpc and on != OURS:
        raise UsageProblem(f"{on} takes no --grpc", f"leave it out, or start another endpoint with --on {OURS}")
    if request.steps and on != OURS:
        raise UsageProblem(
            f"{on} takes no --steps", "leave them out, and start the canary again with a larger share when it is due"
        )


def _check_grpc(body: EndpointRecord) -> None:
    """Missing when it shall speak gRPC, and nothing here can."""
    if body.grpc_port is not None:
        check_installed()


def _started(record: Stored, request: ServeRequest, more: Mapping[str, Any] = MappingProxyType({})) -> Event:
    body = record.body
    detail: dict[str, Any] = {
        "champion": body.champion,
        "canary": body.canary,
        "share": body.share,
        "others": {arm.model: arm.role for arm in body.others},
        "rollback_if": str(body.rollback_if or ""),
        "generation": body.generation,
        "grpc": body.grpc_port is not None,
        **more,
    }
    return Event("deploy start", record.uri, (request.model,), (record.uri,), detail)
