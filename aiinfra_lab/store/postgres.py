"""PostgreSQL as the workspace's memory, for several machines: `[store] url = "postgresql://host/database"`.

A password never stands in the settings: PostgreSQL's own PGPASSWORD, ~/.pgpass or service file give it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from ..config import Settings
from ..errors import Denied, Unavailable, UsageProblem
from .first_schema import fill_index
from .sql import SqlStore

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
)
# What a script cannot do, after the script of that schema version.
AFTERWARDS: dict[int, Callable[[SqlStore, psycopg.Connection[Any]], None]] = {2: fill_index}
_LOCK = 0x61_69_69_6E  # any number that every client of ours agrees on


class PostgresStore(SqlStore):
    """See `Store` for the contract."""

    mark = "%s"

    def __init__(self, url: str, schema: str = "aiinfra") -> None:
        super().__init__()
        self.url = url
        self.schema = schema
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None
        self._pid = 0

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        with self._lock, self._plainly():
            if self._connection is None or self._connection.closed or self._pid != os.getpid():
                # A forked child must not use its parent's connection.
                self._connection, self._pid = self._connect(), os.getpid()
            yield self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with self._session() as db, db.transaction():
            # One writer at a time: revisions and the chain have one order, as in SQLite.
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            yield db

    def _connect(self) -> psycopg.Connection[Any]:
        # lock_timeout counts in ms: the 30 s of the contract. It holds for the advisory lock too.
        options = f"-c search_path={self.schema} -c lock_timeout=30000"
        # Without autocommit a mere read would leave a transaction open, which keeps VACUUM from its work.
        # In UTF-8 whatever PGCLIENTENCODING says: texts are of any script.
        db = psycopg.connect(self.url, autocommit=True, connect_timeout=10, options=options, client_encoding="utf8")
        try:
            _refuse_encoding(db)
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: psycopg.Connection[Any]) -> None:
        with db.transaction():
            # First: of two `CREATE … IF NOT EXISTS` at once, one fails on PostgreSQL's own unique index.
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            db.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"'.encode())
            db.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)")
            version = _one(db.execute("SELECT coalesce(max(version), 0) FROM schema_version"))
            if version > len(MIGRATIONS):
                raise Unavailable(
                    f"the store was written by a newer aiinfra_lab (schema {version}, this knows {len(MIGRATIONS)})",
                    "upgrade with `pip install -U aiinfra-lab`",
                )
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                # bytes, since psycopg's types want a literal; several statements in one call, since none has values.
                db.execute(script.encode())
                if number in AFTERWARDS:
                    AFTERWARDS[number](self, db)
                db.execute("INSERT INTO schema_version VALUES (%s)", (number,))

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        """Say what PostgreSQL means in our own errors."""
        try:
            yield
        # Before ProgrammingError, of which it is a subclass.
        except psycopg.errors.InsufficientPrivilege as problem:
            raise Denied(f"the store's database refuses: {problem}", "grant this user its schema") from problem
        except psycopg.ProgrammingError as problem:
            raise UsageProblem(f"store.url is no database: {problem}", "postgresql://host/database") from problem
        except psycopg.OperationalError as problem:
            where = psycopg.conninfo.conninfo_to_dict(self.url)
            host = f"{where.get('host', 'localhost')}:{where.get('port', 5432)}"
            raise Unavailable(
                f"the store at {host} does not answer: {problem}", "start it, or mend store.url"
            ) from problem


def opened(where: Settings) -> PostgresStore:
    """The store that `store.url` and `store.schema` of the settings name. UsageProblem without a URL."""
    url = where.get("store.url", "")
    if not url:
        raise UsageProblem("a store in PostgreSQL needs a URL", 'set [store] url = "postgresql://host/database"')
    return PostgresStore(url, where.get("store.schema", "aiinfra"))


def _refuse_encoding(db: psycopg.Connection[Any]) -> None:
    encoding = db.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UsageProblem(
            f"the database {db.info.dbname} is in {encoding}, which cannot hold every text",
            "make another, `createdb --encoding=UTF8 --template=template0 NAME`, and name it in store.url",
        )


def _one(cursor: psycopg.Cursor[Any]) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])
