"""What an endpoint does with a request: choose the version, hand it over, answer, log and count. It knows no sockets.

A version is chosen by a salted hash of the request's key, so that a key stays where it is, and a key that is in the
canary at 5 % is in it at 20 %. The body is read by the version's own process: here only the key is, where it decides.
Everything here runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import operator
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import Protocol

import msgspec

from ...errors import LabError
from ...train.environments import Environment
from ..record import Role
from . import inference_protocol as v2
from .counts import Counts
from .forks import Forks
from .heads import RequestHead
from .judged_requests import JudgedRequest, JudgedRequests
from .messages import Form, RawRequest, Reply
from .predictions_log import PredictionsLog
from .protocol import ARROW_STREAM, MAX_BODY, TENSORS
from .rows import Refusal, open_envelope
from .tallies import Tallies
from .workers import LOAD_S, MEMORY_BYTES, Asked, VersionFiles, Workers

MAX_WAITING = 4096
MAX_WAITING_BYTES = 64 << 20

# What a shadow may be behind by, before it is spared requests.
MOST_SHADOWING = 256
MOST_SHADOWING_BYTES = 8 << 20
JUDGED = ("champion", "canary")
# What only they refuse the champion answers.
TRIED = ("canary", "candidate")

# Status and body; of a body that is no JSON its kind and the further fields of its head besides.
Respond = Callable[..., None]
_KINDS = {"arrow": ARROW_STREAM, "tensors": TENSORS}


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What a request asks for beside its rows. model: the version that shall answer it, empty for whom its key has.

    is_judged: whether it may count for or against the canary; what only probes an endpoint should not. key: its key,
    whatever the body says; empty where that has it.
    """

    model: str = ""
    is_judged: bool = True
    key: str = ""


NO_OPTIONS = RequestOptions()


def options_of(head: RequestHead) -> RequestOptions:
    """What a request's head says of that."""
    if head.model or head.key or not head.is_judged:
        model, key = head.model.decode("ascii", "replace"), head.key.decode("utf-8", "replace")
        return RequestOptions(model, head.is_judged, key)
    return NO_OPTIONS


class Answerer(Protocol):
    """What answers the requests of one version: see `Workers`. problem: why it answers none now."""

    @property
    def runtime(self) -> str: ...

    @property
    def waiting_bytes(self) -> int: ...

    @property
    def problem(self) -> LabError | None: ...

    def submit(self, asked: Asked) -> None: ...

    def retire(self) -> None: ...


@dataclass
class ServedVersion:
    """A version that serves, with the processes that answer for it and its counts."""

    model: VersionFiles
    workers: Answerer
    counts: Counts


@dataclass(frozen=True)
class ServedArm:
    """A version with its role and its share, see `record.Arm`."""

    version: ServedVersion
    role: Role
    share: float


@dataclass
class Routes:
    """Who gets the traffic: the arms of the endpoint, as its record has them, each with what serves it.

    generation: which change of the endpoint's record this is. judge: of the canary, if anything judges it. A canary has
    the lowest places of the keys, candidates the highest: when the one grows, the others keep their keys.
    """

    arms: Sequence[ServedArm] = ()
    salt: str = ""
    generation: int = 0
    judge: JudgedRequests | None = None

    def __post_init__(self) -> None:
        by_role = {arm.role: arm for arm in reversed(self.arms)}
        self.champion, self.canary, self.shadow = (by_role.get(role) for role in ("champion", "canary", "shadow"))
        self.live = [arm.version for arm in self.arms]
        self.answering = [arm for arm in self.arms if arm.role != "shadow"]
        candidates = [arm for arm in self.arms if arm.role == "candidate"]
        ends = accumulate((arm.share for arm in candidates), operator.sub, initial=1.0)
        self._candidates = [*zip(islice(ends, 1, None), candidates, strict=True)]

    @property
    def canary_share(self) -> float:
        """The share that the canary really gets."""
        return self.canary.share if self.canary else 0.0

    def at(self, position: float) -> ServedArm:
        """Who answers the keys at that place, from 0 to 1."""
        if self.canary and position < self.canary.share:
            return self.canary
        for start, arm in self._candidates:
            if position >= start:
                return arm
        return self.most

    @property
    def most(self) -> ServedArm:
        """Who answers whatever no other arm gets."""
        return self.champion or self.answering[0]

    def without_canary(self) -> Routes:
        """The same at once, with the canary's keys for the champion, and nobody to be judged."""
        more = self.canary_share
        arms = [ServedArm(arm.version, arm.role, arm.share + more * (arm.role == "champion")) for arm in self.arms]
        return Routes([arm for arm in arms if arm.role != "canary"], self.salt, self.generation)

    def serving(self, uri: str) -> ServedArm | None:
        """The arm of that version, be it a shadow."""
        return next((arm for arm in self.arms if arm.version.model.uri == uri), None)


def key_position(salt: str, key: str) -> float:
    """A number from 0 to 1 for a key: fixed for a salt, and spread evenly."""
    # blake2b takes a key of at most 64 bytes, and raises for a longer one.
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest) / 2**64


class _Pending(msgspec.Struct, eq=False):
    """A request on its way. refused_by: the canary or candidate that refused it, while the champion is asked."""

    raw: RawRequest
    version: ServedVersion
    role: Role
    respond: Respond
    predictor: Predictor
    judged: JudgedRequest | None = None
    is_pinned: bool = False
    refused_by: ServedVersion | None = None

    def done(self, reply: Reply) -> None:
        self.predictor.answered(self, reply)


class _Shadowed(msgspec.Struct, eq=False):
    """A request that was answered, on its way through the shadow."""

    raw: RawRequest
    version: ServedVersion
    predictor: Predictor

    def done(self, reply: Reply) -> None:
        self.predictor.shadowed(self, reply)


@dataclass
class Predictor:
    """Predicts with whatever `routes` says at the moment; a request keeps the version that it was given.

    memory_bytes, load_s: see `Workers`. max_body: how long a request may be.
    """

    log: PredictionsLog
    loop: asyncio.AbstractEventLoop
    memory_bytes: int = MEMORY_BYTES
    load_s: float = LOAD_S
    max_body: int = MAX_BODY
    routes: Routes = field(default_factory=Routes)
    draining: bool = False
    counts: dict[str, Counts] = field(default_factory=dict)
    tallies: Tallies = field(default_factory=Tallies)
    waiting: int = 0
    shadowing: int = 0
    shadow_skipped: int = 0

    def __post_init__(self) -> None:
        # The count starts at 0 again after a restart: without it, request ids would repeat in the log.
        self._prefix = os.urandom(4).hex()
        self.refused = self.tallies.refused
        self._taken = 0
        self._few_waiting = MAX_WAITING_BYTES // self.max_body  # so few are never too many bytes

    @property
    def ready(self) -> bool:
        """Whether it takes requests, and what answers most of them can."""
        return self._takes_requests and self.routes.most.version.workers.problem is None

    def publish(self) -> None:
        """Write what is no count into the tallies, where every front reads it."""
        for name, value in (
            ("waiting", self.waiting),
            ("generation", self.routes.generation),
            ("shadow_skipped", self.shadow_skipped),
            ("log_lost", self.log.lost),
        ):
            self.tallies.set(name, value)

    @property
    def _takes_requests(self) -> bool:
        return bool(self.routes.answering) and not self.draining

    def open(
        self,
        uri: str,
        folder: Path,
        digests: Mapping[str, str],
        forks: Forks,
        opened: Callable[[ServedVersion | LabError], None],
    ) -> None:
        """Have the processes of a version made; `opened` gets it when it answers, or what is the matter with it.

        forks: those of our own environment, of which another's are asked where the version needs it.
        """
        try:
            files, forks = VersionFiles(uri, folder, digests), forks.of(Environment.of(folder))
        except LabError as problem:
            opened(problem)
            return
        counts = self.counts.setdefault(uri, Counts())  # it goes on counting where it was

        def lost() -> None:
            counts.lost += 1

        workers = Workers(files, forks, self.loop, lost, self.memory_bytes, self.load_s)
        workers.open(lambda problem: opened(problem or ServedVersion(files, workers, counts)))

    def predict(
        self, body: bytes, respond: Respond, options: RequestOptions = NO_OPTIONS, form: Form | None = None
    ) -> None:
        """Answer a request: `respond` is called exactly once, now or when it was predicted."""
        started = time.perf_counter()
        try:
            routes = self.routes
            if self.draining or not routes.answering:
                raise Refusal(503, "the endpoint is not ready" if not self.draining else "the endpoint is stopping")
            # Before the body is read: what is refused for too much work should cost the least of it.
            if self.waiting > self._few_waiting and (
                self.waiting > MAX_WAITING or self.waiting_bytes > MAX_WAITING_BYTES
            ):
                raise Refusal(503, "too many requests are waiting; try again in a moment")
            pinned = self._pinned(options.model) if options.model else None
        except Refusal as refusal:
            self.refused.add(refusal.status)
            respond(refusal.status, refusal.body(form.name if form else "json"))
            return
        self._taken += 1
        request_id = f"{self._prefix}-{self._taken:08x}"
        raw = RawRequest(request_id, started, body, form)
        arm, key = (pinned, request_id) if pinned else self._choose(raw, options.key)
        self.waiting += 1
        judge, judged = routes.judge, None
        # Who chooses his version, or probes it, is no sample of those whom the key decides for.
        if judge and options.is_judged and not pinned and arm.role in JUDGED:
            judged = judge.begin(key, is_canary=arm.role == "canary")
        pending = _Pending(raw, arm.version, arm.role, respond, self, judged, pinned is not None)
        arm.version.workers.submit(pending)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the requests that were taken and not yet answered."""
        return sum(arm.version.workers.waiting_bytes for arm in self.routes.answering)

    def _pinned(self, uri: str) -> ServedArm:
        """The version that a request names."""
        if arm := self.routes.serving(uri):
            return arm
        served = ", ".join(version.model.uri for version in self.routes.live)
        raise Refusal(404, f"{uri[:100]} does not serve here; what does: {served}")

    def _choose(self, raw: RawRequest, key: str) -> tuple[ServedArm, str]:
        """Who answers, and the key that decided. key: empty where the body has it, if anything has."""
        routes = self.routes
        if len(routes.answering) == 1:
            return routes.answering[0], raw.id
        try:
            asked = key or _key_of(raw)
        except (Refusal, v2.BadTensors):
            return routes.answering[0], raw.id  # it is refused there, and says nothing about the others
        key = raw.id if asked is None else str(asked)
        return routes.at(key_position(routes.salt, key)), key

    def answered(self, request: _Pending, reply: Reply) -> None:
        """Answer a request by what came back for it. What only the canary refuses, or a candidate, is its error, and
        the champion answers it.
        """
        raw, version = request.raw, request.version
        if 400 <= reply.status < 500:
            if reply.status == 422:
                version.counts.refused += 1
            champion = self.routes.champion
            if request.role in TRIED and champion and not request.is_pinned:
                request.version, request.role, request.refused_by = champion.version, champion.role, version
                champion.version.workers.submit(request)
                return
            if request.judged:
                request.judged.withdraw()  # it is the client's fault
            self.refused.add(reply.status)
            self.waiting -= 1
            request.respond(reply.status, reply.body)
            return
        latency_ms = (time.perf_counter() - raw.started) * 1000
        if reply.form is None:
            request.respond(reply.status, reply.body)
        else:
            _respond(request.respond, reply, reply.form)
        self.waiting -= 1
        version.counts.add(latency_ms, reply.rows, reply.failed)
        if request.judged:
            is_answered = reply.status == 200 and not request.refused_by
            request.judged.end(latency_ms if is_answered else None, failed=reply.failed or bool(request.refused_by))
        if reply.rows:
            self._log(request.role, latency_ms, raw, reply)
        if (shadow := self.routes.shadow) and shadow.version is not version:
            self._shadow(shadow, raw)

    def _shadow(self, shadow: ServedArm, raw: RawRequest) -> None:
        """Have the shadow asked the same, unless it is behind: it must cost the others neither memory nor time."""
        workers = shadow.version.workers
        if self.draining or self.shadowing >= MOST_SHADOWING or workers.waiting_bytes > MOST_SHADOWING_BYTES:
            self.shadow_skipped += 1
            return
        self.shadowing += 1
        copy = RawRequest(raw.id, time.perf_counter(), raw.body, raw.form)
        workers.submit(_Shadowed(copy, shadow.version, self))

    def shadowed(self, request: _Shadowed, reply: Reply) -> None:
        """Count and log what the shadow would have answered."""
        self.shadowing -= 1
        counts = request.version.counts.as_shadow
        if 400 <= reply.status < 500:
            counts.refused += 1
            return
        latency_ms = (time.perf_counter() - request.raw.started) * 1000
        counts.add(latency_ms, reply.rows, reply.failed)
        if reply.rows:
            self._log("shadow", latency_ms, request.raw, reply)

    def _log(self, role: Role, latency_ms: float, raw: RawRequest, reply: Reply) -> None:
        request, answer = reply.logged_request or raw.body, reply.logged_answer or reply.body
        self.log.add(role, latency_ms, request, answer, reply.rows)


def _key_of(raw: RawRequest) -> str | int | None:
    """The key in a request's body, of which no more is read here. Refusal or BadTensors where it cannot be found."""
    if raw.body_form == "tensors":
        return v2.key_of(raw.body, raw.json_bytes)
    return open_envelope(raw.body).key if raw.body_form == "json" else None


def _respond(respond: Respond, reply: Reply, form: Form) -> None:
    size = b"" if form.json_bytes is None else b"inference-header-content-length: %d\r\n" % form.json_bytes
    respond(reply.status, reply.body, _KINDS[form.name], size)
