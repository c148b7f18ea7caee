"""The instance metadata service, version 2, on loopback: moto has none that a token is needed for.

What it adds: tokens with a lifetime that are good for one instance alone, refusal of requests without one and of those
that came through a proxy, a folder's listing, and whatever its instance's cloud says at that moment, such as the notice
before a spot instance is taken. Not here: the hop limit, which is a matter of networks, and credentials of a role.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"
LONGEST_S = 21_600


class Imds:
    """The service as one instance sees it, between `with` and its end.

    read: what the instance's cloud says now, by path below `/latest/`; empty when the service is switched off
    tokens_required: what `HttpTokens` of the instance is: version 1 answers without one
    """

    def __init__(
        self, read: Callable[[], Mapping[str, str]], *, tokens_required: bool = True, host: str = "127.0.0.1"
    ) -> None:
        self.clock = time.monotonic
        self._read, self._tokens_required = read, tokens_required
        self._tokens: dict[str, float] = {}
        handler = type("Handler", (_Handler,), {"imds": self})
        self._server = ThreadingHTTPServer((host, 0), handler)

    @property
    def url(self) -> str:
        """For `AWS_EC2_METADATA_SERVICE_ENDPOINT`."""
        return "http://{}:{}".format(*self._server.server_address[:2])

    def __enter__(self) -> Imds:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, wanted_s: str | None, forwarded: bool) -> tuple[int, str]:
        """Status and body of the request for a token."""
        if not self._read() or forwarded:
            return 403, ""
        if wanted_s is None or not wanted_s.isdecimal() or not 1 <= int(wanted_s) <= LONGEST_S:
            return 400, ""
        made = secrets.token_urlsafe(40)
        self._tokens[made] = self.clock() + int(wanted_s)
        return 200, made

    def get(self, path: str, token: str | None) -> tuple[int, str]:
        """Status and body of a request for data."""
        known = self._read()
        if not known:
            return 403, ""
        if (self._tokens_required or token is not None) and self._tokens.get(token or "", 0.0) <= self.clock():
            return 401, ""
        wanted = path.removeprefix("/latest/")
        if wanted in known:
            return 200, known[wanted]
        folder = wanted.rstrip("/") + "/"
        below = [it.removeprefix(folder).partition("/") for it in known if it.startswith(folder)]
        names = sorted({first + slash for first, slash, _ in below})
        return (200, "\n".join(names)) if names else (404, "")


class _Handler(BaseHTTPRequestHandler):
    imds: Imds

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token":
            return self._answer(405, "")
        wanted_s = self.headers.get(TTL)
        status, body = self.imds.token(wanted_s, forwarded="X-Forwarded-For" in self.headers)
        return self._answer(status, body, {TTL: wanted_s} if status == 200 and wanted_s else {})

    def do_GET(self) -> None:
        self._answer(*self.imds.get(self.path, self.headers.get(TOKEN)))

    def _answer(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        raw = body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain", "Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
