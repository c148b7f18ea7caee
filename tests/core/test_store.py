import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from aiinfra_lab import audit, lab, providers
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Damaged, NotFound, Unavailable
from aiinfra_lab.lab.noun import WorkspaceRecord
from aiinfra_lab.models.record import ModelVersion
from aiinfra_lab.store import Event, Record, add_version, next_version, open_store, sqlite, update
from aiinfra_lab.store.sqlite import MIGRATIONS, SqliteStore, copies, restore
from aiinfra_lab.testing.store import (
    AwayStoreContract,
    EventIndexContract,
    HeadCopierContract,
    HeadKeeperContract,
    NameIndexContract,
    Note,
    SealedContract,
    StoreContract,
)
from aiinfra_lab.train.record import TrainingRun


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    opened = SqliteStore(tmp_path / "store.sqlite")
    yield opened
    opened.close()


class TestSqlite(
    StoreContract,
    HeadKeeperContract,
    HeadCopierContract,
    EventIndexContract,
    NameIndexContract,
    SealedContract,
    AwayStoreContract,
):
    @pytest.fixture
    def copied(self, tmp_path):
        opened = SqliteStore(tmp_path / "copied.sqlite", copies_in=tmp_path / "heads")
        yield opened
        opened.close()

    @pytest.fixture
    def away(self, store):
        @contextlib.contextmanager
        def unmounted():
            store.path.rename(store.path.with_name("elsewhere"))
            yield
            store.path.with_name("elsewhere").rename(store.path)

        return unmounted

    @pytest.fixture
    def spoiled(self, store):
        def forget(seq):
            with store._transaction() as db:
                db.execute("DELETE FROM event_uris WHERE seq = ?", (seq,))

        return forget

    @pytest.fixture
    def edited(self, store):
        def edit(name):
            with store._transaction() as db:
                db.execute("UPDATE records SET body = '{}' WHERE name = ?", (name,))

        return edit

    @pytest.fixture
    def lost(self, store):
        def lose(name):
            with store._transaction() as db:
                db.execute("DELETE FROM records WHERE name = ?", (name,))

        return lose


def add(store: SqliteStore, name: str) -> None:
    store.commit([Record.new(name, Note())], Event("data add", f"data:{name}", outputs=(f"data:{name}",)))


WRITER = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from aiinfra_lab.store import Event, Record
from aiinfra_lab.store.sqlite import SqliteStore
from aiinfra_lab.testing.store import Note
store = SqliteStore(Path(sys.argv[1]))
for n in range(10_000):
    name = f"{sys.argv[2]}-{n}"
    store.commit([Record.new(name, Note(n=n))], Event("data add", f"data:{name}", outputs=(f"data:{name}",)))
    print(n, flush=True)
"""


def test_kill_9_loses_nothing_that_was_reported_and_tears_nothing(store, tmp_path):
    add(store, "first")
    for round_ in range(4):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(store.path), f"{round_}-{who}"], stdout=subprocess.PIPE)
            for who in "ab"
        ]
        first = [[writer.stdout.readline() for _ in range(50)] for writer in writers]  # both are in the middle of it
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
        rest = [writer.communicate()[0].splitlines() for writer in writers]
        for who, before, after in zip("ab", first, rest, strict=True):
            assert store.get(Note, f"{round_}-{who}-{int([*before, *after][-1])}") is not None
    assert (audit.prove(store).sound, store.integrity()) == (True, "ok")
    assert len(store.list(Note)) == len(list(store.events()))


def test_a_store_that_vanished_is_refused_not_empty(store):
    add(store, "a")
    store.close()
    store.path.unlink()
    with pytest.raises(Damaged, match="puts back the copy"):
        store.get(Note, "a")


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be read" * 100])
def test_a_store_that_holds_something_else_is_refused(store, content):
    add(store, "a")
    store.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{store.path}{suffix}").unlink(missing_ok=True)
    store.path.write_bytes(content)
    with pytest.raises(Damaged, match="lab start --restore"):
        store.get(Note, "a")


def test_a_store_that_lost_its_newest_events_is_refused(store, tmp_path):
    add(store, "a")
    old = store.copy("test").read_bytes()
    add(store, "b")
    store.close()
    store.path.write_bytes(old)
    with pytest.raises(Damaged, match="ends at event 1, but event 2 was recorded"):
        store.list(Note)


def test_what_another_commits_while_the_store_is_opened_is_no_damage(store, monkeypatch):
    add(store, "a")
    reader, names = SqliteStore(store.path), iter("bcdef")
    head = reader.head
    monkeypatch.setattr(reader, "head", lambda: (add(store, next(names)), head())[1])
    assert len(reader.list(Note)) > 1
    reader.close()


def test_restore_puts_the_newest_sound_copy_back_and_keeps_the_damaged_one(store):
    add(store, "a")
    good = store.copy("good")
    add(store, "b")
    (good.parent / "store-29990101-daily.sqlite").write_bytes(b"rubbish")
    store.close()
    store.path.write_bytes(b"rubbish")
    copy, aside = restore(store.path)
    assert copy == good
    assert (aside / "store.sqlite").read_bytes() == b"rubbish"
    assert [record.name for record in store.list(Note)] == ["a"]


def test_whoever_had_the_store_open_goes_on_with_the_restored_one(store):
    add(store, "a")
    store.copy("good")
    other = SqliteStore(store.path)
    add(other, "b")
    store.close()
    store.path.write_bytes(b"rubbish")
    restore(store.path)
    add(other, "c")
    assert {record.name for record in store.list(Note)} == {"a", "c"}
    assert audit.prove(store).sound
    other.close()


def test_a_sound_store_is_not_rolled_back(workspace):
    lab.start()
    with pytest.raises(Conflict, match="the store is sound"):
        lab.start(restore=True)


@pytest.mark.parametrize("torn", ["", "0000", "{0:020d} {1} 00000000\n"])
def test_a_torn_head_file_vouches_for_nothing_and_stops_nobody(store, torn):
    add(store, "a")
    store.close()
    store.path.with_name("audit.head").write_text(torn.format(9, "f" * 64))
    add(store, "b")
    assert store.head()[0] == 2


def test_a_head_file_of_the_version_before_still_proves_that_events_are_gone(store):
    add(store, "a")
    store.close()
    store.path.with_name("audit.head").write_text(f"9 {'f' * 64}\n")
    with pytest.raises(Damaged):
        store.list(Note)


def test_restore_without_a_copy_says_so(store):
    with pytest.raises(NotFound, match="no sound copy"):
        restore(store.path)


def test_lab_start_restores(workspace):
    lab.start()
    store = open_store()
    store.copy("daily")
    store.close()
    store.path.write_bytes(b"rubbish")
    assert any("restored the copy" in note for note in lab.start(restore=True).notes)
    assert store.get(WorkspaceRecord, "workspace") is not None


def test_a_copy_is_made_once_a_day(store):
    add(store, "a")
    add(store, "b")
    assert [copy.name.rpartition("-")[2] for copy in copies(store.path)] == ["daily.sqlite"]


def test_a_copy_that_cannot_be_made_does_not_fail_the_commit(store, tmp_path):
    (tmp_path / "backups").write_text("a file where the folder should be")
    add(store, "a")
    assert store.get(Note, "a") is not None


def test_a_newer_schema_is_refused(store):
    add(store, "a")
    store.close()
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    with pytest.raises(Unavailable, match="written by a newer aiinfra_lab"):
        store.list(Note)


def test_a_migration_goes_forward_and_leaves_a_copy(store, monkeypatch):
    add(store, "a")
    store.close()
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE more (x INTEGER) STRICT;"))
    assert [record.name for record in store.list(Note)] == ["a"]
    (copy,) = [copy for copy in copies(store.path) if f"schema{len(MIGRATIONS)}" in copy.name]
    assert copy.stat().st_mode & 0o077 == 0


def test_an_empty_file_among_the_copies_is_never_put_back(store):
    add(store, "a")
    sound = store.copy("day")
    empty = sound.with_name("store-29991231-schema1.sqlite")
    empty.touch()
    os.utime(empty, (time.time() + 60,) * 2)
    store.close()
    assert restore(store.path)[0] == sound


@pytest.mark.parametrize(("version", "fix"), [(1, "a copy of the workspace"), (99, "upgrade with")])
def test_a_store_of_another_schema_that_may_not_be_written_says_so(store, version, fix):
    add(store, "a")
    store.close()
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute(f"PRAGMA user_version={version}")
    with pytest.raises(Unavailable) as problem:
        sqlite._read_only_connection(store.path)
    assert fix in problem.value.fix


@pytest.mark.parametrize("statement", ["UPDATE events SET body = replace(body, 'data:a', 'data:x') WHERE seq = 1",
    "DELETE FROM events WHERE seq = 2", "UPDATE events SET actor = 'nobody' WHERE seq = 3",
    "UPDATE events SET body = 'x' WHERE seq = 2"])  # fmt: skip
def test_an_altered_audit_log_is_found(store, statement):
    for name in "abc":
        add(store, name)
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.execute(statement)
    assert not audit.prove(store).sound


def test_a_cut_off_audit_log_is_found(store):
    for name in "abc":
        add(store, name)
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.execute("DELETE FROM events WHERE seq = 3")
    assert "event 3" in audit.prove(store).why


def test_the_store_is_for_its_owner_only(store):
    add(store, "a")
    made = [path for path in store.path.parent.rglob("store*") if path.is_file()]
    assert {path.name.removeprefix("store.sqlite") for path in made} >= {"", "-wal", "-shm"}
    assert {path.name: path.stat().st_mode & 0o077 for path in made} == {path.name: 0 for path in made}


def test_a_forked_child_does_not_use_its_parents_connection(store):
    add(store, "a")
    if (pid := os.fork()) == 0:
        add(store, "child")
        os._exit(0)
    os.waitpid(pid, 0)
    add(store, "b")
    assert {record.name for record in store.list(Note)} == {"a", "child", "b"}


def test_update_of_what_is_not_there(store):
    with pytest.raises(NotFound):
        update(store, Note, "x", lambda body: body)


def test_a_network_drive_is_refused(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"host:/share {tmp_path}/net nfs4 rw 0 0\n/dev/x / ext4 rw 0 0\n")
    monkeypatch.setattr(sqlite, "MOUNTS", mounts)
    with pytest.raises(Unavailable, match="network drive"):
        sqlite.refuse_network_drive(tmp_path / "net" / "home")
    sqlite.refuse_network_drive(tmp_path)


@pytest.mark.parametrize(
    "lines", ["auto {0}/ü autofs rw 0 0\nhost:/x {0}/ü nfs4 rw 0 0", r"h:/x {0}/ü\040x nfs4 rw 0 0"]
)
def test_a_network_drive_is_known_by_the_last_line_of_its_folder_in_any_script(tmp_path, monkeypatch, lines):
    mounts = tmp_path / "mounts"
    mounts.write_text(lines.format(tmp_path))
    monkeypatch.setattr(sqlite, "MOUNTS", mounts)
    folder = tmp_path / ("ü x" if "040" in lines else "ü")
    with pytest.raises(Unavailable, match="network drive"):
        sqlite.refuse_network_drive(folder)


AS_NOBODY = "from aiinfra_lab.cli import main; import sys; sys.exit(main(sys.argv[1:]))"


def as_nobody(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who may only read; root ignores file modes."""
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", AS_NOBODY, *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd="/", env={**os.environ, "HOME": "/"}, check=False
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_without_permission_to_write_one_may_look_but_not_make(workspace):
    lab.start()
    open_store().close()
    for folder in (workspace, workspace / ".aiinfra", *workspace.parents[:-1]):
        if folder.owner() == "root" and folder != Path("/tmp"):
            folder.chmod(0o755)
    (workspace / ".aiinfra" / "store.sqlite").chmod(0o644)
    looked = as_nobody(workspace, "lab", "ls")
    made = as_nobody(workspace, "lab", "start", "--from", "example:flights")
    assert (looked.returncode, made.returncode) == (0, 1), looked.stderr + made.stderr
    assert "Denied: " in made.stderr
    assert "Traceback" not in made.stderr


def test_two_writers_of_one_record_one_wins(store, tmp_path):
    other = SqliteStore(store.path)
    mine = store.commit([Record.new("delay", Note())])[0]
    other.commit([mine.with_(text="other")])
    with pytest.raises(Conflict, match="changed by somebody else"):
        store.commit([mine.with_(text="me")])
    other.close()


def test_versions_are_numbered_and_nobody_gets_a_number_twice(workspace, store):
    def next_one(_: int) -> str:
        return add_version(
            store, "a", TrainingRun(state="running"), lambda uri: Event("train run", uri, (), (uri,))
        ).name

    store.commit([Record.new("ab@7", TrainingRun(state="running"))])
    with ThreadPoolExecutor(4) as pool:
        names = sorted(pool.map(next_one, range(8)))
    assert names == [f"a@{number}" for number in range(1, 9)]
    assert {item.event.subject for item in store.events()} == {f"train:{name}" for name in names}


@pytest.mark.parametrize("lies", ["train/a@3", "data/versions/a@3", "features/rows/a@3-0f12.parquet"])
def test_a_number_whose_bytes_lie_on_disk_is_not_given_again(workspace, lies):
    noun = lies.partition("/")[0]

    class Kind(Note, frozen=True, kw_only=True):
        kind: ClassVar[str] = noun

    (workspace / ".aiinfra" / lies).mkdir(parents=True)
    (workspace / ".aiinfra" / noun / "b@1" / "a@9").mkdir(parents=True)
    open_store().commit([Record.new("a@2#0f12", Kind()), Record.new("a", Kind())])
    assert [next_version(open_store(), Kind, name) for name in ("a", "b", "aa")] == [4, 2, 1]


def test_the_next_number_can_be_told_while_folders_come_and_go(workspace):
    made, going = workspace / ".aiinfra" / "models" / "passing", threading.Event()
    made.parent.mkdir(parents=True)

    def come_and_go():
        while not going.is_set():
            made.mkdir()
            made.rmdir()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        assert {next_version(open_store(), ModelVersion, "m") for _ in range(500)} == {1}
    finally:
        going.set()
        thread.join()


def test_threads_that_open_it_at_once_have_one_store(workspace, monkeypatch):
    both, make = threading.Barrier(2), providers.make

    def make_beside_the_other(*named):
        both.wait(60)
        return make(*named)

    monkeypatch.setattr("aiinfra_lab.store.make", make_beside_the_other)
    where = settings()
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(open_store, [where, where])
    assert one is other is open_store()


def test_who_opens_a_new_store_waits_for_the_other_who_does(store):
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # the lock with which SQLite does not wait when it is to switch to WAL
    threading.Timer(0.3, other.execute, ["COMMIT"]).start()
    assert store.list(Note) == []
    other.close()


def test_a_store_that_is_moved_while_it_is_open_is_not_made_anew(store, tmp_path):
    add(store, "a")
    store.path.rename(tmp_path / "moved.sqlite")
    with pytest.raises(Unavailable, match="moved or deleted") as problem:
        add(store, "b")
    assert "put it back" in problem.value.fix
    assert not store.path.exists()
    (tmp_path / "moved.sqlite").rename(store.path)
    add(store, "b")
    assert len(store.list(Note)) == 2
