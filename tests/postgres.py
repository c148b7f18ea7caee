"""A real PostgreSQL of the tests' own, on loopback."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def programs() -> Path | None:
    """Where initdb is: Debian keeps it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else found[-1].parent if found else None


BIN = programs()
needs_postgres = pytest.mark.skipif(
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
    start = [*control, "-w", "-t", "120", "-l", f"{pg}/log", "-o", options, "start"]
    # It belongs to no test's workspace, and outlives the one that asked for it first.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AIINFRA_")}
    subprocess.run(start, check=True, capture_output=True, env=plain)
    yield f"postgresql://lab@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
    shutil.rmtree(home)
