"""Rows of requests that arrive together are predicted together; none ever waits for a clock.

When the model is idle, everything that was parsed in the same turn of the event loop goes into one batch; while a
batch runs, requests collect for the next. A batch that takes long by measurement runs on the one executor thread, a
short one right here: the hop would cost more than it frees.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from .model import MAX_BATCH, LoadedModel, RowAnswer

INLINE_S = 0.001

Answer = list[RowAnswer | None] | Exception


@dataclass(slots=True)
class Work:
    """Rows of one request, and who takes their answers, or what went wrong."""

    values: list[tuple[Any, ...]]
    done: Callable[[Answer], None]


class Batcher:
    """Feeds one model, so that no batch mixes versions. To be used on the event loop's thread."""

    def __init__(self, model: LoadedModel, loop: asyncio.AbstractEventLoop, executor: Executor) -> None:
        self._model = model
        self._loop = loop
        self._executor = executor
        self._waiting: deque[Work] = deque()
        self._busy = False
        self.rows_waiting = 0

    def submit(self, work: Work) -> None:
        """Take the rows into the next batch; `done` is called on the loop's thread, exactly once."""
        self._waiting.append(work)
        self.rows_waiting += len(work.values)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        batch, rows = self._take()
        if self._model.expected_s(len(rows)) < INLINE_S:
            self._finish(batch, self._predict(rows))
        else:
            self._executor.submit(self._predict, rows).add_done_callback(
                lambda future: self._loop.call_soon_threadsafe(self._back, batch, future)
            )

    def _take(self) -> tuple[list[Work], list[tuple[Any, ...]]]:
        batch = [self._waiting.popleft()]
        # The first is taken whole, however long it is: a request is never split.
        rows = list(batch[0].values)
        while self._waiting and len(rows) + len(self._waiting[0].values) <= MAX_BATCH:
            batch.append(self._waiting.popleft())
            rows += batch[-1].values
        return batch, rows

    def _predict(self, rows: list[tuple[Any, ...]]) -> Answer:
        try:
            return self._model.predict(rows)
        except Exception as problem:  # noqa: BLE001  # a foreign model may raise anything; its request gets the message
            return problem

    def _back(self, batch: list[Work], future: Future[Answer]) -> None:
        self._finish(batch, future.result())

    def _finish(self, batch: list[Work], answer: Answer) -> None:
        at = 0
        for work in batch:
            upto = at + len(work.values)
            work.done(answer if isinstance(answer, Exception) else answer[at:upto])
            at = upto
        self.rows_waiting -= at
        if self._waiting:
            self._loop.call_soon(self._run)
        else:
            self._busy = False
