"""What a host core is told when it begins, and what it reports: both JSON, the first over standard input alone."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from . import files
from .journal import LIMIT_BYTES

STATE_FILE = "host.json"
LOG = "host.log"  # what the core complains about, and what the kernel's process writes past its messages
LISTENING = b"listening\n"  # what a core answers once an owner may connect
HOLD = "owner"  # in the folder of the sockets: locked as long as the core, or what clears up after it, lives


# Why the core of a rented machine ends that was not ended by its owner.
MACHINE_ENDS = "its machine ends"
CORE_FAILED = "its host core failed: "  # by this exception of its own
WAS_KILLED = "its host core was killed"  # where it has written down no other reason


@dataclass(frozen=True)
class HostSpec:
    """One kernel to be kept.

    folder: where the core keeps its journals and its state, an absolute path
    argv: the kernel's command, `{connection_file}` in it
    cwd, env, umask: the kernel's; env comes on top of what the core itself has, and `~` is the home of its user
    key: signs the kernel's messages; it never is an argument of a command
    left_s, reason: the lease: seconds until the end, None for no limit, and why it ends then
    alone_s: seconds that it lives without an owner; None for ever. owner_pid: the owner's process on this machine: its
    first connection is waited for as long as that lives; 0 where it is on another
    ready_s: within which a kernel must answer. restarts: whether one that ends by itself is started again
    idle_s: after so many seconds without use it ends, None for never. whole: whether the machine is this kernel's
    alone, so that whoever else works there uses it too
    spare: words of commands that outlive the kernel although they were started in it
    journal_bytes: what its journal may take on disk
    journal_after, owner_after, incarnation_after: the numbers behind which the records of that journal, the messages of
    the owner and the kernels begin: an owner may have had another core before
    rented: whether the machine is ended with the core: then whoever but its owner ends the core ends the machine
    at_end: the command that ends the machine, run when nothing of the kernel is left; empty for none. at_lease: the
    command that moves the machine's own deadline, given the seconds until then whenever the lease changes
    first: a request to the first kernel, as the parts of its message, which it gets before all others
    """

    folder: str
    argv: list[str]
    cwd: str
    env: dict[str, str]
    key: str
    umask: int = 0o077
    left_s: float | None = None
    reason: str = "deadline"
    alone_s: float | None = None
    owner_pid: int = 0
    idle_s: float | None = None
    whole: bool = False
    ready_s: float = 60.0
    restarts: bool = True
    spare: str = ""
    journal_bytes: int = LIMIT_BYTES
    journal_after: int = 0
    owner_after: int = 0
    incarnation_after: int = 0
    rented: bool = False
    at_end: list[str] = field(default_factory=list)
    at_lease: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, text: bytes) -> HostSpec:
        """ValueError and TypeError when that is no spec of this version."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class HostState:
    """What a core last reported.

    phase: starting, ready, or ended. socket: where it listens, empty once it has ended. pid: of the process that ends
    all that is below it, and core_pid of the core. incarnation: how many kernels it has started, counted from 1.
    kernel_pid: the kernel's. use: what it is used for, empty while nobody does; used_at: until when it was, by the
    clock of the host. crashed: the incarnation of the last kernel that ended by itself, crash how it did. why,
    exit_code: how it all ended. notice_at: when its machine will be taken away, 0 while nobody has said so. problem:
    what is wrong though it goes on. at: when this was written, in epoch seconds by the clock of the host.
    """

    phase: str = "starting"
    socket: str = ""
    pid: int = 0
    core_pid: int = 0
    incarnation: int = 0
    kernel_pid: int = 0
    use: str = ""
    used_at: float = 0.0
    crashed: int = 0
    crash: str = ""
    why: str = ""
    exit_code: int | None = None
    notice_at: float = 0.0
    problem: str = ""
    at: float = 0.0

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, text: bytes) -> HostState:
        """Its fields as far as this version knows them. ValueError when that is no state."""
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("a state is an object")
        return cls(**{name: value for name, value in found.items() if name in cls.__dataclass_fields__})

    def but(self, **changes: Any) -> HostState:
        return replace(self, **changes)


def last_line(log: Path) -> str:
    """The last that a log says, at most a line of it; empty when it says nothing."""
    try:
        lines = log.read_text("utf-8", "replace")[-4000:].strip().splitlines()
    except OSError:
        return ""
    return lines[-1][-200:] if lines else ""


def read_state(folder: Path) -> HostState | None:
    """What the core of a folder last wrote, or None."""
    try:
        return HostState.load((folder / STATE_FILE).read_bytes())
    except (OSError, ValueError):
        return None


def write_state(folder: Path, state: HostState) -> None:
    """Replace it, for this user only; nothing when the folder is gone."""
    with contextlib.suppress(OSError):  # a full disk must not end a kernel; whoever is connected hears it all the same
        files.write(folder / STATE_FILE, state.dump())
