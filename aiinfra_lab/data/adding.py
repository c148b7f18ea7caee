"""How a new version comes to be: content aside, checked, stored, recorded in one commit, and then shown."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import files
from ..config import Settings, settings
from ..errors import Conflict, NotFound, UsageProblem
from ..store import Event, Record, next_version, open_store
from ..uris import check_name
from . import files as _files
from . import frames, sources
from .handle import Dataset, main_table
from .tables import describe
from .versions import (
    KIND,
    as_version,
    content_store,
    folder_of,
    handle,
    manifest_path,
    records,
)


def add(name: str, rows: object, source: str | None, text: tuple[str, ...]) -> Dataset:
    """Take content in and record it as the next version of that name; the newest one when it is the same."""
    check_name(name)
    where = settings()
    given = as_version(rows)  # before the lock: it may have to put a version in place
    with _files.incoming(where.home) as folder:
        said, only = _bring(where, name, given or rows, source, folder)
        found = _files.read_manifest(folder)
        newest = next(iter(records(name)), None)
        if newest and newest.body["digest"] == found.digest:
            record, note = newest, f"nothing new: this is the content of data:{newest.name}"
        else:
            record, note = _record(where, name, folder, found, said, only or _kept_alone(newest, found), text), ""
        _publish(where, record, must=not note)
    return handle(record, note)


def open_rows(rows: object, name: str = "rows") -> Dataset:
    """The version that rows are in, for whoever wants rows: a URI, a path, a data frame or a handle.

    What is not stored yet is stored first, as data:NAME, so that everything has a URI.
    """
    if rows is None:
        raise UsageProblem("no rows were given", _WAYS)
    return as_version(rows) or add(name, rows, None, ())


def _bring(where: Settings, name: str, rows: object, source: str | None, folder: Path) -> tuple[str, str]:
    """Fill the folder; return the source in words, and the name of the file when it was a single one."""
    if source is not None:
        if rows is not None:
            raise UsageProblem("both --from and rows were given", "give one of them")
        return sources.fetch(source, folder), ""
    if frames.is_frame(rows):
        frames.write_frame(rows, folder / f"{name}.parquet")
        return f"a {type(rows).__name__} in memory", ""
    if isinstance(rows, Dataset):
        _files.copy_in(rows.path, folder)
        return rows.uri, rows.path.name if rows.path.is_file() else ""
    path = _own(where, name) if rows is None else _given(rows)
    _files.copy_in(path, folder)
    return f"file:{path}", path.name if path.is_file() else ""


def _own(where: Settings, name: str) -> Path:
    own = where.workspace / "data" / name
    if not own.exists():
        raise UsageProblem(
            f"`%data add {name}` does not say what to add", "give a path, a data frame, or --from SOURCE"
        )
    return own


def _given(rows: object) -> Path:
    """The file or folder that a path names. NotFound when there is none; the fix says what may have been meant."""
    if not isinstance(rows, str | Path):
        raise UsageProblem(f"an object of type {type(rows).__name__} is no data", _WAYS)
    if not str(rows).strip():  # as a path, it would be the whole current folder
        raise UsageProblem("no rows were given: the text is empty", _WAYS)
    path = Path(rows)
    try:
        path = path.expanduser().absolute()
        if path.exists():
            return path
    except PermissionError:
        raise
    except (OSError, RuntimeError):  # longer than a name can be, or in the home of nobody
        pass
    raise NotFound(f"there is no file or folder {path}", _meant(str(rows)))


_WAYS = "give a URI like data:flights, a path like flights.csv, or in Python a data frame"


def _meant(word: str) -> str:
    if "://" in word:
        return "what lies on another machine must be fetched first: give the path of a file here"
    hint = "look at the path: it is read from the current folder"
    return f"did you mean {KIND}:{word}? If not, {hint}" if records(word.partition("@")[0]) else hint


def _kept_alone(newest: Record | None, found: _files.Manifest) -> str:
    """A version that was a single file stays one when its copy in `data/` is recorded anew."""
    only = str(newest.body["only"]) if newest else ""
    return only if [file.name for file in found.files] == [only] else ""


def _record(
    where: Settings, name: str, folder: Path, found: _files.Manifest, said: str, only: str, text: tuple[str, ...]
) -> Record:
    tables = describe(folder, [file.name for file in found.files], text)
    main = main_table(name, [table.name for table in tables])
    content = content_store(where)
    files.flush_tree(folder)
    key = content.ingest(folder)
    if content.unsaved(name):
        raise Conflict(
            f"data/{name} has changes that no version holds, and they would be overwritten",
            f"record them with `%data add {name}`, or take them away",
        )
    files.write(manifest_path(where, found.digest), found.text())
    body = {
        "name": name,
        "key": key,
        "digest": found.digest,
        "rows": next((table.rows for table in tables if table.name == main), None),
        "files": len(found.files),
        "size_bytes": found.size,
        "source": said,
        "only": only,
        "described": [asdict(table) for table in tables],
    }
    return _commit(where, body, folder)


def _commit(where: Settings, body: dict[str, Any], folder: Path) -> Record:
    """Number the version and record it. Its folder is there before, since a record must never point to nothing."""
    name, store = body["name"], open_store()
    version = next_version(store, KIND, name)
    record = Record.new(KIND, f"{name}@{version}", {**body, "version": version, "added_at": time.time()})
    _files.move_in(folder, folder_of(where, record))
    uri = f"{KIND}:{record.name}"
    detail = {"digest": body["digest"], "rows": body["rows"]}
    return store.commit([record], Event("data add", uri, (body["source"],), (uri,), detail))[0]


def _publish(where: Settings, record: Record, must: bool) -> None:
    """Show the newest version under `data/`; what the user changed there is left when nothing new was recorded."""
    content = content_store(where)
    if must or not content.unsaved(record.body["name"]):
        content.publish(record.body["name"], record.body["key"])
