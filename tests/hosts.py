"""Machines of the tests' own: each a network, a process table, a name and a machine id, all in namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import pytest

MACHINE_ID = Path("/etc/machine-id")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# It lives as long as the process that made it: then nobody has the other end of its input any more.
_START = "hostname $1; mount --bind $2 /etc/machine-id; exec cat"

needs_hosts = pytest.mark.skipif(
    os.geteuid() != 0 or not MACHINE_ID.exists() or not all(shutil.which(it, path=_PATH) for it in ("ip", "nsenter")),
    reason="needs root and network namespaces: ip (iproute2), nsenter and unshare",
)


def _sh(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, "PATH": _PATH})


class Host:
    """One machine. address: of it; gateway: this machine's, as seen from there."""

    def __init__(self, number: int, folder: Path) -> None:
        self.name, self._link = f"lab{os.getpid()}-{number}", f"v{os.getpid()}-{number}"
        # Networks of this process's own: other tests of this kind may run beside it.
        network = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 100 * 2 + number}"
        self.gateway, self.address = f"{network}.1", f"{network}.2"
        self.folder = folder
        folder.mkdir()
        (machine_id := folder / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        _sh("ip", "netns", "add", self.name)
        _sh("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _sh("ip", "addr", "add", f"{self.gateway}/29", "dev", self._link)
        _sh("ip", "-n", self.name, "addr", "add", f"{self.address}/29", "dev", "eth0")
        _sh("ip", "link", "set", self._link, "up")
        for device in ("lo", "eth0"):
            _sh("ip", "-n", self.name, "link", "set", device, "up")
        apart = ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        script = ["sh", "-c", _START, "start", f"host-{number}", str(machine_id)]
        command = ["ip", "netns", "exec", self.name, *apart, *script]
        self._process = subprocess.Popen(command, env={**os.environ, "PATH": _PATH}, stdin=subprocess.PIPE)
        self._init = self._first_process()

    @property
    def enter(self) -> list[str]:
        """What a command is put behind to run there."""
        return ["nsenter", "-t", self._init, "--net", "--uts", "--mount", "--pid", "--"]

    def run(self, *command: str, **env: str) -> str:
        """What a command prints there; it must succeed."""
        done = subprocess.run(
            [*self.enter, *command], env={**os.environ, **env}, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout.strip()

    def set_link(self, state: str) -> None:
        """Cut its network with "down", or join it again with "up"."""
        _sh("ip", "link", "set", self._link, state)

    def move(self) -> None:
        """Give this machine another address as seen from there, as a laptop gets in another place."""
        old = self.gateway
        network, last = old.rsplit(".", 1)
        self.gateway = f"{network}.{3 if last == '1' else 1}"
        # In this order: with the first address of a network its others go, too.
        _sh("ip", "addr", "del", f"{old}/29", "dev", self._link)
        _sh("ip", "addr", "add", f"{self.gateway}/29", "dev", self._link)

    def cut_power(self) -> None:
        """All of its processes are gone at once."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def remove(self) -> None:
        self.cut_power()
        # By itself: with its namespace alone it would go some time later, and the next machine takes its name.
        _sh("ip", "link", "del", self._link)
        _sh("ip", "netns", "del", self.name)

    def _first_process(self) -> str:
        """The pid, here, of the first process there, once it is up."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        until = time.monotonic() + 30
        while time.monotonic() < until:
            found = children.read_text().split()
            if found and Path(f"/proc/{found[0]}/cmdline").read_bytes().startswith(b"cat"):
                return found[0]
            time.sleep(0.02)
        raise AssertionError(f"{self.name} did not come up")
