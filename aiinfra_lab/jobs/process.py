"""Processes as the supervisor sees them: identity that survives pid reuse, trees, and their end. Linux first."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def birth(pid: int) -> float:
    """When the process was born (clock ticks since boot on Linux), or 0 when it is gone or only a zombie.

    Pid and birth together name one process for ever: pids are used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0.0 if Path("/proc/self").exists() else _portable_birth(pid)
    except ProcessLookupError:
        return 0.0
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
    wanted = f"AIINFRA_JOB={mark}".encode()
    ours = leader if alive(leader, born) else None
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid() or not birth(pid):
            continue
        try:
            if os.getsid(pid) == ours or wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield pid
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue


def belongs(pid: int, mark: str) -> bool:
    """Whether a process carries the job's mark: a number alone may be a stranger's by now."""
    try:
        return f"AIINFRA_JOB={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return not Path("/proc/self").exists()


def ask_to_end(leader: int, born: float) -> None:
    """SIGTERM to the job's process group; a group that is gone is fine."""
    if alive(leader, born):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGTERM)


def end(leader: int, born: float, mark: str) -> None:
    """SIGKILL to the whole tree; returns when all are gone. The leader is last: it can still write the exit code."""
    for _ in range(50):
        left = [pid for pid in tree(leader, born, mark) if pid != leader]
        for pid in left:
            _kill(pid)
        if not left:
            break
        time.sleep(0.02)
    for _ in range(25):
        if not alive(leader, born):
            return
        time.sleep(0.02)
    _kill(leader)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that none escapes it (Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> None:
    """Collect ended children."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _portable_birth(pid: int) -> float:
    import psutil

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return 0.0
