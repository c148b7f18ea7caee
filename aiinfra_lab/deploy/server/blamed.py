"""Bodies that have cost a version its process: one that did so again is not tried again for a while.

A client that sends such a body once a second would cost process after process, and the others their answers. One loss
may have had another cause, such as a machine that was stopped, and so may two if the body was answered between them.
"""

from __future__ import annotations

import hashlib
import threading
import time

BLAMED_S = 120.0
MOST_BLAMED = 256


class BlamedBodies:
    """Of one version. To be used by any thread."""

    def __init__(self) -> None:
        self._lost: dict[bytes, tuple[int, float]] = {}  # digest of a body → how many it has cost, and until when
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Whether there may be one; asked for each request, it costs less than a digest of its body."""
        return bool(self._lost)

    def blame(self, body: bytes, lost: int = 1) -> None:
        """It has cost so many processes."""
        with self._lock:
            digest = _digest(body)
            before = self._lost_by(digest)
            self._lost.pop(digest, None)  # what was blamed longest ago stands first
            if len(self._lost) >= MOST_BLAMED:
                del self._lost[next(iter(self._lost))]
            self._lost[digest] = before + lost, time.perf_counter() + BLAMED_S

    def clear(self, body: bytes) -> None:
        """It was answered, and its process lives: what it was blamed for had another cause."""
        if self._lost:
            with self._lock:
                self._lost.pop(_digest(body), None)

    def lost(self, body: bytes) -> int:
        """How many processes it has cost in the last BLAMED_S, since it was answered."""
        if not self._lost:
            return 0
        with self._lock:
            return self._lost_by(_digest(body))

    def refusal(self, body: bytes) -> str:
        """Why it is not tried now; empty when it is."""
        if self.lost(body) <= 1:
            return ""
        return f"this request ended the model's process; it is not tried again within {BLAMED_S:g} s"

    def _lost_by(self, digest: bytes) -> int:
        lost, until = self._lost.get(digest, (0, 0.0))
        if until < time.perf_counter():
            self._lost.pop(digest, None)
            return 0
        return lost


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
