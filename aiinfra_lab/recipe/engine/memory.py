"""How much memory a notebook's processes take, and the end of those that take more than they may."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from ...kernels.hosted import HostedKernelManager
from ...units import show_bytes
from .client import ArchiveClient

# Between two looks: each reads a file for every process of the notebook. What is taken in between may be too much for
# the machine, and then the system kills, which is noticed too.
_LOOK_S = 0.25


class MemoryWatch:
    """A notebook's memory while it runs. limit_bytes: of all its processes together; None for what the machine has.

    over: what it took when it was ended for that, in words; empty while it was not.
    """

    def __init__(self, client: ArchiveClient, limit_bytes: int | None) -> None:
        self.over = ""
        self._client, self._limit_bytes = client, limit_bytes
        self._kills = oom_kills()

    def why_killed(self) -> str:
        """Why its kernel was killed, where that was for memory; else nothing."""
        if self.over:
            return self.over
        # Whose process it was the count does not say; one that died in these minutes, and not by us, is most likely it.
        return "the system killed it for want of memory" if oom_kills() > self._kills else ""

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """End the notebook's processes, while this lasts, once they take more than they may."""
        if self._limit_bytes is None:
            yield
            return
        is_over = threading.Event()
        thread = threading.Thread(target=self._look, args=(is_over, self._limit_bytes), daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _look(self, is_over: threading.Event, limit_bytes: int) -> None:
        while not is_over.wait(_LOOK_S):
            manager = self._client.km
            if not isinstance(manager, HostedKernelManager):
                continue
            taken = sum(map(process_bytes, manager.processes()))
            if taken > limit_bytes:
                limit = f"it may take {show_bytes(limit_bytes)}, as `memory` of the step says"
                self.over = f"it took {show_bytes(taken)}, and {limit}"
                manager.signal_all(signal.SIGKILL)
                return


def process_bytes(pid: int) -> int:
    """The memory of a process, of what it shares its part; 0 of one that is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def oom_kills() -> int:
    """How many processes the system has killed for want of memory since it was started; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
