"""`python -m aiinfra_lab.deploy.server NAME [FRONTS]`: the process of one endpoint, on 127.0.0.1 and nowhere else.

It binds its port first, then loads the versions that its record asks for, and serves until SIGTERM: then it takes no
new connection, answers what it has taken, writes its log and counts, and exits with 143: who did not ask for its end by
the record, as a machine that shuts down, finds that it comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import uvloop
from msgspec.structs import replace

from ... import logs, modes
from ...config import settings
from ...errors import Denied, LabError, StoreUnavailable
from ...store import Record, Store, open_store, update
from ..grpc.sidecar import Sidecar
from ..ports import HOST, bind_shared
from ..record import EndpointRecord
from .forks import Forks
from .front import Front, ServingLimits
from .fronts import Fronts
from .judge import look_seconds
from .many_fronts import ManyFronts, front_count
from .watch import Watch, is_named

_log = logging.getLogger("aiinfra_lab.deploy.server")  # __name__ is __main__ here

AGAIN_S = 1.0


async def serve(
    store: Store,
    record: Record[EndpointRecord],
    listeners: Sequence[socket.socket],
    forks: Forks,
    limits: ServingLimits,
    look_s: float,
) -> int:
    """Serve until a signal comes or the watch says that it is over; the exit code."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def leave(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave, 128 + number)
    forks.attach(loop)
    sidecar = Sidecar(record.name, store, record.body.port, limits.max_body)

    def write_counts(done: Callable[[], None]) -> None:
        fronts.flush(lambda: watch.flush(done))

    fronts: Fronts
    if listeners[1:]:
        fronts = many = ManyFronts(record.body, record.name, limits, forks, listeners, write_counts)
        front = many.front
    else:
        front = Front(record.name, record.body.job, Path(record.body.log_dir), limits, write_counts)
        fronts = Fronts(front.predictor, forks)
    watch = Watch(record.name, store, fronts, partial(_from_thread, loop, leave), look_s, sidecar.follow)
    # The watch freezes what lives then for good: garbage from the start must not be among it.
    gc.collect()
    watch.start(record)
    await front.listen(listeners[0])
    await fronts.begin()
    code = await ended
    sidecar.end()  # what it has taken is answered together with all else
    fronts.drain()
    # The log before the watch, whose last counts name the lines that the log has lost.
    await asyncio.gather(front.close(), fronts.close())
    await loop.run_in_executor(None, watch.close, code)
    await loop.run_in_executor(None, sidecar.close)
    forks.close()
    return code


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[int], None], code: int) -> None:
    loop.call_soon_threadsafe(call, code)


def main(name: str, count: int | None = None) -> int:
    """Bind, say where, and serve. count: of fronts, whatever the settings and this machine's cores allow."""
    logs.configure()
    store = open_store()
    record = store.get(EndpointRecord, name)
    if record is None:
        _log.error("there is no endpoint %s", name)
        return 1
    if not is_named(record.body):
        # The supervisor may bring back a job that was killed together with it, after another took its place.
        _log.info("another process serves %s now", name)
        return 0
    try:
        limits, look_s = ServingLimits.of(settings()), look_seconds(settings())
        count = front_count(settings()) if count is None else count
        forks = Forks()  # first of all: it imports while the rest begins
        listeners = bind_shared(record.body.port, count)
        record = _write_address(store, name, listeners[0].getsockname()[1])
        return uvloop.run(serve(store, record, listeners, forks, limits, look_s))
    except LabError as problem:
        _log.error("%s", problem)
        with contextlib.suppress(LabError):  # the store itself may be what is the matter; the log has the problem
            _write_problem(store, record, str(problem))
        return 1


def _write_address(store: Store, name: str, port: int) -> Record[EndpointRecord]:
    """Where it listens, and that it lives, as far as anybody may have thought that it had ended.

    Waits, until the process is ended, while the store takes nothing: nobody would find where it listens.
    """
    where = {"port": port, "url": f"http://{HOST}:{port}", "ended_at": None, "stopped_at": None, "outcome": ""}
    logged = ""
    while True:
        try:
            return update(store, EndpointRecord, name, lambda body: replace(body, **where) if is_named(body) else None)
        except (Denied, StoreUnavailable) as problem:
            if problem.what != logged:
                _log.warning("waits until it can write where it listens: %s", problem)
            logged = problem.what
            time.sleep(AGAIN_S)


def _write_problem(store: Store, record: Record[EndpointRecord], problem: str) -> None:
    generation = record.body.generation

    def change(body: EndpointRecord) -> EndpointRecord | None:
        return replace(body, problem=problem, problem_generation=generation) if is_named(body) else None

    update(store, EndpointRecord, record.name, change)


if __name__ == "__main__":
    modes.keep_to_owner()
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
