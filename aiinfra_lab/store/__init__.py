"""The workspace's memory: records with revisions, and the chained audit log. Big things are files records point to."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..config import settings
from ..errors import Conflict, Missing, NotFound
from .base import Body, Event, LoggedEvent, Record, Store, canonical, first_break
from .sqlite import SqliteStore

__all__ = [
    "Body", "Event", "LoggedEvent", "Record", "Store",
    "add_version", "canonical", "first_break", "next_version", "open_store", "update",
]  # fmt: skip

_opened: dict[str, Store] = {}


def open_store(home: Path | None = None) -> Store:
    """The store of the current workspace, or of the workspace whose `.aiinfra` folder is `home`.

    `store.url` in the settings names a PostgreSQL database; otherwise it is one file in the workspace.
    """
    if home is None:
        where = settings()
        if url := where.get("store.url", ""):
            schema = where.get("store.schema", "aiinfra")
            return _opened.setdefault(f"{url}#{schema}", _postgres(url, schema))
        home = where.home
    path = home / "store.sqlite"
    return _opened.setdefault(str(path), SqliteStore(path))


def _postgres(url: str, schema: str) -> Store:
    try:
        from .postgres import PostgresStore
    except ImportError as problem:
        fix = "pip install 'aiinfra-lab[postgres]'"
        raise Missing("a store in PostgreSQL needs psycopg, which is not installed", fix) from problem
    return PostgresStore(url, schema)


def add_version(store: Store, kind: str, name: str, body: Body, event: Callable[[str], Event]) -> Record:
    """Commit the body as the next free `NAME@N`, with the event for its URI; again when somebody else was faster."""
    for _ in range(50):
        label = f"{name}@{next_version(store, kind, name)}"
        try:
            return store.commit([Record.new(kind, label, body)], event(f"{kind}:{label}"))[0]
        except Conflict:
            continue
    raise Conflict(f"{kind} {name} gets too many versions at once", "repeat in a moment")


def next_version(store: Store, kind: str, name: str) -> int:
    """The next free N of `NAME@N`: above every record, also of what was removed, and above whatever lies on disk.

    A store that was put back from a copy has forgotten versions whose bytes are still there, and somebody may hold
    their names.
    """
    names = [record.name for record in store.list(kind)]
    names += [path.name for path in _lying(settings().home / kind, name)]
    found = (re.match(rf"{re.escape(name)}@(\d+)", taken) for taken in names)
    return 1 + max((int(one[1]) for one in found if one), default=0)


def _lying(folder: Path, name: str) -> Iterator[Path]:
    """Files and folders of that name's versions: in the kind's folder, or one below, which is of no version."""
    for place in (folder, *(one for one in folder.glob("[!.]*/") if "@" not in one.name)):
        with contextlib.suppress(FileNotFoundError):  # it went while we looked
            yield from place.glob(f"{name}@*")


def update(store: Store, kind: str, name: str, change: Callable[[Body], Body], event: Event | None = None) -> Record:
    """Read a record, change its body and commit it; again when somebody else was faster.

    NotFound when there is no such record. `change` may be called more than once and must not keep state.
    """
    for _ in range(50):
        record = store.get(kind, name)
        if record is None:
            raise NotFound(f"there is no {kind} {name}", f"list them with `%{kind} ls`")
        changed = Record(kind, name, change(dict(record.body)), record.rev)
        try:
            return store.commit([changed], event)[0]
        except Conflict:
            continue
    raise Conflict(f"{kind} {name} changes too fast to be updated", "repeat in a moment")
