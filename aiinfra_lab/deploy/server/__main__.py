"""`python -m aiinfra_lab.deploy.server NAME`: the process of one endpoint, on 127.0.0.1 and nowhere else.

It binds its port first, then loads the versions that its record orders, and serves until SIGTERM: then it takes no
new connection, answers what it has taken, writes its log and counts, and exits with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from ... import logs
from ...errors import LabError
from ...store import Record, Store, open_store, update
from ..orders import KIND
from ..ports import HOST, bind
from .answers import Answers
from .endpoint import Endpoint
from .predictions_log import PredictionsLog
from .protocol import Server
from .watch import Watch, is_named

_log = logging.getLogger("aiinfra_lab.deploy.server")  # __name__ is __main__ here

DRAIN_S = 4.0


async def serve(name: str, store: Store, record: Record, listener: socket.socket) -> int:
    """Serve until a signal comes or the watch says that it is over; the exit code."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def leave(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave, 0)
    log = PredictionsLog(Path(record.body["log_dir"]))
    endpoint = Endpoint(log, loop)
    server = Server(Answers(name, endpoint).handle, loop)
    watch = Watch(name, store, endpoint, lambda code: _from_thread(loop, leave, code))
    gc.collect()
    watch.start(record)
    socket_server = await loop.create_server(server.connect, sock=listener, backlog=512)
    code = await ended
    socket_server.close()
    await _drain(endpoint, server)
    await loop.run_in_executor(None, log.close)
    await loop.run_in_executor(None, watch.close, code)
    return code


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[int], None], code: int) -> None:
    loop.call_soon_threadsafe(call, code)


async def _drain(endpoint: Endpoint, server: Server) -> None:
    """Answer what was taken; what is not answered after DRAIN_S is cut off."""
    endpoint.draining = True
    server.drain()
    until = asyncio.get_running_loop().time() + DRAIN_S
    while (endpoint.waiting or server.connections) and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0.02)
    server.close()


def main(name: str) -> int:
    """Bind, say where, and serve."""
    logs.configure()
    store = open_store()
    record = store.get(KIND, name)
    if record is None:
        _log.error("there is no endpoint %s", name)
        return 1
    if not is_named(record.body):
        # The supervisor may bring back a job that was killed together with it, after another took its place.
        _log.info("another process serves %s now", name)
        return 0
    try:
        listener = bind(record.body["port"])
        port = listener.getsockname()[1]
        where = {"port": port, "url": f"http://{HOST}:{port}", "ended_at": None, "stopped_at": None}
        record = update(store, KIND, name, lambda body: {**body, **where} if is_named(body) else body)
        return uvloop.run(serve(name, store, record, listener))
    except LabError as problem:
        _log.error("%s", problem)
        with contextlib.suppress(LabError):  # the store itself may be what is the matter; the log has the words
            told = {"problem": str(problem), "problem_generation": record.body["generation"]}
            update(store, KIND, name, lambda body: {**body, **told} if is_named(body) else body)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
