"""How content that was taken in becomes a version, in steps that the next verb finishes when a kill cuts them short.

Until the content lies whole in `unfinished`, with the body of its record beside it, a kill leaves nothing but files to
delete. From then on everything is there to make the version, and whoever comes next makes it.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import msgspec
from msgspec.structs import replace

from .. import files, show
from ..config import Settings
from ..errors import Conflict, Failed, LabError, StoreUnavailable
from ..store import Event, Record, open_store
from ..uris import Uri
from . import files as _files
from . import working_copy
from .base import Repairing
from .record import DataVersion
from .versions import content_store, folder_of, manifest_path, versions


def record(where: Settings, folder: Path, found: _files.Manifest, body: DataVersion) -> Record[DataVersion]:
    """Store the content of a folder and commit the version, whose `key` is found on the way.

    Content, list of files and folder are there before the record, since a record must never point to nothing.
    """
    try:
        files.write(_journal(where), msgspec.json.encode(body))
        files.write(manifest_path(where, body.digest), found.text())
        files.publish(folder, _content(where), flush=False)
        return _complete(where, body)
    except BaseException:
        # Without the store nobody knows whether it was recorded: then the next verb looks.
        with contextlib.suppress(StoreUnavailable):
            _undo(where, body)
        raise


def repair(where: Settings, damaged: Record[DataVersion], folder: Path, found: _files.Manifest) -> None:
    """Put back what is gone or altered of a version, out of the same content; `folder` stays as it is."""
    copy, store = folder.with_name("repair"), content_store(where, damaged)
    _files.copy_in(folder, copy)
    files.flush_tree(copy)
    files.write(manifest_path(where, found.digest), found.text())
    (store.repair if isinstance(store, Repairing) else store.ingest)(copy)
    _files.protect(copy)
    _files.move_in(copy, folder_of(where, damaged))


def finished(where: Settings) -> None:
    """The version's copy is in place too: nothing is left to be finished."""
    _clear(where)


def settle(where: Settings) -> None:
    """Before a verb: finish or undo what a killed process left, unless a living one is still at work."""
    if not _is_left(where):
        return
    # In a workspace that may not be written, what is left stays, and what was recorded can be read.
    with contextlib.suppress(LabError, OSError):
        held = files.take_lock(where.home / "data" / "lock", patience_s=0)
        if held:
            with held:
                _files.clear_incoming(where.home)
                settle_held(where)


def settle_held(where: Settings) -> None:
    """Finish or undo it, for who holds the lock of those that take in."""
    body = _read(where)
    if body and (made := _finish(where, body)):
        show.waiting(made.uri, f"{made.uri} is there now: a killed process had not finished adding it.", "added")
    _clear(where)
    for name in working_copy.cut_short(where):
        with contextlib.suppress(LabError):  # nothing is lost: the copy follows the next version
            working_copy.follow(where, name, next(iter(versions(name)), None))


def _finish(where: Settings, body: DataVersion) -> Record[DataVersion] | None:
    """Make the version of a journal, unless it is there; None when that cannot be, and nothing is left of it then."""
    record, made = _recorded(body), None
    if record is None and _is_whole(where, body):
        try:
            record = made = _complete(where, body)
        except (Conflict, Failed):  # changes in `data/NAME`, or another folder of the store took the number
            _undo(where, body)
    elif record is None:
        _undo(where, body)
    if record:
        # Not over changes: the killed process has asked whether there are any, and these were perhaps made since.
        with contextlib.suppress(LabError):
            working_copy.follow(where, body.name, record)
    return made


def _complete(where: Settings, body: DataVersion) -> Record[DataVersion]:
    content, record = _content(where), Record.new(_label(body), body)
    place = folder_of(where, record)
    # A kill after the move: back to where it came from, for the store takes it in from there.
    if not content.exists():
        files.publish(place, content, flush=False)
    body = replace(body, key=content_store(where, record).ingest(content), added_at=time.time())
    # After the content is stored: a copy that has just this content is not modified, and need not be refused.
    working_copy.refuse_modified(where, body.name)
    _files.protect(content)
    _files.move_in(content, place)
    event = Event("data add", record.uri, (body.source,), (record.uri,), {"digest": body.digest, "rows": body.rows})
    return open_store().commit([Record.new(record.name, body)], event)[0]


def _is_whole(where: Settings, body: DataVersion) -> bool:
    """Whether the content is still what it was before the kill: a power cut may have taken the end of a file."""
    place = folder_of(where, Record.new(_label(body), body))
    folder = next((one for one in (_content(where), place) if one.exists()), None)
    try:
        return folder is not None and _files.read_manifest(folder).digest == body.digest
    except LabError:
        return False


def _undo(where: Settings, body: DataVersion) -> None:
    """As if nothing had been added; but what is recorded by now stays, and the next verb finishes it."""
    if _recorded(body):
        return
    shutil.rmtree(folder_of(where, Record.new(_label(body), body)), ignore_errors=True)
    if not any(one.body.digest == body.digest for one in versions()):
        manifest_path(where, body.digest).unlink(missing_ok=True)
    _clear(where)


def _recorded(body: DataVersion) -> Record[DataVersion] | None:
    found = open_store().get(DataVersion, _label(body))
    return found if found and found.body.digest == body.digest else None


def _label(body: DataVersion) -> str:
    return Uri(DataVersion.kind, body.name, body.version).label


def _read(where: Settings) -> DataVersion | None:
    try:
        return msgspec.json.decode(_journal(where).read_bytes(), type=DataVersion)
    except (OSError, msgspec.MsgspecError):  # the kill came before it was written
        return None


def _is_left(where: Settings) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if any(path.name != working_copy.MARKS for path in _journal(where).parent.iterdir()):
            return True
    return bool(working_copy.cut_short(where)) or _files.is_incoming(where.home)


def _clear(where: Settings) -> None:
    # The journal first: without its content it would say that a version can be finished.
    _journal(where).unlink(missing_ok=True)
    shutil.rmtree(_content(where), ignore_errors=True)
    # Whoever writes there holds the lock, so these are of processes that were killed while they wrote.
    for folder in (_journal(where).parent, manifest_path(where, "").parent):
        files.clear_all_left(folder)


def _content(where: Settings) -> Path:
    return where.home / "data" / "unfinished" / "content"


def _journal(where: Settings) -> Path:
    return where.home / "data" / "unfinished" / "version.json"
