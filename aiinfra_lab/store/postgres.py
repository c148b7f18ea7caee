"""PostgreSQL as the workspace's memory, for several machines: `[store] url = "postgresql://host/database"`.

A password never stands in the settings: PostgreSQL's own PGPASSWORD, ~/.pgpass or service file give it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from ..config import Settings
from ..errors import Damaged, Denied, StoreUnavailable, Unavailable, UsageProblem
from . import heads
from .first_schema import fill_index
from .postgres_errors import NoAnswer, is_lost, lab_error, quoted, user_of
from .sql import SqlStore, seal_records

# One script per schema version, applied in order and never changed afterwards.
MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BIGINT NOT NULL);
    INSERT INTO meta VALUES ('rev', 0);
    CREATE TABLE records (
        kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, rev BIGINT NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (kind, name));
    CREATE INDEX records_rev ON records (rev);
    CREATE TABLE events (
        seq BIGINT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, actor TEXT NOT NULL, body TEXT NOT NULL,
        prev TEXT NOT NULL, hash TEXT NOT NULL);
    """,
    # COLLATE "C": ranges of URIs are compared byte by byte, whatever the database's own order of letters is.
    """
    ALTER TABLE records ADD COLUMN schema_version BIGINT NOT NULL DEFAULT 1;
    ALTER TABLE records ADD COLUMN base TEXT COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE records ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE records ADD COLUMN about TEXT COLLATE "C" NOT NULL DEFAULT '';
    ALTER TABLE records ADD COLUMN is_open BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE records ADD COLUMN made_rev BIGINT NOT NULL DEFAULT 0;
    CREATE INDEX records_made ON records (kind, made_rev);
    CREATE INDEX records_written ON records (kind, rev);
    CREATE INDEX records_base ON records (kind, base, number, made_rev);
    CREATE INDEX records_about ON records (kind, about, made_rev) WHERE about <> '';
    CREATE INDEX records_open ON records (kind, made_rev) WHERE is_open = 1;
    CREATE TABLE event_uris (uri TEXT COLLATE "C" NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (uri, seq));
    """,
    """
    ALTER TABLE records ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    ALTER TABLE events ADD COLUMN records TEXT NOT NULL DEFAULT '';
    CREATE TABLE seals (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    INSERT INTO seals VALUES ('records', '0');
    """,
)
# What a script cannot do, after the script of that schema version.
AFTERWARDS: dict[int, Callable[[SqlStore, psycopg.Connection[Any]], None]] = {2: fill_index, 3: seal_records}
_LOCK = 0x61_69_69_6E  # any number that every client of ours agrees on

# Of one statement: ours are small. What takes longer goes to a server that hangs, or along a line that was cut.
ANSWER_S = 15.0
# Until another writer has ended: that of the contract.
LOCK_S = 30.0
MIGRATION_S = 3600.0
# What the URL says itself comes first. tcp_user_timeout counts in ms.
_LINE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "client_encoding": "utf8",
}
_SETTINGS = (
    "SELECT set_config('search_path', quote_ident(%s), false), set_config('lock_timeout', %s, false), "
    "set_config('statement_timeout', %s, false)"
)
_HAS_SCHEMA = "SELECT count(*) FROM pg_namespace WHERE nspname = %s"
_IS_READ_ONLY = "SELECT (current_setting('transaction_read_only') = 'on')::int"

T = TypeVar("T")


class _Connection(psycopg.Connection[Any]):
    """One whose statements raise NoAnswer after a while: a server that hangs keeps no timeout of its own."""

    answer_s = ANSWER_S

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        return super().wait(self._bounded(gen, time.monotonic() + self.answer_s), *args, **kwargs)

    @contextlib.contextmanager
    def within(self, answer_s: float) -> Iterator[None]:
        """Give each statement that long meanwhile."""
        before, self.answer_s = self.answer_s, answer_s
        try:
            yield
        finally:
            self.answer_s = before

    def _bounded(self, gen: PQGen[T], until_at: float) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > until_at:
                    # At once: a transaction that rolled back first would wait as long again.
                    self.pgconn.finish()
                    raise NoAnswer("no answer to a statement")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


class PostgresStore(SqlStore):
    """See `Store` for the contract."""

    mark = "%s"

    def __init__(self, url: str, schema: str = "aiinfra", *, copies_in: Path | None = None) -> None:
        """copies_in: a folder for a copy of what was last committed from this machine."""
        super().__init__(heads.copy_of(copies_in, f"{url} {schema}") if copies_in else None)
        self.url = url
        self.schema = schema
        self._lock = threading.RLock()
        self._connection: _Connection | None = None
        self._pid = 0

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def run(self, db: Any, statement: str, *values: Any) -> Any:
        is_first = db.info.transaction_status in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)
        try:
            return super().run(db, statement, *values)
        except psycopg.OperationalError as problem:
            # Of a transaction that has begun something may be written; a mere read can be asked again.
            if not is_first or not is_lost(problem):
                raise
            return super().run(self._renew(), statement, *values)

    @contextlib.contextmanager
    def _session(self) -> Iterator[_Connection]:
        # As long as for a writer of another process, for which that thread may be waiting itself.
        if not self._lock.acquire(timeout=LOCK_S):
            raise StoreUnavailable(
                f"the store did not answer another thread of this process for {LOCK_S:.0f} s",
                "see whether its server is stopped or overloaded, or the network is cut, then repeat",
            )
        try:
            with self._lab_errors():
                yield self._current()
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[_Connection]:
        with self._session() as found:
            if _one(self.run(found, _IS_READ_ONLY)):
                self._renew()  # a connection stays what it was when it began; the database may be writable by now
            db = self._current()
            with db.transaction():
                # One writer at a time: revisions and the chain have one order, as in SQLite.
                _take_lock(db)
                yield db

    def _current(self) -> _Connection:
        if self._connection is None or self._connection.closed or self._pid != os.getpid():
            # A forked child must not use its parent's connection.
            self._connection, self._pid = self._connect(), os.getpid()
        return self._connection

    def _renew(self) -> _Connection:
        self.close()
        return self._current()

    def _connect(self) -> _Connection:
        _check_name(self.schema)
        line = {name: value for name, value in _LINE.items() if name not in psycopg.conninfo.conninfo_to_dict(self.url)}
        # Without autocommit a mere read would leave a transaction open, which keeps VACUUM from its work.
        db = _Connection.connect(self.url, autocommit=True, **line)  # type: ignore[arg-type]
        try:
            _check_encoding(db)
            # The server's own bounds count in ms; a writer that waits for another one is within them.
            db.execute(_SETTINGS, (self.schema, f"{LOCK_S * 1000:.0f}", f"{(LOCK_S + ANSWER_S) * 1000:.0f}"))
            # Nothing is locked where nothing is to be made: whoever only reads waits for no writer.
            if self._version(db) < len(MIGRATIONS):
                with db.within(MIGRATION_S):
                    self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _version(self, db: _Connection) -> int:
        """How many migrations the schema has been through. Unavailable when that are more than are known here."""
        try:
            version = _one(db.execute("SELECT coalesce(max(version), 0) FROM schema_version"))
        except psycopg.errors.UndefinedTable:
            return 0
        if version > len(MIGRATIONS):
            raise Unavailable(
                f"the store was written by a newer aiinfra_lab (schema {version}, this knows {len(MIGRATIONS)})",
                "upgrade with `pip install -U aiinfra-lab`",
            )
        return version

    def _migrate(self, db: _Connection) -> None:
        with self._may_make(), db.transaction():
            db.execute("SET LOCAL statement_timeout = 0")
            # First: of two `CREATE … IF NOT EXISTS` at once, one fails on PostgreSQL's own unique index.
            _take_lock(db)
            # Looked for first: `IF NOT EXISTS` asks for the right to make one also where it exists.
            if not _one(db.execute(_HAS_SCHEMA, (self.schema,))):
                db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self.schema)))
            db.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)")
            version = self._version(db)
            if version == 0 and (copied := self.head_copy()).seq:
                raise Damaged(
                    f"schema {self.schema} is empty, although event {copied.seq} was recorded in it by {copied.where}",
                    f"put back the database's own backup; to begin a new store there, delete {copied.where}",
                )
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                # bytes, since psycopg's types want a literal; several statements in one call, since none has values.
                db.execute(script.encode())
                if number in AFTERWARDS:
                    AFTERWARDS[number](self, db)
                db.execute("INSERT INTO schema_version VALUES (%s)", (number,))

    @contextlib.contextmanager
    def _may_make(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as problem:
            make = f"CREATE SCHEMA {quoted(self.schema)} AUTHORIZATION {user_of(self.url)}"
            raise Denied(
                f"the store's schema {self.schema} is not there or not up to date, and this user may not make it",
                f"an administrator runs `{make}` or, where it is there, any verb as its owner",
            ) from problem

    @contextlib.contextmanager
    def _lab_errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as problem:
            raise lab_error(problem, self.url, self.schema) from problem


def opened(where: Settings) -> PostgresStore:
    """The store that `store.url` and `store.schema` of the settings name. UsageProblem without a URL."""
    url = where.get("store.url", "")
    if not url:
        raise UsageProblem("a store in PostgreSQL needs a URL", 'set [store] url = "postgresql://host/database"')
    return PostgresStore(url, where.get("store.schema", "aiinfra"), copies_in=heads.folder(where))


def _one(cursor: psycopg.Cursor[Any]) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def _take_lock(db: _Connection) -> None:
    with db.within(max(db.answer_s, LOCK_S + ANSWER_S)):
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def _check_name(schema: str) -> None:
    # PostgreSQL cuts a longer name, and two schemas would be one; names of its own it refuses itself.
    if not 1 <= len(schema.encode()) <= 63 or "\0" in schema:
        raise UsageProblem(
            f"store.schema = {schema!r} is no name of 1 to 63 bytes", 'choose another: schema = "aiinfra"'
        )


def _check_encoding(db: _Connection) -> None:
    encoding = db.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UsageProblem(
            f"the database {db.info.dbname} keeps text as {encoding}, which cannot hold every name",
            f"make one (`createdb --encoding=UTF8 --template=template0 {db.info.dbname}_utf8`), name it in store.url",
        )
