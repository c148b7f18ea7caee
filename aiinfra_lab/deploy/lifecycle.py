"""Bringing an endpoint up, changing what it serves, waiting until it does, and ending it.

The record comes first, in one transaction with its event and with whatever the place needs; of two that start one
name at once, one wins and the other finds it alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import settings
from ..errors import Conflict, Failed, Interrupted, NotFound, Unavailable, UsageProblem, did_you_mean
from ..files import until
from ..logs import last_problem
from ..providers import make
from ..store import Event, Loose, Record, open_store, update
from . import client, orders
from .base import Target
from .orders import KIND
from .ports import bind

READY_S = 60.0
STOP_S = 20.0
SETTLE_S = 10.0


class Overtaken(Conflict):
    """Somebody else started it, or wrote its record, at the same moment."""


def find(name: str) -> Record:
    """The endpoint's record; NotFound with a suggestion."""
    record = open_store().get(KIND, name)
    if record is None:
        known = [item.name for item in open_store().list(KIND)]
        first = f"`%deploy start {name} --model models:NAME@N`"
        raise NotFound(f"there is no endpoint {name}", did_you_mean(name, known, first))
    return record


def place_of(record: Record) -> Target:
    """Where the endpoint runs."""
    provider: Target = make("deploy.target", record.body["on"])
    return provider


def is_live(record: Record | None) -> bool:
    """Whether its process lives, or is about to."""
    return record is not None and place_of(record).observe(record.body["job"]).live


def bring_up(name: str, before: Record | None, wish: orders.Wish, on: str, port: int | None) -> tuple[Record, str]:
    """Start an endpoint that is not live. Overtaken when another starts it at this moment."""
    place: Target = make("deploy.target", on)
    folder = settings().home / KIND / name / "log"
    chosen = _free_port(before, port)
    claim, records = place.claim(name, before.body["job"] if before else None)
    body, note = orders.fresh(
        before.body if before else None, wish, on=on, job=claim, url="", port=chosen, log_dir=str(folder)
    )
    event = Event("deploy start", f"deploy:{name}", (wish.model,), (f"deploy:{name}",), _detail(body))
    try:
        *_, record = open_store().commit([*records, Record(KIND, name, body, before.rev if before else 0)], event)
    except Conflict:
        place.forget(claim)
        raise Overtaken(f"another {name} is started at this moment", "repeat in a moment") from None
    place.start(claim)
    return record, note


def change(record: Record, wish: orders.Wish, on: str | None, port: int | None) -> tuple[Record, str]:
    """Change what a live endpoint serves; without an event when nothing changes."""
    body = record.body
    if port not in (None, 0, body["port"]) and body["port"]:
        raise Conflict(
            f"{record.name} is running and listens on port {body['port']}",
            f"stop it first: `%deploy stop {record.name}`",
        )
    if on not in (None, body["on"]):
        raise Conflict(f"{record.name} is running on {body['on']}", f"stop it first: `%deploy stop {record.name}`")
    place_of(record).start(body["job"])  # whoever claimed it may have died before starting it
    new, note = orders.updated(body, wish)
    if new["generation"] == body["generation"]:
        return record, note
    event = Event("deploy start", f"deploy:{record.name}", (wish.model,), (f"deploy:{record.name}",), _detail(new))
    return order(record, lambda now: orders.updated(now, wish)[0], event), note


def running(name: str) -> Record:
    """The record of an endpoint that takes orders; NotFound when there is none, Unavailable when it is not running."""
    record = find(name)
    if not is_live(record):
        last = record.body["champion"] or record.body["canary"] or "models:NAME@N"
        raise Unavailable(f"{name} is not running", f"start it: `%deploy start {name} --model {last}`")
    return record


def order(record: Record, decide: Callable[[Loose], Loose], event: Event) -> Record:
    """Commit a change of what is served."""
    return update(open_store(), KIND, record.name, decide, event)


def wait(name: str, generation: int) -> Record:
    """Wait until the endpoint serves what was ordered, and return its record.

    Failed with the reason when it cannot, Unavailable when it takes longer than READY_S. Ctrl-C ends only the waiting.
    """

    def serving() -> Record | None:
        record = find(name)
        ready = client.readiness(record.body["url"]) or {}
        serves = ready["generation"] if ready.get("ready") else -1
        if serves != generation:  # an order that was refused is followed by another, which takes it back
            _refuse_problem(record, generation)
        return find(name) if serves >= generation else None

    problem = Unavailable(f"{name} does not serve after {READY_S:g} s", f"look with `%deploy log {name}`")
    try:
        return until(serving, problem, within_s=READY_S)
    except KeyboardInterrupt:
        raise Interrupted(
            f"you stopped waiting; {name} goes on",
            f"look with `%deploy show {name}`; end it with `%deploy stop {name}`",
        ) from None


def end(record: Record) -> Record:
    """End the endpoint and write that it was ended; returns when its process is gone."""
    was_live = is_live(record)
    place_of(record).stop(record.body["job"], STOP_S)
    served = tuple(uri for uri in (record.body["champion"], record.body["canary"]) if uri)
    event = Event("deploy stop", f"deploy:{record.name}", served, (f"deploy:{record.name}",)) if was_live else None
    return update(open_store(), KIND, record.name, _stopped, event)


def _stopped(body: Loose) -> Loose:
    now = time.time()
    return {**body, "stopped_at": body["stopped_at"] or now, "ended_at": body["ended_at"] or now}


def _refuse_problem(record: Record, generation: int) -> None:
    """Failed when this very order could not be carried out, or the process ended."""
    body, place = record.body, place_of(record)
    state = place.observe(body["job"])
    if body["problem_generation"] == generation:
        what, _, fix = str(body["problem"]).partition("\n  fix: ")
        serving = client.readiness(body["url"]) or {}
        if not serving.get("ready"):
            place.stop(body["job"], STOP_S)  # it would try again and again
            update(open_store(), KIND, record.name, _stopped)
        raise Failed(what, fix or "choose another version")
    if not state.live:
        last = last_problem(place.output(body["job"], 5)) or "it printed nothing"
        raise Failed(f"the endpoint ended before it served: {last}", f"`%deploy log {record.name}` shows its output")


def _free_port(before: Record | None, port: int | None) -> int:
    """The port that was asked for, when it is free; the one it had before, when that is; else 0: any."""
    if port is not None and not 1024 <= port < 65_536:
        raise UsageProblem(f"{port} is no port", "choose one from 1024 to 65535, or leave --port out")
    wanted = port or (before.body["port"] if before else 0)
    try:
        with bind(wanted) as listener:
            return int(listener.getsockname()[1]) if port else wanted
    except Conflict as problem:
        if port:
            raise Conflict(problem.what, "choose another --port, or leave it out for a free one") from None
        return 0


def _detail(body: Loose) -> dict[str, Any]:
    names = ("champion", "canary", "share", "rollback_if", "generation")
    return {name: body[name] for name in names}


def log_folder(record: Record) -> Path:
    """Where the endpoint's predictions are logged."""
    return Path(record.body["log_dir"])


def settled_log(record: Record) -> Path:
    """The same, once every row that was answered before this call is there: the process writes them a moment later.

    Waits at most SETTLE_S, since a disk that takes no more must not hide what it has.
    """
    end_at = time.monotonic() + SETTLE_S
    now = (client.status(record.body["url"]) if is_live(record) else None) or {}
    taken = now.get("log_taken_rows", 0)
    while now.get("log_settled_rows", taken) < taken and time.monotonic() < end_at:
        time.sleep(0.05)
        now = client.status(record.body["url"]) or {}
    return log_folder(record)
