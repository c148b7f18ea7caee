"""`python -m aiinfra_lab.deploy.server.fork_server FD`: it has imported all that a model's process needs, and forks.

A fork takes milliseconds where a start takes half a second. No session of the runtime and no thread of ours may exist
here: a fork would take over half of it. The endpoint's own process never forks.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys

import msgspec
import numpy as np  # noqa: F401  # imported once, here, for all that are forked
import onnxruntime  # noqa: F401

from ... import logs, modes
from . import worker
from .messages import CannotServe, Ended, Open

_log = logging.getLogger("aiinfra_lab.deploy.server.fork_server")  # __name__ is __main__ here
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Open).decode


def main(descriptor: int) -> None:
    """Fork at each order until the other end is closed."""
    orders = socket.socket(fileno=descriptor)
    # The endpoint ends by itself and closes its ends: a signal to all of its processes must not cut its last answers.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: _reap(orders))
    gc.collect()
    gc.freeze()
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(orders, 1 << 16, 1)
        except ConnectionResetError:  # it ended with something that was told unread
            return
        if not message:
            return
        order, end = _decode(message), socket.socket(fileno=descriptors[0])
        try:
            is_child = os.fork() == 0
        except OSError as problem:  # too many processes, or no memory for one more
            _refuse(end, order, problem)
        else:
            if is_child:
                _work(orders, end, order)
        end.close()


def _refuse(end: socket.socket, order: Open, problem: OSError) -> None:
    """Say through its own channel why there is no process."""
    what = f"no process can be made for {order.uri}: {problem}"
    _log.error("%s", what)
    with contextlib.suppress(OSError):
        end.send(_encode(CannotServe("Unavailable", what, "end what else runs here, or raise the limits, and repeat")))


def _work(orders: socket.socket, end: socket.socket, order: Open) -> None:
    """The life of a forked process; it does not return."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        orders.close()
        worker.serve(end, order)
        code = 0
    except BaseException:  # noqa: BLE001  # nothing may run the hooks of the process that was copied
        _log.exception("a process of %s failed", order.uri)
    finally:
        logging.shutdown()
        os._exit(code)


def _reap(orders: socket.socket) -> None:
    """Tell what became of processes that ended."""
    with contextlib.suppress(ChildProcessError, OSError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            orders.send(_encode(Ended(pid, max(0, code), max(0, -code))))


if __name__ == "__main__":
    logs.configure()
    modes.keep_to_owner()
    main(int(sys.argv[1]))
