"""Whose connection goes when all are taken."""

import contextlib
import socket
import time

from aiinfra_lab.deploy.server import protocol
from tests.conftest import PATIENCE_S, until

from .test_protocol import Answers, Running, ended, post


def test_one_that_never_asked_anything_goes_before_one_that_is_in_use(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 3)
    running = Running()
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", running.port), PATIENCE_S))

        used = connect()
        used.sendall(post("/", b"once"))
        assert Answers(used).bodies == [b"once"]
        unused = [connect() for _ in range(5)]
        assert all(map(ended, unused[:3]))
        used.sendall(post("/", b"again"))
        assert Answers(used).bodies == [b"again"]
    running.stop()


def test_slow_heads_make_room_for_others_before_their_time(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(protocol, "HEAD_S", PATIENCE_S)
    monkeypatch.setattr(protocol, "RESERVED_S", 0.2)
    running = Running()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), PATIENCE_S))
            slow.sendall(b"GET /slow HTTP/1.1\r\nhost")
        until(lambda: len(running.server.connections) == 4)
        time.sleep(0.5)
        for _ in range(3):
            other = stack.enter_context(socket.create_connection(("127.0.0.1", running.port), PATIENCE_S))
            other.sendall(post("/", b"others"))
            assert Answers(other).bodies == [b"others"]
    running.stop()
