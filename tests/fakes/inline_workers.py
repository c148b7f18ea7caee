"""A version that answers in the process that asks: what a model's own process does, without the process.

It adds what tests of routing, counts and logs need: answers within milliseconds, and no start to wait for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from aiinfra_lab.deploy.record import Arm, DesiredState
from aiinfra_lab.deploy.server import model
from aiinfra_lab.deploy.server.answering import Answering
from aiinfra_lab.deploy.server.counts import Counts
from aiinfra_lab.deploy.server.judge import Judge
from aiinfra_lab.deploy.server.predictor import Predictor, Routes, ServedArm, ServedVersion
from aiinfra_lab.deploy.server.workers import Asked, VersionFiles
from aiinfra_lab.errors import LabError


class InlineWorkers:
    """See `Workers`: the same answers, from the same code."""

    def __init__(self, uri: str, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._answering = Answering(model.load(uri, folder))
        self._loop = loop
        self._waiting: deque[Asked] = deque()
        self.waiting_bytes = 0
        self.runtime = ""
        self.problem: LabError | None = None
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


def routes(
    champion: ServedVersion | None = None,
    canary: ServedVersion | None = None,
    share: float = 0.0,
    salt: str = "",
    *,
    candidates: Sequence[tuple[ServedVersion, float]] = (),
    shadow: ServedVersion | None = None,
    judge: Judge | None = None,
) -> Routes:
    """What an endpoint with these arms serves."""
    uris = [version.model.uri if version else None for version in (champion, canary)]
    arms = [Arm(version.model.uri, "candidate", part) for version, part in candidates]
    arms += [Arm(shadow.model.uri, "shadow", 1.0)] if shadow else []
    given = [champion, canary, *(version for version, _ in candidates), shadow]
    by_uri = {version.model.uri: version for version in given if version}
    desired = DesiredState(*uris, share, salt, others=tuple(arms))
    return Routes([ServedArm(by_uri[arm.model], arm.role, arm.share) for arm in desired.arms], salt, judge=judge)
