"""Where endpoints listen: the loopback address, and nowhere else until there are keys."""

from __future__ import annotations

import socket

from ..errors import Conflict

HOST = "127.0.0.1"


def bind_shared(port: int, count: int) -> list[socket.socket]:
    """So many sockets of one port, among which the kernel deals out the connections. Conflict as of `bind`."""
    if count == 1:
        return [bind(port)]
    # Alone first: of a socket that shares its port nobody is told that another endpoint shares it.
    with bind(port) as alone:
        port = alone.getsockname()[1]
    return [bind(port, is_shared=True) for _ in range(count)]


def bind(port: int, *, is_shared: bool = False) -> socket.socket:
    """A bound socket; port 0 takes any free one. Conflict when the port is not to be had."""
    listener = socket.socket()
    if is_shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Else the port of an endpoint that was just stopped is refused while its old connections are in TIME_WAIT.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(512)  # only listening tells whether the port is taken: an address may be bound twice
    except OSError as problem:
        listener.close()
        raise Conflict(f"port {port} cannot be used: {problem.strerror}", "choose another with --port") from None
    return listener
