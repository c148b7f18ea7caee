"""Endpoints: a model version behind HTTP, a canary beside it, and the way back."""

from __future__ import annotations

from typing import Annotated, Any

from ..errors import Conflict, Failed, LabError
from ..files import retry
from ..show import Listing
from ..store import Event, Record, open_store
from ..units import Duration, Share, number
from ..uris import Uri, check_name
from ..verbs import Choices, Live, Rows, verb
from . import lifecycle, orders, results
from .results import Endpoint, Load, Log, Served

__all__ = [
    "Endpoint", "Load", "Log", "Served",
    "get", "log", "ls", "promote", "rollback", "run", "show", "start", "stop",
]  # fmt: skip

Name = Annotated[str, Live("deploy")]


def _places() -> list[str]:
    from ..providers import names

    return names("deploy.target")


@verb("deploy")
def start(
    name: Name,
    *,
    model: Annotated[str, Live("models")],
    canary: Share | None = None,
    rollback_if: str = "",
    port: int | None = None,
    on: Annotated[str, Choices(_places)] | None = None,
    wait: bool = True,
) -> Endpoint:
    """Start an endpoint with a model version, or change what a live one serves.

    It answers on 127.0.0.1 only. A live endpoint swaps versions without losing a request: with --canary the version
    is tried beside the champion, without it takes all traffic at once. A version that was found bad serves nobody.

    name: what to call the endpoint
    model: the version, e.g. models:delay@7; an alias is resolved now and not followed
    canary: the share of keys that this version gets, e.g. 5%; without a champion it gets all
    rollback_if: when the canary loses its traffic again, e.g. "p95_ms > 80 or errors > 1%"
    port: where it listens; by default a free one, kept over restarts
    on: the provider
    wait: return when the version is live
    """
    from ..providers import chosen
    from . import gate, versions

    check_name(_name(name))
    uri = versions.resolve(model)
    doubt = gate.may_serve(uri)
    wish = orders.Wish(uri, number(canary), rollback_if)
    where = on or chosen("deploy.target")
    record, note = _start(_name(name), wish, on, where, port)
    if wait:
        record = lifecycle.wait(record.name, record.body["generation"])
    resolved = f"{Uri.parse(model, noun='models')} is {uri}" if str(Uri.parse(model, noun="models")) != uri else ""
    alias = "" if record.body["canary"] else versions.alias_elsewhere(_name(name), uri)
    return _seen(record, resolved, note, doubt, alias)


@verb("deploy")
def stop(name: Name) -> Endpoint:
    """Stop an endpoint: it answers what it has taken; returns when its process is gone.

    name: the endpoint
    """
    return _seen(lifecycle.end(lifecycle.find(_name(name))))


@verb("deploy")
def ls() -> Listing:
    """List the endpoints, newest first."""
    found = sorted(open_store().list("deploy"), key=lambda record: record.body["started_at"], reverse=True)
    header = ("uri", "state", "champion", "canary", "count", "url")
    empty = "there is none yet: `%deploy start NAME --model models:NAME@N`"
    return Listing("deploy", tuple(_seen(record) for record in found), header, empty)


@verb("deploy")
def show(name: Name) -> Endpoint:
    """Show an endpoint: its versions with their traffic, errors and latencies, and what its rollback rule says.

    name: the endpoint
    """
    return _get(name)


@verb("deploy")
def get(name: Name) -> Endpoint:
    """Get an endpoint's handle, which has `.url` and `.predict(rows)`.

    name: the endpoint
    """
    return _get(name)


@verb("deploy")
def log(name: Name, *, rows: int = 20) -> Log:
    """Show the newest predicted rows, what happened to the endpoint, and its process's output.

    name: the endpoint
    rows: how many rows
    """
    from ..show import shown
    from .server import predictions_log

    record = lifecycle.find(_name(name))
    uri = f"deploy:{record.name}"
    events = [item for item in open_store().events() if item.event.subject == uri][::-1]
    told = tuple(f"{shown('x_at', item.at)}  {item.event.verb}  {_why(item.event)}".rstrip() for item in events)
    newest = predictions_log.newest(lifecycle.settled_log(record), max(rows, 0))
    output = lifecycle.place_of(record).output(record.body["job"], 50)
    return Log(uri, tuple(newest), told, output, record.body["log_dir"])


@verb("deploy")
def promote(name: Name) -> Endpoint:
    """Give the canary all traffic, then make it the model's champion; again, it changes nothing.

    It must have been found good, and its rule, where it has one, must have seen requests of it.

    name: the endpoint
    """
    from .. import models
    from . import gate, versions

    record = lifecycle.running(_name(name))
    wanted = orders.promoted(record.body)
    model = wanted["champion"]
    note = gate.may_take_all(record, model)

    def decide(body: dict[str, Any]) -> dict[str, Any]:
        new = orders.promoted(body)
        if new["champion"] != model:
            raise Failed(f"{model} is no longer the canary of {record.name}", f"look: `%deploy show {record.name}`")
        return new

    if wanted["generation"] != record.body["generation"]:
        event = Event("deploy promote", f"deploy:{record.name}", (model,), (f"deploy:{record.name}",))
        record = lifecycle.order(record, decide, event)
    record = lifecycle.wait(record.name, record.body["generation"])
    try:
        models.promote(model)
    except LabError as problem:
        raise Failed(f"{model} has all traffic, but not the alias: {problem.what}", problem.fix) from problem
    return _seen(record, f"{model} serves all traffic", versions.alias_means(model), note)


@verb("deploy")
def rollback(name: Name) -> Endpoint:
    """Take the canary's traffic away; without a canary, go back to the champion before this one, alias included.

    name: the endpoint
    """
    from . import versions

    record = lifecycle.running(_name(name))
    _, gone, note = orders.rolled_back(record.body)
    was_champion = gone == record.body["champion"]
    told = {"reason": "ordered", "by": "rollback"}
    event = Event("deploy rollback", f"deploy:{record.name}", (gone,), (f"deploy:{record.name}",), told)
    record = lifecycle.order(record, lambda body: orders.rolled_back(body)[0], event)
    record = lifecycle.wait(record.name, record.body["generation"])
    alias = versions.alias_back(gone, record.body["champion"]) if was_champion else ""
    return _seen(record, note, alias)


@verb("deploy")
def run(name: Name, *, rows: Rows, rate: float = 50.0, for_: Duration = 10.0, batch: int = 1) -> Load:
    """Send real rows to an endpoint at a steady rate, and say what came back.

    name: the endpoint
    rows: features:…, data:… (taken through the model's features first), a file, a DataFrame; sent again and again
    rate: requests a second
    for: for how long
    batch: rows in a request
    """
    from . import visits

    record = lifecycle.running(_name(name))
    return visits.pay(lifecycle.wait(record.name, record.body["generation"]), rows, rate, number(for_), batch)


def _start(name: str, wish: Any, on: str | None, where: str, port: int | None) -> tuple[Record, str]:
    """Bring it up or change it; again when somebody else was faster."""

    def step() -> tuple[Record, str]:
        record = open_store().get("deploy", name)
        # One look decides: with a second one, a process that ends in between would be given an order.
        state = lifecycle.place_of(record).observe(record.body["job"]) if record is not None else None
        if record is not None and state is not None and state.live:
            if state.word != "stopping":
                return lifecycle.change(record, wish, on, port)
            record = lifecycle.end(record)
        return lifecycle.bring_up(name, record, wish, where, port)

    problem = Conflict(f"{name} is started and stopped all the time by somebody else", "repeat in a moment")
    return retry(step, problem, on=lifecycle.Overtaken, attempts=20)


def _name(words: str) -> str:
    return Uri.parse(words, noun="deploy").name


def _get(name: str) -> Endpoint:

    return _seen(lifecycle.find(_name(name)))


def _seen(record: Record, *said: str) -> Endpoint:

    return results.endpoint(record, lifecycle.place_of(record).observe(record.body["job"]), *said)


def _why(event: Event) -> str:
    """What an event was about, in a few words."""
    detail = event.detail
    return str(detail.get("reason") or detail.get("canary") or detail.get("champion") or ", ".join(event.inputs))
