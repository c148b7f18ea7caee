"""What may arrive at a host core by mistake, from its kernel and at its socket: none of it ends the kernel."""

import contextlib
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiinfra_lab.host.exchange import pack_piece
from aiinfra_lab.host.frames import Kind, MessageChannel, frame, pack
from aiinfra_lab.kernels.reach import LocalReach
from tests.conftest import until
from tests.kernels.far import Far

DEEP = b"[" * 200_000
LATE = 2**40


@pytest.fixture(scope="module")
def far(tmp_path_factory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("core")
    far = Far(LocalReach(folder / "host"), folder / "host", folder / "here", alone_s=60.0)
    far.until(lambda: far.state.phase == "ready")
    yield far
    far.link.close()
    os.kill(core(far)["pid"], signal.SIGTERM)  # what others have sent in its owner's name has used up its numbers
    until(lambda: core(far)["phase"] == "ended")


def core(far: Far) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(far.spec.folder) / "host.json").read_text())
    return found


def hello(**fields: Any) -> bytes:
    return frame(Kind.HELLO, 0, json.dumps({"received": 0, "owner": "foreign", "connection": 1, **fields}).encode())


def command(*parts: bytes) -> bytes:
    return frame(Kind.MESSAGE, LATE, pack(MessageChannel.COMMAND, parts, 0.0))


def lease(**fields: Any) -> bytes:
    return frame(Kind.LEASE, 0, json.dumps({"left_s": None, "reason": "x", "idle_s": None, **fields}).encode())


def put(data: bytes = b"", **head: Any) -> bytes:
    return frame(Kind.PUT, 0, pack_piece(data, **head))


def get(**head: Any) -> bytes:
    return frame(Kind.GET, 0, pack_piece(**head))


HELLOS = {
    "list": b"[]",
    "null": b"null",
    "text": b'"x"',
    "deep": DEEP,
    "infinite": b'{"received": Infinity}',
    "huge": b'{"received": 1' + b"0" * 400 + b"}",
    "no text": b"\xff\xfe",
    "no number": b'{"received": "x"}',
}
FRAMES = {
    "deep keep": frame(Kind.KEEP, 0, DEEP),
    "keep of a number": frame(Kind.KEEP, 0, b"5"),
    "deep piece": frame(Kind.PUT, 0, struct.pack(">H", 60000) + b"[" * 60000),
    "infinite place": put(name="a.in", at=float("inf")),
    "huge place": put(name="a.in", at=2**70),
    "huge place to read": put(b"x", name="a.in", at=0) + get(name="a.in", at=2**70),
    "negative place to read": put(b"x", name="a.in", at=0) + get(name="a.in", at=-1),
    "no command": command(),
    "no signal": command(b"signal"),
    "a signal that is none": command(b"signal", b"x"),
    "a huge signal": command(b"signal", b"9" * 30),
    "idle of text": lease(idle_s="x"),
    "idle of NaN": lease(idle_s=float("nan")),
    "lease of NaN": lease(left_s=float("nan")),
    "lease for ever": lease(left_s=float("inf")),
    "lease of text": lease(left_s="x"),
}


def send(far: Far, data: bytes) -> None:
    """As whoever finds the socket; returns once the core has closed the connection, or has read it all."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
        connection.settimeout(0.5)
        connection.connect(core(far)["socket"])
        connection.sendall(data)
        while connection.recv(1 << 16):
            pass


def lives(far: Far) -> bool:
    """Whether its core does, and still answers."""
    time.sleep(0.1)
    return core(far)["phase"] == "ready" and Path(f"/proc/{core(far)['core_pid']}").exists()


@pytest.mark.parametrize("name", HELLOS)
def test_a_greeting_that_cannot_be_read_takes_nobodys_place(far, name):
    far.until(lambda: far.link.is_connected)
    send(far, frame(Kind.HELLO, 0, HELLOS[name]))
    assert lives(far)
    far.serve(0.2)
    assert far.link.is_connected


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_cannot_be_read_costs_its_connection_alone(far, name):
    send(far, hello() + FRAMES[name])
    assert lives(far)


def test_a_lease_that_cannot_be_read_changes_nothing(far):
    send(far, hello() + lease(left_s=0.1, idle_s="x"))
    time.sleep(0.5)
    assert lives(far)


@pytest.mark.parametrize("name", [[1], {}, None, 7])
def test_a_request_whose_id_is_no_text_ends_no_core(tmp_path, name):
    far = Far(LocalReach(tmp_path / "host"), tmp_path / "host", tmp_path / "here", alone_s=60.0)
    message = far.session.msg("execute_request", {"code": "1"})
    message["header"]["msg_id"] = name
    far.link.send(MessageChannel.SHELL, [b"client", *far.session.serialize(message)])
    far.execute("print(6 * 7)")
    far.until(lambda: far.printed == "42\n")
    far.end()
    assert until(lambda: far.state.why) == "stopped"
