"""What answers the requests of one version by asking Triton: the same reading and writing as on `local`.

The bodies that a network had when it was lost are suspected. Of those one at a time is tried again, so that the next
loss tells which one is to blame; that one is then not tried again for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ...errors import LabError
from ..server.answering import Answering, unanswered
from ..server.blamed import BlamedBodies
from ..server.messages import RawRequest, Reply
from ..server.model import LoadedModel
from ..server.workers import REQUEST_S, Asked
from .session import Unreachable

# So many requests wait for Triton at once, which batches what it has.
THREADS = 8
# A version that answers nothing for so long, while it is asked, hangs: Triton itself calls it ready all the same.
HANGS_S = 3.0

_log = logging.getLogger(__name__)


class _Network:
    """How a version's network has answered since it was loaded. suspects: the bodies that it had when it was lost."""

    def __init__(self) -> None:
        self.suspects: set[bytes] = set()
        self._answered_at = self._failed_at = self._lost_at = 0.0
        self._failing_since: float | None = None

    @property
    def hangs(self) -> bool:
        since = self._failing_since
        return since is not None and self._failed_at - since >= HANGS_S

    def answered(self) -> None:
        """It lives."""
        self._answered_at, self._failing_since = time.perf_counter(), None
        self.suspects.clear()

    def failed(self, body: bytes, asked_at: float) -> None:
        """It gave no answer to what it was asked then."""
        self._failed_at = time.perf_counter()
        if self._failing_since is None:
            self._lost_at = self._failed_at
            # Threads ask side by side: what another was answered meanwhile counts.
            self._failing_since = max(asked_at, self._answered_at)
        if asked_at <= self._lost_at:  # what came later found it lost
            self.suspects.add(body)


class TritonAnswerer:
    """See `Answerer`. To be used on the event loop's thread. ended: called once it is retired and all is answered."""

    def __init__(self, model: LoadedModel, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        self._model, self._loop, self._ended = model, loop, ended
        self._pool = ThreadPoolExecutor(THREADS, model.uri)
        self._pool_of_suspected = ThreadPoolExecutor(1, model.uri)
        self._blamed = BlamedBodies()
        self._network = _Network()
        self._waiting = 0
        self._is_retired = False
        self.waiting_bytes = 0
        self.runtime = ""  # Triton's own
        self.problem: LabError | None = None

    def start_anew(self) -> None:
        """Its network was lost, and loaded again."""
        lost, self._network = self._network, _Network()
        for body in list(lost.suspects):
            self._blamed.blame(body)

    @property
    def hangs(self) -> bool:
        """Whether it has answered nothing of what it was asked in the last HANGS_S."""
        return self._network.hangs

    def submit(self, asked: Asked) -> None:
        """Take a request."""
        self._waiting += 1
        self.waiting_bytes += len(asked.raw.body)

        def done(found: Future[Reply]) -> None:
            self._loop.call_soon_threadsafe(self._done, asked, found)

        is_suspected = self._blamed.lost(asked.raw.body) == 1  # after another one it is not tried at all
        pool = self._pool_of_suspected if is_suspected else self._pool
        pool.submit(self._reply, asked.raw).add_done_callback(done)

    def retire(self) -> None:
        """Answer what was taken, and end."""
        self._is_retired = True
        self._end_when_done()

    def _reply(self, raw: RawRequest) -> Reply:
        try:
            if time.perf_counter() - raw.started > REQUEST_S:
                return self._without(raw, f"it was not answered within {REQUEST_S:g} s", 503)
            if why := self._blamed.refusal(raw.body):
                return self._without(raw, why, 503)
            return self._asked(raw)
        except Unreachable as problem:
            _log.warning("%s: %s", self._model.uri, problem)
            return self._without(raw, str(problem), 503)
        except Exception:  # noqa: BLE001  # a fault of ours: its request gets an answer all the same
            _log.exception("a request failed")
            return self._without(raw, "the endpoint failed; its log says more", 500)

    def _asked(self, raw: RawRequest) -> Reply:
        asked_at, network = time.perf_counter(), self._network
        try:
            reply = Answering(self._model).answer([raw])[0]
        except Unreachable:
            network.failed(raw.body, asked_at)
            raise
        if not 400 <= reply.status < 500:  # what is refused was not asked
            network.answered()
            self._blamed.clear(raw.body)
        return reply

    def _without(self, raw: RawRequest, why: str, status: int) -> Reply:
        return unanswered(raw, self._model.uri, self._model.signature.answered, why, status)

    def _done(self, asked: Asked, found: Future[Reply]) -> None:
        self._waiting -= 1
        self.waiting_bytes -= len(asked.raw.body)
        asked.done(found.result())
        self._end_when_done()

    def _end_when_done(self) -> None:
        if self._is_retired and not self._waiting:
            self._pool.shutdown(wait=False)
            self._pool_of_suspected.shutdown(wait=False)
            self._ended()
