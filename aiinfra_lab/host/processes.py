"""The processes below this one, and their end (Linux: /proc and prctl)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

POOL = "aiinfra-pool"  # how the warm pool has itself called, and none of its forks
_PR_SET_CHILD_SUBREAPER = 36
_KILL_S = 2.0  # killed processes vanish at once, unless the kernel holds one in a system call
_LOOK_S = 0.02
_EMPTY_LOOKS = 2


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that none escapes it (Linux)."""
    # Other systems have no prctl: there what lost its parent escapes.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(spare: str = "") -> None:
    """SIGKILL to every process below this one, whatever session or environment it made itself, until none is left.

    Call `adopt_orphans` first, or what lost its parent escapes.

    spare: words of a command whose process stays, and what is below it; none when empty
    """
    until_at, empty = time.monotonic() + _KILL_S, 0
    while has_children() and empty < _EMPTY_LOOKS and time.monotonic() < until_at:
        left = list(descendants(spare))
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # What was found may have started others meanwhile, and what changed its parent while /proc was read was missed.
        empty = 0 if left else empty + 1
        if empty < _EMPTY_LOOKS:
            time.sleep(_LOOK_S)


def has_children() -> bool:
    """Whether anything is below this process, as long as it adopts orphans: then each descendant has an ancestor that
    is its child. Ended children that nobody has collected count."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def descendants(spare: str = "") -> Iterator[int]:
    """The living processes below this one; ended children that nobody has collected yet are none.

    Nor is the warm pool, and what is below that: whoever began it, the processes of others are there.
    """
    children: dict[int, list[tuple[int, bool]]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (found := _found(int(entry.name))):
            parent, lives, name = found
            if name == POOL:
                continue
            children.setdefault(parent, []).append((int(entry.name), lives))
    waiting = list(children.get(os.getpid(), ()))
    while waiting:
        pid, lives = waiting.pop()
        if spare and spare in _command(pid):
            continue
        if lives:
            yield pid
        waiting += children.get(pid, ())  # of one that has ended, too: until its last thread has, it keeps them


def signal_process(pid: int, number: int) -> None:
    """A signal to a process that is known to be ours; one that has ended is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number which has not ended."""
    found = _found(pid)
    return found is not None and found[1]


def signal_group(leader: int, number: int) -> None:
    """A signal to a process group; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def take_name(name: str) -> None:
    """Have the system call this process so (Linux); what it forks inherits that, what it executes does not."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def run_apart(command: Sequence[str], *more: str) -> None:
    """Start a command that nobody waits for; nothing when it is empty, and a line in the log where it cannot be run."""
    if command:
        try:
            subprocess.Popen([*command, *more], start_new_session=True, stdin=subprocess.DEVNULL)
        except OSError as problem:
            os.write(2, f"{command[0]} cannot be run: {problem}\n".encode())


def reap(spare: int = 0) -> None:
    """Collect ended children, but for that one: whoever started it reads its exit code."""
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid == spare:
                return
            os.waitpid(found.si_pid, 0)


def _found(pid: int) -> tuple[int, bool, str] | None:
    """Its parent, whether it lives still, and its name; None where there is none any more."""
    try:
        # The command's name, in parentheses, may hold spaces and parentheses: see proc(5).
        head, _, rest = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")
    except OSError:
        return None
    state, parent = rest.split()[:2]
    return int(parent), state not in b"ZX", head.partition(b"(")[2].decode("utf-8", "replace")


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return ""
