"""A machine with a real sshd, in namespaces of the test's own, and the OpenSSH client that reaches it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.hosts import Host, needs_hosts

_SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
_PORT = 2222
needs_sshd = [
    needs_hosts,
    pytest.mark.skipif(_SSHD is None or not shutil.which("ssh"), reason="needs OpenSSH: sshd, ssh"),
]


class SshHost(Host):
    """See `Host`. ssh: the command that reaches it, without the host's name; config: its file, with the name `far`.
    home: of its user, in place of this one's."""

    def __init__(self, number: int, folder: Path, home: Path | None = None) -> None:
        super().__init__(number, folder)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("hostkey", "id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        shutil.copy(folder / "id.pub", folder / "authorized_keys")
        key = " ".join((folder / "hostkey.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[{self.address}]:{_PORT} {key}\n")
        self.config = folder / "config"
        self.config.write_text(
            f"Host far\n HostName {self.address}\n Port {_PORT}\n IdentityFile {folder}/id\n IdentitiesOnly yes\n"
            f" UserKnownHostsFile {folder}/known_hosts\n StrictHostKeyChecking yes\n BatchMode yes\n ConnectTimeout 2\n"
            " ServerAliveInterval 1\n ServerAliveCountMax 2\n"
        )
        options = {
            "ListenAddress": self.address,
            "Port": _PORT,
            "HostKey": folder / "hostkey",
            "AuthorizedKeysFile": folder / "authorized_keys",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "PermitRootLogin": "prohibit-password",
            # A shell within a shell reads no `.bashrc`: what stands there is this user's, and may hold locks of its
            # home when the machine goes.
            "SetEnv": f"SHLVL=2 HOME={home}" if home else "SHLVL=2",
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self._sshd = subprocess.Popen(
            [*self.enter, str(_SSHD), "-D", "-e", "-f", "/dev/null", *flags], stderr=(folder / "sshd.log").open("w")
        )
        until = time.monotonic() + 30
        while not self._listens():
            assert time.monotonic() < until, (folder / "sshd.log").read_text()
            time.sleep(0.05)

    @property
    def command(self) -> list[str]:
        """What runs a command there; nothing of it is written to this user's home."""
        return ["ssh", "-F", str(self.config), "far", "env", f"XDG_CACHE_HOME={self.folder}/cache"]

    def remove(self) -> None:
        self._sshd.kill()
        self._sshd.wait()
        super().remove()

    def _listens(self) -> bool:
        # By a process of its own: tests may not reach for the network themselves.
        return (
            subprocess.run(["ssh", "-F", str(self.config), "far", "true"], capture_output=True, check=False).returncode
            == 0
        )
