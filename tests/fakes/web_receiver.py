"""A receiver of webhooks on loopback: keeps what was posted, and answers as it is told to, one answer after the other.

No library has a server that resets a connection or lets bytes trickle.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESET = -1
"""The connection is reset before an answer."""
SILENT = -2
"""No answer comes until the receiver ends."""
TRICKLE = -3
"""A byte every 50 ms, and no end."""


@dataclass(frozen=True)
class Posted:
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answer:
    """status: also RESET, SILENT or TRICKLE."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"


class WebReceiver:
    """Also a proxy: `tunnels_to` is the port behind it, whatever host it is asked for, and `tunneled` what for.

    answers: the next ones; then 200, but at paths in `by_path` what stands there. posted: all that was taken, and
    `refused` all that was not."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: list[Answer] = []
        self.by_path: dict[str, Answer] = {}
        self.posted: list[Posted] = []
        self.refused: list[Posted] = []
        self.tunnels_to = 0
        self.tunneled: list[Posted] = []
        self.ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.handle(self)

            def do_CONNECT(self) -> None:
                receiver.tunnel(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self) -> Iterator[WebReceiver]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def tunnel(self, request: BaseHTTPRequestHandler) -> None:
        self.tunneled.append(Posted(request.path, dict(request.headers), b""))
        request.send_response(200)
        request.end_headers()
        with socket.create_connection(("127.0.0.1", self.tunnels_to)) as behind:
            back = threading.Thread(target=_copy, args=(behind, request.connection))
            back.start()
            _copy(request.connection, behind)
            back.join()
        request.close_connection = True

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        posted = Posted(request.path, dict(request.headers), body)
        with self._lock:
            answer = self.answers.pop(0) if self.answers else self.by_path.get(request.path, Answer())
            (self.posted if 200 <= answer.status < 300 else self.refused).append(posted)
        if answer.status == RESET:
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
            request.close_connection = True
        elif answer.status == SILENT:
            self.ended.wait()
        elif answer.status == TRICKLE:
            with contextlib.suppress(OSError):
                while not self.ended.wait(0.05):
                    request.wfile.write(b"H")
        else:
            request.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(answer.body)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
