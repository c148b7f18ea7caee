"""Somebody who edits a store by hand: what he changes, and how much of what tells of it he rewrites."""

import contextlib
import random
import sqlite3
from collections.abc import Callable
from typing import Any

from aiinfra_lab.store import GENESIS, canonical, chain_hash, event_of, sql
from aiinfra_lab.store.sqlite import SqliteStore

Change = Callable[[sqlite3.Connection, random.Random], bool]


def edit_event(db: sqlite3.Connection, rng: random.Random) -> bool:
    """Another word in the body of an event."""
    seq = _any(db, rng, "SELECT seq FROM events")
    column, value = rng.choice(
        [("body", "replace(body, 'data add', 'data rm')"), ("at", "at + 60"), ("actor", "'somebody'")]
    )
    return _changed(db, f"UPDATE events SET {column} = {value} WHERE seq = ?", seq)


def delete_event(db: sqlite3.Connection, rng: random.Random) -> bool:
    """One event less, and the later ones moved up or left where they are."""
    seq = _any(db, rng, "SELECT seq FROM events")
    db.execute("DELETE FROM events WHERE seq = ?", (seq,))
    if rng.random() < 0.5:
        for later in [row[0] for row in db.execute("SELECT seq FROM events WHERE seq > ? ORDER BY seq", (seq,))]:
            db.execute("UPDATE events SET seq = seq - 1 WHERE seq = ?", (later,))
    return True


def cut_events(db: sqlite3.Connection, rng: random.Random) -> bool:
    """Without the newest events."""
    return _changed(db, "DELETE FROM events WHERE seq > ?", _any(db, rng, "SELECT seq FROM events") - 1)


def swap_events(db: sqlite3.Connection, rng: random.Random) -> bool:
    """The bodies of two events in each other's place."""
    return _swap(db, rng, "events", "seq", "body")


def edit_record(db: sqlite3.Connection, rng: random.Random) -> bool:
    """Another figure in a record, or in what it is found by."""
    row = _any(db, rng, "SELECT rowid_of FROM (SELECT kind || ' ' || name AS rowid_of FROM records)")
    column, value = rng.choice(
        [("body", "replace(body, '\"n\":', '\"n\":1')"), ("updated_at", "updated_at - 9"), ("is_open", "1 - is_open")]
    )
    return _changed(db, f"UPDATE records SET {column} = {value} WHERE kind || ' ' || name = ?", row)


def forge_record(db: sqlite3.Connection, rng: random.Random) -> bool:
    """Another figure in a record, as if it had been written once more."""
    row = _any(db, rng, "SELECT kind || ' ' || name FROM records")
    rev = db.execute("UPDATE meta SET value = value + 1 WHERE key = 'rev' RETURNING value").fetchone()[0]
    edited = "body = replace(body, '\"n\":', '\"n\":1')"
    return _changed(db, f"UPDATE records SET {edited}, rev = ? WHERE kind || ' ' || name = ?", rev, row)


def delete_record(db: sqlite3.Connection, rng: random.Random) -> bool:
    """One record less."""
    row = _any(db, rng, "SELECT kind || ' ' || name FROM records")
    return _changed(db, "DELETE FROM records WHERE kind || ' ' || name = ?", row)


def swap_records(db: sqlite3.Connection, rng: random.Random) -> bool:
    """The bodies of two records in each other's place."""
    return _swap(db, rng, "records", "kind || ' ' || name", "body")


CHANGES: tuple[Change, ...] = (
    edit_event, delete_event, cut_events, swap_events, edit_record, forge_record, delete_record, swap_records,
)  # fmt: skip


def tamper(store: SqliteStore, change: Change, rng: random.Random, effort: int) -> bool:
    """Change a closed store; whether anything was.

    effort: 0 leaves what tells of it, 1 reseals each record, 2 all of them together as well, 3 chains the events anew
    and writes the head beside the store: of a record that no event names, and that is newer than all, nothing would be
    left to tell.
    """
    if change is forge_record and effort == 3:
        return False
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        if not change(db, rng):
            return False
        if effort:
            total = db.execute("SELECT value FROM seals").fetchone()[0]
            sql.seal_records(store, db)
            if effort == 1:
                db.execute("UPDATE seals SET value = ?", (total,))
        if effort == 3:
            _chain(db)
    if effort == 3:
        store.head_path.unlink()
        SqliteStore(store.path).write_head()
    return True


def _chain(db: sqlite3.Connection) -> None:
    """Every hash anew, with the digests that the records have now, and the index."""
    there = {f"{kind} {name}": f"{rev} {digest}" for kind, name, rev, digest in
             db.execute("SELECT kind, name, rev, digest FROM records")}  # fmt: skip
    rows = db.execute("SELECT seq, at, actor, body, records FROM events ORDER BY seq").fetchall()
    db.execute("DELETE FROM events")
    db.execute("DELETE FROM event_uris")
    prev = GENESIS
    for seq, (_, at, actor, body, records) in enumerate(rows, 1):
        carried = {name: there[name] for name in sql._records_of(records) if name in there}
        digest = chain_hash(seq, at, actor, body, prev, carried)
        text = canonical(carried) if carried else ""
        db.execute(sql._APPEND, (seq, at, actor, body, prev, digest, text))
        for uri in event_of(body).uris:
            db.execute("INSERT INTO event_uris VALUES (?, ?)", (uri, seq))
        prev = digest


def _any(db: sqlite3.Connection, rng: random.Random, statement: str) -> Any:
    return rng.choice(db.execute(statement).fetchall())[0]


def _changed(db: sqlite3.Connection, statement: str, *values: object) -> bool:
    before = db.execute("SELECT total_changes()").fetchone()[0]
    db.execute(statement, values)
    return bool(db.execute("SELECT total_changes()").fetchone()[0] > before)


def _swap(db: sqlite3.Connection, rng: random.Random, table: str, key: str, column: str) -> bool:
    (one, first), (two, second) = rng.sample(db.execute(f"SELECT {key}, {column} FROM {table}").fetchall(), 2)
    for which, value in ((one, second), (two, first)):
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, which))
    return bool(first != second)
