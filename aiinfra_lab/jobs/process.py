"""Processes: identity that survives pid reuse, trees, and their end. Linux first.

The only module that signals a process: the supervisor ends a job's tree, a keeper all that is below it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..host import processes

_PR_SET_PDEATHSIG = 1
_MARK = b"AIINFRA_JOB="
_FOLDER = b"AIINFRA_JOB_DIR="
SUPERVISOR = "aiinfra_lab.jobs.supervisor"
_KILL_S = 2.0  # killed processes vanish at once, unless the kernel holds one in a system call
_WRITE_S = 0.5  # for a job's wrapper to write the exit code
_LOOK_S = 0.02


@contextlib.contextmanager
def forks_end() -> Iterator[None]:
    """Whatever forks within the block and leaves it there ends: what follows is for the process that began it."""
    began, status = os.getpid(), 0
    try:
        yield
    except BaseException as raised:
        if os.getpid() == began:
            raise
        status = _exit_status(raised)
    if os.getpid() != began:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # a child that cannot print must end all the same
                stream.flush()
        os._exit(status)  # it must not run the hooks, nor write the buffers, of its parent


def _exit_status(raised: BaseException) -> int:
    """Print what Python prints of it when a process ends with it; the exit status is the same too."""
    if not isinstance(raised, SystemExit):
        traceback.print_exception(raised)
        return 1
    if raised.code is None or isinstance(raised.code, int):
        return (raised.code or 0) & 0xFF
    sys.stderr.write(f"{raised.code}\n")
    return 1


@functools.cache
def table() -> str:
    """Where a pid means something: this start of the machine, and the container."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()


def birth(pid: int) -> float:
    """When the process was born (clock ticks since boot on Linux), or 0 when it is gone or only a zombie.

    Pid and birth together name one process for ever: pids are used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0.0 if Path("/proc/self").exists() else _portable_birth(pid)
    except ProcessLookupError:
        # It ended between opening its file and reading it.
        return 0.0
    # The command's name, in parentheses, may hold spaces and parentheses; the birth is field 22 of proc(5).
    fields = stat.rpartition(")")[2].split()
    return 0.0 if fields[0] in "ZX" else float(fields[19])


def alive(pid: int, born: float) -> bool:
    """Whether that very process still runs."""
    return pid > 0 and born > 0 and birth(pid) == born


def tree(leader: int, born: float, mark: str) -> Iterator[int]:
    """Pids that belong to a job: in its living leader's session, or carrying the job's mark in their environment.

    The mark finds children that made a session of their own, and those whose leader is gone. A leader that is no
    longer the process that was born then counts for nothing: its number may belong to a stranger by now.
    """
    wanted = _MARK + mark.encode()
    ours = leader if alive(leader, born) else None
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid() or not birth(pid):
            continue
        try:
            if os.getsid(pid) == ours or wanted in _environ(pid):
                yield pid
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue


def marks() -> set[str]:
    """The marks of all jobs of which a process runs, be it of another workspace."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found |= {mark.decode(errors="replace") for mark in _values(int(entry.name), _MARK)}
    return found


def end_by(handle: int) -> None:
    """End the process of a handle that `os.pidfd_open` gave, whatever it does; nothing when it has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)


def end_child(child: subprocess.Popen[Any]) -> None:
    """End a process that this one has started, whatever it does; nothing when it has ended. Not reaped: `wait` does."""
    if child.poll() is None:
        handle = os.pidfd_open(child.pid)  # not reaped yet: the number is its own
        end_by(handle)
        os.close(handle)


def belongs(pid: int, mark: str) -> bool:
    """Whether a process carries the job's mark: a number alone may be a stranger's by now."""
    try:
        return _MARK + mark.encode() in _environ(pid)
    except OSError:
        # Without /proc nothing can be checked, and the number is taken as it is.
        return not Path("/proc/self").exists()


def is_of_folder(pid: int, folder: Path) -> bool:
    """Whether a process of a job writes into that folder, and not into one of which it is a copy."""
    try:
        named = _values(pid, _FOLDER)
        return not named or folder.samefile(os.fsdecode(named[0]))
    except OSError:  # the folder was moved since, or the process has ended
        return True


def _environ(pid: int) -> list[bytes]:
    """The `NAME=value` with which a process was started. OSError when it is gone, or another user's."""
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def _values(pid: int, begin: bytes) -> list[bytes]:
    """What follows in those that begin so."""
    return [each.removeprefix(begin) for each in _environ(pid) if each.startswith(begin)]


def ask_to_end(leader: int, born: float, mark: str) -> None:
    """SIGTERM to the job's process group, or to each process of it when its leader was killed; none is fine."""
    if alive(leader, born):
        signal_group(leader, signal.SIGTERM)
        return
    for pid in tree(leader, born, mark):
        _signal(pid, signal.SIGTERM)


def signal_group(leader: int, number: signal.Signals) -> None:
    """A signal to a process group; one that is gone, or is somebody else's by now, is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def end(leader: int, born: float, mark: str) -> None:
    """SIGKILL to a job's whole tree; returns when all are gone. The leader is last: it can still write the exit code.

    leader, born: zeros when it is not known; what carries the mark is ended all the same
    """
    _kill_all(lambda: (pid for pid in tree(leader, born, mark) if pid != leader))
    if not wait_ended([(leader, born)], _WRITE_S):
        _kill(leader)


def end_descendants() -> None:
    """SIGKILL to every process below this one, but for the workspace's supervisor and its jobs, and the warm pool: code
    in this process may have been what brought them up. See `processes.end_descendants`."""
    processes.end_descendants(SUPERVISOR)


def wait_ended(processes: Iterable[tuple[int, float]], within_s: float) -> bool:
    """Wait until none of the processes, each a pid and its birth, runs; False when one still does."""
    until_at = time.monotonic() + within_s
    left = [each for each in processes if alive(*each)]
    while left and time.monotonic() < until_at:
        time.sleep(_LOOK_S)
        left = [each for each in left if alive(*each)]
    return not left


def end_with_parent() -> None:
    """Have the system kill this process when its parent ends, however that does (Linux). For a child about to start."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _kill_all(find: Callable[[], Iterable[int]]) -> None:
    """SIGKILL to what `find` gives until it gives nothing: what is found may have started others meanwhile."""
    until_at = time.monotonic() + _KILL_S
    while (left := list(find())) and time.monotonic() < until_at:
        for pid in left:
            _kill(pid)
        time.sleep(_LOOK_S)


def _kill(pid: int) -> None:
    _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _portable_birth(pid: int) -> float:
    import psutil

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return 0.0
