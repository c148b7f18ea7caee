"""One front of an endpoint: sockets, routing, limits, counts and the log of what it has answered."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...config import Settings
from ..retention import log_bytes
from . import workers
from .http_api import Counted, HttpApi
from .predictions_log import PredictionsLog
from .predictor import Predictor
from .protocol import Server, body_bytes
from .tallies import Tallies

# Less than the supervisor's GRACE_S, after which it kills: log and counts must be written by then.
DRAIN_S = 4.0
PUBLISH_S = 0.2


class ServingLimits(msgspec.Struct, frozen=True):
    """What a front keeps to: see `PredictionsLog`, `Workers` and, for max_body, `Server`."""

    log_bytes: float
    memory_bytes: int
    load_s: float
    max_body: int

    @classmethod
    def of(cls, where: Settings) -> ServingLimits:
        """UsageProblem for a setting that makes no sense."""
        return cls(log_bytes(where), workers.memory_bytes(where), workers.load_seconds(where), body_bytes(where))


class Front:
    """To be made and used on the event loop's thread.

    name, claim, write_counts, counted: see `HttpApi`. tallies: where it counts; None for memory of its own.
    """

    def __init__(
        self,
        name: str,
        claim: str,
        log_dir: Path,
        limits: ServingLimits,
        write_counts: Callable[[Callable[[], None]], None],
        tallies: Tallies | None = None,
        counted: Counted | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.log = PredictionsLog(log_dir, limits.log_bytes)
        self.predictor = Predictor(
            self.log, self._loop, limits.memory_bytes, limits.load_s, limits.max_body, tallies=tallies or Tallies()
        )
        api = HttpApi(name, claim, self.predictor, write_counts, counted)
        self._server = Server(api.handle, self._loop, self.predictor.tallies, limits.max_body)
        self._listening: list[asyncio.Server] = []

    def publish(self) -> None:
        """Write what is no count where the other fronts read it, and that this one lives."""
        self.predictor.publish()
        self._server.publish()
        self.predictor.tallies.set("beat", time.monotonic())

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Answer on that socket from now on; see `leave`."""
        listening = await self._loop.create_server(self._server.connect, sock=listener, backlog=512)
        self._listening.append(listening)
        return listening

    def leave(self, listening: asyncio.Server) -> None:
        """Take no more connections there; those that were taken stay."""
        listening.close()
        self._listening.remove(listening)

    async def close(self) -> None:
        """Answer what was taken, and write the log; what is not answered after DRAIN_S is cut off."""
        for listening in self._listening:
            listening.close()
        self.predictor.draining = True
        self._server.drain()
        until = self._loop.time() + DRAIN_S
        while (self.predictor.waiting or self._server.connections) and self._loop.time() < until:
            await asyncio.sleep(0.02)
        self._server.close()
        await self._loop.run_in_executor(None, self.log.close)
