"""What a recipe's steps make, seen from outside: whether it is there, whether it lives, and its newest version."""

from __future__ import annotations

from collections.abc import Iterable

from .. import jobs
from ..store import Record, open_store
from ..uris import Uri


def newest(uri: Uri) -> str | None:
    """The URI with the version that it means now; of what lives and has no versions itself. None: there is none."""
    if uri.alias is not None:
        record = open_store().get(f"{uri.noun}.aliases", uri.name)
        version = record.body.get("aliases", {}).get(uri.alias) if record else None
        return str(uri.at(version)) if version else None
    if uri.version is not None:
        return str(uri) if _is_present(_record(uri)) else None
    found = [record for record in open_store().list(uri.noun, name=uri.name) if _is_present(record)]
    versions = [record.version for record in found if record.version]
    if versions:
        return str(uri.at(max(versions)))
    return str(uri) if is_there(str(uri), alive=True) else None


def is_there(text: str, *, alive: bool) -> bool:
    """Whether the thing was not removed; one that lives must be living if `alive`."""
    uri = Uri.parse(text)
    if not _is_present(_record(uri)):
        return False
    # What has versions stays as it was made: it is there or it is not.
    return not alive or not can_live(text) or _is_live(text)


def are_there(uris: Iterable[str], *, alive: bool) -> bool:
    """Whether all of them are there; see `is_there`."""
    return all(is_there(uri, alive=alive) for uri in uris)


def can_live(text: str) -> bool:
    """Whether it is something that lives, such as an endpoint, and so has no versions."""
    return Uri.parse(text).version is None


def _is_live(text: str) -> bool:
    job = jobs.find(text)
    return job is not None and job.live


def _record(uri: Uri) -> Record | None:
    return open_store().get(f"{uri.noun}.rows" if uri.part else uri.noun, uri.label)


def _is_present(record: Record | None) -> bool:
    return record is not None and not record.body.get("removed_at")
