"""Signs of life of a folder's supervisor, and of a process that works without one, written to the store for the other
folders that share it.

One a minute while jobs live. They also show when two folders have the same id, such as two containers of one image: the
supervisor that was first goes on, and the other one's folder needs an id of its own.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Literal

from msgspec.structs import replace

from ..config import settings
from ..errors import Conflict, Denied, LabError, Unavailable
from ..store import Record, Store, update
from . import process
from .home import fingerprint_of, make_home_id
from .record import HomeRecord, JobRecord

BEAT_S = 60.0
# Two beats and some seconds: a store may be slow, and clocks differ.
QUIET_S = 150.0
LOOK_S = 5.0
# Two looks and a slow commit: within that time a supervisor that lives takes back what another wrote.
ANSWER_S = 12.0
_NEVER = float("-inf")

Standing = Literal["acting", "waiting", "taken"]


class Heartbeat:
    """The signs of life of this process, which is the supervisor of that folder and holds its lock."""

    def __init__(self, store: Store, home: Path) -> None:
        self._store, self._name, self._sign = store, make_home_id(home), _sign_of(home)
        self._looked = self._beaten = self._acts_from = _NEVER

    def look(self) -> Standing:
        """Give a sign of life when one is due. "taken": another folder's supervisor lives under the same id.

        "waiting": that is not known yet, and the jobs must be left alone meanwhile. A store that takes nothing keeps
        nobody from acting. Unavailable when it cannot be read.
        """
        now, is_first = time.monotonic(), self._beaten == _NEVER
        if now - self._looked >= LOOK_S:
            self._looked = now
            found = self._store.get(HomeRecord, self._name)
            if found is None or self._is_mine(found.body):
                self._beat(found, now)
            elif not _may_live(found.body, self._sign):
                self._beat(found, now, at_once=True)
            elif self._is_taken(found.body, is_first=is_first):
                return "taken"
            else:
                # At the first look somebody who lives takes it back, being the older one.
                self._acts_from = now + ANSWER_S if is_first else self._acts_from
                self._beat(found, now, at_once=True)
        return "acting" if now >= self._acts_from else "waiting"

    def _is_taken(self, found: HomeRecord, *, is_first: bool) -> bool:
        """Whether another supervisor that may live has the id: it is seen to live, or has answered being the older."""
        return found.process_table == self._sign.process_table if is_first else found.since_at < self._sign.since_at

    def _is_mine(self, found: HomeRecord) -> bool:
        return _leader(found) == _leader(self._sign)

    def _beat(self, found: Record[HomeRecord] | None, now: float, *, at_once: bool = False) -> None:
        if not at_once and now - self._beaten < BEAT_S:
            return
        sign = replace(self._sign, seen_at=time.time())
        try:
            self._store.commit([found.of(sign) if found else Record.new(self._name, sign)])
            self._beaten = now
        except Conflict:
            self._looked = _NEVER  # another one writes at this moment
        except (Denied, Unavailable):
            pass


@contextlib.contextmanager
def beating(store: Store, job_id: str) -> Iterator[None]:
    """Write that this process, whose job that is, still works at it: once a minute, as long as this lasts."""
    over = Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            # A store that takes nothing keeps nobody from working.
            with contextlib.suppress(LabError):
                update(store, JobRecord, job_id, _seen)

    thread = Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _seen(body: JobRecord) -> JobRecord | None:
    return replace(body, seen_at=time.time()) if body.is_open else None


def _sign_of(home: Path) -> HomeRecord:
    now, pid = time.time(), os.getpid()
    return HomeRecord(
        path=str(settings().project),
        host=platform.node(),
        fingerprint=fingerprint_of(home),
        process_table=process.table(),
        pid=pid,
        born=process.birth(pid),
        since_at=now,
        seen_at=now,
    )


def _may_live(found: HomeRecord, mine: HomeRecord) -> bool:
    """Whether another supervisor under the same id may live."""
    if found.process_table == mine.process_table:
        # One of this very folder has let go of its lock, and may need a moment to end.
        return found.fingerprint != mine.fingerprint and process.alive(found.pid, found.born)
    return time.time() - found.seen_at < QUIET_S


def _leader(sign: HomeRecord) -> tuple[str, int, float]:
    return sign.process_table, sign.pid, sign.born
