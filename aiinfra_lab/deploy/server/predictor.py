"""What an endpoint does with a request: choose the version, hand it over, answer, log and count. It knows no sockets.

A version is chosen by a salted hash of the request's key, so that a key stays where it is, and a key that is in the
canary at 5 % is in it at 20 %. The body is read by the version's own process: here only the key is, where it decides.
Everything here runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...errors import LabError
from .counts import Counts
from .forks import Forks
from .judge import Judge, JudgedRequest
from .messages import RawRequest, Reply
from .predictions_log import PredictionsLog
from .protocol import MAX_BODY
from .rows import Refusal, open_envelope
from .workers import MEMORY_BYTES, Asked, VersionFiles, Workers

MAX_WAITING = 4096
MAX_WAITING_BYTES = 64 << 20

Respond = Callable[[int, bytes], None]


class Answerer(Protocol):
    """What answers the requests of one version: see `Workers`."""

    @property
    def waiting_bytes(self) -> int: ...

    def submit(self, asked: Asked) -> None: ...

    def retire(self) -> None: ...


@dataclass
class ServedVersion:
    """A version that serves, with the processes that answer for it and its counts."""

    model: VersionFiles
    workers: Answerer
    counts: Counts


@dataclass
class Routes:
    """Who gets the traffic: all to the champion but `share` of the keys; all to the canary while there is no champion.

    generation: which change of the endpoint's record this is. judge: of the canary, if anything judges it.
    """

    champion: ServedVersion | None = None
    canary: ServedVersion | None = None
    share: float = 0.0
    salt: str = ""
    generation: int = 0
    judge: Judge | None = None

    @property
    def live(self) -> list[ServedVersion]:
        """The versions that serve."""
        return [version for version in (self.champion, self.canary) if version is not None]

    @property
    def canary_share(self) -> float:
        """The share that the canary really gets."""
        if self.canary is None:
            return 0.0
        return self.share if self.champion else 1.0


def key_position(salt: str, key: str) -> float:
    """A number from 0 to 1 for a key: fixed for a salt, and spread evenly."""
    # blake2b takes a key of at most 64 bytes, and raises for a longer one.
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(slots=True, eq=False)
class _Pending:
    """A request on its way. refused_by: the canary that refused it, while the champion is asked."""

    raw: RawRequest
    version: ServedVersion
    respond: Respond
    predictor: Predictor
    judged: JudgedRequest | None = None
    refused_by: ServedVersion | None = None

    def done(self, reply: Reply) -> None:
        self.predictor.answered(self, reply)


@dataclass
class Predictor:
    """Predicts with whatever `routes` says at the moment; a request keeps the version that it was given.

    memory_bytes: see `Workers`. max_body: how long a request may be.
    """

    log: PredictionsLog
    loop: asyncio.AbstractEventLoop
    memory_bytes: int = MEMORY_BYTES
    max_body: int = MAX_BODY
    routes: Routes = field(default_factory=Routes)
    draining: bool = False
    counts: dict[str, Counts] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    waiting: int = 0

    def __post_init__(self) -> None:
        # The count starts at 0 again after a restart: without it, request ids would repeat in the log.
        self._prefix = os.urandom(4).hex()
        self._taken = 0
        self._few_waiting = MAX_WAITING_BYTES // self.max_body  # so few are never too many bytes

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        routes = self.routes
        return (routes.champion is not None or routes.canary is not None) and not self.draining

    def open(self, uri: str, folder: Path, forks: Forks, opened: Callable[[ServedVersion | LabError], None]) -> None:
        """Have the processes of a version made; `opened` gets it when it answers, or what is the matter with it."""
        try:
            files = VersionFiles(uri, folder)
        except LabError as problem:
            opened(problem)
            return
        counts = self.counts.setdefault(uri, Counts())  # it goes on counting where it was

        def lost() -> None:
            counts.lost += 1

        workers = Workers(files, forks, self.loop, lost, self.memory_bytes)
        workers.open(lambda problem: opened(problem or ServedVersion(files, workers, counts)))

    def predict(self, body: bytes, respond: Respond) -> None:
        """Answer a request: `respond` is called exactly once, now or when it was predicted."""
        started = time.perf_counter()
        try:
            if not self.ready:
                raise Refusal(503, "the endpoint is not ready" if not self.draining else "the endpoint is stopping")
            # Before the body is read: what is refused for too much work should cost the least of it.
            if self.waiting > self._few_waiting and (
                self.waiting > MAX_WAITING or self.waiting_bytes > MAX_WAITING_BYTES
            ):
                raise Refusal(503, "too many requests are waiting; try again in a moment")
        except Refusal as refusal:
            self.refused[refusal.status] += 1
            respond(refusal.status, refusal.body())
            return
        self._taken += 1
        request_id = f"{self._prefix}-{self._taken:08x}"
        version, canary, key = self._choose(body, request_id)
        self.waiting += 1
        judge = self.routes.judge
        judged = judge.begin(key, is_canary=canary) if judge else None
        version.workers.submit(_Pending(RawRequest(request_id, canary, started, body), version, respond, self, judged))

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the requests that were taken and not yet answered."""
        return sum(version.workers.waiting_bytes for version in self.routes.live)

    def _choose(self, body: bytes, request_id: str) -> tuple[ServedVersion, bool, str]:
        """Who answers, whether that is the canary, and the key that decided."""
        routes = self.routes
        if routes.canary is None or routes.champion is None:
            version = routes.champion or routes.canary
            assert version is not None  # ready says that one of the two is there
            return version, routes.champion is None, request_id
        try:
            asked = open_envelope(body).key
        except Refusal:
            return routes.champion, False, request_id  # it is refused there, and says nothing about the canary
        key = request_id if asked is None else str(asked)
        is_canary = key_position(routes.salt, key) < routes.share
        return routes.canary if is_canary else routes.champion, is_canary, key

    def answered(self, request: _Pending, reply: Reply) -> None:
        """Answer a request by what came back for it. What only the canary refuses is the canary's error, and the
        champion answers it.
        """
        raw, version = request.raw, request.version
        if 400 <= reply.status < 500:
            if reply.status == 422:
                version.counts.refused += 1
            champion = self.routes.champion
            if raw.canary and champion is not None:
                request.raw = RawRequest(raw.id, False, raw.started, raw.body)
                request.version, request.refused_by = champion, version
                champion.workers.submit(request)
                return
            if request.judged:
                request.judged.withdraw()  # it is the client's fault
            self.refused[reply.status] += 1
            self.waiting -= 1
            request.respond(reply.status, reply.body)
            return
        latency_ms = (time.perf_counter() - raw.started) * 1000
        request.respond(reply.status, reply.body)
        self.waiting -= 1
        version.counts.add(latency_ms, reply.rows, reply.failed)
        if request.judged:
            is_answered = reply.status == 200 and not request.refused_by
            request.judged.end(latency_ms if is_answered else None, failed=reply.failed or bool(request.refused_by))
        if reply.rows:
            request_body, answer = reply.logged_request or raw.body, reply.logged_answer or reply.body
            self.log.add(raw.canary, latency_ms, request_body, answer, reply.rows)
