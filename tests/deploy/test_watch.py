"""What an endpoint's process does while its store is away: it serves on, and ends when it is asked to."""

import json
import os
import signal
import urllib.request

import pytest

from aiinfra_lab import deploy, jobs
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.deploy.server.watch import CLOSE_S
from aiinfra_lab.store import open_store
from tests.conftest import until
from tests.postgres import needs_postgres, postgres

from .conftest import ROW, server_pid

psycopg = pytest.importorskip("psycopg")
pytestmark = needs_postgres
__all__ = ["postgres"]


@pytest.fixture
def served(postgres, workspace, register):
    """The record of an endpoint whose workspace is in PostgreSQL, and the process that serves it."""
    schema = f"s{abs(hash(str(workspace)))}"
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{postgres.url}"\nschema = "{schema}"')
    deploy.start("delay", model=register(1))
    record = open_store().get(EndpointRecord, "delay")
    return record, server_pid(record.body.job)


def predict(record):
    body = json.dumps({"rows": [ROW]}).encode()
    with urllib.request.urlopen(f"{record.body.url}/predict", body, timeout=30) as answer:
        return answer.status


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def read_only(postgres):
    """Call it with True or False: every connection is read-only from then on, or not."""

    def turn(value):
        with psycopg.connect(postgres.url, autocommit=True) as other:
            other.execute("SET default_transaction_read_only = off")
            other.execute(f"ALTER DATABASE postgres SET default_transaction_read_only = {'on' if value else 'off'}")
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    yield turn
    turn(False)


def test_a_read_only_database_ends_no_endpoint_and_it_follows_again_afterwards(read_only, served, register):
    record, pid = served
    read_only(True)
    assert predict(record) == 200
    log = jobs.poll(record.body.job).log_path
    until(lambda: "is read-only" in log.read_text())  # it tried to write what it counted
    assert predict(record) == 200
    read_only(False)
    deploy.start("delay", model=register(2))
    assert (predict(record), server_pid(record.body.job)) == (200, pid)
    until(lambda: open_store().get(EndpointRecord, "delay").body.count == 3)


def test_a_store_that_hangs_keeps_no_process_that_is_asked_to_end(postgres, served):
    record, pid = served
    with postgres.frozen():
        assert predict(record) == 200
        os.kill(pid, signal.SIGTERM)
        until(lambda: is_gone(pid), most_s=CLOSE_S + 10)
    until(lambda: not jobs.poll(record.body.job).live or jobs.poll(record.body.job).state == "running")
