"""Versions: which there are, and where their content is in the workspace."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..config import Settings, settings
from ..errors import Damaged, LabError, NotFound
from ..providers import chosen, make, names
from ..resolve import resolve
from ..show import Result
from ..store import Record, open_store
from ..units import counted
from ..uris import Uri, split_scheme
from . import files as _files
from .base import VersionStore
from .handle import Dataset
from .judge import DataFinding
from .record import DataVersion


def holder(where: Settings, record: Record[DataVersion] | None = None) -> str:
    """The provider that holds a version's content; without one, that which takes in what is added now."""
    return (record.body.held_by if record else "") or chosen("data.versions", where)


def content_store(where: Settings, record: Record[DataVersion] | None = None) -> VersionStore:
    """What keeps a version's content; without one, what takes in the content that is added now."""
    store: VersionStore = make("data.versions", holder(where, record), where)
    return store


def versions(name: str | None = None, *, skip_unreadable: bool = False) -> list[Record[DataVersion]]:
    """All versions that were not removed, or those of one name, newest first. skip_unreadable: see `Store.list`."""
    found = open_store().list(DataVersion, name=name, skip_unreadable=skip_unreadable)
    return [record for record in found if not record.body.is_removed]


def columns(text: str) -> list[str]:
    """The names of the columns that the tables of a version have, each once; none when it is no version."""
    return list(dict.fromkeys(column for column, _ in _columns(text)))


def times(text: str) -> list[str]:
    """Those of the columns that hold times or dates."""
    return list(dict.fromkeys(column for column, kind in _columns(text) if kind.startswith(("timestamp", "date"))))


def _columns(text: str) -> list[tuple[str, str]]:
    try:
        tables = resolve(text, DataVersion).body.described
    except LabError:  # a path, or whatever else stands where rows are wanted
        return []
    return [described for table in tables for described in table.columns]


def before(record: Record[DataVersion]) -> Record[DataVersion] | None:
    """The version of the same name that came before, among those that are still there."""
    return next((one for one in versions(record.base) if one.version < record.version), None)


def handle(record: Record[DataVersion], note: str = "") -> Dataset:
    """The handle of a version; its files are there: taken out of the content store when they were not.

    Damaged when what is stored is not what was recorded.
    """
    where = settings()
    # Sizes alone: every `data get` passes here, and reading all bytes of a large version would take minutes.
    # `data check` reads them.
    if not _files.sizes_agree(manifest(record), folder_of(where, record)):
        with _files.incoming(where.home) as folder:
            aside = folder / "content"
            try:
                content_store(where, record).checkout(record.body.key, aside)
            except NotFound as problem:
                raise NotFound(f"{record.uri}: {problem.what}", f"{again(record)}; {problem.fix}") from problem
            if _files.read_manifest(aside).digest != record.body.digest:
                raise Damaged(f"what is stored of {record.uri} has other bytes than were recorded", again(record))
            _files.protect(aside)
            _files.move_in(aside, folder_of(where, record))
    return described(record, note)


def intact(record: Record[DataVersion]) -> DataFinding:
    """Whether every byte of a version is as it was recorded."""
    folder, recorded = folder_of(settings(), record), manifest(record)
    # Every byte, since a disk's error or an editor leaves a file's size as it was.
    now = {file.name: file for file in _files.read_manifest(folder).files}
    odd = [file.name for file in recorded.files if now.get(file.name) != file]
    if odd:
        return DataFinding(
            record.uri, "bytes", "bad", f"{', '.join(odd[:5])} differ from what was recorded", again(record)
        )
    return DataFinding(record.uri, "bytes", "good", f"{counted(len(recorded.files), 'file')} as recorded")


def is_intact(record: Record[DataVersion]) -> bool:
    """Whether a version is there as it was recorded, with the list of its files."""
    try:
        return intact(record).state == "good"
    except LabError:  # the list is gone or altered, or the files are
        return False


def again(record: Record[DataVersion]) -> str:
    """How to add the content of a version once more, which puts back what is damaged of it."""
    name, source = record.base, record.body.source
    scheme, location = split_scheme(source)
    if scheme == "file" and location:
        return f"`%data add {name} {shlex.quote(location)}` puts it back, while that is the same"
    if scheme in names("data.source"):
        return f"`%data add {name} --from {source}` puts it back"
    if Uri.is_one(source, DataVersion.kind):
        return f"`%data add {name} {source}` puts it back"
    return f"add the same content again as {name}, in Python with `data.add`: that puts it back"


def described(record: Record[DataVersion], note: str = "") -> Dataset:
    """The handle without looking whether the files are there."""
    body, folder = record.body, folder_of(settings(), record)
    return Dataset(
        uri=record.uri,
        digest=body.digest,
        rows=body.rows,
        tables=tuple(table.name for table in body.described),
        files=body.files,
        size_bytes=body.size_bytes,
        source=body.source,
        added_at=body.added_at,
        path=folder / body.only if body.only else folder,
        note=note,
        described=body.described,
    )


def here(record: Record[DataVersion]) -> Path | None:
    """The folder with all files of a version, by their sizes; None when it is not there: it is not taken out for it."""
    folder = folder_of(settings(), record)
    try:
        return folder if folder.exists() and _files.sizes_agree(manifest(record), folder) else None
    except LabError:  # the list of its files is gone or altered: `data check` says what helps
        return None


def folder_of(where: Settings, record: Record[DataVersion]) -> Path:
    """Where the files of a version are, read-only."""
    return where.home / "data" / "versions" / record.name


def manifest_path(where: Settings, digest: str) -> Path:
    """Where the list of a version's files is kept; the digest is that of its text."""
    return where.home / "data" / "manifests" / f"{digest}.json"


def manifest(record: Record[DataVersion]) -> _files.Manifest:
    """The files of a version as they were recorded. Damaged when the list is gone or altered, NotFound when nothing of
    it is here, since several folders may share the store.
    """
    where, digest = settings(), record.body.digest
    path = manifest_path(where, digest)
    if chosen("store", where) != "sqlite" and not path.exists() and not folder_of(where, record).exists():
        what = f"{record.uri} is not in this folder: it was added in another one that shares the store, or is gone"
        raise NotFound(what, f"use it there, or bring what it was made of here: {again(record)}")
    return _files.read_list(path, digest, again(record))


def as_version(rows: object) -> Dataset | None:
    """The version that a handle or a URI names; None for what cannot be one's name: a path, a data frame."""
    if isinstance(rows, Dataset):
        return rows
    if isinstance(rows, str | Result) and Uri.is_one(rows):
        return handle(resolve(rows, DataVersion))
    return None
