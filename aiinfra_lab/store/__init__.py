"""The workspace's memory: records with revisions, and the chained audit log. Big things are files records point to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..config import settings
from ..errors import Conflict, NotFound
from .base import Body, Event, LoggedEvent, Record, Store, canonical, first_break
from .sqlite import SqliteStore

__all__ = ["Body", "Event", "LoggedEvent", "Record", "Store", "canonical", "first_break", "open_store", "update"]

_opened: dict[Path, SqliteStore] = {}


def open_store(home: Path | None = None) -> SqliteStore:
    """The store of the current workspace, or of the workspace whose `.aiinfra` folder is `home`."""
    path = (home or settings().home) / "store.sqlite"
    return _opened.setdefault(path, SqliteStore(path))


def update(store: Store, kind: str, name: str, change: Callable[[Body], Body], event: Event | None = None) -> Record:
    """Read a record, change its body and commit it; again when somebody else was faster.

    NotFound when there is no such record. `change` may be called more than once and must not keep state.
    """
    for _ in range(50):
        record = store.get(kind, name)
        if record is None:
            raise NotFound(f"there is no {kind} {name}", f"list them with `{kind} ls`")
        try:
            return store.commit([Record(kind, name, change(dict(record.body)), record.rev)], event)[0]
        except Conflict:
            continue
    raise Conflict(f"{kind} {name} changes too fast to be updated", "repeat in a moment")
