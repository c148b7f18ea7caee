"""When the pool forks again what waits for whoever asks next: four forks, which take a core from the run that has just
asked and from its kernel."""

from __future__ import annotations

import collections
import math

PAUSE_S = 0.03  # from a request of who asks again: the kernel is to have begun
LONG_S = 0.3  # from that of anybody else: what takes longer does not mind
FAILED_S = 10.0

_ASKERS = 16


class Refill:
    """due_at: when it forks, as `time.monotonic`: at once, at first."""

    def __init__(self) -> None:
        self.due_at = -math.inf
        # Whoever asks for a second one is likely to ask for a third: the steps of a run, a server of notebooks.
        self._askers: collections.deque[int] = collections.deque(maxlen=_ASKERS)

    def take_request(self, asker: int, now: float) -> None:
        """Something was asked for by that process."""
        self.due_at = now + (PAUSE_S if asker in self._askers else LONG_S)
        if asker not in self._askers:
            self._askers.append(asker)

    def take_end(self, now: float) -> None:
        """What somebody had asked for has ended."""
        self.due_at = min(self.due_at, now)

    def take_failure(self, now: float) -> None:
        """What waited has ended, or could not be forked."""
        self.due_at = now + FAILED_S
