"""Endpoints: a model version behind HTTP, a canary beside it, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..errors import Conflict, Failed, LabError, UsageProblem, did_you_mean
from ..show import Listing, log_time, working
from ..store import Event, Record, open_store
from ..units import Duration, Share, number, parse_share
from ..uris import Uri
from ..verbs import Choices, Destination, Live, Name, Rows, verb
from . import desired_state, freeze, lifecycle, results
from .record import EndpointRecord
from .results import Endpoint, Exported, Load, Log, Served
from .versions import artifact

__all__ = [
    "Endpoint", "Exported", "Load", "Log", "Served",
    "export", "get", "log", "ls", "promote", "rollback", "run", "show", "start", "stop",
]  # fmt: skip

EndpointName = Annotated[Name, Live("deploy")]


# So often somebody else may start or stop the same name at the same moment.
_ATTEMPTS = 20


def _rules() -> list[str]:
    return ["p95_ms > 80", "errors > 1%", "p95_ms > 80 or errors > 1%"]


def _steps() -> list[str]:
    return ["5%,25%,100%"]


def _formats() -> list[str]:
    from ..providers import names

    return names("deploy.exporter")


def _targets() -> list[str]:
    from ..providers import names

    return names("deploy.target")


@verb("deploy")
def start(
    name: EndpointName,
    *,
    model: Annotated[Name, Live("models")],
    canary: Share | None = None,
    rollback_if: Annotated[str, Choices(_rules, is_open=True)] | None = None,
    steps: Annotated[str, Choices(_steps, is_open=True)] | None = None,
    bake: Duration = 3600.0,
    candidate: Share | None = None,
    shadow: Annotated[str, Live("models")] | None = None,
    port: int | None = None,
    grpc: bool | None = None,
    on: Annotated[str, Choices(_targets)] | None = None,
    wait: bool = True,
    force: bool = False,
    within: Duration | None = None,
) -> Endpoint:
    """Start an endpoint with a model version, or change what a live one serves.

    On this machine it answers on 127.0.0.1 only. A live endpoint swaps versions without losing a request: with
    --canary the version is tried beside the champion, without it takes all traffic at once. A version that was found
    bad serves nobody.

    name: what to call the endpoint
    model: the version, e.g. models:delay@7; an alias is resolved now and not followed
    canary: the share of keys that this version gets, e.g. 5%; without a champion it gets all
    rollback_if: when the canary loses its traffic again, e.g. "p95_ms > 80 or errors > 1%"
    steps: how the share grows by itself while the canary is shown to be as good, e.g. 5%,25%,100%; without, it stays
    bake: how long each step lasts at least
    candidate: the share of keys that this version gets to be compared (A/B), for as long as you wish; 0 ends it
    shadow: a version that is asked what the others are and answers nobody; `none` ends it
    port: where it listens; by default a free one, kept over restarts
    grpc: speak gRPC too, the Open Inference Protocol, on a port of its own; kept over restarts until --no-grpc
    on: the provider
    force: change a live endpoint in a freeze window too, see the setting deploy.freeze
    wait: return when the version is live, or after a minute (as long as the provider says) with what is known
    within: wait at most for so long, and fail when it is not live by then, for a pipeline that goes on with it

    Example:
        %deploy start late --model models:delay@champion
    """
    from ..providers import chosen
    from ..stats.bounds import parse_bounds
    from . import admission, preview, versions

    called = Uri.parse(name, noun="deploy").name
    uri = versions.resolve(model)
    doubt = admission.may_serve(uri)
    rule = None if rollback_if is None else parse_bounds(rollback_if)
    shares = tuple(map(parse_share, steps.split(","))) if steps else ()
    bake_s = number(bake) if shares else 0.0
    asked_shadow = None if shadow is None else "" if shadow == "none" else versions.resolve(shadow)
    request = desired_state.ServeRequest(
        uri, number(canary), rule, shares, bake_s, number(candidate), asked_shadow, grpc, called
    )
    late = ""
    with working(results.KIND, str(Uri("deploy", called)), f"starts with {uri}") as step:
        before, record, note = _start(called, request, on, on or chosen("deploy.target"), port, force=force)
        packages = versions.unbuilt(uri) if record.body.is_ours else ""
        step(f"builds the environment of {uri}, with {packages}" if packages else f"is loading {uri}")
        try:
            if wait:
                before_it = before.body.desired if before else None
                record = lifecycle.wait(record, before_it, None if within is None else number(within))
                record = lifecycle.await_grpc(record)
        except lifecycle.NotServingYet as problem:
            if within is not None:
                raise
            late = f"{problem.what}; {problem.fix}"  # what was asked for stands, and nothing has failed
    asked = str(Uri.parse(model, noun="models"))
    resolved = f"{asked} is {uri}" if asked != uri else ""
    alias = "" if record.body.champion != uri else versions.alias_differs(called, uri)
    models = record.body.desired.models
    is_overtaken = uri not in models and not (record.body.rolled_back and record.body.rolled_back.model == uri)
    lost = f"meanwhile {uri} was replaced: `%deploy log {called}` says by whom" if is_overtaken else ""
    return _seen(
        record, late, lost, resolved, note, doubt, alias, preview.differs(record.body), preview.note(record.body)
    )


@verb("deploy")
def stop(name: EndpointName) -> Endpoint:
    """Stop an endpoint: it answers what it has taken; returns when it is gone.

    name: the endpoint

    Example:
        %deploy stop late
    """
    record = lifecycle.find(name)
    with working(results.KIND, record.uri, "answers what it has taken, and then ends"):
        return _seen(lifecycle.end(record))


@verb("deploy")
def ls() -> Listing:
    """List the endpoints, newest first.

    Example:
        %deploy ls
    """
    records = open_store().list(EndpointRecord, skip_unreadable=True)
    records = sorted(records, key=lambda record: record.body.started_at, reverse=True)
    found = results.endpoints(lifecycle.observe_all(records))
    header = ("uri", "state", "champion", "canary", "count", "url")
    empty = "there is none yet: `%deploy start NAME --model models:NAME@N`"
    return Listing("deploy", tuple(found), header, empty, title="Endpoints")


@verb("deploy")
def show(name: EndpointName) -> Endpoint:
    """Show an endpoint: its versions with their traffic, errors and latencies, and what its rollback rule says.

    name: the endpoint

    Example:
        %deploy show late
    """
    record = lifecycle.find(name)
    return results.with_agreements(_seen(record), record)


@verb("deploy")
def get(name: EndpointName) -> Endpoint:
    """Get an endpoint's handle, which has `.url` and `.predict(rows)`.

    name: the endpoint

    Example:
        %deploy get late -o endpoint
    """
    return _seen(lifecycle.find(name))


@verb("deploy")
def log(name: EndpointName, *, rows: int = 20, events: int = 20) -> Log:
    """Show the newest predicted rows, what happened to the endpoint, and its process's output.

    name: the endpoint
    rows: how many rows
    events: at most this many events, the latest ones

    Example:
        %deploy log late --rows 5
    """
    from .base import PredictionLog

    if events < 1:
        raise UsageProblem(f"--events {events} shows none", "give a whole number from 1 on")
    if rows < 0:
        raise UsageProblem(f"--rows {rows} is no number of rows", "write 0, or a larger number")
    # Observed first: a rollback that another's target did is an event from then on.
    [(record, _)] = lifecycle.observe_all([lifecycle.find(name)])
    body, target = record.body, lifecycle.target_of(record)
    found, is_all = lifecycle.newest_events(record, events)
    lines = tuple(f"{log_time(item.at)}  {item.event.verb}  {_about(item.event)}".rstrip() for item in found)
    wider = f"`%deploy log {record.name} --events {4 * events}`"
    more = "" if is_all else f"these are the latest {events} events: {wider} shows more"
    output = target.output(body.job, 50)
    if not isinstance(target, PredictionLog):
        notes = (f"{body.on} keeps no log of predictions that can be read here",)
        return Log(record.uri, (), lines, output, "", notes, more)
    newest = target.predictions(body.job, body.log_dir, rows)
    return Log(record.uri, tuple(newest), lines, output, body.log_dir, more=more)


@verb("deploy")
def promote(name: EndpointName, *, force: bool = False) -> Endpoint:
    """Give the canary all traffic, then make it the model's champion; again, it changes nothing.

    It must have been found good, and its requests must have shown that it is not worse than the champion beside it.

    name: the endpoint
    force: also when that is not shown yet, or in a freeze window; the audit log keeps who did so

    Example:
        %deploy promote late
    """
    from .. import models
    from . import admission, versions

    record = lifecycle.running(name)
    before, wanted = record.body.desired, desired_state.promoted(record.body, record.name)
    if not force and wanted.generation != before.generation:
        freeze.refuse(record.name, "promote")
    model = str(wanted.champion)
    lifecycle.written(record)  # and judged: what was answered until now counts
    note = admission.may_take_all(record, model, force=force)

    def decide(body: EndpointRecord) -> EndpointRecord:
        # Once more, on the record as it is now: only what was admitted above may take all traffic.
        new = desired_state.promoted(body, record.name)
        if new.champion != model:
            raise Failed(f"{model} is no longer the canary of {record.name}", f"look: `%deploy show {record.name}`")
        return new

    if wanted.generation != before.generation:
        # The event's actor answers for what was not shown.
        detail = {"forced": True, "reason": note} if force and note else {}
        event = Event("deploy promote", record.uri, (model,), (record.uri,), detail)
        record = lifecycle.reconcile(record, decide, event)
    with working(results.KIND, record.uri, f"gives {model} all traffic"):
        record = lifecycle.wait(record, before)
    try:
        # The alias last: it must not mean a version that the endpoint then could not serve.
        models.promote(model)
    except LabError as problem:
        raise Failed(f"{model} has all traffic, but not the alias: {problem.what}", problem.fix) from problem
    return _seen(record, f"{model} serves all traffic", versions.alias_means(model), note)


@verb("deploy")
def rollback(name: EndpointName) -> Endpoint:
    """Take the canary's traffic away; without a canary, go back to the champion before this one, alias included.

    name: the endpoint

    Example:
        %deploy rollback late
    """
    from . import admission, versions

    record = lifecycle.running(name)
    before = record.body.desired
    otherwise = admission.replacement(record)
    _, lost, note = desired_state.rolled_back(record.body, otherwise)
    detail = {"reason": "ordered", "by": "rollback"}
    event = Event("deploy rollback", record.uri, (lost,), (record.uri,), detail)
    record = lifecycle.reconcile(record, lambda body: desired_state.rolled_back(body, otherwise)[0], event)
    with working(results.KIND, record.uri, f"takes the traffic from {lost}"):
        record = lifecycle.wait(record, before)
    alias = versions.alias_back(lost, str(record.body.champion)) if lost == before.champion else ""
    return _seen(record, note, alias)


@verb("deploy")
def run(
    name: EndpointName,
    *,
    rows: Rows,
    rate: float = 50.0,
    for_: Duration = 10.0,
    until_decided: bool = False,
    batch: int = 1,
) -> Load:
    """Send real rows to an endpoint at a steady rate, and say what came back.

    name: the endpoint
    rows: features:…, data:… (taken through the model's features first), a file, a DataFrame; sent again and again
    rate: requests a second
    for: for how long
    until_decided: end as soon as the verdict on its canary is known, and after --for at the latest
    batch: rows in a request

    Example:
        %deploy run late --rows data:flights --rate 20 --for 5s
    """
    from . import load_test

    record = lifecycle.wait(lifecycle.running(name))
    return load_test.run(record, rows, rate, number(for_), batch, until_decided=until_decided)


@verb("deploy")
def export(
    name: EndpointName, *, to: Annotated[str, Choices(_formats)] = "fastapi", into: Destination | None = None
) -> Exported:
    """Write a project of its own that serves what an endpoint does, and needs nothing of ours.

    It has the champion's network, typed requests and answers, health, metrics, a Dockerfile, and tests that run against
    the example that came with the model.

    name: the endpoint
    to: what it is written for
    into: a new folder, or an empty one; without, NAME-fastapi in the project

    Example:
        %deploy export late --to fastapi --into service
    """
    from ..config import settings
    from ..providers import make

    if to not in _formats():
        raise UsageProblem(f"nothing is exported to {to!r}", did_you_mean(to, _formats()))
    record = lifecycle.find(name)
    uri = record.body.champion or record.body.canary
    if uri is None:
        raise Conflict(f"{name} serves no version", f"start one: `%deploy start {name} --model models:NAME`")
    place = Path(into) if into else settings().project / f"{record.name}-{to}"
    make("deploy.exporter", to).write(record.name, uri, artifact(uri), place)
    count = sum(path.is_file() for path in place.rglob("*"))
    open_store().commit([], Event("deploy export", record.uri, (uri,), (), {"to": to, "into": str(place)}))
    return Exported(record.uri, uri, to, str(place), count)


def _start(
    name: str, request: desired_state.ServeRequest, on: str | None, target: str, port: int | None, *, force: bool
) -> tuple[Record[EndpointRecord] | None, Record[EndpointRecord], str]:
    """Bring it up or change it, again when somebody else was faster: what served before, what is to serve, a note."""
    for _ in range(_ATTEMPTS):
        record = open_store().get(EndpointRecord, name)
        if record is not None and record.body.is_open:
            record, state = lifecycle.observe(record)
            if state.word == "stopping":
                # It takes no other version any more: wait until it is gone, then start anew.
                lifecycle.end(record)
                continue
        try:
            if record is not None and record.body.is_open and state.is_live:
                if not force and lifecycle.is_changed(record, request):
                    freeze.refuse(name, "start")
                return record, *lifecycle.change(record, request, on, port)
            return None, *lifecycle.bring_up(name, record, request, target, port)
        except lifecycle.Overtaken:
            continue
    raise Conflict(f"{name} is started and stopped all the time by somebody else", "repeat in a moment")


def _seen(record: Record[EndpointRecord], *notes: str) -> Endpoint:
    return results.endpoint(*lifecycle.observe(record), *notes)


def _about(event: Event) -> str:
    """What an event was about, briefly."""
    detail = event.detail
    if detail.get("replaces"):
        return f"{detail['champion']} in place of {detail['replaces']}"
    return str(detail.get("reason") or detail.get("canary") or detail.get("champion") or ", ".join(event.inputs))
