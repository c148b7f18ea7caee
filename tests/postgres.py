"""A real PostgreSQL of the tests' own, on loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Server:
    """A server that a test may restart, stop and freeze; its files lie where the user postgres may reach them."""

    home: Path
    port: int

    @property
    def url(self) -> str:
        return self.of("lab", "postgres")

    def of(self, user: str, database: str) -> str:
        """The URL of another user and database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        subprocess.run(["install", "-d", "-o", "postgres", "-m", "700", str(self.home / "pg")], check=True)
        self._run("initdb", "-U", "lab", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")

    def control(self, *words: str) -> None:
        """Run `pg_ctl` with these words, and wait for what they ask."""
        # With a log: a server that kept our pipe would let nobody see its end.
        self._run("pg_ctl", "-w", "-t", "120", "-l", f"{self.home}/pg/log", *words)

    def start(self, *also: str) -> None:
        pg = self.home / "pg"
        addresses = ",".join(("127.0.0.1", *also))
        options = f"-p {self.port} -c listen_addresses={addresses} -c unix_socket_directories={pg} -c fsync=off"
        self.control("-o", options, "start")

    def listen(self, *addresses: str, to: str) -> None:
        """Also on these addresses, to whoever asks from that network."""
        with (self.home / "pg" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {to} trust\n")
        self.stop()
        self.start(*addresses)

    def restart(self) -> None:
        self.control("-m", "fast", "restart")

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes runs meanwhile: connections are taken by the kernel, and nobody answers."""
        main = int((self.home / "pg" / "postmaster.pid").read_text().split()[0])
        children = [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]
        for pid in (main, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in (main, *children):
                with contextlib.suppress(ProcessLookupError):  # it was about to end
                    os.kill(pid, signal.SIGCONT)

    def _run(self, program: str, *words: str) -> None:
        pg = str(self.home / "pg")
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", f"HOME={pg}"]
        # It belongs to no test's workspace, and outlives the one that asked for it first.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("AIINFRA_")}
        command = [*as_postgres, str((BIN or Path()) / program), "-D", pg, *words]
        subprocess.run(command, check=True, capture_output=True, env=plain)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A server of this module's own."""
    home = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    home.chmod(0o755)
    made = Server(home, free_port())
    made.make()
    made.start()
    yield made
    made.stop()
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def server(postgres: Server) -> str:
    """Its URL."""
    return postgres.url
