"""The paths below /v2: the Open Inference Protocol of one endpoint, which has one model of its own name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version as installed

import msgspec

from ...uris import Uri
from . import inference_protocol as v2
from .descriptions import Descriptions, NotServed
from .predictor import Predictor, options_of
from .protocol import Request

_encode = msgspec.json.Encoder().encode
_BINARY = b"application/octet-stream"

Answering = tuple[bytes, Callable[[Request], None]]


class InferenceApi:
    """Finds what answers a path, as method and function.

    The model is called as the endpoint or as in the registry. Who names a version gets it; otherwise the request's key
    decides, `parameters.key`.
    """

    def __init__(self, name: str, predictor: Predictor, descriptions: Descriptions) -> None:
        self.name = name
        self._predictor = predictor
        self._descriptions = descriptions

    def known(self, path: bytes) -> Answering | None:
        """What answers that path; None when it is none of the protocol's."""
        match path.decode("ascii", "replace").split("/")[1:]:
            case ["v2"] | ["v2", ""]:
                return b"GET", self._server
            case ["v2", "health", "live"]:
                return b"GET", lambda request: request.respond(200, b'{"live":true}')
            case ["v2", "health", "ready"]:
                return b"GET", self._ready
            case ["v2", "models", model, "versions", version, *rest]:
                return self._of_model(model, version, rest)
            case ["v2", "models", model, *rest]:
                return self._of_model(model, "", rest)
        return None

    def _of_model(self, model: str, version: str, rest: list[str]) -> Answering | None:
        match rest:
            case []:
                return b"GET", partial(self._metadata, model, version)
            case ["ready"]:
                return b"GET", partial(self._model_ready, model, version)
            case ["infer"]:
                return b"POST", partial(self._infer, model, version)
        return None

    def _server(self, request: Request) -> None:
        about = {"name": "aiinfra-lab", "version": installed("aiinfra-lab"), "extensions": v2.EXTENSIONS}
        request.respond(200, _encode(about))

    def _ready(self, request: Request) -> None:
        ready = self._predictor.ready
        request.respond(200 if ready else 503, _encode({"ready": ready}))

    def _metadata(self, model: str, version: str, request: Request) -> None:
        if (uri := self._found(request, model, version)) is None:
            return
        try:
            versions = [v2.version_of(live) for live in self._descriptions.live]
            request.respond(200, _encode(v2.model_metadata(model, self._descriptions.of(uri), versions)))
        except NotServed as problem:
            self._refuse(request, 503, str(problem))

    def _model_ready(self, model: str, version: str, request: Request) -> None:
        if self._found(request, model, version) is not None:
            ready = self._predictor.ready
            request.respond(200 if ready else 503, _encode({"name": model, "ready": ready}))

    def _infer(self, model: str, version: str, request: Request) -> None:
        if (uri := self._found(request, model, version)) is None:
            return
        options = options_of(request)
        if version and len(self._descriptions.live) > 1:
            options = replace(options, model=uri)  # who names a version gets that one, whatever the key says
        try:
            inference = v2.read(request.body, request.json_bytes, self._descriptions.of(uri))
        except v2.BadTensors as problem:
            self._refuse(request, 400, str(problem))
        except NotServed as problem:
            self._refuse(request, 503, str(problem))
        else:
            self._predictor.predict(inference.body, partial(self._answer, request, model, inference), options)

    def _answer(self, request: Request, model: str, inference: v2.Inference, status: int, answer: bytes) -> None:
        if status != 200:
            # The predictor has counted it. The protocol knows no other status for what does not fit the model.
            request.respond(400 if status == 422 else status, _encode({"error": _reason(answer)}))
            return
        try:
            uri = msgspec.json.decode(answer, type=_Answered).model
            body, json_bytes = v2.write(answer, inference, model, self._descriptions.of(uri))
        except (v2.BadTensors, NotServed) as problem:
            self._refuse(request, 500, str(problem))
            return
        if json_bytes is None:
            request.respond(200, body)
        else:
            request.respond(200, body, _BINARY, b"inference-header-content-length: %d\r\n" % json_bytes)

    def _found(self, request: Request, model: str, version: str) -> str | None:
        """The version that is meant; None when it was refused."""
        live = self._descriptions.live
        names = {self.name, *(Uri.parse(uri).name for uri in live)}
        uri = next((uri for uri in live if version in ("", v2.version_of(uri))), None)
        if model not in names:
            self._refuse(request, 404, f"there is no model {model[:100]!r}; there is {self.name}")
        elif uri is None:
            served = ", ".join(map(v2.version_of, live)) or "none yet"
            self._refuse(request, 404 if version else 503, f"that version does not serve; versions that do: {served}")
        else:
            return uri
        return None

    def _refuse(self, request: Request, status: int, reason: str) -> None:
        self._predictor.refused[status] += 1
        request.respond(status, _encode({"error": reason}))


class _Answered(msgspec.Struct):
    model: str


def _reason(answer: bytes) -> str:
    """What `/predict` answered that is no prediction, in a line."""
    found = msgspec.json.decode(answer)
    if "error" not in found:
        return next((str(row["error"]) for row in found["predictions"] if "error" in row), "no row got an answer")
    error = found["error"]
    where = f"row {error['row']}, {error['column']}: " if error.get("column") is not None else ""
    return f"{where}{error['what']}"
