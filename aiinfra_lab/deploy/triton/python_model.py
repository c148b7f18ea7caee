"""A model in Triton's Python backend: ONNX Runtime on one thread. Triton runs this file by its own interpreter.

It knows nothing of rows, columns and texts: its tensors are those of the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as backend

# By this the endpoint tells a model that fails from a Triton that does.
FAILED = "the network failed: "

Arrays = dict[str, np.ndarray[Any, Any]]


class TritonPythonModel:
    """What Triton makes of this file, once for each version."""

    def initialize(self, args: Mapping[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._inputs = [item["name"] for item in config["input"]]
        self._outputs = [item["name"] for item in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        path = config["parameters"]["onnx"]["string_value"]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        taken = {item.name: item for item in self._session.get_inputs()}
        given = {item.name for item in self._session.get_outputs()}
        self._used = [name for name in self._inputs if name in taken]
        # Triton knows no tensor without any values; such an input is made here.
        self._empty = [item for name, item in taken.items() if name not in self._inputs]
        if any(0 not in item.shape for item in self._empty) or not {*self._outputs} <= given:
            raise ValueError(f"the network takes {sorted(taken)} and gives {sorted(given)}, unlike its signature")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        found = [self._arrays(request) for request in requests]
        together = self._together(found) if len(found) > 1 else None
        return together or [self._alone(arrays) for arrays in found]

    def _arrays(self, request: Any) -> Arrays:
        read = {name: backend.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        return {name: _texts(array) if array.dtype == object else array for name, array in read.items()}

    def _together(self, found: list[Arrays]) -> list[Any] | None:
        """One run for all; None when they cannot be, or the run fails: then each one is answered alone."""
        if len({tuple(array.shape[1:] for array in arrays.values()) for arrays in found}) > 1:
            return None
        try:
            outputs = self._run({name: np.concatenate([arrays[name] for arrays in found]) for name in self._inputs})
        except Exception:  # noqa: BLE001  # a network may raise anything
            return None
        ends = np.cumsum([_rows(arrays) for arrays in found])[:-1]
        parts = zip(*(np.split(output, ends) for output in outputs), strict=True)
        return [self._response(part) for part in parts]

    def _alone(self, arrays: Arrays) -> Any:
        try:
            return self._response(self._run(arrays))
        except Exception as problem:  # noqa: BLE001  # a network may raise anything; its request gets the message
            return backend.InferenceResponse(error=backend.TritonError(f"{FAILED}{problem}"[:500]))

    def _run(self, arrays: Arrays) -> list[np.ndarray[Any, Any]]:
        empty = {item.name: np.zeros((_rows(arrays), 0), _dtype(item.type)) for item in self._empty}
        outputs = self._session.run(self._outputs, {name: arrays[name] for name in self._used} | empty)
        if any(len(output) != _rows(arrays) for output in outputs):
            raise ValueError(f"{_rows(arrays)} rows gave {[len(output) for output in outputs]}")
        return outputs  # type: ignore[no-any-return]

    def _response(self, outputs: Sequence[np.ndarray[Any, Any]]) -> Any:
        pairs = zip(self._outputs, outputs, strict=True)
        return backend.InferenceResponse([backend.Tensor(name, _plain(values)) for name, values in pairs])


def _rows(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _texts(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    flat = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return np.array(flat, object).reshape(array.shape)


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype != object:
        return np.ascontiguousarray(array)
    return np.array([str(item).encode() for item in array.ravel()], object).reshape(array.shape)


def _dtype(kind: str) -> str:
    """`tensor(int64)` → `int64`."""
    return {"float": "float32", "double": "float64"}.get(name := kind[7:-1], name)
