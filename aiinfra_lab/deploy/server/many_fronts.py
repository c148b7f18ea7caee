"""Several fronts of one endpoint: one in the agent's process, each other in its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from ... import errors
from ...config import Settings
from ...errors import Failed, LabError, UsageProblem
from ..record import EndpointRecord, VersionCounts
from . import shared_counts, tallies
from .counts import Counts
from .forks import Forks
from .front import DRAIN_S, PUBLISH_S, Front, ServingLimits
from .front_messages import (
    AllFlushed,
    BeginFront,
    CountVersion,
    FlushAll,
    FlushLog,
    FromFront,
    JudgedBatch,
    LoadVersion,
    LogFlushed,
    RetireVersions,
    ServeRoutes,
    ShowVerdict,
    ToFront,
    VersionLoaded,
)
from .fronts import Fronts
from .further_front import FurtherFront
from .http_api import Counted
from .judged_requests import JudgedRequests
from .messages import CannotServe
from .predictor import Routes, ServedVersion
from .shared_counts import SharedCounts

LEAST_CORES = 4
END_S = DRAIN_S + 0.4  # for its log; the supervisor's patience is for all of it


def front_count(where: Settings, cores: int | None = None) -> int:
    """How many fronts an endpoint has. UsageProblem for a setting that this machine has no cores for."""
    count, cores = where.get("deploy.fronts", 1), cores or len(os.sched_getaffinity(0))
    if count < 1:
        raise UsageProblem(f"deploy.fronts = {count} leaves nobody to answer", "give it 1, or as many as are needed")
    if count > 1 and cores < LEAST_CORES:
        what = f"deploy.fronts = {count} needs a machine of {LEAST_CORES} cores, and this one has {cores}"
        raise UsageProblem(what, "set it to 1: on so few cores another front takes from the models")
    if count > cores:
        what = f"deploy.fronts = {count} is more than the {cores} cores of this machine"
        raise UsageProblem(what, f"give it {cores} at most")
    return count


@dataclass
class _Opening:
    """A version that is being loaded. waits: the fronts that have not answered. own: what came of it in the agent's."""

    opened: Callable[[ServedVersion | LabError], None]
    waits: set[int]
    own: ServedVersion | LabError | None = None
    problem: LabError | None = None


@dataclass
class _Flush:
    waits: set[int]
    done: Callable[[], None] = field(repr=False)


class ManyFronts(Fronts):
    """See `Fronts`. front: the agent's own. listeners: a socket of the same port for each, that one's first.

    name, limits, write_counts: see `Front`
    """

    def __init__(
        self,
        record: EndpointRecord,
        name: str,
        limits: ServingLimits,
        forks: Forks,
        listeners: Sequence[socket.socket],
        write_counts: Callable[[Callable[[], None]], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._memory = shared_counts.create(len(listeners))
        self._shared = SharedCounts(self._memory, len(listeners), own=0)
        counted = Counted(self._shared.versions, self._shared.tallies)
        log_dir = Path(record.log_dir)
        self.front = Front(name, record.job, log_dir, limits, write_counts, self._shared.tallies[0], counted)
        super().__init__(self.front.predictor, forks)
        self._write_counts = write_counts
        fronts, started_at = len(listeners), counted.started_at
        self._begin = BeginFront(name, record.job, record.log_dir, limits, 0, fronts, {}, started_at)
        self._further = [
            FurtherFront(number, listener, self._memory, self.front, self._first, self._hear, self._forget)
            for number, listener in enumerate(listeners[1:], 1)
        ]
        self._loads: dict[str, LoadVersion] = {}
        self._routes: ServeRoutes | None = None
        self._judge: JudgedRequests | None = None
        self._trial = 0
        self._openings: dict[str, _Opening] = {}
        self._flushes: dict[int, _Flush] = {}
        self._numbers = itertools.count()

    @property
    def counts(self) -> dict[str, Counts]:
        return self._shared.versions

    @property
    def log_lost(self) -> int:
        return tallies.summed(self._shared.tallies, "log_lost")

    @property
    def further(self) -> Sequence[FurtherFront]:
        """Those in processes of their own."""
        return self._further

    def restore(self, versions: Mapping[str, VersionCounts]) -> None:
        for uri, counts in versions.items():
            self._count(uri)
            self._predictor.counts[uri].take(counts)

    async def begin(self) -> None:
        self._keep_published()
        for front in self._further:
            await front.begin()

    def show(self, judge: JudgedRequests) -> None:
        self._loop.call_soon_threadsafe(self._send, ShowVerdict(judge.shown()))

    def flush(self, done: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(self._flush, done)

    def drain(self) -> None:
        for front in self._further:
            front.drain()

    async def close(self) -> None:
        await asyncio.gather(*(front.close(END_S) for front in self._further))

    # ---- what all fronts are sent ----

    def _send(self, message: ToFront) -> None:
        for front in self._further:
            front.send(message)

    def _first(self, number: int) -> list[ToFront]:
        """What a new process is sent, so that it serves what the others do."""
        places = {uri: place for place, uri in enumerate(self._shared.versions)}
        begin = replace(self._begin, front=number, places=places)
        return [begin, *self._loads.values(), *([self._routes] if self._routes else [])]

    def _count(self, uri: str) -> None:
        if uri not in self._shared.versions:
            place = len(self._shared.versions)
            self._shared.add(uri, place)
            self._predictor.counts[uri] = self._shared.own_versions[uri]
            self._send(CountVersion(uri, place))

    def _open(
        self, uri: str, folder: Path, digests: Mapping[str, str], opened: Callable[[ServedVersion | LabError], None]
    ) -> None:
        try:
            self._count(uri)
        except LabError as problem:
            opened(problem)
            return
        opening = self._openings[uri] = _Opening(opened, {front.number for front in self._further if front.is_live})
        self._loads[uri] = LoadVersion(uri, str(folder), dict(digests))
        self._send(self._loads[uri])

        def own(found: ServedVersion | LabError) -> None:
            opening.own = found
            self._settle(uri)

        super()._open(uri, folder, digests, own)

    def _settle(self, uri: str) -> None:
        """Report a version that every front has loaded, or that one of them cannot."""
        opening = self._openings.get(uri)
        if not opening or opening.own is None:
            return  # the agent's own front will know, and if only that it cannot either
        problem = opening.own if isinstance(opening.own, LabError) else opening.problem
        if not problem and opening.waits:
            return
        del self._openings[uri]
        if problem:
            del self._loads[uri]
            self._send(RetireVersions([uri]))
            if isinstance(opening.own, ServedVersion):
                opening.own.workers.retire()
        opening.opened(problem or opening.own)

    def _serve(self, routes: Routes, gone: Sequence[ServedVersion]) -> None:
        if routes.judge is not self._judge:
            self._judge = routes.judge
            self._trial += 1
        uris = [version.model.uri for version in gone]
        for uri in uris:
            self._loads.pop(uri, None)
        arms = [(arm.version.model.uri, arm.role, arm.share) for arm in routes.arms]
        trial, verdict = (self._trial, self._judge.shown()) if self._judge else (0, {})
        self._routes = ServeRoutes(arms, routes.salt, routes.generation, trial, verdict, [])
        self._send(ServeRoutes(arms, routes.salt, routes.generation, trial, verdict, uris))
        super()._serve(routes, gone)

    def _retire(self, versions: Sequence[ServedVersion]) -> None:
        uris = [version.model.uri for version in versions]
        for uri in uris:
            self._loads.pop(uri, None)
        self._send(RetireVersions(uris))
        super()._retire(versions)

    # ---- what a further front sends ----

    def _hear(self, front: FurtherFront, message: FromFront) -> None:
        if isinstance(message, JudgedBatch):
            if self._judge and message.trial == self._trial:
                for request in message.requests:
                    self._judge.take(*request)
        elif isinstance(message, VersionLoaded):
            if opening := self._openings.get(message.uri):
                opening.waits.discard(front.number)
                if message.problem:
                    opening.problem = _problem(message.problem)
                self._settle(message.uri)
        elif isinstance(message, FlushAll):
            # Its own lines are on the disk; those of this process are not.
            answer = AllFlushed(message.number)

            def done() -> None:
                self._loop.call_soon_threadsafe(front.send, answer)

            self.front.log.flush(lambda: self._write_counts(done))
        elif isinstance(message, LogFlushed):
            self._flushed(message.number, front)

    def _forget(self, front: FurtherFront) -> None:
        """Wait no more for a front that has ended: the one in its place is sent what there is to serve then."""
        self._shared.clear(front.number)
        for uri, opening in list(self._openings.items()):
            opening.waits.discard(front.number)
            self._settle(uri)
        for number in list(self._flushes):
            self._flushed(number, front)

    def _flush(self, done: Callable[[], None]) -> None:
        number, live = next(self._numbers), [front for front in self._further if front.is_live]
        self._flushes[number] = _Flush({front.number for front in live}, done)
        for front in live:
            front.send(FlushLog(number))
        self._written(number)

    def _flushed(self, number: int, front: FurtherFront) -> None:
        if number in self._flushes:
            self._flushes[number].waits.discard(front.number)
            self._written(number)

    def _written(self, number: int) -> None:
        if not self._flushes[number].waits:
            self.front.publish()
            self._flushes.pop(number).done()

    def _keep_published(self) -> None:
        self.front.publish()
        for front in self._further:
            front.check(self._shared.tallies[front.number].read().get("beat", 0.0))
        self._loop.call_later(PUBLISH_S, self._keep_published)


def _problem(found: CannotServe) -> LabError:
    kind: type[LabError] = getattr(errors, found.kind, Failed)
    return kind(found.what, found.fix)
