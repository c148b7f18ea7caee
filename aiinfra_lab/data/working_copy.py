"""`data/NAME` of the workspace: the newest version in plain files, where the version store keeps such copies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .. import files, modes
from ..config import Settings
from ..errors import Conflict, LabError
from ..store import Record
from .base import WorkingCopies
from .record import DataVersion
from .versions import content_store, holder

MARKS = "copies"


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
    with _marked(where, name):
        _follow(where, name, newest, removed, overwrite)


def _follow(
    where: Settings,
    name: str,
    newest: Record[DataVersion] | None,
    removed: Record[DataVersion] | None,
    overwrite: bool,
) -> None:
    if newest is None or (removed and holder(where, removed) != holder(where, newest)):
        copies = _copies(where, removed)
        if copies and not copies.is_modified(name):
            copies.withdraw(name)
    if newest:
        copies = _copies(where, newest)
        if copies and (overwrite or not copies.is_modified(name)):
            copies.publish(name, newest.body.key)


def cut_short(where: Settings) -> list[str]:
    """The names whose copies were being changed by a process that was killed, or is still at work."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path.name for path in _marks(where).iterdir())
    return []


@contextlib.contextmanager
def _marked(where: Settings, name: str) -> Iterator[None]:
    mark = _marks(where) / name
    files.make_folder(mark.parent)
    mark.touch(modes.OWNER_ONLY)
    try:
        yield
    except LabError:
        mark.unlink(missing_ok=True)  # it was told, and the next verb would fail in the same way
        raise
    mark.unlink(missing_ok=True)


def _marks(where: Settings) -> Path:
    return where.home / "data" / "unfinished" / MARKS


def _copies(where: Settings, record: Record[DataVersion] | None) -> WorkingCopies | None:
    # A store may have no copies at all, and then the folder `data/NAME` is the user's alone.
    store = content_store(where, record)
    return store if isinstance(store, WorkingCopies) else None
