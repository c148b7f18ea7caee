"""What stores on SQL databases share: the statements, the check of revisions, and the audit log's chain.

A database's own module gives the connections, the schema, and its own words for what goes wrong.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..errors import Conflict
from .base import GENESIS, Event, LoggedEvent, Record, actor, body_of, canonical, chain_hash, event_of

_RECORDS = "SELECT kind, name, body, rev, updated_at FROM records"
_REV = "SELECT rev FROM records WHERE kind = ? AND name = ?"
_NEXT_REV = "UPDATE meta SET value = value + 1 WHERE key = 'rev' RETURNING value"
_WRITE = """INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, name) DO UPDATE
    SET body = excluded.body, rev = excluded.rev, updated_at = excluded.updated_at"""
_EVENTS = "SELECT seq, at, actor, body, prev, hash FROM events WHERE seq > ? ORDER BY seq"
_HEAD = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
_APPEND = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"

Head = tuple[int, str]
"""Sequence number and hash of an event."""


class SqlStore(ABC):
    """See `Store` for the contract. `mark` is how the database marks a value in a statement."""

    mark = "?"

    def get(self, kind: str, name: str) -> Record | None:
        with self._session() as db:
            row = self._run(db, f"{_RECORDS} WHERE kind = ? AND name = ?", kind, name).fetchone()
        return _record(row) if row else None

    def list(self, kind: str | None = None, since_rev: int = 0) -> Sequence[Record]:
        where, values = ("rev > ? AND kind = ?", (since_rev, kind)) if kind else ("rev > ?", (since_rev,))
        with self._session() as db:
            rows = self._run(db, f"{_RECORDS} WHERE {where} ORDER BY rev DESC", *values).fetchall()
        return [_record(row) for row in rows]

    def put(self, record: Record, expected_rev: int | None = None) -> Record:
        with self._transaction() as db:
            return self._write(db, record, expected_rev)

    def commit(self, records: Sequence[Record], event: Event | None) -> Sequence[Record]:
        with self._transaction() as db:
            written = [self._write(db, record, record.rev) for record in records]
            head = self._append(db, event) if event else None
        self._committed(head)
        return written

    def events(self, since: int = 0) -> Iterator[LoggedEvent]:
        with self._session() as db:
            rows = self._run(db, _EVENTS, since).fetchall()
        for seq, at, who, body, prev, digest in rows:
            yield LoggedEvent(seq, at, who, event_of(body), prev, digest)

    @abstractmethod
    def _session(self) -> contextlib.AbstractContextManager[Any]:
        """A connection of this very process, for this thread alone; problems come out as our own errors."""

    @abstractmethod
    def _transaction(self) -> contextlib.AbstractContextManager[Any]:
        """The same, and all of it or nothing is written; one writer at a time, so that revisions have one order."""

    def _committed(self, head: Head | None) -> None:  # noqa: B027  # most databases need nothing more
        """Called when a commit is on disk, with the event that it appended."""

    def _run(self, db: Any, statement: str, *values: Any) -> Any:
        return db.execute(statement.replace("?", self.mark), values)

    def _newest(self, db: Any) -> Head | None:
        found: Head | None = self._run(db, _HEAD).fetchone()
        return found

    def _write(self, db: Any, record: Record, expected_rev: int | None) -> Record:
        row = self._run(db, _REV, record.kind, record.name).fetchone()
        if expected_rev is not None and (row[0] if row else 0) != expected_rev:
            raise Conflict(
                f"{record.kind} {record.name} was changed by somebody else meanwhile", "look at it again and repeat"
            )
        body, now = canonical(record.body), time.time()
        (rev,) = self._run(db, _NEXT_REV).fetchone()
        self._run(db, _WRITE, record.kind, record.name, body, rev, now)
        return Record(record.kind, record.name, record.body, rev, now)

    def _append(self, db: Any, event: Event) -> Head:
        last, prev = self._newest(db) or (0, GENESIS)
        seq, at, who, body = last + 1, round(time.time(), 6), actor(), canonical(asdict(event))
        digest = chain_hash(seq, at, who, event_of(body), prev)
        self._run(db, _APPEND, seq, at, who, body, prev, digest)
        return seq, digest


def _record(row: tuple[str, str, str, int, float]) -> Record:
    kind, name, body, rev, updated_at = row
    return Record(kind, name, body_of(body), rev, updated_at)
