"""What a call over gRPC is answered: what the endpoint answers to the same question over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import grpc
import msgspec
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from . import messages, tensors
from .rest import EndpointAway, Rest, RestAnswer

# What may be read at once: of long messages fewer.
MOST_CALLS, MOST_CALL_BYTES = 512, 1 << 30
MOST_IDLE_MS = 30 * 60_000
_DETAILS = 1000  # characters of a refusal: it travels in a header
_FIELDS = frozenset(("x-aiinfra-judged", "x-aiinfra-key", "x-aiinfra-model"))
_CODES: Mapping[int, grpc.StatusCode] = {
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}


class CallRefused(Exception):
    """A call that gets no answer: with which status, and why."""

    def __init__(self, code: grpc.StatusCode, why: str) -> None:
        super().__init__(why)
        self.code, self.why = code, why[:_DETAILS]


class InferenceService:
    """Answers each method by asking the endpoint."""

    def __init__(self, rest: Rest, methods: Mapping[str, messages.Method]) -> None:
        self._rest = rest
        self._methods = methods

    def handlers(self) -> dict[str, Any]:
        """As a server registers them. It gets bytes: what cannot be read is the client's mistake, and is told so."""
        answers: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
            "ServerLive": self._live,
            "ServerReady": self._server_ready,
            "ServerMetadata": partial(self._described, "ServerMetadata"),
            "ModelReady": self._model_ready,
            "ModelMetadata": partial(self._described, "ModelMetadata"),
            "ModelInfer": self._infer,
        }
        found = {
            name: grpc.unary_unary_rpc_method_handler(
                partial(self._call, self._methods[name], answer),
                response_serializer=self._methods[name].response.SerializeToString,
            )
            for name, answer in answers.items()
        }
        stream = self._methods["ModelStreamInfer"]
        found[stream.name] = grpc.stream_stream_rpc_method_handler(
            self._stream, response_serializer=stream.response.SerializeToString
        )
        return found

    async def _call(
        self, method: messages.Method, answer: Callable[[Any, Any], Awaitable[Any]], data: bytes, context: Any
    ) -> Any:
        try:
            return await answer(_read(method, data), context)
        except CallRefused as refused:
            await context.abort(refused.code, refused.why)

    async def _stream(self, calls: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """One answer to each request; one that is refused says why, and the others go on."""
        method = self._methods["ModelStreamInfer"]
        async for data in calls:
            call = None
            try:
                call = _read(method, data)
                yield method.response(infer_response=await self._infer(call, context))
            except CallRefused as refused:
                answer = method.response(error_message=refused.why)
                answer.infer_response.id = call.id if call else ""
                yield answer

    async def _live(self, call: Any, context: Any) -> Any:
        answer = await self._ask("GET", "/v2/health/live", context)
        return self._methods["ServerLive"].response(live=_found(answer)["live"])

    async def _server_ready(self, call: Any, context: Any) -> Any:
        return await self._ready("ServerReady", "/v2/health/ready", context)

    async def _model_ready(self, call: Any, context: Any) -> Any:
        return await self._ready("ModelReady", tensors.path(call.name, call.version, "ready"), context)

    async def _ready(self, name: str, path: str, context: Any) -> Any:
        """Not to be ready is an answer, and no refusal."""
        answer = await self._ask("GET", path, context)
        is_ready = answer.status != 503 and bool(_found(answer)["ready"])
        return self._methods[name].response(ready=is_ready)

    async def _described(self, name: str, call: Any, context: Any) -> Any:
        path = tensors.path(call.name, call.version) if name == "ModelMetadata" else "/v2"
        return self._methods[name].response(**_found(await self._ask("GET", path, context)))

    async def _infer(self, call: Any, context: Any) -> Any:
        try:
            text, parts = tensors.read(call)
        except tensors.BadTensor as problem:
            raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, str(problem)) from None
        length = ("inference-header-content-length", str(len(text)))
        path = tensors.path(call.model_name, call.model_version, "infer")
        answer = await self._ask("POST", path, context, [length], [text, *parts])
        _raise_refusal(answer)
        return tensors.write(self._methods["ModelInfer"].response(), answer.body, answer.json_bytes)

    async def _ask(
        self,
        method: str,
        path: str,
        context: Any,
        fields: Sequence[tuple[str, str]] = (),
        body: Sequence[bytes] = (),
    ) -> RestAnswer:
        given = [item for item in context.invocation_metadata() or () if item[0] in _FIELDS]
        if not all(value.isascii() and value.isprintable() for _, value in given):
            raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, f"{', '.join(sorted(_FIELDS))} are of printable ASCII")
        try:
            return await self._rest.ask(method, path, [*fields, *given], body)
        except EndpointAway as problem:
            raise CallRefused(grpc.StatusCode.UNAVAILABLE, str(problem)) from None


def server(rest: Rest, max_body: int) -> Any:
    """A server that was not started yet. A message is as long as a body over HTTP, and as long when it was inflated."""
    name, methods = messages.load()
    options = [
        ("grpc.max_receive_message_length", max_body),
        # Else a second process could listen there too, and the system would give each of them some of the clients.
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_idle_ms", MOST_IDLE_MS),
    ]
    most = max(1, min(MOST_CALLS, MOST_CALL_BYTES // max_body))
    made = grpc.aio.server(options=options, maximum_concurrent_rpcs=most)
    handlers = InferenceService(rest, methods).handlers()
    made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    return made


def _read(method: messages.Method, data: bytes) -> Any:
    try:
        return method.request.FromString(data)
    except DecodeError:
        what = f"this is no {method.request.DESCRIPTOR.name}"
        raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, what) from None


def _found(answer: RestAnswer) -> Any:
    _raise_refusal(answer)
    return msgspec.json.decode(answer.body)


def _raise_refusal(answer: RestAnswer) -> None:
    """CallRefused when the endpoint has refused, with what it says of that."""
    if answer.status == 200:
        return
    usual = grpc.StatusCode.INVALID_ARGUMENT if answer.status < 500 else grpc.StatusCode.INTERNAL
    error = msgspec.json.decode(answer.body)["error"]
    raise CallRefused(_CODES.get(answer.status, usual), error["what"] if isinstance(error, dict) else error)
