"""`python -m aiinfra_lab.deploy.grpc PORT ENDPOINT_PORT MAX_BODY`: the process that speaks gRPC for one endpoint.

It listens on 127.0.0.1 and nowhere else, asks the endpoint over its own HTTP, and knows no store. Its standard input is
a socket of the endpoint's: it writes there on which port it listens. When that is closed, however the endpoint ended,
and at SIGTERM it answers what it has taken, and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from ... import logs, modes
from ..ports import HOST

# Less than the endpoint takes for its own last answers, which these are among.
DRAIN_S = 3.0
# Beyond that: a long message may keep the event loop.
LATE_S = 1.0

_log = logging.getLogger("aiinfra_lab.deploy.grpc")  # __name__ is __main__ here


async def serve(parent: socket.socket, port: int, endpoint_port: int, max_body: int) -> None:
    """Serve until the parent or a signal ends it."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    end = partial(loop.call_soon_threadsafe, ended.set)
    threading.Thread(target=_end_with, args=(parent, end), name="parent", daemon=True).start()
    from . import service  # from here on: what it imports takes most of the time until it listens
    from .rest import Rest

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = service.server(Rest(HOST, endpoint_port), max_body)
    try:
        found = server.add_insecure_port(f"{HOST}:{port}")
    except RuntimeError:  # somebody else has the one from before
        found = server.add_insecure_port(f"{HOST}:0")
        _log.warning("port %d is taken: gRPC is spoken on %d", port, found)
    await server.start()
    with contextlib.suppress(OSError):  # a parent that is gone by now is noticed on the other thread
        parent.sendall(b"%d\n" % found)
    await ended.wait()
    await server.stop(DRAIN_S)


def _end_with(parent: socket.socket, end: Callable[[], object]) -> None:
    """On a thread of its own, whatever the event loop does."""
    with contextlib.suppress(OSError):  # a parent that is killed may reset it
        while parent.recv(1):
            pass
    with contextlib.suppress(RuntimeError):  # the event loop has ended already
        end()
    time.sleep(DRAIN_S + LATE_S)
    os._exit(0)


def main(port: int, endpoint_port: int, max_body: int) -> int:
    """Serve, or say what is missing."""
    logs.configure()
    parent = socket.socket(fileno=sys.stdin.fileno())
    try:
        asyncio.run(serve(parent, port, endpoint_port, max_body))
    except ImportError as problem:
        _log.error("gRPC cannot be spoken: %s; fix: pip install 'aiinfra-lab[grpc]'", problem)
        return 1
    return 0


if __name__ == "__main__":
    modes.keep_to_owner()
    sys.exit(main(*map(int, sys.argv[1:])))
