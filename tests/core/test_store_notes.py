"""What is noted of a store outside of its database: who changes the database, be it with care, is found by it."""

import contextlib
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from aiinfra_lab import audit, lab
from aiinfra_lab.config import settings
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.store import Event, Record, chain_hash, heads, open_store, sql
from aiinfra_lab.store.sqlite import SqliteStore
from aiinfra_lab.testing.store import Note
from tests import records
from tests.core.test_store_damage import change, store

__all__ = ["store"]


def rewrite(store: SqliteStore, keep: int) -> None:
    """Cut the newest events, and whatever tells of them: as somebody who knows how it is written would."""
    store.close()
    change(store, f"DELETE FROM events WHERE seq > {keep}")
    change(store, f"DELETE FROM event_uris WHERE seq > {keep}")
    store.head_path.unlink()
    plain = SqliteStore(store.path)
    plain.write_head()


def test_a_tail_that_was_cut_with_a_head_that_fits_is_found_by_the_copy_of_the_head(store):
    rewrite(store, 20)
    proof = audit.prove(store)
    assert (proof.sound, "copy of the head" in proof.why) == (False, True)
    (copied,) = heads.folder(settings()).iterdir()
    assert (str(copied) in proof.fix, copied.stat().st_mode & 0o077) == (True, 0)
    found = {item.what: item for item in lab.check(audit=True, report=True).findings}["audit log"]
    assert (found.state, found.fix) == ("bad", proof.fix)
    copied.unlink()
    assert "no event tells of" in audit.prove(store).why  # the data that the cut events had made


def test_records_that_were_rewritten_with_all_that_tells_of_them_are_found_by_the_copy_of_the_head(store):
    store.commit([Record.new("bare", Note())])
    store.close()
    change(store, "DELETE FROM records WHERE name = 'bare'")
    with store._transaction() as db:
        sql.seal_records(store, db)
    SqliteStore(store.path).write_head()
    assert "was added, changed or removed" in audit.prove(store).why


@pytest.mark.parametrize("is_copied", [True, False])
def test_a_commit_while_the_records_are_proved_is_no_alarm(store, monkeypatch, is_copied):
    other, run = SqliteStore(store.path, copies_in=heads.folder(settings()) if is_copied else None), store.run
    if not is_copied:
        monkeypatch.setattr(store, "copied_in", None)

    def run_and_commit(db, statement, *values):
        found = run(db, statement, *values)
        if statement == sql._SEALS:
            rows = found.fetchall()
            other.commit([Record.new(f"meanwhile@{len(rows)}", Note())])
            return SimpleNamespace(fetchall=lambda: rows)
        return found

    monkeypatch.setattr(store, "run", run_and_commit)
    assert audit.prove(store).sound
    assert len(other.list(Note)) > 1
    other.close()


def forge(store: SqliteStore, name: str) -> None:
    """Another figure in a record, as if it had been written once more; the notes outside are left alone."""
    store.close()
    with store._transaction() as db:
        rev = db.execute("UPDATE meta SET value = value + 1 WHERE key = 'rev' RETURNING value").fetchone()[0]
        db.execute("UPDATE records SET body = replace(body, '\"n\":', '\"n\":1'), rev = ? WHERE name = ?", (rev, name))
        sql.seal_records(store, db)


def test_a_record_that_was_edited_as_if_written_once_more_is_found_also_after_commits(store):
    store.commit([Record.new("bare", Note(n=5))])
    copied = store.head_copy()
    forge(store, "bare")
    for number in range(3):
        assert not audit.prove(store).sound
        store.commit([Record.new(f"later@{number}", Note())], Event("data add", f"data:later@{number}"))
    assert store.head_copy() == copied  # not written over what tells of it


FORGED = [
    "body = replace(body, '\"rows\":1', '\"rows\":7') WHERE name = 'a@5'",
    "name = 'a@99', number = 99 WHERE name = 'a@24'",
]


@pytest.mark.parametrize("forge", FORGED)
def test_a_record_that_comes_with_events_is_found_when_none_tells_of_it_though_all_notes_were_rewritten(store, forge):
    assert audit.prove(store).sound
    store.close()
    change(store, "UPDATE meta SET value = value + 1 WHERE key = 'rev'")
    change(store, f"UPDATE records SET rev = (SELECT value FROM meta), {forge}")
    with store._transaction() as db:
        sql.seal_records(store, db)
    store.write_head()
    store.commit([], Event("data add", "data:later"))
    assert not audit.prove(store).sound


def test_a_record_that_is_committed_while_the_records_are_proved_is_told_of(store, monkeypatch):
    seals = store.seals
    monkeypatch.setattr(store, "seals", lambda: (records.data(f"later@{len(store.changed())}"), seals())[1])
    assert audit.prove(store).sound
    assert len(open_store().list(DataVersion, name="later")) == 1


def forge_event(path: Path) -> None:
    """Another name in the newest event, chained as if it had been so, beneath whoever has the store open."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        row = db.execute("SELECT seq, at, body, prev, records FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        seq, at, body, prev, records = row
        forged = chain_hash(seq, at, "mallory", body, prev, records)
        db.execute("UPDATE events SET actor = 'mallory', hash = ? WHERE seq = ?", (forged, seq))


@pytest.mark.parametrize("is_head_written", [False, True])
def test_a_log_that_was_rewritten_beneath_an_open_store_is_found_also_after_its_commits(store, is_head_written):
    store.commit([], Event("data add", "data:told"))
    forge_event(store.path)
    if is_head_written:
        SqliteStore(store.path).write_head()
    for number in range(3):
        assert not audit.prove(store).sound
        store.commit([], Event("data add", f"data:later@{number}"))


def head_of_before(store: SqliteStore, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    """The note beside the store is that of two commits ago, made when the machine had been started then."""
    with monkeypatch.context() as earlier:
        earlier.setattr(heads, "_start", lambda: start)
        store.commit([], Event("data add", "data:before"))
    noted = store.head_path.read_bytes()
    for number in range(2):
        store.commit([Record.new(f"after@{number}", Note())], Event("data add", f"data:after@{number}"))
    store.head_path.write_bytes(noted)


def test_a_note_that_a_power_cut_left_behind_is_no_alarm_and_is_told(store, monkeypatch):
    head_of_before(store, monkeypatch, "earlier")
    store.copied_in.unlink()
    assert audit.prove(store).sound
    assert "head of the log" in [found.what for found in lab.check(audit=True).findings if found.state == "off"]
    store.commit([], Event("data add", "data:c@1"))
    assert audit.prove(store).sound
    assert "head of the log" not in [found.what for found in lab.check(audit=True).findings]


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_note_that_is_of_another_past_is_an_alarm_unless_the_copy_agrees_with_the_store(
    store, monkeypatch, is_copied
):
    head_of_before(store, monkeypatch, heads._start())
    if not is_copied:
        store.copied_in.unlink()
    assert audit.prove(store).sound == is_copied
    store.commit([], Event("data add", "data:c@1"))
    assert audit.prove(store).sound == is_copied


@pytest.mark.parametrize("moment", ["_announced", "_committed"])
def test_a_commit_that_is_killed_before_or_after_it_is_on_the_disk_is_no_alarm(store, monkeypatch, moment):
    class KilledHere(BaseException):
        pass

    def kill(*_):
        raise KilledHere

    announce = store._announce
    killed = {
        "_announced": ("_announce", lambda *heads: (announce(*heads), kill())),
        "_committed": ("_committed", kill),
    }
    for number in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(store, *killed[moment])
            with pytest.raises(KilledHere):
                store.commit([Record.new(f"a@{number}", Note())], Event("data add", f"data:n@{number}"))
        assert audit.prove(store).sound
        store.commit([Record.new(f"b@{number}", Note())], Event("data add", f"data:m@{number}"))
        assert audit.prove(store).sound


def test_the_proof_holds_while_many_write(store):
    def write(number: int) -> None:
        mine = SqliteStore(store.path, copies_in=heads.folder(settings()))
        for each in range(25):
            mine.commit([Record.new(f"w{number}@{each}", Note())], Event("data add", f"data:w{number}@{each}"))
        mine.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    proofs = [audit.prove(store)]
    while any(thread.is_alive() for thread in threads):
        proofs.append(audit.prove(store))
    assert [proof.why for proof in (*proofs, audit.prove(store)) if not proof.sound] == []
    assert len(store.list(Note)) == 100


def test_a_copy_of_the_workspace_goes_its_own_way(store, tmp_path):
    other = SqliteStore(tmp_path / "other" / "store.sqlite", copies_in=heads.folder(settings()))
    shutil.copytree(store.path.parent, other.path.parent)
    for number in range(3):
        other.commit([], Event("data add", f"data:o@{number}"))
    assert (audit.prove(other).sound, audit.prove(store).sound) == (True, True)
    other.close()


def test_where_the_copy_of_the_head_cannot_be_written_commits_go_on(store, tmp_path):
    (tmp_path / "file").touch()
    blocked = SqliteStore(store.path, copies_in=tmp_path / "file" / "heads")
    blocked.commit([], Event("data add", "data:b@1"))
    assert (audit.prove(blocked).sound, blocked.head_copy().seq) == (True, 0)
    blocked.close()


def health(what: str) -> lab.checks.HealthFinding | None:
    return next((item for item in lab.check(audit=True, report=True).findings if item.what == what), None)


@pytest.mark.parametrize("in_its_place", ["nothing", "pipe", "folder", "link"])
def test_a_copy_of_the_head_that_cannot_be_kept_is_told(store, tmp_path, in_its_place):
    assert health("copy of the head") is None
    (copied,) = heads.folder(settings()).iterdir()
    copied.unlink()
    (tmp_path / "mine").write_text("mine")
    made = {"pipe": os.mkfifo, "folder": Path.mkdir, "link": lambda path: path.symlink_to(tmp_path / "mine")}
    made.get(in_its_place, lambda _: copied.parent.rename(tmp_path / "aside"))(copied)
    if in_its_place == "nothing":
        copied.parent.touch()
    store.commit([], Event("data add", "data:b@1"))
    found = health("copy of the head")
    assert (found.state, str(copied.parent) in found.fix) == ("off", True)
    assert (tmp_path / "mine").read_text() == "mine"
