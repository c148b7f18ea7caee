"""The endpoint's end of the process that speaks gRPC for it: started when it is asked for, and again when it dies."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

from msgspec.structs import replace

from ...errors import LabError, Missing
from ...jobs import process
from ...store import Store, update
from ..ports import HOST
from ..record import EndpointRecord

MODULE = "aiinfra_lab.deploy.grpc"
# One that dies is started again after a pause, twice as long each time until one has lived for STEADY_S.
PAUSE_S, MOST_PAUSE_S = 1.0, 60.0
STEADY_S = 60.0
WRITE_S = 5.0
END_S = 1.0

_log = logging.getLogger(__name__)


def check_installed() -> None:
    """Missing when nothing could speak gRPC."""
    if find_spec("grpc") is None:
        raise Missing("gRPC needs the package grpcio, which is not installed", "pip install 'aiinfra-lab[grpc]'")


class Sidecar:
    """Follows what the endpoint's record says of gRPC. Nothing that becomes of the process harms the endpoint."""

    def __init__(
        self,
        name: str,
        store: Store,
        endpoint_port: int,
        max_body: int,
        command: Sequence[str] = (sys.executable, "-m", MODULE),
    ) -> None:
        self._name, self._store = name, store
        self._command, self._arguments = command, (str(endpoint_port), str(max_body))
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._line = b""
        self._started_at = self._again_at = self._write_at = 0.0
        self._pause_s = PAUSE_S
        self._is_ending = self._is_over = False

    def follow(self, body: EndpointRecord) -> None:
        """Have it live, or not, and write where it listens. Returns at once; to be called again and again."""
        if self._process is None:
            if body.grpc_port is not None and not self._is_over and time.monotonic() >= self._again_at:
                self._start(body.grpc_port)
        elif (code := self._process.poll()) is not None:
            self._lost(code)
        elif body.grpc_port is None:
            self._ask_to_end()
        if _url(self._heard()) != body.grpc_url and time.monotonic() >= self._write_at:
            self._write(body.job)

    def end(self) -> None:
        """Have it answer what it has taken, and then end; no other is started."""
        self._is_over = True
        self._ask_to_end()

    def close(self) -> None:
        """See to it that it is gone."""
        self.end()
        if self._process is None:
            return
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.end_child(self._process)
            self._process.wait()
        self._forget()

    def _start(self, port: int) -> None:
        here, there = socket.socketpair()
        try:
            with there:
                self._process = subprocess.Popen([*self._command, str(port), *self._arguments], stdin=there.fileno())
        except OSError as problem:
            here.close()
            _log.warning("gRPC is not spoken now: %s", problem)
            self._wait()
            return
        here.setblocking(False)
        self._socket, self._line, self._started_at, self._is_ending = here, b"", time.monotonic(), False

    def _write(self, job: str) -> None:
        """Write where it listens. A store that takes nothing is left alone for a while: others need it more."""
        try:
            update(self._store, EndpointRecord, self._name, partial(_listening, job=job, port=self._heard()))
        except LabError as problem:
            _log.warning("where gRPC is spoken is not written: %s", problem)
            self._write_at = time.monotonic() + WRITE_S

    def _heard(self) -> int:
        """The port that it listens on; 0 while it does not."""
        if self._socket is None or self._is_ending:
            return 0
        with contextlib.suppress(OSError):
            self._line += self._socket.recv(16)
        return int(self._line) if self._line.endswith(b"\n") else 0

    def _ask_to_end(self) -> None:
        self._is_ending = True
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def _lost(self, code: int) -> None:
        if not self._is_ending:
            _log.warning("the process that speaks gRPC is gone (exit code %d): another is started", code)
            if time.monotonic() - self._started_at > STEADY_S:
                self._pause_s = PAUSE_S
            self._wait()
        self._forget()

    def _wait(self) -> None:
        self._again_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, MOST_PAUSE_S)

    def _forget(self) -> None:
        self._process = None
        if self._socket:
            self._socket.close()
            self._socket = None


def _listening(body: EndpointRecord, job: str, port: int) -> EndpointRecord | None:
    """The record with where it listens; None when it is another start's, or says so already."""
    if body.job != job or body.grpc_url == _url(port):
        return None
    return replace(body, grpc_url=_url(port), grpc_port=port or body.grpc_port)


def _url(port: int) -> str:
    return f"grpc://{HOST}:{port}" if port else ""
