"""What PostgreSQL says, in our own errors: by the class of its error and, where a connection was refused, by its words.

A refused connection carries no SQLSTATE, so those words are all there is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from ..errors import Conflict, Damaged, Denied, LabError, StoreUnavailable, UsageProblem
from .base import CHECK

Kind = type[LabError]


class NoAnswer(psycopg.OperationalError):
    """The server did not answer a statement in time. Whether it was executed is not known."""


class _Meaning(NamedTuple):
    kind: Kind
    what: str
    fix: str


_SILENT = _Meaning(
    StoreUnavailable,
    "does not answer in time",
    "see whether that server is stopped or overloaded, or the network is cut; look what was written before you repeat",
)
_CHANGED = _Meaning(Conflict, "refused what somebody else wrote meanwhile", "look at it again and repeat")
_OTHER = _Meaning(StoreUnavailable, "failed", "see the server's own log, then repeat")

# The first whose class fits, so a subclass stands before its base.
_CLASSES: tuple[tuple[type[psycopg.Error] | tuple[type[psycopg.Error], ...], _Meaning], ...] = (
    (
        pg.ReadOnlySqlTransaction,
        _Meaning(
            Denied,
            "is read-only, so nothing can be written",
            "make it writable again, or name the server that takes writes in store.url; reading goes on meanwhile",
        ),
    ),
    (
        pg.InsufficientPrivilege,
        _Meaning(
            Denied,
            "refuses this user",
            "an administrator runs `GRANT USAGE ON SCHEMA {schema} TO {user}` and `GRANT SELECT, INSERT, UPDATE, "
            "DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}`",
        ),
    ),
    (
        pg.LockNotAvailable,
        _Meaning(
            StoreUnavailable,
            "is being written by somebody else for longer than 30 s",
            "repeat; `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted` names who holds it",
        ),
    ),
    ((NoAnswer, pg.ConnectionTimeout, pg.QueryCanceled), _SILENT),
    (pg.DiskFull, _Meaning(StoreUnavailable, "has no space left on its disk", "free space there, then repeat")),
    (
        (pg.DataCorrupted, pg.IndexCorrupted, pg.UndefinedTable, pg.UndefinedColumn),
        _Meaning(Damaged, "is damaged", CHECK),
    ),
    (
        (pg.ReservedName, pg.NameTooLong, pg.InvalidSchemaName),
        _Meaning(UsageProblem, "refuses the name in store.schema", 'choose another, e.g. schema = "aiinfra"'),
    ),
    (
        psycopg.DataError,
        _Meaning(UsageProblem, "cannot hold such a value", "use text without the letter NUL, and numbers of 64 bits"),
    ),
    (psycopg.IntegrityError, _CHANGED),
    ((pg.SerializationFailure, pg.DeadlockDetected), _CHANGED),
)

# Words of a connection that was not made.
_REFUSED = (
    (
        'database ".*" does not exist',
        _Meaning(UsageProblem, "has no such database", "make it with `createdb`, or correct store.url"),
    ),
    (
        'role ".*" does not exist|user name specified',
        _Meaning(UsageProblem, "has no such user", "make it with `createuser`, or name another user in store.url"),
    ),
    (
        "password|authentication failed",
        _Meaning(Denied, "refuses this user's password", "correct it in PGPASSWORD, ~/.pgpass or the service file"),
    ),
    (
        "pg_hba.conf",
        _Meaning(Denied, "takes no connection of this user from here", "an administrator allows it in pg_hba.conf"),
    ),
    (
        "permission denied for database",
        _Meaning(Denied, "refuses this user", "an administrator runs `GRANT CONNECT ON DATABASE {database} TO {user}`"),
    ),
    (
        "invalid port|invalid integer",
        _Meaning(UsageProblem, "is no address", 'a port is a number up to 65535: "postgresql://host:5432/database"'),
    ),
    (
        "resolve host|translate host name|name or service",
        _Meaning(StoreUnavailable, "has a name that nobody knows now", "correct the host in store.url, or repeat"),
    ),
    (
        "too many|connection slots",
        _Meaning(StoreUnavailable, "has too many clients", "end some, or raise its max_connections, then repeat"),
    ),
    (
        "starting up|shutting down|recovery|not yet accepting",
        _Meaning(StoreUnavailable, "starts or ends just now", "repeat in a moment"),
    ),
    (
        "session is (not )?read-only",
        _Meaning(StoreUnavailable, "is not the server that takes writes", "repeat once one of store.url does"),
    ),
    ("fatal:", _Meaning(StoreUnavailable, "refuses the connection", "clear that up at the server, then repeat")),
    ("", _Meaning(StoreUnavailable, "does not answer", "start it, or correct store.url")),
)


def lab_error(problem: psycopg.Error, url: str, schema: str) -> LabError:
    """Our own error for one of psycopg's; it names the server without a password."""
    meaning = _meaning(problem)
    try:
        where = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return UsageProblem(f"store.url is no address of a database: {_first(problem)}", "postgresql://host/database")
    host = f"{where.get('host') or 'localhost'}:{where.get('port') or 5432}"
    names = {"schema": quoted(schema), "user": user_of(url), "database": quoted(str(where.get("dbname") or "it"))}
    return meaning.kind(f"the store at {host} {meaning.what}: {_first(problem)}", meaning.fix.format(**names))


def user_of(url: str) -> str:
    """The user of a URL, as SQL has it; USER to be filled in where it has none."""
    user = conninfo_to_dict(url).get("user")
    return quoted(str(user)) if user else "USER"


def quoted(name: str) -> str:
    """A name as SQL has it, whatever its letters are."""
    return '"' + name.replace('"', '""') + '"'


def is_lost(problem: psycopg.Error) -> bool:
    """Whether the server ended the connection, as at its restart, rather than be silent or refuse a statement."""
    is_ended = isinstance(problem, pg.AdminShutdown | pg.CrashShutdown | pg.CannotConnectNow | pg.IdleSessionTimeout)
    return is_ended or (type(problem) is psycopg.OperationalError and problem.sqlstate is None)


def _meaning(problem: psycopg.Error) -> _Meaning:
    found = next((meaning for kinds, meaning in _CLASSES if isinstance(problem, kinds)), None)
    if found is not None:
        return found
    if problem.sqlstate is None and isinstance(problem, psycopg.OperationalError):
        text = str(problem).lower()
        return next(meaning for pattern, meaning in _REFUSED if re.search(pattern, text))
    if isinstance(problem, pg.AdminShutdown | pg.CrashShutdown | pg.CannotConnectNow):
        return _Meaning(StoreUnavailable, "starts or ends just now", "repeat in a moment")
    return _OTHER


def _first(problem: psycopg.Error) -> str:
    return " ".join(str(problem).partition("\n")[0].split()) or type(problem).__name__
