"""The workspace's memory: typed records with revisions, and the chained audit log.

Big things are files that records point to. Whoever writes a store of his own needs nothing but what is exported here:
`encode` and `decode` between a body and its text, `canonical` and `event_of` between an event and its, `actor`,
`chain_hash`, `leave_out` for what a list leaves out, and `StoreUnavailable` for when it is away.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ..config import Settings, context, settings
from ..errors import Conflict, NotFound, StoreUnavailable
from ..files import retry
from ..providers import chosen, make
from ..uris import leading_version
from .base import (
    GENESIS,
    B,
    Body,
    Event,
    EventIndex,
    HeadCopier,
    HeadCopy,
    HeadKeeper,
    Key,
    LoggedEvent,
    NameIndex,
    Record,
    Seal,
    Sealed,
    Store,
    actor,
    canonical,
    canonical_digest,
    chain_hash,
    decode,
    encode,
    event_of,
    first_break,
    leave_out,
)

__all__ = [
    "GENESIS", "B", "Body", "Event", "EventIndex", "HeadCopier", "HeadCopy", "HeadKeeper", "Key", "LoggedEvent",
    "NameIndex", "Record", "Seal", "Sealed", "Store", "StoreUnavailable", "actor", "add_version", "canonical",
    "canonical_digest", "chain_hash", "decode", "encode", "event_of", "first_break", "has_store", "leave_out",
    "log_same", "next_version", "open_store", "patiently", "update",
]  # fmt: skip

AWAY_S = 20.0  # for a database to come back

T = TypeVar("T")

_opened: dict[tuple[str, ...], Store] = {}


def open_store(where: Settings | None = None) -> Store:
    """The store of the current workspace, or of the one that these settings are of; one object for each in a process.

    `store.provider` in the settings names the provider; without it `store.url` names a PostgreSQL database, and without
    that it is one file in the workspace.
    """
    where = where or settings()
    name = chosen("store", where)
    which = (name, where.get("store.url", ""), where.get("store.schema", ""), str(where.home))
    if which not in _opened:
        # Of threads that come at once the first one's: each store keeps its own connection.
        _opened.setdefault(which, make("store", name, where))
    return _opened[which]


def has_store(where: Settings) -> bool:
    """Whether there is a store already, as far as that can be told without opening it: a database may be elsewhere."""
    return chosen("store", where) != "sqlite" or (where.home / "store.sqlite").exists()


def add_version(store: Store, name: str, body: B, event: Callable[[str], Event]) -> Record[B]:
    """Commit the body as the next free `NAME@N`, with the event for its URI; again when somebody else was faster."""

    def step() -> Record[B]:
        record = Record.new(f"{name}@{next_version(store, type(body), name)}", body)
        return store.commit([record], event(record.uri))[0]

    return retry(step, Conflict(f"{body.kind} {name} gets too many versions at once", "repeat in a moment"))


def log_same(verb: str, uri: str) -> None:
    """Log that a verb came to a version that is there already, for a recipe, which asks what its step has made.

    What nobody's step has begun logs nothing.
    """
    if context():
        open_store().commit([], Event(verb, uri, outputs=(uri,), detail={"same": True}))


def next_version(store: Store, kind: type[Body], name: str) -> int:
    """The next free N of `NAME@N`: above every record, also of what was removed, and above whatever lies on disk.

    A store that was put back from a copy has forgotten versions whose bytes are still there, and somebody may hold
    their names.
    """
    newest = next(iter(store.list(kind, name=name, limit=1)), None)
    numbers = [leading_version(path.name, name) for path in _lying(settings().home / kind.kind, name)]
    return 1 + max([newest.version if newest else 0, *numbers])


def _lying(folder: Path, name: str) -> Iterator[Path]:
    """Files and folders of that name's versions: in the kind's folder, or one below, which is of no version."""
    for place in (folder, *(one for one in folder.glob("[!.]*/") if "@" not in one.name)):
        with contextlib.suppress(FileNotFoundError):  # it went while we looked
            yield from place.glob(f"{name}@*")


def update(
    store: Store, kind: type[B], name: str, change: Callable[[B], B | None], event: Event | None = None
) -> Record[B]:
    """Read a record, change its body and commit it; again when somebody else was faster.

    `change` returns the new body, or None when nothing is to be changed: then nothing is written, the event neither. It
    may be called more than once and must not keep state. NotFound when there is no such record.
    """

    def step() -> Record[B]:
        record = store.get(kind, name)
        if record is None:
            raise NotFound(f"there is no {kind.kind} {name}", f"list them with `%{kind.kind} ls`")
        body = change(record.body)
        if body is None:
            return record
        try:
            return store.commit([record.of(body)], event)[0]
        except Conflict as problem:
            raise _Stale from problem

    return retry(step, Conflict(f"{name} changes too fast to be updated", "repeat in a moment"), on=_Stale)


def patiently(step: Callable[[], T]) -> T:
    """What `step` returns, called again while the store is away, up to 20 s: a database that restarts ends no work.

    It may be called again when what it wrote before is there.
    """
    until_at = time.monotonic() + AWAY_S
    while True:
        try:
            return step()
        except StoreUnavailable:
            if time.monotonic() >= until_at:
                raise
            time.sleep(0.2)


class _Stale(Exception):
    """Somebody else wrote the record since it was read. No Conflict: `change` may raise one, which is its last word."""
