"""Ends that the store would not take when they came: written once it does, by the process that knows them.

Nobody else can write them: to others what has ended here looks as if it went on, as long as this process lives.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable

from ..errors import Denied, LabError, Unavailable
from ..store import patiently

EVERY_S = 5.0


class _Ends:
    """What is to be written still, and the thread that tries, which lives only as long as there is something."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: list[Callable[[], object]] = []
        self._pid = os.getpid()
        atexit.register(self.write)

    def add(self, step: Callable[[], object]) -> None:
        with self._lock:
            self._steps.append(step)
            if len(self._steps) == 1:
                threading.Thread(target=self._keep_trying, name="late ends", daemon=True).start()

    def write(self) -> bool:
        """Try each once; whether none is left. A fork has its parent's list, and must leave it alone."""
        if os.getpid() != self._pid:
            return True
        with self._lock:
            self._steps = [step for step in self._steps if not _is_written(step)]
            return not self._steps

    def _keep_trying(self) -> None:
        while True:
            time.sleep(EVERY_S)
            if self.write():
                return


def _is_written(step: Callable[[], object]) -> bool:
    try:
        step()
    except (Denied, Unavailable):
        return False
    except LabError:  # what it was the end of is gone, or somebody keeps changing it: no later try does better
        pass
    return True


_ends = _Ends()


def surely(step: Callable[[], object]) -> None:
    """Write an end by `step`, `patiently`; where the store stays away it raises, and is written later.

    `step` holds the time and the state of the end, and may be called again when it has written them.
    """
    try:
        patiently(step)
    except (Denied, Unavailable):
        _ends.add(step)
        raise
