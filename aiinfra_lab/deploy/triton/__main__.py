"""`python -m aiinfra_lab.deploy.triton NAME PORT LOG_DIR ENVIRONMENT`: an endpoint's front, the parent of its Triton.

It takes requests as our own server does, chooses the version by the key, and has Triton run the network. It is a job,
whose folder has what is applied; when its Triton ends, so does it, and the supervisor starts both again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from ... import logs, modes
from ...config import Settings, settings
from ...errors import Conflict, LabError
from ..ports import HOST, bind
from ..retention import log_bytes
from ..server.http_api import HttpApi
from ..server.judge import look_seconds
from ..server.predictions_log import PredictionsLog
from ..server.protocol import Server, body_bytes
from ..server.workers import load_seconds
from . import environment, state
from .repository import NoRoom, Repository, token_of
from .rollout import FrontPredictor, Rollout
from .state import Observed

# With what Triton takes to end it is less than the supervisor's GRACE_S, after which that kills.
DRAIN_S = 2.0
AGAIN_S = 1.0

_log = logging.getLogger("aiinfra_lab.deploy.triton")  # __name__ is __main__ here


@dataclass(frozen=True)
class FrontLimits:
    """What the settings say. How much memory a network takes is Triton's affair."""

    log_bytes: float
    body_bytes: int
    look_s: float
    load_s: float

    @classmethod
    def of(cls, where: Settings) -> FrontLimits:
        """UsageProblem for a setting that makes no sense."""
        return cls(log_bytes(where), body_bytes(where), look_seconds(where), load_seconds(where))


async def serve(
    name: str, claim: str, folder: Path, listener: socket.socket, log_dir: Path, triton: Repository, limits: FrontLimits
) -> str:
    """Serve until a signal comes, or something happens that ends it; what that is."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()

    def leave(why: str) -> None:
        if not ended.done():
            ended.set_result(why)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave, "")
    log = PredictionsLog(log_dir, limits.log_bytes)
    predictor = FrontPredictor(log, loop, max_body=limits.body_bytes)
    rollout = Rollout(folder, predictor, triton, lambda why: loop.call_soon_threadsafe(leave, why), limits.look_s)
    server = Server(HttpApi(name, claim, predictor, rollout.flush).handle, loop, predictor.tallies, limits.body_bytes)
    rollout.start(f"http://{HOST}:{listener.getsockname()[1]}")
    socket_server = await loop.create_server(server.connect, sock=listener, backlog=512)
    why = await ended
    socket_server.close()
    predictor.draining = True
    server.drain()
    until_at = time.monotonic() + DRAIN_S
    while (predictor.waiting or server.connections) and time.monotonic() < until_at:
        await asyncio.sleep(0.02)
    server.close()
    await loop.run_in_executor(None, log.close)
    await loop.run_in_executor(None, rollout.close)
    return why


def _listener(port: int, folder: Path) -> socket.socket:
    """On that port; where any will do on the one from before it was started again, when that is free."""
    before = state.read(Observed, folder)
    if not port and before and before.url:
        with contextlib.suppress(Conflict):
            return bind(urlsplit(before.url).port or 0)
    return bind(port)


def _triton(installation: environment.Installation, folder: Path, token: str, load_s: float) -> Repository:
    """Started; waits, until the process is ended, while the disk takes nothing."""
    warned = ""
    while True:
        try:
            return Repository(installation, folder, token, load_s)
        except NoRoom as problem:
            if problem.what != warned:
                _log.warning("it waits for room on the disk: %s", problem)
            warned = problem.what
            time.sleep(AGAIN_S)


def main(name: str, port: int, log_dir: Path, installed: Path) -> int:
    """Bind, start Triton, and serve."""
    logs.configure()
    claim, folder = os.environ["AIINFRA_JOB"], Path(os.environ["AIINFRA_JOB_DIR"])
    try:
        listener = _listener(port, folder)
        limits = FrontLimits.of(settings())
        triton = _triton(environment.find(installed), folder / "triton", token_of(claim), limits.load_s)
    except LabError as problem:
        _log.error("%s", problem)
        return 1
    try:
        why = uvloop.run(serve(name, claim, folder, listener, log_dir, triton, limits))
    finally:
        triton.end()
    if why:
        _log.error("%s", why)  # after all that Triton prints: what an output ends with is why it ended
    return 1 if why else 0


if __name__ == "__main__":
    modes.keep_to_owner()
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])))
