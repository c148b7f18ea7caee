"""What an endpoint does with a request: choose the version, predict, answer, log and count. It knows no sockets.

A version is chosen by a salted hash of the request's key, so that a key stays where it is, and a key that is in the
canary at 5 % is in it at 20 %. Everything here runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .batching import Answer, Batcher, Work
from .counts import Counts
from .judge import Judge, JudgedRequest
from .model import LoadedModel
from .predictions_log import Line, PredictionsLog
from .rows import Envelope, Parsed, Refusal, open_envelope

MAX_WAITING_ROWS = 16_384
NOT_FINITE = "the model gave a number that is not finite"

Respond = Callable[[int, bytes], None]


class Predictions(msgspec.Struct):
    """The answer to a request: of each row its id and its outputs, all of them null with `error` where it got none."""

    request_id: str
    model: str
    predictions: list[dict[str, Any]]


@dataclass
class ServedVersion:
    """A model that serves, with its own queue and counts."""

    model: LoadedModel
    batcher: Batcher
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


@dataclass
class _Pending:
    """A request on its way."""

    id: str
    parsed: Parsed
    version: ServedVersion
    canary: bool
    started: float
    respond: Respond
    judged: JudgedRequest | None


@dataclass
class Predictor:
    """Predicts with whatever `routes` says at the moment; a request keeps the version that it was given."""

    log: PredictionsLog
    loop: asyncio.AbstractEventLoop
    routes: Routes = field(default_factory=Routes)
    draining: bool = False
    counts: dict[str, Counts] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    waiting: int = 0

    def __post_init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "predict")
        # The count starts at 0 again after a restart: without it, request ids would repeat in the log.
        self._prefix = os.urandom(4).hex()
        self._taken = 0
        self._encode = msgspec.json.Encoder().encode

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return bool(self.routes.live) and not self.draining

    def version(self, model: LoadedModel) -> ServedVersion:
        """A model as something that can serve here; it goes on counting where it was."""
        counts = self.counts.setdefault(model.uri, Counts())
        return ServedVersion(model, Batcher(model, self.loop, self._executor), counts)

    def predict(self, body: bytes, respond: Respond) -> None:
        """Answer a request: `respond` is called exactly once, now or when its batch has run."""
        started = time.perf_counter()
        try:
            if not self.ready:
                raise Refusal(503, "the endpoint is not ready" if not self.draining else "the endpoint is stopping")
            # Before the body is read: what is refused for too much work should cost the least of it.
            if self.waiting_rows > MAX_WAITING_ROWS:
                raise Refusal(503, "too many rows are waiting; try again in a moment")
            envelope = open_envelope(body)
            self._taken += 1
            request_id = f"{self._prefix}-{self._taken:08x}"
            key = request_id if envelope.key is None else str(envelope.key)
            chosen, is_chosen = self._choose(key)
            version, canary, parsed = self._read(envelope, chosen, is_chosen, key)
        except Refusal as refusal:
            self.refused[refusal.status] += 1
            respond(refusal.status, refusal.body())
            return
        self.waiting += 1
        judge = self.routes.judge
        judged = judge.begin(key, is_canary=canary) if judge and version is chosen else None
        request = _Pending(request_id, parsed, version, canary, started, respond, judged)
        version.batcher.submit(Work(parsed.values, lambda answer: self._answer(request, answer)))

    @property
    def waiting_rows(self) -> int:
        """Rows that were taken and not yet answered."""
        return sum(version.batcher.rows_waiting for version in self.routes.live)

    def _choose(self, key: str) -> tuple[ServedVersion, bool]:
        routes = self.routes
        if routes.canary is not None and (routes.champion is None or key_position(routes.salt, key) < routes.share):
            return routes.canary, True
        assert routes.champion is not None  # ready says that one of the two is there
        return routes.champion, False

    def _read(
        self, envelope: Envelope, version: ServedVersion, canary: bool, key: str
    ) -> tuple[ServedVersion, bool, Parsed]:
        """Read the rows. What only the canary refuses is the canary's error, and the champion answers it."""
        try:
            return version, canary, version.model.reader.read(envelope.rows)
        except Refusal:
            version.counts.refused += 1
            champion = self.routes.champion
            if not canary or champion is None:
                raise
            parsed = champion.model.reader.read(envelope.rows)
            if self.routes.judge:
                self.routes.judge.add(key, None, is_canary=True, failed=True)
            return champion, False, parsed

    def _answer(self, request: _Pending, answer: Answer) -> None:
        latency_ms = (time.perf_counter() - request.started) * 1000
        problem = NOT_FINITE
        if isinstance(answer, Exception):
            problem, answer = _message(answer), [None] * len(request.parsed.ids)
        ids = [row_id or f"{request.id}-{at}" for at, row_id in enumerate(request.parsed.ids)]
        failed, is_answered = None in answer, any(answer)
        unanswered = {**dict.fromkeys(request.version.model.signature.answered), "error": problem} if failed else {}
        predictions = [{"row_id": row_id, **(row or unanswered)} for row_id, row in zip(ids, answer, strict=True)]
        uri = request.version.model.uri
        request.respond(200 if is_answered else 500, self._encode(Predictions(request.id, uri, predictions)))
        self.waiting -= 1
        request.version.counts.add(latency_ms, len(predictions), failed)
        if request.judged:
            request.judged.end(latency_ms if is_answered else None, failed=failed)
        at, took = round(time.time(), 4), round(latency_ms, 3)
        for row_id, row, inputs in zip(ids, answer, request.parsed.inputs, strict=True):
            error = None if row else problem
            self.log.add(Line(at, request.id, row_id, uri, request.canary, took, inputs, row, error))


def _message(problem: Exception) -> str:
    return f"the model failed: {str(problem)[:200]}"
