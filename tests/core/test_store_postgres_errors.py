"""What is wrong with a PostgreSQL store is said, each with a fix of its own."""

import pytest

from aiinfra_lab.errors import Damaged, Denied, LabError, StoreUnavailable, UsageProblem
from aiinfra_lab.store import Record
from aiinfra_lab.store import postgres as module
from aiinfra_lab.store.postgres import PostgresStore
from aiinfra_lab.testing.store import Note
from tests.postgres import free_port, needs_postgres, postgres

psycopg = pytest.importorskip("psycopg")
pytestmark = needs_postgres
__all__ = ["postgres"]


@pytest.fixture(scope="module")
def admin(postgres):
    with psycopg.connect(postgres.url, autocommit=True) as db:
        db.execute("CREATE ROLE weak LOGIN")
        db.execute("CREATE ROLE owner LOGIN")
        db.execute("CREATE SCHEMA owned AUTHORIZATION owner")
        db.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        yield db


def problem_of(store):
    with pytest.raises(LabError) as problem:
        store.get(Note, "a")
    store.close()
    return type(problem.value), problem.value.fix


@pytest.mark.parametrize(
    ("url", "kind", "fix"),
    [
        ("postgresql://lab@127.0.0.1:{port}/nothing", UsageProblem, "createdb"),
        ("postgresql://nobody@127.0.0.1:{port}/postgres", UsageProblem, "createuser"),
        ("postgresql://lab@127.0.0.1:99999/postgres", UsageProblem, "65535"),
        ("postgresql://lab@127.0.0.1:{free}/postgres", StoreUnavailable, "start it"),
        ("postgresql://lab@127.0.0.1:x/postgres", UsageProblem, "5432"),
        ("nonsense", UsageProblem, "postgresql://host/database"),
        ("postgresql://lab@127.0.0.1:{port}/latin", UsageProblem, "--encoding=UTF8"),
    ],
)
def test_what_is_wrong_with_the_url_is_said_with_its_fix(postgres, admin, url, kind, fix):
    found = problem_of(PostgresStore(url.format(port=postgres.port, free=free_port())))
    assert (found[0], fix in found[1]) == (kind, True)


@pytest.mark.parametrize("schema", ["a b", 'x"y', "Big", "a;b", "ünï", "a,b", "a\\b"])
def test_a_schema_may_have_any_name(postgres, schema):
    store = PostgresStore(postgres.url, schema)
    store.commit([Record.new("a", Note())])
    store.close()
    assert store.get(Note, "a") is not None
    store.close()


@pytest.mark.parametrize("schema", ["pg_mine", "", "x" * 64, "a\0"])
def test_a_schema_that_cannot_be_is_refused(postgres, schema):
    kind, fix = problem_of(PostgresStore(postgres.url, schema))
    assert (kind, "schema = " in fix) == (UsageProblem, True)


def test_the_owner_of_a_schema_needs_no_right_in_the_database(postgres, admin):
    store = PostgresStore(postgres.of("owner", "postgres"), "owned")
    store.commit([Record.new("a", Note())])
    assert store.get(Note, "a") is not None
    store.close()


def test_the_fix_for_a_user_without_a_schema_is_sql_that_helps(postgres, admin):
    store = PostgresStore(postgres.of("weak", "postgres"), 'weak "one"')
    kind, fix = problem_of(store)
    assert kind is Denied
    admin.execute(fix.split("`")[1].encode())
    store.commit([Record.new("a", Note())])
    store.close()


def test_the_fix_for_a_user_who_may_not_read_is_sql_that_helps(postgres, admin):
    PostgresStore(postgres.url, "theirs").get(Note, "a")
    admin.execute("GRANT USAGE ON SCHEMA theirs TO weak; GRANT SELECT ON theirs.schema_version TO weak")
    store = PostgresStore(postgres.of("weak", "postgres"), "theirs")
    kind, fix = problem_of(store)
    assert kind is Denied
    for statement in fix.split("`")[1::2]:
        admin.execute(statement.encode())
    store.commit([Record.new("a", Note())])
    store.close()


def test_a_lock_that_is_held_too_long_is_said(postgres, monkeypatch):
    monkeypatch.setattr(module, "LOCK_S", 0.3)
    store, other = PostgresStore(postgres.url, "held"), PostgresStore(postgres.url, "held")
    store.get(Note, "a")
    with store._transaction(), pytest.raises(StoreUnavailable) as problem:
        other.commit([Record.new("a", Note())])
    assert "pg_locks" in problem.value.fix
    other.commit([Record.new("a", Note())])
    store.close()
    other.close()


def test_a_name_that_the_database_cannot_hold_is_refused(postgres):
    store = PostgresStore(postgres.url, "nul")
    with pytest.raises(UsageProblem):
        store.get(Note, "a\0")
    store.close()


def test_tables_that_are_gone_are_damage(postgres, admin):
    store = PostgresStore(postgres.url, "dropped")
    store.get(Note, "a")
    admin.execute("DROP TABLE dropped.records")
    assert problem_of(store)[0] is Damaged


def test_no_error_of_the_database_comes_out_as_its_own():
    store = PostgresStore("postgresql://lab@host/it")
    for kind in (*psycopg.errors._sqlcodes.values(), psycopg.InterfaceError, psycopg.Error):
        with pytest.raises(LabError) as problem, store._lab_errors():
            raise kind("no reason")
        assert problem.value.fix
