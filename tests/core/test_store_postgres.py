"""The store's contract on a real PostgreSQL of our own, on loopback."""

import pytest

from aiinfra_lab import jobs, lab
from aiinfra_lab.audit import prove
from aiinfra_lab.errors import Conflict, Damaged, Unavailable, UsageProblem
from aiinfra_lab.store import Event, Record, chain_hash, open_store
from aiinfra_lab.store.postgres import PostgresStore
from aiinfra_lab.store.sql import seal_records
from aiinfra_lab.testing.store import (
    EventIndexContract,
    HeadCopierContract,
    NameIndexContract,
    Note,
    SealedContract,
    StoreContract,
)
from tests import records
from tests.conftest import PATIENCE_S, end_supervisor, until
from tests.postgres import free_port, needs_postgres, postgres, server

psycopg = pytest.importorskip("psycopg")
pytestmark = needs_postgres
__all__ = ["postgres", "server"]


class TestPostgres(StoreContract, HeadCopierContract, EventIndexContract, NameIndexContract, SealedContract):
    @pytest.fixture
    def store(self, server, request, tmp_path):
        store = PostgresStore(server, f"s{abs(hash(request.node.name))}", copies_in=tmp_path / "heads")
        yield store
        store.close()

    @pytest.fixture
    def spoiled(self, store):
        def forget(seq):
            with store._transaction() as db:
                db.execute("DELETE FROM event_uris WHERE seq = %s", (seq,))

        return forget

    @pytest.fixture
    def edited(self, store):
        def edit(name):
            with store._transaction() as db:
                db.execute("UPDATE records SET body = '{}' WHERE name = %s", (name,))

        return edit

    @pytest.fixture
    def lost(self, store):
        def lose(name):
            with store._transaction() as db:
                db.execute("DELETE FROM records WHERE name = %s", (name,))

        return lose

    def test_the_chain_can_be_proved(self, store):
        for number in range(3):
            store.commit([], Event("data add", f"data:a@{number}"))
        assert prove(store).sound

    def test_an_index_that_misses_an_event_is_found_and_can_be_rebuilt(self, store):
        for number in range(3):
            store.commit([], Event("data add", f"data:a@{number}"))
        with store._transaction() as db:
            db.execute("UPDATE event_uris SET uri = 'data:zzz' WHERE seq = 2")
        assert (prove(store).is_index_wrong, "event 2 " in prove(store).why) == (True, True)
        store.rebuild_index()
        assert prove(store).sound


def test_a_record_of_which_no_event_tells_is_found_though_another_client_may_have_written_it(server, workspace):
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{server}"\nschema = "forged"\n')
    for number in range(1, 4):
        records.data(f"a@{number}")
    store = open_store()
    assert prove(store).sound
    with store._transaction() as db:
        db.execute("UPDATE meta SET value = value + 1 WHERE key = 'rev'")
        db.execute("UPDATE records SET body = replace(body, '\"rows\":1', '\"rows\":7'), rev = 4 WHERE name = 'a@2'")
        seal_records(store, db)
    assert "data a@2" in prove(store).why


def test_a_log_that_was_rewritten_beneath_an_open_store_is_found_also_after_its_commits(server, tmp_path):
    store = PostgresStore(server, "washed", copies_in=tmp_path / "heads")
    for number in range(3):
        store.commit([], Event("data add", f"data:a@{number}"))
    with store._transaction() as db:
        logged = list(store.events())[-1]
        forged = chain_hash(logged.seq, logged.at, "mallory", logged.event, logged.prev)
        db.execute("UPDATE events SET actor = 'mallory', hash = %s WHERE seq = %s", (forged, logged.seq))
    for number in range(3):
        assert not prove(store).sound
        store.commit([], Event("data add", f"data:later@{number}"))
    store.close()


def test_a_database_that_cannot_hold_every_text_is_refused(server, workspace):
    with psycopg.connect(server, autocommit=True) as db:
        db.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    store = PostgresStore(server.replace("/postgres", "/latin"))
    with pytest.raises(UsageProblem, match="as LATIN1") as caught:
        store.list(Note)
    assert "createdb --encoding=UTF8 --template=template0" in caught.value.fix


def test_the_clients_own_encoding_does_not_matter(server, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = PostgresStore(server, "by_client")
    store.commit([Record.new("日本", Note())])
    assert store.get(Note, "日本") is not None
    store.close()


def test_the_setting_puts_a_workspace_on_it(server, workspace):
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{server}"\nschema = "by_setting"')
    open_store().commit([Record.new("a", Note())])
    open_store().close()
    assert open_store().get(Note, "a") is not None
    assert not (workspace / ".aiinfra" / "store.sqlite").exists()
    open_store().close()


def test_two_folders_share_a_store_and_each_watches_its_own_jobs(server, workspace, tmp_path, monkeypatch):
    def enter(folder):
        folder.mkdir(exist_ok=True)
        (folder / "aiinfra.toml").write_text(f'[store]\nurl = "{server}"\nschema = "shared"')
        monkeypatch.setenv("AIINFRA_WORKSPACE", str(folder))

    enter(workspace)
    first = jobs.start("deploy:a", ["sleep", "600"], restart=True)
    enter(tmp_path / "second")
    assert jobs.wait(jobs.start("train:b", ["sleep", "1"]).id, PATIENCE_S).state == "done"
    until(lambda: jobs.poll(first.id).state == "running")
    jobs.cancel(first.id)
    assert (jobs.wait(first.id, PATIENCE_S).state, jobs.poll(first.id).restarts) == ("stopped", 0)
    open_store().close()
    end_supervisor(tmp_path / "second")


def test_a_damaged_record_leads_to_the_databases_own_backup_and_never_to_a_copy_of_ours(server, workspace):
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{server}"\nschema = "damaged"')
    lab.start()
    records.data("a@1")
    with psycopg.connect(server, autocommit=True) as other:
        other.execute("UPDATE damaged.records SET body = '{' WHERE name = 'a@1'")
    (found,) = [item for item in lab.check(report=True).findings if item.state == "bad"]
    with pytest.raises(Conflict) as problem:
        lab.start(restore=True)
    assert (found.what, found.fix) == ("record data a@1", problem.value.fix)
    assert "pg_restore" in found.fix
    open_store().close()


def test_a_server_that_is_not_there_is_said_so(workspace):
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "postgresql://lab@127.0.0.1:{free_port()}/postgres"')
    with pytest.raises(Unavailable, match="does not answer"):
        open_store().list(Note)


def test_a_connection_that_the_server_ended_is_made_again(server, workspace):
    store = PostgresStore(server, "cut")
    store.commit([Record.new("a", Note())])
    with psycopg.connect(server, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert store.get(Note, "a") is not None
    store.close()


@pytest.fixture
def noted(server, request, tmp_path):
    """A store with five events and a copy of its head; and the same database without that copy."""
    schema = f"s{abs(hash(request.node.name))}"
    store, plain = PostgresStore(server, schema, copies_in=tmp_path / "heads"), PostgresStore(server, schema)
    for number in range(5):
        store.commit([Record.new(f"a@{number}", Note())], Event("data add", f"data:a@{number}"))
    yield store, plain
    store.close()
    plain.close()


def test_a_tail_that_was_cut_is_found_by_the_copy_of_the_head(noted):
    store, plain = noted
    with plain._transaction() as db:
        for table in ("events", "event_uris"):
            db.execute(f"DELETE FROM {table} WHERE seq > 3")
    assert (prove(plain).sound, prove(store).sound) == (True, False)
    assert str(store.copied_in) in prove(store).fix


def test_a_record_that_went_with_all_that_tells_of_it_is_found_by_the_copy_of_the_head(noted):
    store, plain = noted
    store.commit([Record.new("bare", Note())])
    with plain._transaction() as db:
        db.execute("DELETE FROM records WHERE name = 'bare'")
        seal_records(plain, db)
    assert (prove(plain).sound, prove(store).sound) == (True, False)


def test_another_machine_may_have_committed_more(noted):
    store, plain = noted
    plain.commit([Record.new("b", Note())], Event("data add", "data:b"))
    assert prove(store).sound


def test_a_schema_that_is_empty_although_events_were_recorded_in_it_is_damaged(noted):
    store, plain = noted
    with plain._transaction() as db:
        db.execute(f"DROP SCHEMA {store.schema} CASCADE")
    store.close()
    with pytest.raises(Damaged, match="event 5 was recorded") as problem:
        store.list(Note)
    assert problem.value.fix.endswith(f"delete {store.copied_in}")
    store.copied_in.unlink()
    store.commit([], Event("data add", "data:a@1"))
    assert prove(store).sound
