"""`data/NAME` of the workspace: the newest version in plain files, where the version store keeps such copies."""

from __future__ import annotations

from ..config import Settings
from ..errors import Conflict
from ..store import Record
from .base import WorkingCopies
from .record import DataVersion
from .versions import content_store


def refuse_modified(where: Settings, name: str) -> None:
    """Conflict when `data/NAME` has changes that a new version of other content would overwrite."""
    copies = _copies(where)
    if copies and copies.is_modified(name):
        raise Conflict(
            f"data/{name} has changes that no version holds, and they would be overwritten",
            f"record them with `%data add {name}`, or take them away",
        )


def follow(where: Settings, name: str, newest: Record[DataVersion] | None, *, overwrite: bool = False) -> None:
    """Let `data/NAME` be that version, or go when there is none. Without `overwrite` the user's changes are left."""
    copies = _copies(where)
    if copies is None or (not overwrite and copies.is_modified(name)):
        return
    if newest is None:
        copies.withdraw(name)
    else:
        copies.publish(name, newest.body.key)


def _copies(where: Settings) -> WorkingCopies | None:
    # A store may have no copies at all, and then the folder `data/NAME` is the user's alone.
    store = content_store(where)
    return store if isinstance(store, WorkingCopies) else None
