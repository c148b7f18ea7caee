"""The store's contract on a real PostgreSQL of our own, on loopback."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab.audit import prove
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.store import Event, Record, open_store
from aiinfra_lab.testing.store import Note, StoreContract

psycopg = pytest.importorskip("psycopg")


def programs() -> Path | None:
    """Where initdb is: Debian keeps it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else found[-1].parent if found else None


BIN = programs()
pytestmark = pytest.mark.skipif(
    BIN is None or os.geteuid() != 0, reason="needs a PostgreSQL server, and root to start it"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server's URL; its files lie where the user postgres may reach them."""
    home = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    home.chmod(0o755)
    subprocess.run(["install", "-d", "-o", "postgres", "-m", "700", str(home / "pg")], check=True)
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", f"HOME={home}/pg"]
    pg, port = str(home / "pg"), free_port()
    init = ["initdb", "-D", pg, "-U", "lab", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run([*as_postgres, str(BIN / init[0]), *init[1:]], check=True, capture_output=True)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={pg} -c fsync=off"
    control = [*as_postgres, str(BIN / "pg_ctl"), "-D", pg]
    subprocess.run(
        [*control, "-w", "-t", "120", "-l", f"{pg}/log", "-o", options, "start"], check=True, capture_output=True
    )
    yield f"postgresql://lab@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
    shutil.rmtree(home)


class TestPostgres(StoreContract):
    @pytest.fixture
    def store(self, server, request):
        from aiinfra_lab.store.postgres import PostgresStore

        store = PostgresStore(server, f"s{abs(hash(request.node.name))}")
        yield store
        store.close()

    def test_the_chain_can_be_proved(self, store):
        for number in range(3):
            store.commit([], Event("data add", f"data:a@{number}"))
        assert prove(store).sound


def test_the_setting_puts_a_workspace_on_it(server, workspace):
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{server}"\nschema = "by_setting"')
    open_store().commit([Record.new("a", Note())])
    open_store().close()
    assert open_store().get(Note, "a") is not None
    assert not (workspace / ".aiinfra" / "store.sqlite").exists()
    open_store().close()


def test_a_server_that_is_not_there_is_said_so(workspace):
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "postgresql://lab@127.0.0.1:{free_port()}/postgres"')
    with pytest.raises(Unavailable, match="does not answer"):
        open_store().list(Note)
