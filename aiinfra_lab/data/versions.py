"""Versions: their records, and where their content lies in the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config import Settings, settings
from ..errors import Damaged, NotFound, UsageProblem, did_you_mean
from ..nouns import TABLE as NOUNS
from ..providers import make
from ..show import Result
from ..store import Record, open_store
from ..uris import Uri
from . import files as _files
from .base import VersionStore
from .handle import Dataset
from .judge import Finding
from .tables import Table

KIND = "data"


def content_store(where: Settings) -> VersionStore:
    """What keeps the content in this workspace."""
    store: VersionStore = make("data.versions", where=where)
    return store


def records(name: str | None = None, removed: bool = False) -> list[Record]:
    """The records of all versions, or of those of one name, newest first."""
    found = [record for record in open_store().list(KIND) if name is None or record.body["name"] == name]
    found = [record for record in found if removed or not record.body.get("removed_at")]
    return sorted(found, key=lambda record: (record.body["added_at"], record.body["version"]), reverse=True)


def find(text: object, removed: bool = False) -> Record:
    """The record of a version, the newest when none is named; with `removed`, also of one that was removed.

    NotFound says what there is.
    """
    uri = Uri.parse(text, noun=KIND)
    if uri.alias or uri.part:
        what = f"aliases, and {uri.alias!r}" if uri.alias else f"parts, and {uri.part!r}"
        raise UsageProblem(f"data has no {what} is one", f"write {uri.name}@N, or only {uri.name}")
    have = records(uri.name, removed=True)
    if not have:
        names = {one.body["name"] for one in records()}
        raise NotFound(
            f"there is no data:{uri.name}", did_you_mean(uri.name, names, f"`%data add {uri.name} PATH` makes one")
        )
    live = [record for record in have if not record.body.get("removed_at")]
    wanted = live[:1] if uri.version is None else [one for one in have if one.body["version"] == uri.version]
    if wanted and (removed or not wanted[0].body.get("removed_at")):
        return wanted[0]
    gone = "was removed" if wanted or not live else "does not exist"
    listed = ", ".join(f"@{record.body['version']}" for record in live) or "none"
    raise NotFound(f"{uri} {gone}", f"there are: {listed}; `%data add {uri.name} PATH` makes a new one")


def before(record: Record) -> Record | None:
    """The version of the same name that came before, among those that are still there."""
    return next((one for one in records(record.body["name"]) if one.body["version"] < record.body["version"]), None)


def handle(record: Record, note: str = "") -> Dataset:
    """The handle of a version; its files are in place: taken out of the content store when they are not."""
    where = settings()
    if not _files.sizes_agree(manifest(record), folder_of(where, record)):
        with _files.incoming(where.home) as folder:
            aside = folder / "placed"
            content_store(where).place(record.body["key"], aside)
            if _files.read_manifest(aside).digest != record.body["digest"]:
                raise Damaged(f"what is stored of data:{record.name} has other bytes than were recorded", _AGAIN)
            _files.move_in(aside, folder_of(where, record))
    return described(record, note)


_AGAIN = "`%data add` it again from its source"


def intact(record: Record) -> Finding:
    """Whether every byte of a version is as it was recorded."""
    folder, recorded = folder_of(settings(), record), manifest(record)
    now = {file.name: file for file in _files.read_manifest(folder).files}
    odd = [file.name for file in recorded.files if now.get(file.name) != file]
    where = f"{KIND}:{record.name}"
    if odd:
        return Finding(where, "bytes", "bad", f"{', '.join(odd[:5])} differ from what was recorded", _AGAIN)
    return Finding(where, "bytes", "good", f"{len(recorded.files)} files as recorded")


def described(record: Record, note: str = "") -> Dataset:
    """The handle without looking whether the files are there."""
    body, folder = record.body, folder_of(settings(), record)
    tables = tuple(_table(item) for item in body["described"])
    same = {key: body[key] for key in ("digest", "rows", "files", "size_bytes", "source", "added_at")}
    return Dataset(
        f"{KIND}:{record.name}",
        tables=tuple(table.name for table in tables),
        path=folder / body["only"] if body["only"] else folder,
        note=note,
        described=tables,
        **same,
    )


def folder_of(where: Settings, record: Record) -> Path:
    """Where the files of a version lie, read-only."""
    return where.home / "data" / "versions" / record.name


def manifest_path(where: Settings, digest: str) -> Path:
    """Where the list of a version's files is kept; the digest is that of its text."""
    return where.home / "data" / "manifests" / f"{digest}.json"


def manifest(record: Record) -> _files.Manifest:
    """The files of a version as they were recorded. Damaged when the list is gone or altered."""
    digest = record.body["digest"]
    return _files.read_list(manifest_path(settings(), digest), digest)


def as_version(rows: object) -> Dataset | None:
    """The version that a handle or a URI names; None for what is no name of a version: a path, a data frame."""
    if isinstance(rows, Dataset):
        return rows
    noun, colon, _ = str(rows).partition(":") if isinstance(rows, str | Result) else ("", "", "")
    if colon and noun in NOUNS:
        return handle(find(rows))
    return None


def _table(item: dict[str, Any]) -> Table:
    return Table(**{**item, "columns": tuple((name, kind) for name, kind in item["columns"])})
