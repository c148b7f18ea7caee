"""One version in Triton, asked as an `onnxruntime.InferenceSession` is: by the Open Inference Protocol, with bytes."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import msgspec
from numpy.typing import NDArray

from ...train.inputs import Arrays
from ...train.saved_model import SavedModel
from ...train.signature import Tensor
from ..server import inference_protocol as v2

ANSWER_S = 10.0
MODEL_FAILED = "the network failed: "
"""With this begins what `python_model` says of a network."""


class NetworkFailed(Exception):
    """The network itself raised, on these rows."""


class Unreachable(BaseException):
    """Triton does not answer, or not for this version. No failure of a model, and not to be taken for one by whoever
    catches whatever a model may raise: then it would be asked again for each half of the rows.
    """


@dataclass(frozen=True)
class TritonModel(SavedModel):
    """A version whose network runs in Triton, while rows become tensors here. name, version: as there."""

    url: str = ""
    name: str = ""
    version: str = ""

    @cached_property
    def session(self) -> TritonSession:
        """The version in Triton."""
        return TritonSession(self)

    @property
    def tensors(self) -> list[Tensor]:
        """What Triton is sent: it knows no tensor that has no values."""
        return [item for item in self.taken if 0 not in item.shape]


class TritonSession:
    """See `onnxruntime.InferenceSession`, of which it has what `SavedModel` needs. Each thread has a connection."""

    def __init__(self, model: TritonModel) -> None:
        self._inputs = {item.name: item for item in model.tensors}
        self._outputs = {item.name: item for item in model.signature.outputs}
        self._address = urlsplit(model.url).netloc
        self._path = f"/v2/models/{model.name}/versions/{model.version}/infer"
        self._local = threading.local()

    def get_inputs(self) -> Sequence[Tensor]:
        """The tensors that it takes."""
        return [*self._inputs.values()]

    def get_outputs(self) -> Sequence[Tensor]:
        """The tensors that it gives."""
        return [*self._outputs.values()]

    def run(self, outputs: Sequence[str], inputs: Arrays) -> list[NDArray[Any]]:
        """The outputs for these arrays. NetworkFailed, or Unreachable."""
        parts = {name: v2.to_bytes(values) for name, values in inputs.items()}
        described = [
            {
                "name": name,
                "datatype": self._inputs[name].datatype,
                "shape": _with_a_size(inputs[name].shape),
                "parameters": {"binary_data_size": len(data)},
            }
            for name, data in parts.items()
        ]
        wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
        head = msgspec.json.encode({"inputs": described, "outputs": wanted})
        found = self._asked(head, b"".join([head, *parts.values()]))
        return [found[name] for name in outputs]

    def _asked(self, head: bytes, body: bytes) -> Mapping[str, NDArray[Any]]:
        is_kept = hasattr(self._local, "connection")
        try:
            return self._answer(self._send(head, body))
        except (OSError, http.client.HTTPException) as problem:
            self._close()
            # A connection that was kept may have been closed at the other end meanwhile.
            if is_kept and not isinstance(problem, TimeoutError):
                return self._asked(head, body)
            raise Unreachable(f"Triton does not answer: {str(problem) or type(problem).__name__}") from None

    def _send(self, head: bytes, body: bytes) -> http.client.HTTPResponse:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self._address, timeout=ANSWER_S)
        connection.request("POST", self._path, body, {"inference-header-content-length": str(len(head))})
        return connection.getresponse()

    def _answer(self, response: http.client.HTTPResponse) -> Mapping[str, NDArray[Any]]:
        body = response.read()
        if response.status != 200:
            why = str(json.loads(body).get("error", "")) if body.startswith(b"{") else f"status {response.status}"
            if MODEL_FAILED in why:
                raise NetworkFailed(why.partition(MODEL_FAILED)[2])
            raise Unreachable(f"Triton answers: {why[:300]}")
        size = int(response.headers.get("inference-header-content-length", len(body)))
        found, at = {}, size
        for item in json.loads(body[:size])["outputs"]:
            end = at + item["parameters"]["binary_data_size"]
            values = v2.of_bytes(item["name"], item["datatype"], body[at:end]).reshape(item["shape"])
            found[item["name"]] = values[:, 0] if self._outputs[item["name"]].is_scalar else values
            at = end
        return found

    def _close(self) -> None:
        connection = self._local.__dict__.pop("connection", None)
        if connection:
            connection.close()


def _with_a_size(shape: Sequence[int]) -> list[int]:
    """One value a row has a size of 1 behind the rows, since Triton's batches need one."""
    return [*shape] if len(shape) > 1 else [*shape, 1]
