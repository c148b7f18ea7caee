"""`data/NAME` of the workspace: the newest version in plain files, where the version store keeps such copies."""

from __future__ import annotations

from ..config import Settings
from ..errors import Conflict
from ..store import Record
from .base import WorkingCopies
from .record import DataVersion
from .versions import content_store, holder


def refuse_modified(where: Settings, name: str) -> None:
    """Conflict when `data/NAME` has changes that a new version of other content would overwrite."""
    copies = _copies(where, None)
    if copies and copies.is_modified(name):
        raise Conflict(
            f"data/{name} has changes that no version holds, and they would be overwritten",
            f"record them with `%data add {name}`, or take them away",
        )


def follow(
    where: Settings,
    name: str,
    newest: Record[DataVersion] | None,
    *,
    removed: Record[DataVersion] | None = None,
    overwrite: bool = False,
) -> None:
    """Let `data/NAME` be that version, or go when there is none. Without `overwrite` the user's changes are left.

    removed: what it may have been until now; another store may hold the newest that is left, and shows that by itself
    """
    if newest is None or (removed and holder(where, removed) != holder(where, newest)):
        copies = _copies(where, removed)
        if copies and not copies.is_modified(name):
            copies.withdraw(name)
    if newest:
        copies = _copies(where, newest)
        if copies and (overwrite or not copies.is_modified(name)):
            copies.publish(name, newest.body.key)


def _copies(where: Settings, record: Record[DataVersion] | None) -> WorkingCopies | None:
    # A store may have no copies at all, and then the folder `data/NAME` is the user's alone.
    store = content_store(where, record)
    return store if isinstance(store, WorkingCopies) else None
