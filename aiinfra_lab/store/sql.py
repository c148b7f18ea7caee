"""What stores on SQL databases share: the statements, the check of revisions, and the audit log's chain.

A database's own module gives the connections, the schema, and its own words for what goes wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import Conflict, Damaged, LabError
from ..secrets import redactor
from ..uris import Uri, split_label
from . import heads
from .base import (
    AUDIT,
    CHECK,
    GENESIS,
    B,
    Body,
    Event,
    HeadCopy,
    Key,
    LoggedEvent,
    Record,
    Seal,
    actor,
    canonical,
    chain_hash,
    decode,
    encode,
    leave_out,
    refuse_newer,
)
from .base import event_of as _event_of
from .heads import Head

# So many events are in memory at a time: a proof reads every event that there ever was.
_BATCH = 500
_COLUMNS = "kind, name, body, rev, updated_at, schema_version, base, number, about, is_open, made_rev"
_RECORDS = f"SELECT {_COLUMNS}, digest FROM records"  # noqa: S608  # no text of users
_HIGHEST = "SELECT base, max(number) FROM records"
_REVS = "SELECT rev, made_rev, digest FROM records WHERE kind = ? AND name = ?"
_NEXT_REV = "UPDATE meta SET value = value + 1 WHERE key = 'rev' RETURNING value"
# `base`, `number` and `made_rev` are not updated: the name gives the first two, and a record is made once.
_WRITE = f"""INSERT INTO records ({_COLUMNS}, digest)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (kind, name) DO UPDATE
    SET body = excluded.body, rev = excluded.rev, updated_at = excluded.updated_at,
    schema_version = excluded.schema_version, about = excluded.about, is_open = excluded.is_open,
    digest = excluded.digest"""  # noqa: S608  # no text of users
_SEAL = "UPDATE records SET digest = ? WHERE kind = ? AND name = ?"
_TOTAL = "SELECT value FROM seals WHERE name = 'records'"
_SET_TOTAL = "UPDATE seals SET value = ? WHERE name = 'records'"
# One statement, so that all of it is of one moment.
_SEALS = f"SELECT {_COLUMNS}, digest, ({_TOTAL}) FROM records"  # noqa: S608  # no text of users
# One statement, since each commit asks; a condition, since PostgreSQL wants one.
_HEAD = f"""SELECT coalesce(seq, 0), coalesce(hash, '{GENESIS}'), value, ({_TOTAL}) FROM meta
    LEFT JOIN (SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1) AS newest ON 1 = 1
    WHERE key = 'rev'"""  # noqa: S608  # no text of users
DIGESTS = 2**256
_CHANGED = "SELECT kind, name, rev FROM records WHERE rev > ? ORDER BY rev DESC"
_EVENTS = "SELECT seq, at, actor, body, prev, hash, records FROM events"
_APPEND = "INSERT INTO events (seq, at, actor, body, prev, hash, records) VALUES (?, ?, ?, ?, ?, ?, ?)"
_BODIES = "SELECT seq, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
_URIS = "SELECT seq, uri FROM event_uris"
_NAME = "INSERT INTO event_uris (uri, seq) VALUES (?, ?)"

# What a database that is damaged hands out for a row need not have the columns' types.
_KeyRow = tuple[str, str, int]
_EventRow = tuple[int, float, str, str, str, str, str]
_UriRow = tuple[int, str]

_log = logging.getLogger(__name__)


class SqlStore(ABC):
    """See `Store` for the contract. `mark` is how the database marks a value in a statement."""

    mark = "?"

    def __init__(self, copied_in: Path | None = None) -> None:
        """copied_in: the file for a copy of what the store holds, so that who rewrites the store is found."""
        self.copied_in = copied_in
        self.is_copy_of_this = True
        self._left_as: Head | None = None
        self._reported: set[str] = set()

    def get(self, kind: type[B], name: str) -> Record[B] | None:
        with self._session() as db:
            row = self.run(db, f"{_RECORDS} WHERE kind = ? AND name = ?", kind.kind, name).fetchone()
        return _record(kind, row) if row else None

    def list(
        self,
        kind: type[B],
        *,
        name: str | None = None,
        about: str | None = None,
        is_open: bool | None = None,
        since_rev: int = 0,
        limit: int | None = None,
        order: Literal["made", "written"] = "made",
        skip_unreadable: bool = False,
    ) -> Sequence[Record[B]]:
        where = _Where("kind = ?", kind.kind)
        # 0 adds nothing: `rev > 0` holds always, and SQLite would then search by rev and sort all of the kind.
        where.add("rev > ?", since_rev or None)
        where.add("base = ?", name)
        # Spelled out, as the partial indexes are: a database does not see that a value it is given later would fit.
        if is_open is not None:
            where.add(f"is_open = {int(is_open)}")
        if about is not None:
            where.add("about <> ''")
            where.add(*_naming("about", about))
        # Of one name the number decides: of two that were numbered at once, the later may have been made first.
        by = "rev DESC" if order == "written" else "number DESC, made_rev DESC" if name else "made_rev DESC"
        with self._session() as db:
            rows = self.run(db, f"{_RECORDS} {where} ORDER BY {by}{_limit(limit)}", *where.values).fetchall()
        return list(self._readable(kind, rows) if skip_unreadable else (_record(kind, row) for row in rows))

    def names(self, kinds: Sequence[type[Body]], starts: str, most: int) -> Sequence[Sequence[str]]:
        if not kinds or not starts.isascii():
            return [[] for _ in kinds]  # no name has such letters
        parts, asked = [], []
        for kind in kinds:
            where = _Where("kind = ?", kind.kind)
            if starts:
                where.add("name >= ? AND name < ?", starts, _after(starts))
            # Twice as many as are wanted, for those that were removed.
            twice, by_base = _limit(2 * most), f"GROUP BY base ORDER BY max(made_rev) DESC{_limit(most)}"
            highest = f"{_RECORDS} {where} AND (base, number) IN ({_HIGHEST} {where} {by_base}){twice}"
            last = f"{_RECORDS} {where} ORDER BY made_rev DESC{twice}"
            parts += [f"SELECT * FROM ({part}) AS part" for part in (highest, last)]  # noqa: S608
            asked += 3 * [*where.values]
        # In one statement: somebody types, and a database may be far away.
        with self._session() as db:
            found = self.run(db, " UNION ALL ".join(parts), *asked).fetchall()
        rows: dict[str, dict[str, Any]] = {kind.kind: {} for kind in kinds}
        for row in found:
            rows[row[0]][row[1]] = row
        read = (self._readable(kind, [*rows[kind.kind].values()]) for kind in kinds)
        return [[one.name for one in records if not one.body.is_removed][:most] for records in read]

    def changed(self, since_rev: int = 0) -> Sequence[Key]:
        with self._session() as db:
            rows = self.run(db, _CHANGED, since_rev).fetchall()
        return [Key(*row) for row in checked(rows, list[_KeyRow])]

    def commit(self, records: Sequence[Record[Any]], event: Event | None = None) -> Sequence[Record[Any]]:
        change = _Change()
        with self._transaction() as db:
            head = before = self._head(db)
            written = [self._write(db, record, change) for record in records]
            if written:
                total = (_number(head.total) + change.total) % DIGESTS
                head = head._replace(rev=written[-1].rev, total=f"{total:064x}")
                self.run(db, _SET_TOTAL, head.total)
            if event:
                head = self._append(db, event, change.records, head)
            is_as_noted = self._announce(db, before, head)
        self._committed(head, is_as_noted)
        return written

    def events(self, since: int = 0, *, naming: str | None = None, last: int | None = None) -> Iterator[LoggedEvent]:
        if last is not None:
            yield from reversed(list(self._select_events(since, naming, f"DESC LIMIT {int(last)}")))
            return
        while True:
            batch = list(self._select_events(since, naming, f"LIMIT {_BATCH}"))
            yield from batch
            if len(batch) < _BATCH:
                return
            since = batch[-1].seq

    def _select_events(self, since: int, naming: str | None, tail: str) -> Iterator[LoggedEvent]:
        where = _Where("seq > ?", since)
        if naming is not None:
            condition, *values = _naming("uri", naming)
            where.add(f"seq IN (SELECT seq FROM event_uris WHERE {condition})", *values)  # noqa: S608  # no text of users
        with self._session() as db:
            # All at once: whoever takes events one by one, or stops in the middle, must not hold the session.
            rows = self.run(db, f"{_EVENTS} {where} ORDER BY seq {tail}", *where.values).fetchall()
        for seq, at, who, body, prev, digest, records in checked(rows, list[_EventRow]):
            yield LoggedEvent(seq, at, who, _event_of(body), prev, digest, _records_of(records))

    def seals(self) -> tuple[Sequence[Seal], bool]:
        # First: who commits meanwhile notes what these rows do not have yet. An older note proves less, never more.
        noted = [heads.read(path) for path in self._noted_in()]
        with self._session() as db:
            rows = self.run(db, _SEALS).fetchall()
            total = rows[0][-1] if rows else self.run(db, _TOTAL).fetchone()[0]
        found = [Seal(row[0], row[1], row[3], row_digest(*row[:-2]), row_digest(*row[:-2]) == row[-2]) for row in rows]
        there = sum(int(seal.digest, 16) for seal in found) % DIGESTS
        newest = max((seal.rev for seal in found), default=0)
        agree = all(one.rev < newest or (one.rev == newest and _number(one.total) == there) for one in noted)
        return found, agree and there == _number(total)

    def head_copy(self) -> HeadCopy:
        noted = heads.read(self.copied_in)
        return HeadCopy(noted.seq, noted.hash, str(self.copied_in or ""))

    def indexed(self, after: int, until: int | None) -> dict[int, set[str]]:
        where = _Where("seq > ?", after)
        where.add("seq <= ?", until)
        found: dict[int, set[str]] = {}
        with self._session() as db:
            for seq, uri in checked(self.run(db, f"{_URIS} {where}", *where.values).fetchall(), list[_UriRow]):
                found.setdefault(seq, set()).add(uri)
        return found

    def rebuild_index(self) -> None:
        with self._transaction() as db:
            self.run(db, "DELETE FROM event_uris")
            seq = 0
            while rows := self.run(db, _BODIES, seq, _BATCH).fetchall():
                for seq, body in rows:
                    self._index(db, seq, _event_of(body))

    @abstractmethod
    def _session(self) -> contextlib.AbstractContextManager[Any]:
        """A connection of this very process, for this thread alone; problems come out as our own errors."""

    @abstractmethod
    def _transaction(self) -> contextlib.AbstractContextManager[Any]:
        """The same, and all of it or nothing is written; one writer at a time, so that revisions have one order."""

    def _announce(self, db: Any, before: Head, after: Head) -> bool:
        """Called within a transaction, last; whether the store was, before it, what was noted of it."""
        if self.copied_in and (before != self._left_as or not self.is_copy_of_this):
            # Something else has written since. If the store has not gone on from what the copy tells, an older one was
            # put back, or it was rewritten, and what is written over the copy would be all that tells of it.
            self.is_copy_of_this = self._has_gone_on(db, heads.read(self.copied_in))
        return True

    def _committed(self, head: Head, is_as_noted: bool) -> None:
        """Called when a commit is on disk, with what the store then holds."""
        self._left_as = head
        if self.copied_in and self.is_copy_of_this and is_as_noted:
            heads.write(self.copied_in, head)

    def _noted_in(self) -> Sequence[Path]:
        """The files, outside of the database, in which that is noted."""
        return [self.copied_in] if self.copied_in else []

    def _has_gone_on(self, db: Any, noted: Head) -> bool:
        """Whether its events are those that were noted, and perhaps later ones."""
        found = self.run(db, "SELECT hash FROM events WHERE seq = ?", noted.seq).fetchone()
        return noted.seq == 0 or (found is not None and found[0] == noted.hash)

    def run(self, db: Any, statement: str, *values: Any) -> Any:
        """Execute a statement whose values are marked by `?`."""
        return db.execute(statement.replace("?", self.mark), values)

    @staticmethod
    def index_of(label: str) -> tuple[str, int]:
        """Name and number of a record's label, as the index keeps them; 0 where it has no number."""
        name, version, _ = split_label(label)
        return name, version or 0

    def _head(self, db: Any) -> Head:
        found: Head = checked(self.run(db, _HEAD).fetchone(), Head)
        return found._replace(total=f"{_number(found.total):064x}")

    def _readable(self, kind: type[B], rows: Sequence[Any]) -> Iterator[Record[B]]:
        for row in rows:
            try:
                yield _record(kind, row)
            except LabError as problem:
                leave_out(kind.kind, str(row[1]))
                # Once: the panel and the supervisor list again and again.
                if problem.what not in self._reported:
                    self._reported.add(problem.what)
                    _log.warning("%s; fix: %s", problem.what, problem.fix)

    def _write(self, db: Any, record: Record[Any], change: _Change) -> Record[Any]:
        before = self.run(db, _REVS, record.kind, record.name).fetchone() or (0, 0, "")
        rev, made_rev, old = checked(before, tuple[int, int, str])
        if rev != record.rev:
            raise Conflict(
                f"{record.kind} {record.name} was changed by somebody else meanwhile", "look at it again and repeat"
            )
        now, body = time.time(), record.body
        (rev,) = checked(self.run(db, _NEXT_REV).fetchone(), tuple[int])
        index = (*self.index_of(record.name), body.about, int(body.is_open), made_rev or rev)
        row = (record.kind, record.name, encode(body), rev, now, body.schema_version, *index)
        self.run(db, _WRITE, *row, digest := row_digest(*row))
        change.add(record.kind, record.name, rev, old, digest)
        return Record(record.kind, record.name, body, rev, now)

    def _append(self, db: Any, event: Event, records: Mapping[str, str], head: Head) -> Head:
        # Not `asdict`, which copies what is in it too, and takes a tenth of a commit.
        fields = {name: getattr(event, name) for name in Event.__slots__}
        body = canonical(fields)
        if (known := redactor()).finds(body):
            body = canonical({**fields, "detail": known.clean_value(json.loads(canonical(event.detail)))})
        with_it = canonical(records) if records else ""
        seq, at, who = head.seq + 1, round(time.time(), 6), actor()
        digest = chain_hash(seq, at, who, body, head.hash, with_it)
        self.run(db, _APPEND, seq, at, who, body, head.hash, digest, with_it)
        self._index(db, seq, event)
        return head._replace(seq=seq, hash=digest)

    def _index(self, db: Any, seq: int, event: Event) -> None:
        for uri in event.uris:
            self.run(db, _NAME, uri, seq)


class _Change:
    """What a commit does to the digests: of all records together, and of each that it writes.

    The digest of all is the sum of theirs (Bellare and Micciancio, 1997): a commit changes it without reading others.
    """

    def __init__(self) -> None:
        self.total, self.records = 0, dict[str, str]()

    def add(self, kind: str, name: str, rev: int, before: str, digest: str) -> None:
        self.total += int(digest, 16) - _number(before or "0")
        self.records[f"{kind} {name}"] = f"{rev} {digest}"


def _number(digest: str) -> int:
    """Of what is no digest any more, none: the sum then shows it."""
    try:
        return int(digest, 16)
    except (ValueError, TypeError):
        return 0


def _records_of(text: str) -> Mapping[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str]) if text else {}
    except msgspec.MsgspecError as problem:
        raise Damaged("an event of the audit log cannot be read", AUDIT) from problem


class _Where:
    """The conditions of a statement and their values, in order."""

    def __init__(self, condition: str, *values: object) -> None:
        self.conditions, self.values = [condition], list(values)

    def add(self, condition: str, *values: object) -> None:
        """One more condition, unless a value of it is None: then it was not given."""
        if None not in values:
            self.conditions.append(condition)
            self.values += values

    def __str__(self) -> str:
        return "WHERE " + " AND ".join(self.conditions)


def _naming(column: str, uri: str) -> tuple[str, ...]:
    """The condition that a column names that URI or, when it has no version, any version of it; and its values."""
    if Uri.is_bare(uri):
        # A range and no pattern, so that the index serves: 'A' is the letter after '@'.
        return f"({column} = ? OR ({column} >= ? AND {column} < ?))", uri, f"{uri}@", f"{uri}A"
    return f"{column} = ?", uri


def _after(text: str) -> str:
    """The first text behind all that begin so, in the order of code points; names are of plain letters."""
    return text[:-1] + chr(ord(text[-1]) + 1)


def _limit(limit: int | None) -> str:
    return "" if limit is None else f" LIMIT {int(limit)}"


def checked(found: Any, shape: Any, what: str = "the store") -> Any:
    """What the database gave, when it is of the types that its columns have; else Damaged."""
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as problem:
        raise Damaged(f"{what} cannot be read: {problem}", CHECK) from problem


def row_digest(*columns: object) -> str:
    """The SHA-256 of a record's row, in the order of its columns: of a number, as Python writes it."""
    return hashlib.sha256("\0".join(map(str, columns)).encode()).hexdigest()


def seal_records(store: SqlStore, db: Any) -> None:
    """Write the digest of each record as it lies there, for a schema that had none."""
    total = 0
    for row in store.run(db, f"SELECT {_COLUMNS} FROM records").fetchall():  # noqa: S608  # no text of users
        digest = row_digest(*row)
        total += int(digest, 16)
        store.run(db, _SEAL, digest, row[0], row[1])
    store.run(db, _SET_TOTAL, f"{total % DIGESTS:064x}")


class _RecordRow(msgspec.Struct, array_like=True, gc=False):
    """One for thousands of rows: msgspec looks at the fields of a struct once, and at a tuple's types for each row."""

    kind: str
    name: str
    body: str
    rev: int
    updated_at: float
    schema_version: int
    base: str
    number: int
    about: str
    is_open: int
    made_rev: int
    digest: str


def _record(kind: type[B], row: Sequence[Any]) -> Record[B]:
    found: _RecordRow = checked(row, _RecordRow, f"the record {kind.kind} {row[1]}")
    if "\\" in found.name:
        raise Damaged(f"the record {kind.kind} {found.name} cannot be read: that is no name", CHECK)
    # First, since a version that is not known yet may also count its digest in another way.
    refuse_newer(kind, found.name, found.schema_version)
    if row_digest(*row[:-1]) != found.digest:
        raise Damaged(f"the record {kind.kind} {found.name} is not what was written", CHECK)
    body = decode(kind, found.name, found.body, found.schema_version)
    return Record(kind.kind, found.name, body, found.rev, found.updated_at)
