"""The end of a keeper's process tree, of which nothing escapes: the keeper adopts its descendants' orphans."""

from __future__ import annotations

import contextlib
import time
from typing import Any

_SUPERVISOR = "aiinfra_lab.jobs.supervisor"


def end_descendants(patience_s: float = 2.0) -> None:
    """SIGKILL to every process below this one, whatever session or environment it made itself, until none is left.

    The workspace's supervisor and its jobs are spared: code in the kernel may have been what brought it up.
    """
    import psutil

    until = time.monotonic() + patience_s
    while (found := _descendants()) and time.monotonic() < until:
        for each in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        time.sleep(0.02)


def _descendants() -> list[Any]:
    import psutil

    below = psutil.Process().children(recursive=True)
    spared = {pid for each in below if _command(each).find(_SUPERVISOR) >= 0 for pid in _tree(each)}
    return [each for each in below if each.pid not in spared and _runs(each)]


def _tree(process: Any) -> list[int]:
    import psutil

    try:
        return [process.pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return [process.pid]


def _command(process: Any) -> str:
    import psutil

    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _runs(process: Any) -> bool:
    """Ended children stay as zombies until they are collected; whoever started them reads their exit code."""
    import psutil

    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
