"""The requests that a canary is judged by, from when they are taken until something came of them."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from typing import Any

DEADLINE_S = 30.0
"""A request without an answer for so long is an error, whatever comes of it."""


class JudgedRequest:
    """A request on its way, of which is heard once what became of it."""

    __slots__ = ("_among", "_is_canary", "_key", "started")

    def __init__(self, among: JudgedRequests, key: str, is_canary: bool, started: float) -> None:
        self._among, self._key, self._is_canary, self.started = among, key, is_canary, started

    def end(self, latency_ms: float | None, *, failed: bool) -> None:
        """It was answered. latency_ms: None when it got no score at all, however soon."""
        if self._among.open.pop(self, False):
            self._among.add(self._key, latency_ms, is_canary=self._is_canary, failed=failed)

    def withdraw(self) -> None:
        """It says nothing about either version: no rows of it were predicted."""
        self._among.open.pop(self, None)


class JudgedRequests(ABC):
    """Those of one trial in one process. salt: by which keys are dealt to the canary."""

    def __init__(self, salt: str) -> None:
        self._salt = salt.encode()[:64]
        self.open: dict[JudgedRequest, bool] = {}

    def begin(self, key: str, *, is_canary: bool) -> JudgedRequest:
        """A request was taken; `end` of what is returned says what became of it."""
        request = JudgedRequest(self, key, is_canary, time.monotonic())
        self.open[request] = True
        return request

    def add(self, key: str, latency_ms: float | None, *, is_canary: bool, failed: bool) -> None:
        """Count one request that is over. latency_ms: None when it got no score at all."""
        digest = hashlib.blake2b(key.encode(), digest_size=8, key=self._salt, person=b"judge").digest()
        self.take(int.from_bytes(digest), latency_ms, is_canary, failed)

    def expire(self) -> None:
        """What hangs is an error of its version's."""
        late = time.monotonic() - DEADLINE_S
        for request in list(self.open):
            if request.started > late:
                break
            request.end(None, failed=True)

    @abstractmethod
    def take(self, digest: int, latency_ms: float | None, is_canary: bool, failed: bool) -> None:
        """Count one that is over. digest: of its key."""

    @abstractmethod
    def shown(self) -> dict[str, Any]:
        """The verdict of the last look, with how many requests it is of."""
