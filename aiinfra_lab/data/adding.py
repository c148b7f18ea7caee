"""How a new version comes to be: content aside, checked, stored, recorded in one commit, and then shown."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import files
from ..config import Settings, settings
from ..errors import LabError, NotFound, UsageProblem, nearest
from ..resolve import resolve
from ..show import working
from ..store import Record, log_same, next_version, open_store
from ..uris import Uri, check_name, split_scheme
from . import files as _files
from . import frames, recording, sources, working_copy
from .handle import Dataset, main_table
from .record import DataVersion
from .tables import describe
from .versions import as_version, handle, holder, is_intact, versions

_WAYS = "give a URI like data:flights, a path like flights.csv, or in Python a data frame"


def add(
    name: str,
    rows: object,
    source: str | None,
    text: Sequence[str],
    step: Callable[[str], None] = lambda _: None,
    command: str = "",
) -> Dataset:
    """Take content in and record it as the next version of that name; the newest one when it is the same.

    step: hears what begins, in words that follow "it". command: what a path comes after, where it was typed.
    """
    _check_name(name)
    where = settings()
    given = as_version(rows)  # before the lock: it may have to take a version out of the store
    with _files.incoming(where.home) as folder:
        recording.settle_held(where)
        brought = _bring(where, name, given or rows, source, folder, command)
        step("looks whether the content is new")
        found = _files.read_manifest(folder)
        newest = next(iter(versions(name)), None)
        same = [one for one in versions(name) if one.body.digest == found.digest]
        damaged = [one for one in same if not is_intact(one)]
        for one in damaged:
            recording.repair(where, one, folder, found)
        if newest and newest.body.digest == found.digest:
            # A working copy with changes of the user's own stays as it is: no new version holds them.
            working_copy.follow(where, name, newest)
            log_same("data add", newest.uri)
            what = ", which is whole again" if damaged else ""
            return handle(newest, f"nothing new: this is the content of {newest.uri}{what}")
        only = brought.only or _kept_alone(newest, found)
        step("reads the tables and stores them")
        record = _record(where, name, folder, found, brought.origin, only, text)
        # `_record` has refused changes of the user's own by now, so that nothing is lost.
        working_copy.follow(where, name, record, overwrite=True)
        recording.finished(where)
    return handle(record, brought.note)


def _check_name(name: str) -> None:
    check_name(name)
    if name.endswith(".dvc"):  # so is called what tells DVC of the data of the name before it
        raise UsageProblem(
            f"{name!r} cannot be the name of data", f"leave the ending away: {name.removesuffix('.dvc')}"
        )


class _Brought(NamedTuple):
    """Where content came from, the name of the file when it was a single one, and what of it is not kept."""

    origin: str
    only: str = ""
    note: str = ""


def open_rows(rows: object, name: str = "rows") -> Dataset:
    """The version that rows are in, for whoever wants rows: a URI, a path, a data frame or a handle.

    What is not stored yet is stored first, as data:NAME, so that everything has a URI.
    """
    if rows is None:
        raise UsageProblem("no rows were given", _WAYS)
    with working("Data version", f"data:{name}", "takes the rows in") as step:
        recording.settle(settings())
        return as_version(rows) or add(name, rows, None, (), step)


def _bring(where: Settings, name: str, rows: object, source: str | None, folder: Path, command: str) -> _Brought:
    """Fill the folder."""
    if source is not None:
        if rows is not None:
            raise UsageProblem("both --from and rows were given", "give one of them")
        if split_scheme(source)[1] is None and os.path.exists(source):  # noqa: PTH110  # of a text too long to be a path, no error
            raise UsageProblem(f"--from {source} names a path, which needs no --from", _with(command, source))
        return _Brought(sources.fetch(source, folder))
    if frames.is_frame(rows):
        note = frames.write_frame(rows, folder / f"{name}.parquet")
        return _Brought(f"a {type(rows).__name__} in memory", note=note)
    if isinstance(rows, Dataset):
        _files.copy_in(rows.path, folder)
        return _Brought(rows.uri, rows.path.name if rows.path.is_file() else "")
    path = _own(where, name) if rows is None else _given(rows, command, name)
    _files.copy_in(path, folder)
    return _Brought(f"file:{path}", path.name if path.is_file() else "")


def _own(where: Settings, name: str) -> Path:
    own = where.workspace / "data" / name
    if not own.exists():
        # A path in the place of the name.
        again = f"did you mean `%data add {Path(name).stem} {name}`? If not, " if Path(name).is_file() else ""
        fix = f"{again}give a path, a data frame, or --from SOURCE"
        raise UsageProblem(f"`%data add {name}` does not say what to add", fix)
    return own


def _given(rows: object, command: str, name: str = "") -> Path:
    """The file or folder that a path names. NotFound when there is none; the fix says what may have been meant."""
    if not isinstance(rows, str | Path):
        raise UsageProblem(f"an object of type {type(rows).__name__} cannot be read as data", _WAYS)
    if not str(rows).strip():  # as a path, it would be the whole current folder
        raise UsageProblem("no rows were given: the text is empty", _WAYS)
    path = Path(rows)
    _files.check_text(path)
    try:
        path = path.expanduser().absolute()
        if path.exists():
            return path
    # It may well be there: NotFound would be wrong.
    except PermissionError:
        raise
    except (OSError, RuntimeError):  # longer than a name can be, or in the home of nobody
        pass
    if Path(name).is_file():
        swapped = f"did you mean `%data add {shlex.quote(str(rows))} {name}`?"
        raise NotFound(f"there is no file or folder {path}, but {name} is one", swapped)
    raise NotFound(f"there is no file or folder {path}", _meant(str(rows), command))


def _meant(text: str, command: str) -> str:
    if "://" in text:
        return "what is on another machine must be fetched first: give the path of a file here"
    hint = "look at the path: it is read from the current folder"
    try:
        resolve(text, DataVersion)
    except LabError:  # most paths could not even be a name
        near = difflib.get_close_matches(text, [record.base for record in versions()], n=1, cutoff=0.75)
        meant = str(Uri(DataVersion.kind, near[0])) if near else _near_file(Path(text))
    else:
        meant = str(Uri.parse(text, noun=DataVersion.kind))
    return f"did you mean {_with(command, meant)}? If not, {hint}" if meant else hint


def _with(command: str, path: str) -> str:
    return f"`{command} {shlex.quote(path)}`" if command else path


def _near_file(path: Path) -> str:
    """What lies in the same folder under a name that is spelled like it; empty when nothing does."""
    try:
        name = nearest(path.name, [each.name for each in path.expanduser().absolute().parent.iterdir()])
    except (OSError, RuntimeError):  # no such folder, or the home of nobody
        return ""
    return str(path.with_name(name)) if name else ""


def _kept_alone(newest: Record[DataVersion] | None, found: _files.Manifest) -> str:
    """A version that was a single file stays one when its copy in `data/` is recorded anew."""
    only = newest.body.only if newest else ""
    return only if [file.name for file in found.files] == [only] else ""


def _record(
    where: Settings, name: str, folder: Path, found: _files.Manifest, origin: str, only: str, text: Sequence[str]
) -> Record[DataVersion]:
    """Describe the content, number the version and record it."""
    tables = describe(folder, [file.name for file in found.files], text)
    main = main_table(name, [table.name for table in tables])
    # DVC flushes nothing, and what its cache will hold are these very files, by hard link.
    files.flush_tree(folder)
    body = DataVersion(
        name=name,
        version=next_version(open_store(), DataVersion, name),
        key="",
        digest=found.digest,
        rows=next((table.rows for table in tables if table.name == main), None),
        files=len(found.files),
        size_bytes=found.size,
        source=origin,
        only=only,
        described=tuple(tables),
        held_by=holder(where),
        added_at=0.0,
    )
    return recording.record(where, folder, found, body)
