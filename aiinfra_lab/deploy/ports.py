"""Where endpoints listen: the loopback address, and nowhere else until there are keys."""

from __future__ import annotations

import socket

from ..errors import Conflict

HOST = "127.0.0.1"


def bind(port: int) -> socket.socket:
    """A bound socket; port 0 takes any free one. Conflict when the port is not to be had."""
    listener = socket.socket()
    # Else the port of an endpoint that was just stopped is refused while its old connections are in TIME_WAIT.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(512)  # only listening tells whether the port is taken: an address may be bound twice
    except OSError as problem:
        listener.close()
        raise Conflict(f"port {port} cannot be used: {problem.strerror}", "choose another with --port") from None
    return listener
