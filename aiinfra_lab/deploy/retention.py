"""How long predictions are kept: the files of the logs, which fall under `deploy.log_gib` and `deploy.log_days`.

`lab` says and frees what is past them; a server itself deletes the oldest files of its own log beyond the size, so that
it does not fill the disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..config import Settings
from ..errors import UsageProblem
from ..nouns import KeptFile
from ..store import Record, open_store
from .record import EndpointRecord

LOG_SETTING = "deploy.log"
LOG_GIB = 10.0


def log_bytes(where: Settings) -> float:
    """What the log of one endpoint may hold. UsageProblem for a setting that is no size."""
    gib = where.get(f"{LOG_SETTING}_gib", LOG_GIB)
    if not gib > 0:
        raise UsageProblem(f"{LOG_SETTING}_gib = {gib:g} leaves no room for a log", "give it GiB, e.g. 10")
    return gib * 2**30


def log_files() -> list[KeptFile]:
    """Every file of every endpoint's log on this machine that may be deleted, of each endpoint the oldest first."""
    return [file for record in open_store().list(EndpointRecord, skip_unreadable=True) for file in _of(record)]


def _of(record: Record[EndpointRecord]) -> Iterator[KeptFile]:
    from .server.predictions_log import files

    found = files(Path(record.body.log_dir)) if record.body.log_dir else []
    # A live server writes the newest one, and would go on writing it after its name was gone.
    for path in found[:-1] if record.body.is_open else found:
        with contextlib.suppress(FileNotFoundError):  # its server has just deleted it
            status = path.stat()
            yield KeptFile(record.uri, path, status.st_mtime, status.st_size)
