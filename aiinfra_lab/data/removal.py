"""Deleting a version's content while its record, and what other versions share with it, stay."""

from __future__ import annotations

import shutil
import time

from ..audit.references import refuse_referenced
from ..config import settings
from ..errors import NotFound
from ..store import Event, Record, open_store
from ..uris import Uri
from . import files as _files
from .versions import KIND, content_store, find, folder_of, records


def remove(uri: Uri) -> tuple[int, str]:
    """Record the removal, then delete; a crash between is mended by removing again. Bytes and the newest that is left.

    NotFound when there is no such version, or when it was removed completely; Conflict when something that serves was
    made of it.
    """
    where, record = settings(), find(uri, removed=True)
    folder = folder_of(where, record)
    with _files.incoming(where.home):
        if record.body.get("removed_at") and not folder.exists():
            raise NotFound(f"{uri} was removed already", f"`%data ls {uri.name}` lists what is left")
        if not record.body.get("removed_at"):
            refuse_referenced(open_store(), str(uri))
            event = Event("data rm", str(uri), (str(uri),), (), {"digest": record.body["digest"]})
            open_store().commit([record.with_(removed_at=time.time())], event)
        newest = next(iter(records(uri.name)), None)
        _withdraw(uri.name, newest)
        content_store(where).forget(record.body["key"], [one.body["key"] for one in records()])
        shutil.rmtree(folder, ignore_errors=True)
    return record.body["size_bytes"], f"{KIND}:{newest.name}" if newest else ""


def _withdraw(name: str, newest: Record | None) -> None:
    """Let `data/NAME` be what is left; what the user changed there is his."""
    content = content_store(settings())
    if content.unsaved(name):
        return
    if newest is None:
        content.withdraw(name)
    else:
        content.publish(name, newest.body["key"])
