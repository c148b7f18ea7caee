"""How much this machine can execute at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..config import Settings, settings
from ..errors import UsageProblem
from .base import NotebookTask

# What a kernel with the usual libraries takes before it has read any data.
_USUAL_BYTES = 500 << 20
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """For so many tasks at once, as long as the memory that is free is enough for one more."""

    at_once: int

    def is_left_for(self, task: NotebookTask, going: Iterable[NotebookTask]) -> bool:
        """Whether it fits beside those; alone it always does."""
        beside = list(going)
        if not beside:
            return True
        if len(beside) >= self.at_once:
            return False
        # What goes on may not have taken yet what it declares.
        reserved = sum(one.memory_bytes or _USUAL_BYTES for one in (*beside, task))
        return free_bytes() >= (task.memory_bytes or _USUAL_BYTES) and total_bytes() >= reserved


def at_once(where: Settings | None = None) -> int:
    """As the setting says, else as many as there are cores. UsageProblem when that is less than one."""
    most = (where or settings()).get("recipe.at_once", 0) or cores()
    if most < 1:
        raise UsageProblem(f"recipe.at_once = {most} runs nothing", f"give it 1 or more; the default is {cores()}")
    return most


def cores() -> int:
    """On how many cores this process may run, with the limit of its container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        return max(1, min(allowed, round(int(quota) / int(period))))
    return allowed


def free_bytes() -> int:
    """What is left of the memory of the machine or of its container, whichever is less."""
    import psutil  # here, since it is needed only where something goes on already

    free: int = psutil.virtual_memory().available
    limit, used = _read(_CGROUP / "memory.max"), _read(_CGROUP / "memory.current")
    if not (limit.isdigit() and used.isdigit()):
        return free
    # The cache of files counts as used, and is given back.
    counts = dict(line.split(" ", 1) for line in _read(_CGROUP / "memory.stat").splitlines())
    return min(free, int(limit) - int(used) + int(counts.get("inactive_file", "0")))


def total_bytes() -> int:
    """The memory of the machine or of its container, whichever is less."""
    limit = _read(_CGROUP / "memory.max")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, int(limit)) if limit.isdigit() else total


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
