"""What each path of an endpoint answers: predictions, health, readiness, metrics and status."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...train.saved_model import SavedModel
from . import docs_page, metrics, openapi, refusals, tallies
from .counts import Counts
from .descriptions import Descriptions, NotServed
from .heads import RequestHead
from .inference_api import InferenceApi
from .messages import Form, FormName
from .predictor import Predictor, ServedArm, options_of
from .protocol import ARROW_STREAM, JSON, Request
from .tallies import Tallies

_encode = msgspec.json.Encoder().encode
_FORMS: dict[FormName, bytes] = {"json": JSON, "arrow": ARROW_STREAM}
# The names and addresses under which a machine reaches itself, with a port or without.
_LOOPBACK = re.compile(rb"(?:(?:[a-z0-9-]+\.)*localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Counted:
    """What all fronts of an endpoint have counted since then: each version, and the tallies of each front."""

    versions: dict[str, Counts]
    tallies: Sequence[Tallies]
    started_at: float = field(default_factory=time.time)


class HttpApi:
    """Takes each request to what answers it.

    claim: which start of the endpoint this is, as its target calls it. write_counts: has what was counted written into
    the endpoint's record, and calls what it is given when that was tried. counted: None where there is one front.
    """

    def __init__(
        self,
        name: str,
        claim: str,
        predictor: Predictor,
        write_counts: Callable[[Callable[[], None]], None],
        counted: Counted | None = None,
    ) -> None:
        self.name = name
        self.claim = claim
        self.predictor = predictor
        self._write_counts = write_counts
        self._counted = counted or Counted(predictor.counts, [predictor.tallies])
        self._paths: dict[bytes, tuple[bytes, Callable[[Request], None]]] = {
            b"/predict": (b"POST", self._predict),
            b"/flush": (b"POST", self._flush),
            b"/healthz": (b"GET", lambda request: request.respond(200, b'{"healthy":true}')),
            b"/readyz": (b"GET", self._ready),
            b"/metrics": (b"GET", self._metrics),
            b"/status": (b"GET", lambda request: request.respond(200, _encode(self.status()))),
            b"/openapi.json": (b"GET", self._openapi),
            b"/docs": (b"GET", self._docs),
        }
        self._descriptions = Descriptions(predictor)
        self._inference = InferenceApi(name, predictor, self._descriptions)

    def handle(self, request: Request) -> None:
        """Answer a request, now or later."""
        head = request.head
        if head.route:
            head.route(request)
            return
        path = head.path.partition(b"?")[0]
        known = self._paths.get(path) or self._inference.known(path)
        method = b"GET" if head.method == b"HEAD" else head.method
        if head.host and not _LOOPBACK.fullmatch(head.host):
            # A page may have its own name resolved to this machine, and its browser then lets it read the answers.
            self._refuse(request, 403, "only requests to localhost or 127.0.0.1 are answered; the Host names another")
        elif head.from_page:
            # Without keys, any page that the user opens could otherwise send rows through his browser.
            self._refuse(request, 403, "pages in a browser may not use this endpoint")
        elif known is None:
            self._refuse(request, 404, f"there is no such path; there are {b' '.join(self._paths).decode()} and /v2")
        elif method == b"OPTIONS":
            request.respond(200, _encode({"allow": _allowed(known[0]).split(", ")}), extra=_allow(known[0]))
        elif method != known[0]:
            self._refuse(request, 405, f"this path takes {_allowed(known[0])}", _allow(known[0]))
        else:
            known[1](request)

    def status(self) -> dict[str, Any]:
        """Everything about the endpoint at this moment."""
        counted, judge = self._counted, self.predictor.routes.judge
        readiness = self._readiness()
        return {
            **readiness,
            "up_s": round(time.time() - counted.started_at, 3),
            "waiting_requests": tallies.summed(counted.tallies, "waiting"),
            "log_lost_rows": tallies.summed(counted.tallies, "log_lost"),
            "refused": tallies.total(counted.tallies, "refused"),
            # A copy, which the GIL makes in one step: the watch adds versions on a thread of its own.
            "versions": {uri: counts.to_record() for uri, counts in counted.versions.copy().items()},
            "runtimes": {version.model.uri: version.workers.runtime for version in self.predictor.routes.live},
            "verdict": judge.shown() if judge else None,
        }

    def _readiness(self) -> dict[str, Any]:
        routes = self.predictor.routes
        self.predictor.publish()
        return {
            "name": self.name,
            "claim": self.claim,
            "ready": self.predictor.ready,
            # Whoever waits for a generation waits until every front serves it.
            "generation": tallies.least(self._counted.tallies, "generation"),
            "champion": _uri(routes.champion),
            "canary": _uri(routes.canary),
            "canary_share": routes.canary_share,
            "arms": {arm.version.model.uri: [arm.role, arm.share] for arm in routes.arms},
        }

    def _predict(self, request: Request) -> None:
        head, predict = request.head, self.predictor.predict
        options, form = options_of(head), _form_of(head)
        head.route = lambda request: predict(request.body, request.respond, options, form)
        head.route(request)

    def _flush(self, request: Request) -> None:
        """Answer when what was predicted before is on disk, and counted in the endpoint's record."""

        def done() -> None:
            # It is called on another thread, and connections belong to the loop's.
            self.predictor.loop.call_soon_threadsafe(request.respond, 200, b'{"flushed":true}')

        self.predictor.log.flush(lambda: self._write_counts(done))

    def _openapi(self, request: Request) -> None:
        self._describe(request, lambda uri, saved: (_encode(openapi.document(self.name, uri, saved)), JSON, b""))

    def _docs(self, request: Request) -> None:
        host = request.head.host.decode()  # that of a machine's own names, as was checked
        self._describe(request, lambda uri, saved: docs_page.page(self.name, uri, saved, host))

    def _describe(self, request: Request, write: Callable[[str, SavedModel], tuple[bytes, bytes, bytes]]) -> None:
        """Answer with something about the version that serves: body, kind and further header fields."""
        try:
            body, kind, extra = write(*self._descriptions.served())
        except NotServed as problem:
            self._refuse(request, 503, str(problem))
        else:
            request.respond(200, body, kind, extra)

    def _ready(self, request: Request) -> None:
        request.respond(200 if self.predictor.ready else 503, _encode(self._readiness()))

    def _metrics(self, request: Request) -> None:
        self.predictor.publish()
        request.connection.server.publish()
        # Copied, since the watch may add a version on its own thread meanwhile.
        text = metrics.text(self.name, self.predictor, self._counted.versions.copy(), self._counted.tallies)
        request.respond(200, text, metrics.KIND)

    def _refuse(self, request: Request, status: int, what: str, extra: bytes = b"") -> None:
        self.predictor.refused.add(status)
        request.respond(status, refusals.written(refusals.form_of(request.head.path), what), extra=extra)


def _form_of(head: RequestHead) -> Form | None:
    """How its body is written, and its answer: as the body, where Accept names no other form. None for JSON."""
    if not head.accept and head.kind in (JSON, b""):
        return None
    accept = head.accept.lower()
    is_arrow = head.kind.lower().partition(b";")[0].rstrip() == ARROW_STREAM
    if not is_arrow and ARROW_STREAM not in accept:
        return None
    wanted: set[FormName] = {name for name, kind in _FORMS.items() if kind in accept}
    name: FormName = "arrow" if is_arrow else "json"
    return Form(name, wanted.pop() if len(wanted) == 1 else name)


def _uri(arm: ServedArm | None) -> str | None:
    return arm.version.model.uri if arm else None


def _allowed(method: bytes) -> str:
    return f"{'GET, HEAD' if method == b'GET' else method.decode()}, OPTIONS"


def _allow(method: bytes) -> bytes:
    return f"allow: {_allowed(method)}\r\n".encode()
