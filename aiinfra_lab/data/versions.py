"""Versions: which there are, and where their content is in the workspace."""

from __future__ import annotations

from pathlib import Path

from ..config import Settings, settings
from ..errors import Damaged
from ..providers import make
from ..resolve import resolve
from ..show import Result
from ..store import Record, open_store
from ..uris import Uri
from . import files as _files
from .base import VersionStore
from .handle import Dataset
from .judge import DataFinding
from .record import DataVersion

_AGAIN = "`%data add` it again from its source"


def content_store(where: Settings) -> VersionStore:
    """What keeps the content in this workspace."""
    store: VersionStore = make("data.versions", where=where)
    return store


def versions(name: str | None = None, *, skip_unreadable: bool = False) -> list[Record[DataVersion]]:
    """All versions that were not removed, or those of one name, newest first. skip_unreadable: see `Store.list`."""
    found = open_store().list(DataVersion, name=name, skip_unreadable=skip_unreadable)
    return [record for record in found if not record.body.is_removed]


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
            content_store(where).checkout(record.body.key, aside)
            if _files.read_manifest(aside).digest != record.body.digest:
                raise Damaged(f"what is stored of {record.uri} has other bytes than were recorded", _AGAIN)
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
        return DataFinding(record.uri, "bytes", "bad", f"{', '.join(odd[:5])} differ from what was recorded", _AGAIN)
    return DataFinding(record.uri, "bytes", "good", f"{len(recorded.files)} files as recorded")


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


def folder_of(where: Settings, record: Record[DataVersion]) -> Path:
    """Where the files of a version are, read-only."""
    return where.home / "data" / "versions" / record.name


def manifest_path(where: Settings, digest: str) -> Path:
    """Where the list of a version's files is kept; the digest is that of its text."""
    return where.home / "data" / "manifests" / f"{digest}.json"


def manifest(record: Record[DataVersion]) -> _files.Manifest:
    """The files of a version as they were recorded. Damaged when the list is gone or altered."""
    digest = record.body.digest
    return _files.read_list(manifest_path(settings(), digest), digest)


def as_version(rows: object) -> Dataset | None:
    """The version that a handle or a URI names; None for what cannot be one's name: a path, a data frame."""
    if isinstance(rows, Dataset):
        return rows
    if isinstance(rows, str | Result) and Uri.is_one(rows):
        return handle(resolve(rows, DataVersion))
    return None
