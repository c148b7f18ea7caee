"""Jobs of another folder that shares this store, or of another container that shares this folder, when nobody there may
be left to end them."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from msgspec.structs import replace

from ..errors import Unavailable
from ..store import Record, Store, update
from ..units import show_duration
from ..uris import Uri
from . import process
from .heartbeat import QUIET_S
from .record import GONE_S, HomeRecord, JobRecord, is_here, is_seen


def settle(store: Store, record: Record[JobRecord]) -> Record[JobRecord]:
    """The record of a living job that is not seen from here and whose end was requested, ended when it is gone.

    Its folder, or the container of a job that nobody supervises, is taken for gone when it has given no sign of life
    for 15 minutes. A folder that comes back after that ends what still runs there. Unavailable, with what helps, when
    it has been silent for some minutes.
    """
    home = store.get(HomeRecord, record.body.home)
    silent_s = _silent_s(record.body, home.body if home else None)
    if silent_s < QUIET_S:
        return record
    silence = f"no sign of life for {show_duration(silent_s)}"
    if silent_s < GONE_S:
        what = f"{record.body.subject} is a job of {_place(record, home)}, which has given {silence}"
        raise Unavailable(what, fix(store, record))
    end = {"state": "lost", "ended_at": time.time()}
    place = "its container" if is_here(record) else home.body.host if home else "its folder"
    why = f"{place} gave {silence}: it may still run there"
    return update(
        store, JobRecord, record.name, lambda body: replace(body, **end, ended_by=why) if body.is_open else None
    )


def close_silent(store: Store, subject: str) -> None:
    """Write the end of that thing's jobs of other folders and containers that nobody supervises, taken for gone.

    One that comes back sees that it has ended, and stops.
    """
    for record in store.list(JobRecord, about=subject, is_open=True, skip_unreadable=True):
        if record.body.is_silent and not is_seen(record):
            settle(store, record)


def fix(store: Store, record: Record[JobRecord]) -> str:
    """What helps when a living job that is not seen from here does not end."""
    home, uri = store.get(HomeRecord, record.body.home), Uri.parse(record.body.subject)
    left_s = max(0.0, GONE_S - _silent_s(record.body, home.body if home else None))
    stop = f"`%{uri.noun} stop {uri.label}` again in {show_duration(left_s)}"
    if is_here(record):
        return f"end it in the container that it runs in; if that is gone for good, {stop} writes its end"
    start = "`aiinfra lab start` in the folder that started it"
    if home:
        start = f"`cd {shlex.quote(home.body.path)} && aiinfra lab start` on {home.body.host}"
    return f"{start}; if that folder is gone for good, {stop} writes its end"


def ended_remotely(store: Store, home: Path, home_id: str) -> list[str]:
    """Jobs of this folder that run although their end is written, since another folder took this one for gone."""
    if not home_id:
        return []
    marks = [mark for mark in process.marks() if (home / "jobs" / mark).is_dir()]
    found = [record for mark in marks if (record := store.get(JobRecord, mark))]
    ours = [record for record in found if record.body.home == home_id and record.body.supervised]
    return [record.name for record in ours if not record.body.is_open]


def _silent_s(body: JobRecord, home: HomeRecord | None) -> float:
    """Seconds without a sign of life, of which only those count in which one was due."""
    seen_at = home.seen_at if home else 0.0
    if body.seen_at and not body.supervised:
        return max(0.0, time.time() - body.seen_at)
    if home is None or not body.supervised:
        # A notebook's own process gave none before version 3, but it would have read the request.
        return max(0.0, time.time() - max(seen_at, body.stop_requested_at or time.time()))
    return max(0.0, time.time() - max(seen_at, body.started_at))


def _place(record: Record[JobRecord], home: Record[HomeRecord] | None) -> str:
    if is_here(record):
        return "another container that has this folder, or of this machine before it was started again"
    return f"{home.body.path} on {home.body.host}" if home else "another folder"
