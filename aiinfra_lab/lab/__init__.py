"""The workspace: make it, look at it, check it, and follow where things came from."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from .. import audit
from ..config import FILE, Settings, inside, named_place, settings
from ..errors import Conflict, Failed, NotFound, UsageProblem, did_you_mean
from ..files import ignore_in_git, make_folder, write
from ..nouns import TABLE, Reference, find
from ..show import Card, Listing, Result, lacking, log_time, shown, working
from ..store import Event, LoggedEvent, Record, open_store
from ..store.base import left_out
from ..uris import Uri
from ..verbs import Choices, Destination, Name, Uris, verb
from . import cards, checks, damage, examples, retention
from .lineage import Lineage
from .noun import WORKSPACE, WorkspaceRecord
from .overview import Overview, overview
from .things import seen, things

_URI = "lab:workspace"
_EXPIRED = "lab:expired"


@dataclass(frozen=True)
class Workspace(Result):
    """A workspace: what exists (of each noun, as many as its `ls` lists), what lives, and what it cost so far."""

    kind = "Workspace"

    uri: str
    path: str
    exists: dict[str, int]
    lives: tuple[str, ...]
    spent_usd: float
    wrote: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    overview: Overview | None = field(default=None, repr=False, metadata={"json": False})

    def card(self) -> Card:
        return cards.workspace(self)


@dataclass(frozen=True)
class Checkup(Result):
    """What works here, and the one line that puts right each thing that does not."""

    kind = "Checkup"

    uri: str
    ok: bool
    findings: tuple[checks.HealthFinding, ...]

    def card(self) -> Card:
        return cards.checkup(self)


@dataclass(frozen=True)
class Freed(Result):
    """Files that were freed or, with `dry`, would be."""

    kind = "Expired files"

    uri: str
    dry: bool
    files: tuple[retention.FreedFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all of them together."""
        return sum(file.size_bytes for file in self.files)

    def card(self) -> Card:
        return cards.freed(self)


@verb("lab")
def start(
    folder: Destination = Path(), *, from_: Annotated[str, Choices(examples.names)] | None = None, restore: bool = False
) -> Workspace:
    """Make a workspace, or mend the one that is there; what exists is left as it is.

    folder: where; the current workspace when there is one, else the current folder
    from: an example to write into it, e.g. example:flights
    restore: put back the newest sound copy of a damaged store. One is made at the first change of a day: what was done
        since is lost, and `lab check` names the files that no record names then

    Example:
        %lab start --from example:flights
    """
    if from_ is not None:
        examples.check(from_)
    if (folder := Path(folder)) == Path():
        if (found := _existing()) is not None:
            return _made(found, from_, restore)
        if (found := named_place()) is not None:
            _mark(found.workspace)
            return _made(found, from_, restore)
    here = folder.absolute()
    _mark(here)
    with inside(here):
        return _made(settings(), from_, restore)


@verb("lab")
def show() -> Workspace:
    """Show what exists in this workspace, what lives, and what it has cost.

    Example:
        %lab show
    """
    return _workspace(settings())


@verb("lab")
def ls() -> Listing:
    """List what every noun's own `ls` lists, the last changed first.

    Example:
        %lab ls
    """
    return Listing("lab:things", tuple(things()), ("uri", "changed_at", "state"), title="Things in this workspace")


@verb("lab")
def check(*, audit: bool = False, report: bool = False) -> Checkup:
    """Check what works here and name the line that mends what does not; raises when something needed is missing.

    audit: also prove that the audit log was not altered
    report: return the findings instead of raising

    Example:
        %lab check --report
    """
    with working("Checkup", "lab:check", "looks at the machine, the store and each noun"):
        findings = tuple(checks.run(settings(), with_audit=audit))
    bad = [finding for finding in findings if finding.state == "bad"]
    if bad and not report:
        raise Failed("; ".join(f"{item.what}: {item.detail}" for item in bad), _fixes(bad))
    return Checkup("lab:check", not bad, findings)


def _fixes(bad: Sequence[checks.HealthFinding]) -> str:
    """What helps; of several findings each with what it is for, since their order alone would not tell."""
    by_fix: dict[str, list[str]] = {}
    for item in bad:
        by_fix.setdefault(item.fix, []).append(item.what)
    if len(by_fix) == 1:
        return bad[0].fix
    return "; ".join(f"for {', '.join(what)}: {fix}" for fix, what in by_fix.items())


def _uses(uri: str) -> tuple[Reference, ...]:
    """What a thing cannot be without now; nothing of a file or another source, which is no thing of ours."""
    if not Uri.is_one(uri):
        return ()
    return tuple(one for one in find(Uri.parse(uri).noun).references() if one.user.startswith(f"{uri} "))


@verb("lab")
def rm(*, expired: bool = False, dry: bool = False) -> Freed:
    """Free the files that nothing needs any more: logs, hold-outs that no comparison needs, and environments that no
    version needs, older than the settings keep them, or beyond their size.

    Records stay, and with them that there was such a thing. Failed when a file could not be deleted; the others are.

    expired: what the settings `jobs.log_days`, `jobs.log_gib`, `deploy.log_days`, `deploy.log_gib`,
        `train.holdout_days`, `train.holdout_gib`, `recipe.archive_days`, `recipe.archive_gib`,
        `models.environments_days` and `models.environments_gib` keep no
        longer; the hold-out of a run that a model version came from, or that is the newest of its name, and the
        environment that a version needs are kept whatever they say
    dry: only list it

    Example:
        %lab rm --expired --dry
    """
    if not expired:
        raise UsageProblem(
            "lab rm does not say what", "`%lab rm --expired --dry` lists what the settings keep no longer"
        )
    found = retention.expired()
    listed = tuple(retention.FreedFile.of(rule, file) for rule, files in found.items() for file in files)
    return Freed(_EXPIRED, dry, listed) if dry or not listed else _freed(listed)


@verb("lab")
def log(uri: Annotated[Name, Uris(*TABLE)] | None = None, *, events: int = 30) -> Lineage:
    """Follow a thing both ways: what it was made of, and what was made of it.

    uri: the thing, e.g. deploy:delay or data:flights@1; without it, the latest events of all
    events: at most this many events, the latest ones

    Example:
        %lab log data:flights@1
    """
    if events < 1:
        raise UsageProblem(f"--events {events} shows none", "give a whole number from 1 on")
    store = open_store()
    if uri is None:
        latest = list(store.events(last=events))[::-1]
        # Events are numbered without gaps: the last number is how many there are.
        count = latest[0].seq if latest else 0
        more = _more(count, events, "%lab log")
        return Lineage(
            "lab:log", (), (), _event_lines(latest, events), more, asked=events, logged=tuple(latest[:events])
        )
    uri = str(uri)
    own = list(store.events(naming=uri))[::-1]
    if not own:
        raise NotFound(
            f"nothing was ever recorded about {uri}", did_you_mean(uri, checks.known_uris(), "make something first")
        )
    up, down = tuple(audit.upstream(store, uri)), tuple(audit.downstream(store, uri))
    return Lineage(
        uri,
        tuple(dict.fromkeys(map(_step, up))),
        tuple(dict.fromkeys(map(_step, down))),
        _event_lines(own, events),
        _more(len(own), events, f"%lab log {uri}"),
        asked=events,
        up=up,
        down=down,
        logged=tuple(own[:events]),
        states={thing.uri: thing.state for thing in things()},
        uses=_uses(uri),
    )


def _freed(listed: Sequence[retention.FreedFile]) -> Freed:
    gone, problems = retention.free(listed)
    result = Freed(_EXPIRED, False, tuple(gone))
    if gone:
        detail = {"files": len(gone), "size_bytes": result.size_bytes}
        open_store().commit([], Event("lab rm", _EXPIRED, tuple(dict.fromkeys(file.uri for file in gone)), (), detail))
    if problems:
        what = f"{len(gone)} of {len(listed)} were freed ({shown('x_bytes', result.size_bytes)}); {'; '.join(problems)}"
        raise Failed(what, "make them yours to delete, then `%lab rm --expired` again")
    return result


def _step(step: audit.Step) -> str:
    return f"{step.used}  → {step.event.event.verb} → {step.made}"


def _event_lines(logged: Sequence[LoggedEvent], most: int) -> tuple[str, ...]:
    return tuple(map(_event, logged[:most]))


def _more(count: int, shown: int, command: str) -> str:
    return f"these are the latest {shown} of {count} events: `{command} --events {count}` shows all" * (count > shown)


def _event(item: LoggedEvent) -> str:
    event = item.event
    note = f": {event.detail['restored']}" if "restored" in event.detail else ""
    return f"{item.seq:>5}  {log_time(item.at)}  {event.verb}  {event.subject}  by {item.actor}{note}"


def _made(where: Settings, from_: str | None, restore: bool) -> Workspace:
    for folder in (where.project, where.home):
        make_folder(folder)
    ignore_in_git(where.home, "*")
    # First of all: what follows reads the store, and writes into it.
    notes = damage.restore_store(where.home) if restore else []
    wrote, other = examples.write(from_, where.project) if from_ else ([], [])
    notes += [f"left as it was, though the example's differs: {', '.join(other)}"] if other else []
    store = open_store()
    if store.get(WorkspaceRecord, WORKSPACE) is None:
        body = WorkspaceRecord(path=str(where.workspace), made_at=time.time())
        with contextlib.suppress(Conflict):  # another process made it in this very moment
            store.commit([Record.new(WORKSPACE, body)], Event("lab start", _URI, outputs=(_URI,)))
    notes += checks.reconcile()
    return _workspace(where, tuple(wrote), tuple(notes))


def _mark(folder: Path) -> None:
    # A pyproject.toml with our section marks a workspace too: a second file would take its place.
    if not (folder / FILE).exists() and not _is_checkout(folder):
        write(folder / FILE, "# The workspace's settings; `aiinfra lab check` explains each value.\n")


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

    with left_out() as lacks:
        found, watched, spending = things(), seen(), cost.summary()
        at_a_glance = overview(found, watched, spending, len(lacks))
    counts = Counter(Uri.parse(thing.uri).noun for thing in found)
    exists = {noun: counts[noun] for noun in TABLE if noun in counts}
    lives = tuple(f"{item.uri} ({item.state})" for item in watched if item.is_live)
    notes += tuple(filter(None, (spending.total.note, lacking(len(lacks)) if lacks else "")))
    return Workspace(_URI, str(where.workspace), exists, lives, spending.total.usd, wrote, notes, at_a_glance)
