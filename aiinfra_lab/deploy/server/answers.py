"""What each path of an endpoint answers: predictions, health, readiness, metrics and status."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from . import metrics
from .endpoint import Endpoint
from .judge import Judge
from .protocol import Request

_encode = msgspec.json.Encoder().encode


def _said(judge: Judge) -> dict[str, Any]:
    return {"state": judge.said.verdict, "reasons": judge.said.reasons, "requests": judge.requests}


class Answers:
    """Takes each request to what answers it."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self.name = name
        self.endpoint = endpoint
        self.started_at = time.time()
        self._paths: dict[bytes, tuple[bytes, Callable[[Request], None]]] = {
            b"/predict": (b"POST", self._predict),
            b"/healthz": (b"GET", lambda request: request.respond(200, b'{"healthy":true}')),
            b"/readyz": (b"GET", self._ready),
            b"/metrics": (b"GET", self._metrics),
            b"/status": (b"GET", lambda request: request.respond(200, _encode(self.status()))),
        }

    def handle(self, request: Request) -> None:
        """Answer a request, now or later."""
        path = request.path.partition(b"?")[0]
        known = self._paths.get(path)
        if known is None:
            self._refuse(request, 404, f"there is no such path; there are {b' '.join(self._paths).decode()}")
        elif request.method != known[0]:
            self._refuse(request, 405, f"this path takes {known[0].decode()}", b"allow: %b\r\n" % known[0])
        elif request.from_page:
            # Without keys, any page that the user opens could otherwise send rows through his browser.
            self._refuse(request, 403, "pages in a browser may not use this endpoint")
        else:
            known[1](request)

    def status(self) -> dict[str, Any]:
        """Everything about the endpoint at this moment."""
        endpoint, judge = self.endpoint, self.endpoint.routes.judge
        return {
            **self._readiness(),
            "name": self.name,
            "up_s": round(time.time() - self.started_at, 3),
            "waiting_rows": endpoint.waiting_rows,
            "log_lost_rows": endpoint.log.lost,
            "log_taken_rows": endpoint.log.taken,
            "log_settled_rows": endpoint.log.settled,
            "refused": {str(status): count for status, count in endpoint.refused.items()},
            "versions": {uri: counts.to_body() for uri, counts in endpoint.counts.copy().items()},
            "verdict": _said(judge) if judge else None,
        }

    def _readiness(self) -> dict[str, Any]:
        routes = self.endpoint.routes
        return {
            "ready": self.endpoint.ready,
            "generation": routes.generation,
            "champion": routes.champion.model.uri if routes.champion else None,
            "canary": routes.canary.model.uri if routes.canary else None,
            "canary_share": routes.canary_share,
        }

    def _predict(self, request: Request) -> None:
        self.endpoint.predict(request.body, request.respond)

    def _ready(self, request: Request) -> None:
        request.respond(200 if self.endpoint.ready else 503, _encode(self._readiness()))

    def _metrics(self, request: Request) -> None:
        endpoint = self.endpoint
        request.respond(200, metrics.text(self.name, endpoint, endpoint.counts.copy(), endpoint.refused), metrics.KIND)

    def _refuse(self, request: Request, status: int, what: str, extra: bytes = b"") -> None:
        self.endpoint.refused[status] += 1
        request.respond(status, _encode({"error": {"what": what}}), extra=extra)
