"""The paths below /v2: the Open Inference Protocol of one endpoint, which has one model of its own name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version as installed

import msgspec

from . import inference_protocol as v2
from .descriptions import Descriptions, NotServed
from .messages import Form
from .predictor import Predictor, options_of
from .protocol import JSON, Request
from .refusals import written

_encode = msgspec.json.Encoder().encode

Answering = tuple[bytes, Callable[[Request], None]]


class InferenceApi:
    """Finds what answers a path, as method and function.

    The model is called as the endpoint or as in the registry. Under the endpoint's name the request's key decides who
    answers, `parameters.key`; under a registered model's, only where the key can mean no other model, and else the
    first of its versions answers. Who names a version gets it: in the path, or in the head one of those that the path
    means. An answer names the model and version that gave it.
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
            versions = [v2.version_of(live) for live in self._versions(model)]
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
        options = options_of(request.head)
        if options.model in self._descriptions.live and options.model not in self._meant(model, version):
            path = request.head.path.decode("ascii", "replace")[:150]
            self._refuse(request, 400, f"X-Aiinfra-Model names {options.model}, which is not what {path} means")
            return
        if not options.model and self._is_pinned(model, version):
            options = replace(options, model=uri)
        form = Form("tensors", "tensors", request.head.json_bytes)
        self._predictor.predict(request.body, partial(self._answer, request), options, form)

    def _answer(self, request: Request, status: int, body: bytes, kind: bytes = JSON, extra: bytes = b"") -> None:
        if status == 422:
            # The protocol knows no other status for what does not fit the model.
            status = 400
            self._predictor.refused[422] -= 1
            self._predictor.refused.add(status)
        request.respond(status, body, kind, extra)

    def _found(self, request: Request, model: str, version: str) -> str | None:
        """The version that is meant; None when it was refused."""
        named = self._versions(model)
        uri = next(iter(self._meant(model, version)), None)
        if not named and model != self.name:
            self._refuse(request, 404, f"there is no model {model[:100]!r}; there is {self.name}")
        elif uri is None:
            served = ", ".join(map(v2.version_of, named)) or "none yet"
            self._refuse(request, 404 if version else 503, f"that version does not serve; versions that do: {served}")
        else:
            return uri
        return None

    def _versions(self, model: str) -> list[str]:
        """The versions that serve under that name, the champion first."""
        live = self._descriptions.live
        return live if model == self.name else [uri for uri in live if v2.name_of(uri) == model]

    def _meant(self, model: str, version: str) -> list[str]:
        """Those of them that a path with that version, or with none, means."""
        return [uri for uri in self._versions(model) if version in ("", v2.version_of(uri))]

    def _is_pinned(self, model: str, version: str) -> bool:
        """Whether a request that names so has one version that answers it, whatever the key says."""
        answering = {arm.version.model.uri for arm in self._predictor.routes.answering}
        return bool(version and len(self._descriptions.live) > 1) or not answering <= {*self._versions(model)}

    def _refuse(self, request: Request, status: int, reason: str) -> None:
        self._predictor.refused[status] += 1
        request.respond(status, written("tensors", reason))
