"""A PostgreSQL that restarts, hangs, or takes no writes for a while, with processes that live on meanwhile."""

import concurrent.futures
import threading
import time

import pytest

from aiinfra_lab import completion
from aiinfra_lab.errors import Denied, StoreUnavailable
from aiinfra_lab.files import until
from aiinfra_lab.store import Event, Record, update
from aiinfra_lab.store import postgres as module
from aiinfra_lab.store.postgres import PostgresStore
from aiinfra_lab.testing.store import Note
from tests import records
from tests.postgres import needs_postgres, postgres

psycopg = pytest.importorskip("psycopg")
pytestmark = needs_postgres
__all__ = ["postgres"]


@pytest.fixture
def store(postgres, request):
    made = PostgresStore(postgres.url, f"s{abs(hash(request.node.name))}")
    made.commit([Record.new("a", Note())])
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    monkeypatch.setattr(module, "LOCK_S", 1.0)
    monkeypatch.setattr(module._Connection, "answer_s", 0.5)
    monkeypatch.setitem(module._LINE, "connect_timeout", 2)


@pytest.fixture
def read_only(postgres):
    """Call it with True or False; new connections are read-only then, or not."""

    def turn(value):
        with psycopg.connect(postgres.url, autocommit=True) as other:
            other.execute("SET default_transaction_read_only = off")
            other.execute(f"ALTER DATABASE postgres SET default_transaction_read_only = {'on' if value else 'off'}")

    yield turn
    turn(False)


def test_after_a_restart_reading_goes_on_at_once(postgres, store):
    postgres.restart()
    assert store.get(Note, "a") is not None


def test_after_a_restart_writing_goes_on_at_once(postgres, store):
    postgres.restart()
    update(store, Note, "a", lambda body: Note(n=body.n + 1), Event("data add", "data:a"))
    assert (store.get(Note, "a").body.n, len(list(store.events()))) == (1, 1)


def test_a_connection_that_ends_within_a_transaction_writes_nothing_and_is_an_error(postgres, store, monkeypatch):
    append = store._append

    def cut(db, *given):
        with psycopg.connect(postgres.url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (db.info.backend_pid,))
        return append(db, *given)

    monkeypatch.setattr(store, "_append", cut)
    with pytest.raises(StoreUnavailable):
        store.commit([Record.new("b", Note())], Event("data add", "data:b"))
    assert store.get(Note, "b") is None


def test_a_read_only_database_is_read_by_old_and_new_connections(store, read_only):
    read_only(True)
    assert store.get(Note, "a") is not None
    store.close()
    assert store.get(Note, "a") is not None


def test_a_read_only_database_denies_what_writes_until_it_is_writable_again(store, read_only):
    store.close()
    read_only(True)
    for _ in range(2):
        with pytest.raises(Denied) as problem:
            store.commit([Record.new("b", Note())])
    assert "store.url" in problem.value.fix
    read_only(False)
    store.commit([Record.new("b", Note())])


def test_a_new_schema_in_a_read_only_database_is_denied(postgres, read_only):
    read_only(True)
    with pytest.raises(Denied):
        PostgresStore(postgres.url, "never").get(Note, "a")


def test_a_server_that_hangs_is_an_error_and_used_again_when_it_answers(postgres, impatient, store):
    with postgres.frozen():
        for act in (lambda: store.get(Note, "a"), lambda: store.commit([Record.new("b", Note())])):
            with pytest.raises(StoreUnavailable, match="in time"):
                act()
    assert store.get(Note, "a") is not None


def test_threads_that_wait_for_one_that_hangs_are_told_too(postgres, impatient, store):
    problems = []

    def look():
        with pytest.raises(StoreUnavailable) as problem:
            store.get(Note, "a")
        problems.append(problem.value)

    threads = [threading.Thread(target=look) for _ in range(6)]
    with postgres.frozen():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(problems) == 6


def test_a_new_connection_reads_beside_a_writer(postgres, store):
    other = PostgresStore(postgres.url, store.schema)
    with store._transaction():
        assert other.get(Note, "a") is not None
    other.close()


def test_a_thread_that_waits_for_another_process_keeps_other_threads_waiting_as_long(postgres, store, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_S", 0.2)
    with psycopg.connect(postgres.url) as other, concurrent.futures.ThreadPoolExecutor(2) as threads:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (module._LOCK,))
        writing = [threads.submit(store.commit, [Record.new(name, Note())]) for name in "bc"]
        time.sleep(0.5)
        other.rollback()
        for future in writing:
            future.result()
    assert {record.name for record in store.list(Note)} == {"a", "b", "c"}


def test_completion_waits_for_no_server_that_hangs_and_goes_on_when_it_answers(postgres, workspace, monkeypatch):
    monkeypatch.setattr(completion, "AGAIN_S", 0.5)
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{postgres.url}"')
    records.data("trips@1")
    assert completion.complete("data", "show tr") == ["trips", "trips@1"]
    with postgres.frozen():
        began = time.monotonic()
        assert completion.complete("data", "show tr") == []
        assert completion.complete("data", "show t") == []
        assert time.monotonic() - began < completion.LOOK_S + 1  # the server's own time would be 15 s
    found = until(lambda: completion.complete("data", "show tr"), TimeoutError("no names"), within_s=60)
    assert found == ["trips", "trips@1"]
