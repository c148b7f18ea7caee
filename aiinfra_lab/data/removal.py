"""Deleting a version's content while its record, and what other versions share with it, stay."""

from __future__ import annotations

import shutil
import time

from ..audit.references import refuse_referenced
from ..config import settings
from ..errors import NotFound
from ..resolve import resolve
from ..store import Event, open_store
from ..uris import Uri
from . import files as _files
from . import recording, working_copy
from .record import DataVersion
from .results import DataRemoval
from .versions import content_store, folder_of, holder, versions


def remove(uri: Uri) -> DataRemoval:
    """Record the removal, then delete; a crash between is made good by removing again.

    NotFound when there is no such version, or when it was removed completely; Conflict when something that serves was
    made of it.
    """
    where, record = settings(), resolve(uri, DataVersion, removed=True)
    folder = folder_of(where, record)
    # The lock of those who add: another version might be recorded with this content while it is being deleted.
    with _files.incoming(where.home):
        recording.settle_held(where)
        if record.body.is_removed and not folder.exists():
            raise NotFound(f"{uri} was removed already", f"`%data ls {uri.name}` lists what is left")
        if not record.body.is_removed:
            refuse_referenced(open_store(), record.uri)
            event = Event("data rm", record.uri, (record.uri,), (), {"digest": record.body.digest})
            open_store().commit([record.with_(removed_at=time.time())], event)
        newest = next(iter(versions(uri.name)), None)
        # First, since DVC keeps what a `.dvc` file in the workspace points to.
        working_copy.follow(where, uri.name, newest, removed=record)
        kept = [one.body.key for one in versions() if holder(where, one) == holder(where, record)]
        content_store(where, record).forget(record.body.key, kept)
        # Last, since its absence is what says that a removal was completed.
        shutil.rmtree(folder, ignore_errors=True)
    return DataRemoval(record.uri, record.body.size_bytes, newest.uri if newest else "")
