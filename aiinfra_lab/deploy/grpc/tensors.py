"""The protocol's messages into what its REST form has, and back: the bytes of tensors go through as they are."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

_encode = msgspec.json.Encoder().encode
# What says how tensors travel is ours to say: they travel as bytes, both ways.
_OURS = frozenset(("binary_data", "binary_data_output", "binary_data_size"))


class BadTensor(ValueError):
    """A request that has no form over REST; its text says why."""


class _OutputParameters(msgspec.Struct):
    binary_data_size: int


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: _OutputParameters


class _Answered(msgspec.Struct):
    model_name: str
    outputs: list[_Output]
    model_version: str = ""
    id: str = ""


_decode = msgspec.json.Decoder(_Answered).decode


def _array(kind: str) -> Callable[[Sequence[Any]], bytes]:
    return lambda values: array(kind, values).tobytes()


def _texts(values: Sequence[bytes]) -> bytes:
    """Each behind its length."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


_CONTENTS: Mapping[str, tuple[str, Callable[[Sequence[Any]], bytes]]] = {
    "BOOL": ("bool_contents", bytes),
    "BYTES": ("bytes_contents", _texts),
    "FP32": ("fp32_contents", _array("f")),
    "FP64": ("fp64_contents", _array("d")),
    "INT16": ("int_contents", _array("h")),
    "INT32": ("int_contents", _array("i")),
    "INT64": ("int64_contents", _array("q")),
    "INT8": ("int_contents", _array("b")),
    "UINT16": ("uint_contents", _array("H")),
    "UINT32": ("uint_contents", _array("I")),
    "UINT64": ("uint64_contents", _array("Q")),
    "UINT8": ("uint_contents", _array("B")),
}
"""The field of a datatype, and how its values become bytes; of the others no field is there."""


def path(model: str, version: str, last: str = "") -> str:
    """Where the model is asked over REST."""
    parts = ["", "v2", "models", model, *(["versions", version] if version else []), *([last] if last else [])]
    return "/".join(quote(part, safe="") for part in parts)


def read(request: Any) -> tuple[bytes, list[bytes]]:
    """The JSON of a request, and the bytes that follow it. BadTensor."""
    parts = _parts(request)
    inputs = [
        {
            "name": item.name,
            "datatype": item.datatype,
            "shape": [*item.shape],
            "parameters": _plain(item.parameters) | {"binary_data_size": len(part)},
        }
        for item, part in zip(request.inputs, parts, strict=True)
    ]
    outputs = [{"name": item.name, "parameters": _plain(item.parameters)} for item in request.outputs]
    whole = {
        "id": request.id,
        "parameters": _plain(request.parameters) | {"binary_data_output": True},
        "inputs": inputs,
        **({"outputs": outputs} if outputs else {}),
    }
    return _encode(whole), parts


def write(response: Any, body: bytes, json_bytes: int | None) -> Any:
    """The message of an answer over REST."""
    answered = _decode(body[:json_bytes])
    response.model_name, response.model_version = answered.model_name, answered.model_version
    response.id, at = answered.id, len(body) if json_bytes is None else json_bytes
    for item in answered.outputs:
        response.outputs.add(name=item.name, datatype=item.datatype, shape=item.shape)
        end = at + item.parameters.binary_data_size
        response.raw_output_contents.append(body[at:end])
        at = end
    return response


def _parts(request: Any) -> list[bytes]:
    """The bytes of each input."""
    for item in request.inputs:
        if any(name.startswith("shared_memory") for name in item.parameters):
            raise BadTensor(f"{item.name[:100]} is in shared memory, which is not read here: send its bytes")
    raw = [*request.raw_input_contents]
    if not raw:
        return [_of_contents(item) for item in request.inputs]
    if len(raw) != len(request.inputs):
        raise BadTensor(f"raw_input_contents has {len(raw)} entries, and there are {len(request.inputs)} inputs")
    if twice := next((item.name for item in request.inputs if item.contents.ListFields()), None):
        raise BadTensor(f"{twice[:100]} has contents beside raw_input_contents; send one of them")
    return raw


def _of_contents(item: Any) -> bytes:
    name, given = item.name[:100], [field.name for field, _ in item.contents.ListFields()]
    if item.datatype not in _CONTENTS:
        raise BadTensor(f"{name} is of {item.datatype[:100]!r}, for which contents has no field: raw_input_contents")
    wanted, to_bytes = _CONTENTS[item.datatype]
    if other := next((field for field in given if field != wanted), None):
        raise BadTensor(f"{name} is of {item.datatype}, whose values are in {wanted}, not in {other}")
    try:
        return to_bytes(getattr(item.contents, wanted))
    except OverflowError:
        raise BadTensor(f"{name} has a number that is no {item.datatype}") from None


def _plain(parameters: Any) -> dict[str, Any]:
    """As JSON has them."""
    found = {name: value.WhichOneof("parameter_choice") for name, value in parameters.items() if name not in _OURS}
    return {name: getattr(parameters[name], kind) for name, kind in found.items() if kind}
