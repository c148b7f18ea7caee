"""`python -m aiinfra_lab.deploy.server.front_process CHANNEL MEMORY LISTENER`: a further front of an endpoint.

It does what its agent writes to it, and knows neither store nor judge. It ends with the agent, however that ends, so
that the next one finds its port free; signals are for the agent, which has it drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from ... import logs, modes
from ...errors import LabError
from ...jobs.process import end_with_parent
from .channel import Channel
from .forks import Forks
from .front import PUBLISH_S, Front
from .front_messages import (
    AllFlushed,
    BeginFront,
    CountVersion,
    Drain,
    FlushAll,
    FlushLog,
    FromFront,
    JudgedBatch,
    LoadVersion,
    LogFlushed,
    RetireVersions,
    RoutesServed,
    ServeRoutes,
    ShowVerdict,
    ToFront,
    VersionLoaded,
)
from .http_api import Counted
from .judged_requests import JudgedRequests
from .messages import CannotServe
from .predictor import Routes, ServedArm, ServedVersion
from .shared_counts import SharedCounts

_log = logging.getLogger("aiinfra_lab.deploy.server.front_process")  # __name__ is __main__ here
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ToFront).decode

REPORT_S = 0.05
MOST_REPORTED = 512
MOST_UNREPORTED = 100_000
# For so long no process of a version can be made here before another front is tried in its place.
UNABLE_S = 5.0


class ReportedRequests(JudgedRequests):
    """Those of one trial, sent to the agent's judge a few hundredths of a second later. send: False when it cannot."""

    def __init__(self, salt: str, trial: int, verdict: dict[str, Any], send: Callable[[FromFront], bool]) -> None:
        super().__init__(salt)
        self.trial, self.verdict, self._send = trial, verdict, send
        self._over: list[tuple[int, float | None, bool, bool]] = []
        self._loop = asyncio.get_running_loop()

    def take(self, digest: int, latency_ms: float | None, is_canary: bool, failed: bool) -> None:
        """See `JudgedRequests`."""
        if len(self._over) >= MOST_UNREPORTED:
            return
        self._over.append((digest, latency_ms, is_canary, failed))
        if len(self._over) == 1:
            self._loop.call_later(REPORT_S, self._report)
        elif len(self._over) == MOST_REPORTED:
            self._report()

    def shown(self) -> dict[str, Any]:
        """See `JudgedRequests`."""
        return self.verdict

    def _report(self) -> None:
        while self._over:
            if not self._send(JudgedBatch(self.trial, self._over[:MOST_REPORTED])):
                self._loop.call_later(REPORT_S, self._report)
                return
            del self._over[:MOST_REPORTED]


class _FrontProcess:
    def __init__(
        self, begin: BeginFront, channel: Channel, shared: SharedCounts, listener: socket.socket, forks: Forks
    ) -> None:
        self._channel, self._shared, self._listener, self._forks = channel, shared, listener, forks
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[bool] = self._loop.create_future()
        counted = Counted(shared.versions, shared.tallies, begin.started_at)
        own = shared.tallies[begin.front]
        self.front = Front(begin.name, begin.claim, Path(begin.log_dir), begin.limits, self._flush_all, own, counted)
        for uri, place in begin.places.items():
            self._count(uri, place)
        self._versions: dict[str, ServedVersion] = {}
        self._failed: set[str] = set()
        self._wanted: ServeRoutes | None = None
        self._is_listening = False
        self._flushes: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()
        self._unable_since = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken_by: dict[type, Callable[[Any], object]] = {
            ServeRoutes: self._want,
            LoadVersion: self._load,
            RetireVersions: lambda found: self._retire(found.uris),
            CountVersion: lambda found: self._count(found.uri, found.place),
            ShowVerdict: self._show,
            FlushLog: self._flush,
            AllFlushed: self._flushed,
            Drain: lambda _: self.end(drains=True),
        }
        forks.attach(self._loop)
        self._loop.add_reader(channel.socket, self._hear)
        self._publish()

    def end(self, drains: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(drains)

    def _send(self, message: FromFront) -> bool:
        try:
            self._channel.send(_encode(message))
        except OSError:  # the agent is busy, or gone, which is heard
            return False
        return True

    def _hear(self) -> None:
        try:
            message = self._channel.receive()
        except BlockingIOError:
            return
        if message is None:
            self._loop.remove_reader(self._channel.socket)
            self.end(drains=False)
            return
        found = _decode(message)
        self._taken_by[type(found)](found)

    def _in_loop(self, call: Callable[..., object], *given: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *given)

    # ---- what is served ----

    def _count(self, uri: str, place: int) -> None:
        self._shared.add(uri, place)
        self.front.predictor.counts[uri] = self._shared.own_versions[uri]

    def _load(self, order: LoadVersion) -> None:
        self._failed.discard(order.uri)

        def opened(found: ServedVersion | LabError) -> None:
            if isinstance(found, LabError):
                self._failed.add(order.uri)
                problem = CannotServe(type(found).__name__, found.what, found.fix)
                self._send(VersionLoaded(order.uri, problem))
            else:
                self._versions[order.uri] = found
                self._send(VersionLoaded(order.uri))
            self._serve_wanted()

        folder = Path(order.folder)
        self.front.predictor.open(order.uri, folder, order.digests, self._forks, opened)

    def _retire(self, uris: list[str]) -> None:
        for uri in uris:
            if version := self._versions.pop(uri, None):
                version.workers.retire()

    def _want(self, found: ServeRoutes) -> None:
        gone = [*self._wanted.gone, *found.gone] if self._wanted else found.gone
        self._wanted = msgspec.structs.replace(found, gone=gone)
        self._serve_wanted()

    def _show(self, found: ShowVerdict) -> None:
        if isinstance(judge := self.front.predictor.routes.judge, ReportedRequests):
            judge.verdict = found.verdict

    def _serve_wanted(self) -> None:
        if (wanted := self._wanted) is None:
            return
        uris = [uri for uri, _, _ in wanted.arms]
        if self._failed.intersection(uris):
            _log.error("a front cannot load what its agent serves, and ends")
            self.end(drains=False)
        if any(uri not in self._versions for uri in uris):
            return
        self._wanted = None
        arms = [ServedArm(self._versions[uri], role, share) for uri, role, share in wanted.arms]
        predictor = self.front.predictor
        judge = predictor.routes.judge
        if not wanted.trial:
            judge = None
        elif not isinstance(judge, ReportedRequests) or judge.trial != wanted.trial:
            judge = ReportedRequests(wanted.salt, wanted.trial, wanted.verdict, self._send)
        predictor.routes = Routes(arms, wanted.salt, wanted.generation, judge)
        self._retire(wanted.gone)
        gc.freeze()  # what lives now lives long: no collection looks at it again
        task = self._loop.create_task(self._answer(wanted.generation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, generation: int) -> None:
        if not self._is_listening:
            self._is_listening = True
            await self.front.listen(self._listener)
        self.front.publish()
        self._send(RoutesServed(generation))

    # ---- what happened ----

    def _flush(self, found: FlushLog) -> None:
        self.front.log.flush(lambda: self._in_loop(self._send, LogFlushed(found.number)))

    def _flush_all(self, done: Callable[[], None]) -> None:
        """Called on the log's thread, whose lines are on the disk: those of the others follow, and all counts."""

        def ask() -> None:
            number = next(self._numbers)
            self._flushes[number] = done
            self._send(FlushAll(number))

        self._in_loop(ask)

    def _flushed(self, found: AllFlushed) -> None:
        if done := self._flushes.pop(found.number, None):  # else a process before this one has asked
            done()

    def _publish(self) -> None:
        self.front.publish()
        self._loop.call_later(PUBLISH_S, self._publish)
        if judge := self.front.predictor.routes.judge:
            judge.expire()
        now = time.monotonic()
        if not any(version.workers.problem for version in self.front.predictor.routes.live):
            self._unable_since = now
        elif now > self._unable_since + UNABLE_S and not self.ended.done():
            _log.error("a front has had a version without any process for %g s, and ends", UNABLE_S)
            self.end(drains=True)


async def _serve(
    begin: BeginFront, channel: Channel, shared: SharedCounts, listener: socket.socket, forks: Forks
) -> None:
    process = _FrontProcess(begin, channel, shared, listener, forks)
    gc.collect()
    if await process.ended:
        await process.front.close()
    else:
        process.front.log.close()
    forks.close()


def main(channel: int, memory: int, listener: int) -> None:
    """Serve until the agent ends, or has it end."""
    end_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    forks = Forks()  # first of all: it imports while the rest begins
    own = Channel(socket.socket(fileno=channel))
    message = own.receive()
    if message is None:
        return
    begin = _decode(message)
    assert isinstance(begin, BeginFront)
    own.socket.setblocking(False)
    shared = SharedCounts(memory, begin.fronts, begin.front)
    uvloop.run(_serve(begin, own, shared, socket.socket(fileno=listener), forks))


if __name__ == "__main__":
    logs.configure()
    modes.keep_to_owner()
    main(*map(int, sys.argv[1:]))
