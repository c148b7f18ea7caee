"""The workspace's memory: typed records with revisions, and the chained audit log.

Big things are files that records point to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..config import Settings, settings
from ..errors import Conflict, NotFound
from ..providers import make
from ..uris import leading_version
from .base import (
    GENESIS,
    B,
    Body,
    Event,
    HeadKeeper,
    Key,
    LoggedEvent,
    Loose,
    Record,
    Store,
    canonical,
    chain_hash,
    first_break,
)

__all__ = [
    "GENESIS", "B", "Body", "Event", "HeadKeeper", "Key", "LoggedEvent", "Loose", "Record", "Store",
    "add_version", "canonical", "chain_hash", "first_break", "has_store", "next_version", "open_store", "update",
]  # fmt: skip

# So often somebody else may be faster before one gives up: each try takes about a millisecond.
ATTEMPTS = 50

_opened: dict[tuple[str, ...], Store] = {}


def open_store(where: Settings | None = None) -> Store:
    """The store of the current workspace, or of the one that these settings are of; one object for each in a process.

    `store.url` in the settings names a PostgreSQL database; otherwise it is one file in the workspace.
    """
    where = where or settings()
    url = where.get("store.url", "")
    name = where.get("store.provider", "") or ("postgres" if url else "sqlite")
    which = (name, url, where.get("store.schema", ""), str(where.home))
    if which not in _opened:
        _opened[which] = make("store", name, where)
    return _opened[which]


def has_store(where: Settings) -> bool:
    """Whether there is a store already, as far as that can be told without opening it: a database may be elsewhere."""
    return bool(where.get("store.url", "") or where.get("store.provider", "")) or (where.home / "store.sqlite").exists()


def add_version(store: Store, *words: Any) -> Record[Any]:
    """Commit the body as the next free `NAME@N`, with the event for its URI; again when somebody else was faster."""
    *kind, name, body, event = words
    for _ in range(ATTEMPTS):
        label = f"{name}@{next_version(store, kind[0] if kind else type(body), name)}"
        record = Record.new(*kind, label, body)
        try:
            return store.commit([record], event(record.uri))[0]
        except Conflict:
            continue
    raise Conflict(f"{record.kind} {name} gets too many versions at once", "repeat in a moment")


def next_version(store: Store, kind: Any, name: str) -> int:
    """The next free N of `NAME@N`: above every record, also of what was removed, and above whatever lies on disk.

    A store that was put back from a copy has forgotten versions whose bytes are still there, and somebody may hold
    their names.
    """
    noun = kind if isinstance(kind, str) else kind.kind
    newest = next(iter(store.list(kind, name=name, limit=1)), None)
    numbers = [leading_version(path.name, name) for path in _lying(settings().home / noun, name)]
    return 1 + max([newest.version if newest else 0, *numbers])


def _lying(folder: Path, name: str) -> Iterator[Path]:
    """Files and folders of that name's versions: in the kind's folder, or one below, which is of no version."""
    for place in (folder, *(one for one in folder.glob("[!.]*/") if "@" not in one.name)):
        with contextlib.suppress(FileNotFoundError):  # it went while we looked
            yield from place.glob(f"{name}@*")


def update(store: Store, kind: Any, name: str, change: Callable[[Any], Any], event: Event | None = None) -> Record[Any]:
    """Read a record, change its body and commit it; again when somebody else was faster.

    `change` returns the new body, or None when nothing is to be changed: then nothing is written, the event neither. It
    may be called more than once and must not keep state. NotFound when there is no such record.
    """
    for _ in range(ATTEMPTS):
        record = store.get(kind, name)
        if record is None:
            noun = kind if isinstance(kind, str) else kind.kind
            raise NotFound(f"there is no {noun} {name}", f"list them with `%{noun} ls`")
        body = change(dict(record.body) if isinstance(record.body, dict) else record.body)
        if body is None:
            return record
        try:
            return store.commit([record.of(body)], event)[0]
        except Conflict:
            continue
    raise Conflict(f"{name} changes too fast to be updated", "repeat in a moment")
