"""A version that answers in the process that asks: what a model's own process does, without the process.

It adds what tests of routing, counts and logs need: answers within milliseconds, and no start to wait for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

from aiinfra_lab.deploy.server import model
from aiinfra_lab.deploy.server.answering import Answering
from aiinfra_lab.deploy.server.counts import Counts
from aiinfra_lab.deploy.server.predictor import Predictor, ServedVersion
from aiinfra_lab.deploy.server.workers import Asked, VersionFiles


class InlineWorkers:
    """See `Workers`: the same answers, from the same code."""

    def __init__(self, uri: str, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._answering = Answering(model.load(uri, folder))
        self._loop = loop
        self._waiting: deque[Asked] = deque()
        self.waiting_bytes = 0
        self.is_retired = False

    def submit(self, asked: Asked) -> None:
        assert not self.is_retired
        self._waiting.append(asked)
        self._loop.call_soon(self._answer)

    def retire(self) -> None:
        self.is_retired = True

    def _answer(self) -> None:
        batch, self._waiting = list(self._waiting), deque()
        for asked, reply in zip(batch, self._answering.answer([asked.raw for asked in batch]), strict=True):
            asked.done(reply)


def served(predictor: Predictor, uri: str, folder: Path) -> ServedVersion:
    """That version, with its place in the predictor's counts."""
    counts = predictor.counts.setdefault(uri, Counts())
    return ServedVersion(VersionFiles(uri, folder), InlineWorkers(uri, folder, predictor.loop), counts)
