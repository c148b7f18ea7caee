"""A kept kernel as everybody finds it: its connection file, its keeper's lock, and the state that its keeper wrote."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from .. import files
from ..config import settings
from ..errors import Conflict, Unavailable
from ..uris import Uri

# Sockets by their "port": Jupyter names an ipc socket `IP-PORT`. Clients reach `control` at the keeper's gate.
CHANNELS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "hb_port": 4, "control_port": 5}
KERNELS_OWN_CONTROL = 6
_OWN = "kernel-own.json"
# A unix socket's path may have 107 bytes; ours continue the root by `/aiinfra-xxxxxxxx/xxxxxxxx/k-6`.
_LONGEST_ROOT = 75


class KeeperState(msgspec.Struct, frozen=True, kw_only=True):
    """What the keeper last wrote.

    phase: none, starting, ready or ended. incarnation: how many kernels it has started. kernel: what Jupyter calls it.
    why: how it ended.
    """

    phase: str = "none"
    # The name in the file is that of the version before, whose keepers may still live.
    incarnation: int = msgspec.field(default=0, name="life")
    kernel_pid: int = 0
    kernel: str = ""
    why: str = ""
    exit_code: int | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class KeptKernel:
    """One kept kernel, by the name of its session and its folder in the workspace."""

    name: str
    folder: Path

    @classmethod
    def of(cls, session: object, workspace: Path | None = None) -> KeptKernel:
        """The kernel of the session `gpu:NAME` in a workspace (the current one)."""
        name = Uri.parse(session, noun="gpu").name
        home = workspace / ".aiinfra" if workspace else settings().home
        return cls(name, home / "gpu" / name)

    @property
    def connection(self) -> Path:
        """The connection file for clients. Its `ip` is the common beginning of the sockets' paths."""
        return self.folder / "kernel.json"

    def alive(self) -> bool:
        """Whether a keeper holds it now. The lock says so: it goes with its process, however that ends."""
        return files.is_locked(self.folder / "lock")

    def take(self) -> IO[bytes]:
        """Hold it for this process until the file is closed. Conflict when another keeper does."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = files.take_lock(self.folder / "lock")
        if file is None:
            raise Conflict(f"another keeper holds gpu:{self.name}", f"look at it with `%gpu show {self.name}`")
        return file

    def state(self) -> KeeperState:
        """What the keeper last wrote; phase none when it wrote nothing yet."""
        try:
            return msgspec.json.decode((self.folder / "state.json").read_bytes(), type=KeeperState)
        except FileNotFoundError:
            return KeeperState()

    def write_state(self, state: KeeperState) -> None:
        """Write the keeper's state."""
        _write(self.folder / "state.json", msgspec.to_builtins(state))

    def connect(self) -> dict[str, Any]:
        """The connection information for clients. Unavailable while there is none."""
        try:
            return dict(json.loads(self.connection.read_text()))
        except FileNotFoundError:
            raise Unavailable(
                f"the kernel of gpu:{self.name} has not begun yet", f"look again with `%gpu show {self.name}`"
            ) from None

    def open_sockets(self) -> Path:
        """Make a folder for the sockets, short enough for them, and write the connection files; give the kernel's own.

        Sockets and not ports: no port can be taken, and only this user can connect.
        """
        self.close_sockets()  # a keeper that was killed left its own behind
        root = Path(tempfile.gettempdir())
        # mkdtemp makes it for its owner only, wherever it is.
        within = root if len(str(root)) <= _LONGEST_ROOT else Path("/tmp")  # noqa: S108
        sockets = Path(tempfile.mkdtemp(prefix="aiinfra-", dir=within))
        info = {
            "transport": "ipc",
            "ip": str(sockets / "k"),
            **CHANNELS,
            "key": secrets.token_hex(32),
            "signature_scheme": "hmac-sha256",
        }
        _write(self.connection, info)
        return sockets

    def own_connection(self) -> Path:
        """The connection file that the kernel itself reads: the clients', but with its own control socket."""
        path = self.folder / _OWN  # written again for every kernel: it deletes its file when it ends
        _write(path, {**self.connect(), "control_port": KERNELS_OWN_CONTROL})
        return path

    def close_sockets(self) -> None:
        """Delete the sockets and the connection files, of a kernel that is gone; may be repeated."""
        with contextlib.suppress(Unavailable, KeyError):
            shutil.rmtree(Path(self.connect()["ip"]).parent, ignore_errors=True)
        for path in (self.connection, self.folder / _OWN):
            path.unlink(missing_ok=True)


def _write(path: Path, content: dict[str, Any]) -> None:
    files.write_json(path, content, mode=files.OWNER_ONLY)
