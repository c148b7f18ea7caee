"""Keys of a rented machine: the one that lets its session log in, and the one by which ssh knows the machine.

Both are made here before there is a machine, and travel to it with the call that creates it: its host key can be
checked at the first connection, and no provider has to keep a key that would have to be cleared away.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import Conflict, Failed, Missing
from ..files import building, publish, write

_LOGIN, _HOST = "login", "host"


@dataclass(frozen=True, slots=True)
class SshKeys:
    """The keys of one machine, in a folder for their owner only."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> SshKeys:
        """Those of a session's folder, made at the first time, both or none."""
        keys = cls(folder / "keys")
        if not keys.folder.is_dir():
            with building(keys.folder) as aside, contextlib.suppress(Conflict):  # somebody was faster
                aside.chmod(0o700)
                for name in (_LOGIN, _HOST):
                    _make(aside / name)
                publish(aside, keys.folder)
        return keys

    @property
    def login_file(self) -> Path:
        """The private key that logs in."""
        return self.folder / _LOGIN

    @property
    def login_public(self) -> str:
        """The line for `authorized_keys`."""
        return _public(self.folder / f"{_LOGIN}.pub")

    @property
    def host_private(self) -> str:
        """What the machine gets as its host key."""
        return (self.folder / _HOST).read_text("ascii").strip()

    def known_as(self, name: str) -> Path:
        """A file of known hosts in which the machine, by that name and no other, has its key."""
        file, line = self.folder / "known_hosts", f"{name} {_public(self.folder / f'{_HOST}.pub')}\n"
        if not file.is_file() or file.read_text("ascii") != line:  # somebody may be connecting by it
            write(file, line)
        return file


def _public(file: Path) -> str:
    return " ".join(file.read_text("ascii").split()[:2])


def _make(file: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        raise Missing("there is no ssh-keygen", "install the OpenSSH client, e.g. `apt install openssh-client`")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "aiinfra-lab", "-f", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise Failed(f"ssh-keygen makes no key: {done.stderr.strip()}", "see that the disk has room, and repeat")
