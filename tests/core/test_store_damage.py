"""What a disk does to a store: an error that says what helps, and never another one."""

import contextlib
import os
import random
import resource
import shutil
import sqlite3
from pathlib import Path

import pytest

from aiinfra_lab import audit, data, lab
from aiinfra_lab.config import settings
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.errors import Conflict, Damaged, Denied, Failed, LabError, NotFound, StoreUnavailable, Unavailable
from aiinfra_lab.lab import damage
from aiinfra_lab.store import Event, Record, heads, open_store, sql, sqlite
from aiinfra_lab.store.sqlite import SqliteStore
from aiinfra_lab.testing.store import Note
from tests import records
from tests.fixtures import answers

NAMES = [f"a@{number}" for number in range(1, 25)]
OFFSETS = random.Random(7).sample(range(36_000), 42)
SCHEMA = random.Random(8).sample(range(4_096), 8)


@pytest.fixture
def store(workspace) -> SqliteStore:
    """The store of a workspace with a copy of all that it holds."""
    store = open_store()
    lab.start()
    for name in NAMES:
        records.data(name, source="file:é")
    store.copy("good")
    store.close()
    return store


def change(store: SqliteStore, statement: str) -> None:
    """As if a disk or a stranger had changed what is stored."""
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.execute(statement)


def everything(store: SqliteStore):
    """Each way to read and to write."""
    yield store.changed
    yield lambda: store.list(DataVersion)
    yield lambda: store.list(DataVersion, skip_unreadable=True)
    yield lambda: store.list(DataVersion, name="a", limit=1)
    yield lambda: store.list(DataVersion, about="x:a")
    yield lambda: store.list(DataVersion, is_open=False, order="written")
    yield lambda: store.get(DataVersion, "a@5")
    yield lambda: list(store.events())
    yield lambda: audit.prove(store)
    yield store.integrity
    yield lambda: store.copy("again")
    yield lambda: store.commit([Record.new("a@99", Note())], Event("data add", "data:a@99"))


@pytest.mark.parametrize("offset", [*OFFSETS, *SCHEMA])
def test_bytes_that_a_disk_flipped_are_an_error_of_ours_or_no_error_and_restore_brings_the_copy_back(store, offset):
    torn = bytearray(store.path.read_bytes())
    torn[offset : offset + 16] = bytes(byte ^ 0xA5 for byte in torn[offset : offset + 16])
    store.path.write_bytes(torn)
    for step in everything(store):
        with contextlib.suppress(LabError):
            step()
    with contextlib.suppress(Conflict):  # what was flipped holds nothing
        lab.start(restore=True)
    assert set(NAMES) <= {record.name for record in store.list(DataVersion)}
    assert (store.integrity(), audit.prove(store).sound) == ("ok", True)


def test_a_body_that_is_no_text_is_damage_and_hides_no_other_record(store):
    change(store, "UPDATE records SET body = CAST(X'7B22FF227D' AS TEXT) WHERE name = 'a@5'")
    with pytest.raises(Damaged):
        store.get(DataVersion, "a@5")
    assert len(store.list(DataVersion, skip_unreadable=True)) == 23


@pytest.mark.parametrize("body", ["{", '{"n": "many"}', '{"subject": 3, "state": {}}'])
def test_a_store_of_the_first_schema_is_brought_up_although_a_record_cannot_be_read(body):
    with answers.restored("0.1.0") as place:
        store = SqliteStore(place / ".aiinfra" / "store.sqlite")
        change(store, f"UPDATE records SET body = '{body}' WHERE rev = 5")
        assert len(store.changed()) > 5
        store.close()


def test_a_full_store_is_not_damaged(store):
    with store._session() as db:
        db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(Unavailable) as problem:
        store.commit([Record.new("big", Note(text="x" * 100_000))])
    assert ("free space" in problem.value.fix, isinstance(problem.value, Damaged)) == (True, False)


def test_a_store_that_another_keeps_locked_is_waited_for_and_then_the_fix_is_to_wait(store, monkeypatch):
    monkeypatch.setattr(sqlite, "WAIT_S", 0.05)
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as problem:
            store.commit([Record.new("b", Note())])
    assert "wait for the other process" in problem.value.fix


def test_a_store_that_cannot_be_opened_is_denied(store):
    store.path.unlink()
    store.path.mkdir()
    with pytest.raises(Denied):
        store.list(DataVersion)


def test_the_fix_of_a_record_that_cannot_be_read_leads_to_its_repair(store):
    change(store, "UPDATE records SET body = '{' WHERE name = 'a@5'")
    with pytest.raises(Damaged, match="data a@5") as problem:
        data.show("a@5")
    assert "`%lab check`" in problem.value.fix
    (found,) = [item for item in lab.check(report=True).findings if item.state == "bad"]
    assert (found.what, "`%lab start --restore`" in found.fix) == ("record data a@5", True)
    lab.start(restore=True)
    assert (data.show("a@5").uri, lab.check(audit=True).ok) == ("data:a@5", True)


def test_a_copy_in_which_the_record_is_damaged_too_is_passed_over(store):
    change(store, "UPDATE records SET body = '{' WHERE name = 'a@5'")
    store.copy("later")
    assert "restored the copy" in lab.start(restore=True).notes[0]
    assert len(store.list(DataVersion)) == len(NAMES)


def test_without_a_copy_that_is_better_the_store_stays_and_the_fix_is_ones_own_backup(store):
    change(store, "UPDATE records SET body = '{' WHERE name = 'a@5'")
    for copy in sqlite.copies(store.path):
        copy.unlink()
    store.copy("later")
    with pytest.raises(NotFound) as problem:
        lab.start(restore=True)
    (found,) = [item for item in lab.check(report=True).findings if item.state == "bad"]
    assert found.fix == problem.value.fix
    assert "your own backup" in found.fix


@pytest.mark.parametrize("step", range(3))
def test_a_restore_that_is_killed_leaves_a_store_that_is_damaged_still_and_another_one_mends_it(store, step):
    change(store, "UPDATE records SET body = '{' WHERE name = 'a@5'")
    add_lost_event(store)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            lab.start(restore=True)
    with pytest.raises(Damaged) as problem:
        data.show("a@5")
    assert "`%lab " in problem.value.fix
    notes = lab.start(restore=True).notes
    assert "are lost" in notes[1] or "is lost" in notes[1]
    assert (data.show("a@5").uri, lab.check(audit=True).ok) == ("data:a@5", True)


def test_a_restore_that_is_killed_once_the_copy_is_in_its_place_has_told_what_is_lost(store, monkeypatch):
    change(store, "UPDATE records SET body = '{' WHERE name = 'a@5'")
    add_lost_event(store)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("aiinfra_lab.jobs.restored.end_unknown", kill)
        with pytest.raises(KeyboardInterrupt):
            lab.start(restore=True)
    found = {item.what: item for item in lab.check(audit=True).findings}["audit log"]
    assert (found.state, "event 26, recorded after that copy, is lost" in found.detail) == ("ok", True)


@pytest.mark.parametrize("head", [None, 20])
def test_a_restore_says_what_is_lost_by_whatever_still_tells_of_it(store, head):
    """None: the head beside the store is torn; 20: it is that of an earlier event."""
    change(store, "UPDATE records SET body = '{' WHERE name = 'a@5'")
    add_lost_event(store)
    if head:
        noted = next(logged for logged in store.events() if logged.seq == head)
        store.head_path.write_text(f"{head} {noted.hash}\n")
    else:
        os.truncate(store.head_path, 100)
    store.close()
    assert lab.start(restore=True).notes[1] == "event 26, recorded after that copy, is lost"


def add_lost_event(store: SqliteStore) -> None:
    """One that no copy has."""
    store.commit([], Event("data add", "data:lost@1"))
    store.close()


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Stop before the first, second... of the steps of a restore that change what lies in the workspace."""
    steps = iter(range(step))

    def dying(real):
        def call(*args, **named):
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return real(*args, **named)

        return call

    patch.setattr(sqlite, "_copy", dying(sqlite._copy))
    patch.setattr(sqlite.files, "publish", dying(sqlite.files.publish))
    patch.setattr(sqlite.files, "overwrite", dying(sqlite.files.overwrite))


def test_a_restore_for_which_there_is_no_room_changes_nothing(store):
    change(store, "UPDATE records SET body = '{' WHERE name = 'a@5'")
    before = store.path.read_bytes()
    with small_files(20_000), pytest.raises(Unavailable) as full:
        lab.start(restore=True)
    assert ("free" in full.value.fix, store.path.read_bytes() == before) == (True, True)
    assert list(store.path.parent.glob("*damaged*")) == []
    lab.start(restore=True)
    assert data.show("a@5").uri == "data:a@5"


@contextlib.contextmanager
def small_files(most_bytes: int):
    """No file may grow beyond that: what a full disk does, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_copy_is_looked_at_without_a_byte_written(store):
    (copy,) = [copy for copy in sqlite.copies(store.path) if "good" in copy.name]
    with small_files(0):
        assert damage._condition_of.__wrapped__(copy, ()) == "whole"


EDITS = [
    "UPDATE records SET body = replace(body, 'é', 'e') WHERE name = 'a@5'",
    "UPDATE records SET body = (SELECT body FROM records WHERE name = 'a@6'), rev = rev + 1 WHERE name = 'a@5'",
    "UPDATE records SET made_rev = 1000 WHERE name = 'a@5'",
    "UPDATE records SET is_open = 1 - is_open WHERE name = 'a@5'",
    "UPDATE records SET updated_at = updated_at + 1 WHERE name = 'a@5'",
    "UPDATE records SET digest = '' WHERE name = 'a@5'",
]


@pytest.mark.parametrize("edit", EDITS)
def test_a_record_that_somebody_edited_is_damaged_and_check_leads_to_the_copy(store, edit):
    change(store, edit)
    with pytest.raises(Damaged, match="data a@5 is not what was written"):
        store.get(DataVersion, "a@5")
    (found,) = [item for item in lab.check(report=True).findings if item.state == "bad"]
    assert (found.what, "`%lab start --restore`" in found.fix) == ("record data a@5", True)
    lab.start(restore=True)
    assert (data.show("a@5").uri, lab.check(audit=True).ok) == ("data:a@5", True)


RESEALED = [
    ("UPDATE records SET body = replace(body, 'ü', 'u') WHERE name = 'told'", "told was recorded with another content"),
    ("UPDATE records SET rev = 3 WHERE name = 'told'", "told was recorded with another content"),
    ("UPDATE records SET updated_at = 7 WHERE name = 'told'", "told was recorded with another content"),
    ("DELETE FROM records WHERE name = 'told'", "told is missing"),
    ("UPDATE records SET is_open = 1 - is_open WHERE name = 'bare'", "was added, changed or removed"),
    ("DELETE FROM records WHERE name = 'bare'", "was added, changed or removed"),
]


@pytest.mark.parametrize(("edit", "why"), RESEALED)
def test_an_edit_with_a_digest_that_fits_is_found_by_the_proof(store, edit, why):
    store.commit([Record.new("told", Note(text="ü"))], Event("data add", "data:told"))
    store.commit([Record.new("bare", Note())])
    assert audit.prove(store).sound
    store.close()
    change(store, edit)
    with store._transaction() as db:
        for row in db.execute(f"SELECT {sql._COLUMNS} FROM records").fetchall():
            db.execute(sql._SEAL, (sql.row_digest(*row), *row[:2]))
    proof = audit.prove(store)
    assert (proof.sound, why in proof.why) == (False, True)
    found = {item.what: item for item in lab.check(audit=True, report=True).findings}["audit log"]
    assert (found.state, "`%lab start --restore`" in found.fix) == ("bad", True)


def test_a_store_that_is_gone_with_its_head_is_damaged_while_copies_tell_of_it(store):
    for path in (*store.path.parent.glob("store.sqlite*"), store.head_path):
        path.unlink()
    with pytest.raises(Damaged, match="although event") as problem:
        open_store().list(DataVersion)
    assert "lab start --restore" in problem.value.fix
    lab.start(restore=True)
    assert len(open_store().list(DataVersion)) == len(NAMES)


def test_a_workspace_that_was_cleared_is_a_new_one(store):
    shutil.rmtree(store.path.parent)
    assert open_store().list(DataVersion) == []
    assert lab.start() is not None


def test_the_setting_says_where_copies_of_heads_are_kept(store, workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_STORE_HEADS", "../kept")
    moved = sqlite.opened(settings())
    moved.commit([], Event("data add", "data:b@1"))
    assert [path.suffix for path in (workspace.parent / "kept").iterdir()] == [".head"]
    moved.close()


def test_an_altered_event_leads_to_the_copy_too(store):
    change(store, "UPDATE events SET body = '{' WHERE seq = 5")
    with pytest.raises(Damaged) as problem:
        lab.log()
    assert "`%lab check --audit`" in problem.value.fix
    for asked in (False, True):
        (found,) = [item for item in lab.check(audit=asked, report=True).findings if item.state == "bad"]
        assert (found.what, "`%lab start --restore`" in found.fix) == ("audit log", True)
    lab.start(restore=True)
    assert lab.check(audit=True).ok


def test_a_head_that_is_gone_is_said_and_the_next_event_writes_it(store):
    store.close()
    store.head_path.unlink()
    assert audit.prove(store).sound  # by its copy
    (copied,) = heads.folder(settings()).iterdir()
    copied.unlink()
    found = {item.what: item for item in lab.check(audit=True, report=True).findings}["audit log"]
    assert (found.state, "cannot be told" in found.detail, "`%lab log`" in found.fix) == ("bad", True, True)
    assert lab.log().events
    store.commit([], Event("data add", "data:a@99"))
    assert lab.check(audit=True).ok


def put_back_older(store: SqliteStore) -> None:
    """Somebody's own backup, of before the last promote."""
    store.close()
    kept = shutil.copytree(store.path.parent, store.path.parent.parent / "backup")
    store.commit([], Event("models promote", "models:a@2", outputs=("models:a@2",)))
    store.close()
    shutil.rmtree(store.path.parent)
    kept.rename(store.path.parent)


@pytest.mark.parametrize("events", [0, 1, 5])
def test_a_store_of_before_the_last_promote_is_found_however_it_went_on_until_somebody_says_it_is_meant(store, events):
    put_back_older(store)
    for number in range(events):
        store.commit([], Event("data add", f"data:b@{number}"))
    found = {item.what: item for item in lab.check(audit=True, report=True).findings}["audit log"]
    assert (found.state, "by the copy of the head" in found.detail) == ("bad", True)
    Path(found.fix.rpartition(" ")[2]).unlink()  # "if an older one was put back on purpose, delete …"
    assert lab.check(audit=True).ok
    store.close()  # as the next process
    store.commit([], Event("data add", "data:c@1"))
    assert store.head_copy().seq == store.head()[0]


CODES = [
    ("CORRUPT", Damaged, "`%lab start --restore`"),
    ("CORRUPT_VTAB", Damaged, "`%lab start --restore`"),
    ("NOTADB", Damaged, "`%lab start --restore`"),
    ("ERROR", Damaged, "`%lab start --restore`"),
    ("IOERR_SHORT_READ", Damaged, "`%lab start --restore`"),
    ("IOERR_CORRUPTFS", Damaged, "`%lab start --restore`"),
    ("IOERR_DATA", Damaged, "`%lab start --restore`"),
    ("IOERR_READ", StoreUnavailable, "disk works"),
    ("IOERR_WRITE", StoreUnavailable, "free space"),
    ("IOERR_FSYNC", StoreUnavailable, "disk works"),
    ("IOERR_NOMEM", StoreUnavailable, "free memory"),
    ("NOMEM", StoreUnavailable, "free memory"),
    ("FULL", StoreUnavailable, "free space"),
    ("IOERR_SHMSIZE", StoreUnavailable, "free space"),
    ("BUSY", StoreUnavailable, "wait for the other process"),
    ("BUSY_SNAPSHOT", StoreUnavailable, "wait for the other process"),
    ("LOCKED", StoreUnavailable, "wait for the other process"),
    ("PROTOCOL", StoreUnavailable, "wait for the other process"),
    ("READONLY", Denied, "who owns it"),
    ("READONLY_DIRECTORY", Denied, "who owns it"),
    ("READONLY_DBMOVED", StoreUnavailable, "put it back"),
    ("PERM", Denied, "who owns it"),
    ("CANTOPEN", Denied, "-wal"),
    ("CANTOPEN_ISDIR", Denied, "-wal"),
    ("TOOBIG", Failed, "in a file"),
]


@pytest.mark.parametrize(("name", "kind", "fix"), CODES)
def test_each_of_sqlites_errors_is_named_for_what_it_is(store, name, kind, fix):
    problem = sqlite3.DatabaseError(name)
    problem.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{name}")
    with pytest.raises(LabError) as meant, sqlite._plainly(store.path):
        raise problem
    assert (type(meant.value), fix in meant.value.fix) == (kind, True)


def test_a_store_that_is_cut_while_it_is_open_is_damaged_and_restore_helps(store):
    store.list(DataVersion)
    with store.path.open("r+b") as file:
        file.truncate(store.path.stat().st_size // 2 + 100)
    with pytest.raises(Damaged) as problem:
        list(store.events())
    assert "`%lab start --restore`" in problem.value.fix
    lab.start(restore=True)
    assert (len(store.list(DataVersion)), lab.check(audit=True).ok) == (len(NAMES), True)


def test_a_record_beyond_what_sqlite_takes_is_the_callers_error(store):
    with store._session() as db:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    with pytest.raises(Failed, match="no record this large"):
        store.commit([Record.new("big", Note(text="x" * 20_000))])
    store.close()


def test_a_folder_in_the_place_of_the_log_is_named_and_what_the_fix_says_helps(store):
    store.path.with_name("store.sqlite-wal").mkdir()
    with pytest.raises(Denied) as problem:
        store.list(DataVersion)
    assert "-wal" in problem.value.fix
    store.path.with_name("store.sqlite-wal").rmdir()
    assert len(store.list(DataVersion)) == len(NAMES)
