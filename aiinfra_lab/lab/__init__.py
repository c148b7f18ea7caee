"""The workspace: make it, look at it, check it, and follow where things came from."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .. import audit, jobs
from ..config import FILE, Settings, inside, settings
from ..errors import Conflict, Failed, NotFound, did_you_mean
from ..show import Card, Listing, Result, shown
from ..store import Event, Record, open_store
from ..uris import NOUNS
from ..verbs import Choices, verb
from . import checks, examples

_SHOWN = 30


@dataclass(frozen=True)
class Workspace(Result):
    """A workspace: what exists (how many of each noun), what lives, and what it cost so far."""

    uri: str
    path: str
    exists: dict[str, int]
    lives: tuple[str, ...]
    spent_usd: float
    wrote: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def card(self) -> Card:
        facts = [
            ("where", self.path),
            ("lives", ", ".join(self.lives) or "nothing"),
            ("spent", shown("x_usd", self.spent_usd)),
        ]
        if self.wrote:
            facts.append(("wrote", ", ".join(self.wrote)))
        rows = [(noun, str(count)) for noun, count in self.exists.items()]
        notes = self.notes if rows or self.notes else ("nothing is here yet: `%data add NAME PATH` records data",)
        return Card(self.uri, facts=facts, header=("noun", "things"), rows=rows, notes=notes)


@dataclass(frozen=True)
class Checkup(Result):
    """What works here, and the one line that mends each thing that does not."""

    uri: str
    ok: bool
    findings: tuple[checks.Finding, ...]

    def card(self) -> Card:
        rows = [(finding.state, finding.what, finding.detail, finding.fix) for finding in self.findings]
        state = "ok" if self.ok else "needs mending"
        return Card(self.uri, state, header=("", "what", "found", "mend it with"), rows=rows)


@dataclass(frozen=True)
class Lineage(Result):
    """Where a thing came from, what came of it, and what happened to it."""

    uri: str
    came_from: tuple[str, ...]
    led_to: tuple[str, ...]
    events: tuple[str, ...]

    def card(self) -> Card:
        details = [(name, "\n".join(lines)) for name, lines in (("events", self.events),) if lines]
        rows = [("came from", line) for line in self.came_from] + [("led to", line) for line in self.led_to]
        notes = () if rows or self.uri == "lab:log" else ("no event links it to anything else",)
        return Card(self.uri, header=("", "lineage"), rows=rows, notes=notes, details=details)


@verb("lab")
def start(
    folder: Path = Path(), *, from_: Annotated[str, Choices(examples.names)] | None = None, restore: bool = False
) -> Workspace:
    """Make a workspace, or mend the one that is there; what exists is left as it is.

    folder: where; the current workspace when there is one, else the current folder
    from: an example to write into it, e.g. example:flights
    restore: put back the newest sound copy of a damaged store
    """
    if from_:
        examples.check(from_)
    if folder == Path() and (found := _existing()) is not None:
        return _made(found, from_, restore)
    here = folder.absolute()
    marker = here / FILE
    if not marker.exists() and not _is_checkout(here):
        here.mkdir(parents=True, exist_ok=True)
        marker.write_text("# The workspace's settings; `aiinfra lab check` explains each value.\n")
    with inside(here):
        return _made(settings(), from_, restore)


@verb("lab")
def show() -> Workspace:
    """Show what exists in this workspace, what lives, and what it has cost."""
    return _workspace(settings())


@verb("lab")
def ls() -> Listing:
    """List everything that was made here, newest first."""
    things = [
        Thing(f"{record.kind}:{record.name}", record.updated_at, str(record.body.get("state", "")))
        for record in open_store().list()
        if record.kind in NOUNS and not record.body.get("removed_at")
    ]
    return Listing("lab:things", tuple(things), ("uri", "changed_at", "state"))


@dataclass(frozen=True)
class Thing(Result):
    """Anything the workspace knows, in one line."""

    uri: str
    changed_at: float
    state: str


@verb("lab")
def check(*, audit: bool = False, report: bool = False) -> Checkup:
    """Check what works here and name the line that mends what does not; raises when something needed is missing.

    audit: also prove that the audit log was not altered
    report: return the findings instead of raising
    """
    findings = tuple(checks.run(settings(), with_audit=audit))
    bad = [finding for finding in findings if finding.state == "bad"]
    if bad and not report:
        raise Failed("; ".join(f"{item.what}: {item.detail}" for item in bad), "; ".join(item.fix for item in bad))
    return Checkup("lab:check", not bad, findings)


@verb("lab")
def log(uri: Annotated[str, Choices(checks.known_uris)] | None = None) -> Lineage:
    """Follow a thing both ways: what it was made of, and what was made of it.

    uri: the thing, e.g. deploy:delay or data:flights@1; without it, the latest events of all
    """
    events = list(open_store().events())
    if uri is None:
        return Lineage("lab:log", (), (), tuple(_told(item) for item in events[: -_SHOWN - 1 : -1]))
    own = audit.about(events, uri)
    if not own:
        raise NotFound(f"nothing was ever recorded about {uri}", did_you_mean(uri, checks.known_uris()))
    came = tuple(
        dict.fromkeys(f"{step.used}  → {step.event.event.verb} → {step.made}" for step in audit.upstream(events, uri))
    )
    led = tuple(
        dict.fromkeys(f"{step.used}  → {step.event.event.verb} → {step.made}" for step in audit.downstream(events, uri))
    )
    told = [_told(item) for item in own[:_SHOWN]] + [f"… and {len(own) - _SHOWN} more"] * (len(own) > _SHOWN)
    return Lineage(uri, came, led, tuple(told))


def _told(item: object) -> str:
    from ..store import LoggedEvent

    assert isinstance(item, LoggedEvent)
    event = item.event
    return f"{item.seq:>5}  {shown('x_at', item.at)}  {event.verb}  {event.subject}  by {item.actor}"


def _made(where: Settings, from_: str | None, restore: bool) -> Workspace:
    where.project.mkdir(parents=True, exist_ok=True)
    notes = [checks.restore_store(where.home)] if restore else []
    wrote = examples.write(from_, where.project) if from_ else ()
    store = open_store()
    if store.get("lab", "workspace") is None:
        body = {"path": str(where.workspace), "made_at": time.time()}
        event = Event("lab start", "lab:workspace", outputs=("lab:workspace",))
        with contextlib.suppress(Conflict):  # another process made it in this very moment
            store.commit([Record.new("lab", "workspace", body)], event)
    notes += checks.mend()
    return _workspace(where, tuple(wrote), tuple(notes))


def _existing() -> Settings | None:
    try:
        return settings()
    except NotFound:
        return None


def _is_checkout(folder: Path) -> bool:
    try:
        return settings(folder).project == folder
    except NotFound:
        return False


def _workspace(where: Settings, wrote: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> Workspace:
    from .. import cost

    kinds = [record.kind for record in open_store().list() if not record.body.get("removed_at")]
    exists = {noun: kinds.count(noun) for noun in NOUNS if noun != "lab" and noun in kinds}
    lives = tuple(f"{job.subject} ({job.state})" for job in jobs.ls(live=True))
    return Workspace("lab:workspace", str(where.workspace), exists, lives, cost.spent_usd(), wrote, notes)
