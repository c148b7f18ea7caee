"""What answers the requests of one version by asking Triton: the same reading and writing as on `local`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ...errors import LabError
from ..server.answering import Answering, unanswered
from ..server.messages import RawRequest, Reply
from ..server.model import LoadedModel
from ..server.workers import REQUEST_S, Asked
from .session import Unreachable

# So many requests wait for Triton at once, which batches what it has.
THREADS = 8

_log = logging.getLogger(__name__)


class TritonAnswerer:
    """See `Answerer`. To be used on the event loop's thread. ended: called once it is retired and all is answered."""

    def __init__(self, model: LoadedModel, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]) -> None:
        self._model, self._loop, self._ended = model, loop, ended
        self._pool = ThreadPoolExecutor(THREADS, model.uri)
        self._waiting = 0
        self._is_retired = False
        self.waiting_bytes = 0
        self.problem: LabError | None = None

    def submit(self, asked: Asked) -> None:
        """Take a request."""
        self._waiting += 1
        self.waiting_bytes += len(asked.raw.body)

        def done(found: Future[Reply]) -> None:
            self._loop.call_soon_threadsafe(self._done, asked, found)

        self._pool.submit(self._reply, asked.raw).add_done_callback(done)

    def retire(self) -> None:
        """Answer what was taken, and end."""
        self._is_retired = True
        self._end_when_done()

    def _reply(self, raw: RawRequest) -> Reply:
        try:
            if time.perf_counter() - raw.started > REQUEST_S:
                raise Unreachable(f"it was not answered within {REQUEST_S:g} s")
            return Answering(self._model).answer([raw])[0]
        except Unreachable as problem:
            _log.warning("%s: %s", self._model.uri, problem)
            return self._without(raw, str(problem), 503)
        except Exception:  # noqa: BLE001  # a fault of ours: its request gets an answer all the same
            _log.exception("a request failed")
            return self._without(raw, "the endpoint failed; its log says more", 500)

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
            self._ended()
