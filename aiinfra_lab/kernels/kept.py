"""The files of a kept kernel in the workspace: connection, lock and state. Its keeper writes them, others read them."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from .. import files, modes
from ..config import settings
from ..errors import Conflict, Unavailable
from ..host import processes
from ..host.spec import HOLD, HostState, read_state
from ..leftovers import make_temporary, remove_temporary, take_temporary
from ..uris import Uri

# Sockets by their "port": Jupyter names an ipc socket `IP-PORT`. The keeper binds them, see shim.
CHANNELS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "hb_port": 4, "control_port": 5}
# A unix socket's path may have 107 bytes; ours continue the root by `/aiinfra-xxxxxxxx/xxxxxxxx/k-5`.
_LONGEST_ROOT = 75


class StartStep(msgspec.Struct, frozen=True):
    """Something that takes time until there is a kernel. at: when it began, in epoch seconds."""

    what: str
    at: float


class KernelState(msgspec.Struct, frozen=True, kw_only=True):
    """What the keeper last wrote.

    incarnation: how many kernels it has started, counted from 1. kernel: what Jupyter calls it, empty when it is not
    in the launcher. use: what it is used for, empty while nobody does, and used_at: until when it was, where a session
    is to end when idle. crashed: the incarnation of the last kernel that ended by itself, of which the next took the
    place; crash says how. lost_at: when its machine was lost with it. unreached_at: since when its host has not been
    reached, 0 while it is, and unreached why: the kernel may go on there. machine: which one it is on, where it was
    rented. steps: what was done to get a machine and a kernel, with the times. notice_at: when its machine will be
    taken away, 0 while nobody has said so. owner_after: the last message of clients that was for an earlier machine.
    project: where the project's files are on its host, when they are kept the same, and project_here where here.
    why, fix, exit_code: how it ended, and what helps. at: when this was written, in epoch seconds.
    """

    phase: Literal["none", "starting", "ready", "stopping", "ended"] = "none"
    incarnation: int = 0
    kernel_pid: int = 0
    kernel: str = ""
    use: str = ""
    used_at: float = 0.0
    crashed: int = 0
    crash: str = ""
    lost_at: float = 0.0
    unreached_at: float = 0.0
    unreached: str = ""
    machine: str = ""
    steps: tuple[StartStep, ...] = ()
    notice_at: float = 0.0
    owner_after: int = 0
    project: str = ""
    project_here: str = ""
    why: str = ""
    fix: str = ""
    exit_code: int | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class KeptKernel:
    """The kernel of one thing. `folder` holds its files; whether it lives is asked, never remembered."""

    uri: Uri
    folder: Path

    @classmethod
    def of(cls, uri: object, workspace: Path | None = None) -> KeptKernel:
        """The kernel of a thing, given its URI, in a workspace (the current one)."""
        parsed = uri if isinstance(uri, Uri) else Uri.parse(uri)
        home = workspace / ".aiinfra" if workspace else settings().home
        return cls(parsed, home / parsed.noun / parsed.name)

    @property
    def name(self) -> str:
        """The thing's name, without its noun."""
        return self.uri.name

    @property
    def workspace(self) -> Path:
        """The workspace that it lives in."""
        return self.folder.parents[2]

    @property
    def connection(self) -> Path:
        """The connection file for clients. Its `ip` is the common beginning of the sockets' paths."""
        return self.folder / "kernel.json"

    @property
    def host(self) -> Path:
        """Where its host core keeps its files, when that is on this machine."""
        return self.folder / "host"

    def command(self, verb: str) -> str:
        """The line of the language that does this to the thing, for the fix of an error."""
        return f"`%{self.uri.noun} {verb} {self.name}`"

    def is_alive(self) -> bool:
        """Whether a keeper holds it now. The lock shows it: it goes with its process, however that ends."""
        return files.is_locked(self.folder / "lock")

    def is_hosted(self) -> bool:
        """Whether a host core on this machine has it now, be it without a keeper."""
        return is_hosted(self.host)

    def end_host(self, last: HostState | None = None) -> None:
        """Have the host core on this machine end, with all that is below it; returns at once. None is fine.

        last: what it has reported, for who heard it: its folder may be gone with the workspace
        """
        end_host(self.host, last)

    def hold(self) -> IO[bytes]:
        """Be its keeper until the file is closed. Conflict when another process is."""
        files.make_folder(self.folder.parent)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        file = files.take_lock(self.folder / "lock")
        if file is None:
            raise Conflict(f"another keeper holds {self.uri}", f"look at it with {self.command('show')}")
        return file

    def state(self) -> KernelState:
        """What the keeper last wrote; phase none when it wrote nothing yet, or nothing that can be read."""
        try:
            return msgspec.json.decode((self.folder / "state.json").read_bytes(), type=KernelState)
        except (FileNotFoundError, msgspec.MsgspecError):
            return KernelState()

    def write_state(self, state: KernelState) -> None:
        """Replace the keeper's state, for this user only; nothing when the folder is gone with its workspace."""
        if self.folder.is_dir():  # writing would make it again where somebody has cleared it away
            files.write_json(self.folder / "state.json", msgspec.to_builtins(state), mode=modes.OWNER_ONLY)

    def connection_info(self) -> dict[str, Any]:
        """The connection information for clients, as Jupyter has it. Unavailable while there is none."""
        try:
            return dict(json.loads(self.connection.read_text()))
        except FileNotFoundError:
            raise Unavailable(
                f"the kernel of {self.uri} has not begun yet", f"look again with {self.command('show')}"
            ) from None

    def open_sockets(self, *, again: bool = False) -> Path:
        """Make a folder for the sockets, short enough for them, and write the connection file; returns the folder.

        Sockets and not ports: no port can be taken, and only this user can connect.

        again: the folder of a keeper that was killed, and its key, so that its clients and its kernel go on
        """
        if again and (found := self._opened()) is not None:
            return found
        self.close_sockets()  # a keeper that was killed left its own behind
        root = Path(tempfile.gettempdir())
        within = root if len(str(root)) <= _LONGEST_ROOT else Path("/tmp")  # noqa: S108
        sockets = make_temporary(within)
        info = {
            "transport": "ipc",
            "ip": str(sockets / "k"),
            **CHANNELS,
            "key": secrets.token_hex(32),
            "signature_scheme": "hmac-sha256",
        }
        try:
            files.write_json(self.connection, info, mode=modes.OWNER_ONLY)
        except BaseException:  # only by that file are they found again
            remove_temporary(sockets)
            raise
        return sockets

    def _opened(self) -> Path | None:
        """The folder of the sockets that the connection file names, held by this process from now on."""
        with contextlib.suppress(Unavailable, KeyError, ValueError, TypeError):
            sockets = Path(self.connection_info()["ip"]).parent
            return sockets if take_temporary(sockets) else None
        return None

    def close_sockets(self) -> None:
        """Delete the sockets and the connection file, of a kernel that is gone; may be repeated."""
        with contextlib.suppress(Unavailable, KeyError, ValueError, TypeError):
            sockets = Path(self.connection_info()["ip"]).parent
            # What the file names is deleted whole: of any other file, such as one with an address, that is not ours.
            remove_temporary(sockets)
        self.connection.unlink(missing_ok=True)


def is_hosted(host: Path) -> bool:
    """Whether a host core on this machine lives that keeps its files in that folder."""
    return _lives(read_state(host))


def end_host(host: Path, last: HostState | None = None) -> None:
    """Have it end, with all that is below it; returns at once. None is fine. last: see `KeptKernel.end_host`"""
    state = last or read_state(host)
    if state is not None and _lives(state):  # so its pid is still its own
        processes.signal_process(state.pid, signal.SIGTERM)


def _lives(core: HostState | None) -> bool:
    return core is not None and bool(core.socket) and files.is_locked(Path(core.socket).parent / HOLD)
