"""The Open Inference Protocol, version 2, over REST: tensors into rows as `/predict` takes them, and its answer back.

A model of columns takes a tensor of each column, one value a row; a model of arrays takes its arrays. Tensors come as
JSON, or as bytes behind it (the extension `binary_tensor_data`). It knows no sockets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...errors import did_you_mean
from ...features.contract import CATEGORY
from ...train.saved_model import SavedModel
from ...train.signature import DATATYPES, Tensor, probabilities
from ...uris import Uri
from .duplicates import repeated_name
from .rows import MAX_ROWS

MOST_SIZES = 32  # in a shape
EXTENSIONS = ("binary_tensor_data",)
_KINDS: Mapping[str, tuple[type, ...]] = {"BOOL": (bool,), "FP": (int, float), "INT": (int,), "BYTES": (str,)}
_SIZE = np.dtype("<u4")

_encode = msgspec.json.Encoder().encode
Parameters = dict[str, Any]


class BadTensors(ValueError):
    """A request that is none of the protocol, or that does not fit the model; its text says why."""


class _Input(msgspec.Struct):
    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    datatype: str
    data: Any = None
    parameters: Parameters = {}


class _Output(msgspec.Struct):
    name: str
    parameters: Parameters = {}


class _InferRequest(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    outputs: list[_Output] | None = None
    parameters: Parameters = {}


_decode = msgspec.json.Decoder(_InferRequest).decode
_decode_answer = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class Inference:
    """A request that was understood: what `/predict` is to be asked, and how the answer is wanted.

    id: what the client calls it. wanted: the outputs that it asks for, each with whether as bytes.
    """

    body: bytes
    id: str
    wanted: Mapping[str, bool] | None
    as_bytes: bool


def model_metadata(name: str, saved: SavedModel, versions: Sequence[str]) -> dict[str, Any]:
    """What the protocol says of a model: its tensors, each of so many rows."""
    return {
        "name": name,
        "versions": [*versions],
        "platform": "onnx_onnxv1",
        "inputs": [_described(item) for item in inputs_of(saved)],
        "outputs": [_described(item) for item in outputs_of(saved)],
    }


def inputs_of(saved: SavedModel) -> list[Tensor]:
    """The tensors that a request has: a model of columns has one of each column."""
    if not saved.is_of_table:
        return [item for item in saved.signature.inputs if item.name in saved.rows.names]
    return [Tensor(item.name, "BYTES" if item.type == CATEGORY else "FP64", (-1,)) for item in saved.columns]


def outputs_of(saved: SavedModel) -> list[Tensor]:
    """The tensors that an answer has: of an output with a number for each label both the label and the numbers."""
    found: list[Tensor] = []
    for item in saved.signature.outputs:
        if saved.signature.has_labels(item):
            found.append(Tensor(item.name, "BYTES", (-1,)))
            found.append(Tensor(probabilities(item.name), item.datatype, item.shape))
        else:
            found.append(item)
    return found


def version_of(uri: str) -> str:
    """`models:delay@7` → `7`."""
    return str(Uri.parse(uri).version)


def name_of(uri: str) -> str:
    """`models:delay@7` → `delay`."""
    return Uri.parse(uri).name


def read(body: bytes, json_bytes: int | None, saved: SavedModel) -> Inference:
    """Understand a request. json_bytes: how much of the body is JSON, when bytes of tensors follow. BadTensors."""
    if json_bytes is not None and json_bytes > len(body):
        raise BadTensors(f"the body has {len(body)} bytes, of which {json_bytes} should be JSON")
    text, rest = body[:json_bytes], body[len(body) if json_bytes is None else json_bytes :]
    try:
        request = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise BadTensors(f"{str(problem)[:200]}; a request has inputs with name, shape, datatype and data") from None
    if (twice := repeated_name(text)) is not None:
        raise BadTensors(f"the name {twice[:100]!r} stands twice in one object")
    rows = _rows(request.inputs, rest, {item.name: item for item in inputs_of(saved)})
    key = {"key": request.parameters["key"]} if "key" in request.parameters else {}
    outputs = [item.name for item in outputs_of(saved)]
    for item in request.outputs or ():
        if item.name not in outputs:
            raise BadTensors(f"there is no output {item.name[:100]!r}; {did_you_mean(item.name, outputs)}")
    as_bytes = bool(request.parameters.get("binary_data_output", False))
    wanted = {item.name: bool(item.parameters.get("binary_data", as_bytes)) for item in request.outputs or ()}
    return Inference(_encode({"rows": rows} | key), request.id, wanted or None, as_bytes)


def write(answer: bytes, inference: Inference, saved: SavedModel) -> tuple[bytes, int | None]:
    """The protocol's form of what `/predict` answered, and how much of it is JSON when bytes follow.

    BadTensors when some row got no outputs, for which the protocol has no place.
    """
    found = _decode_answer(answer)
    predictions = found["predictions"]
    if problem := next((f"row {at}: {row['error']}" for at, row in enumerate(predictions) if "error" in row), ""):
        raise BadTensors(problem)
    outputs, parts = [], []
    for tensor in outputs_of(saved):
        if inference.wanted is not None and tensor.name not in inference.wanted:
            continue
        values = _values(tensor, [row[tensor.name] for row in predictions])
        described = {"name": tensor.name, "datatype": tensor.datatype, "shape": [*values.shape]}
        is_bytes = inference.as_bytes if inference.wanted is None else inference.wanted[tensor.name]
        if is_bytes:
            parts.append(to_bytes(values))
            outputs.append({**described, "parameters": {"binary_data_size": len(parts[-1])}})
        else:
            outputs.append({**described, "data": values.ravel().tolist()})
    by = {"model_name": name_of(found["model"]), "model_version": version_of(found["model"])}
    whole = {**by, "id": inference.id, "outputs": outputs}
    text = _encode({key: value for key, value in whole.items() if value != ""})
    return b"".join([text, *parts]), len(text) if parts else None


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [*tensor.shape]}


def _rows(inputs: Sequence[_Input], rest: bytes, known: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Rows of named values. An unknown name stays, so that `/predict` refuses it as it does everywhere."""
    columns: dict[str, list[Any]] = {}
    for item in inputs:
        if item.name in columns:
            raise BadTensors(f"the input {item.name[:100]!r} is there twice")
        values, rest = _column(item, rest)
        # A column of a table may come with a size of 1 behind the rows, as clients of other servers have it.
        if item.name not in known or known[item.name].is_scalar:
            values = values.reshape(len(values), -1) if len(values) else values.reshape(0, 1)
            if values.shape[1] != 1:
                raise BadTensors(f"{item.name[:100]} has one value a row, so its shape is [rows] or [rows, 1]")
            values = values[:, 0]
        columns[item.name] = values.tolist()
    if rest:
        raise BadTensors(f"{len(rest)} bytes follow that belong to no input")
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) != 1:
        raise BadTensors(f"all inputs have the same number of rows; here {_some(counts)}")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _some(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name[:100]}: {count}" for name, count in [*counts.items()][:12]) or "there are none"


def _column(item: _Input, rest: bytes) -> tuple[NDArray[Any], bytes]:
    """The array of an input, and the bytes that are left."""
    name, size = item.name[:100], item.parameters.get("binary_data_size")
    if item.datatype not in DATATYPES:
        raise BadTensors(f"{name} is of {item.datatype[:100]!r}; {did_you_mean(item.datatype, DATATYPES)}")
    if not item.shape:
        raise BadTensors(f"{name} has no shape; the first size is that of the rows")
    if len(item.shape) > MOST_SIZES:
        raise BadTensors(f"{name} has a shape of {len(item.shape)} sizes, and at most {MOST_SIZES} are taken")
    if size is None:
        return _shaped(item, _of_json(item)), rest
    if not isinstance(size, int) or not 0 <= size <= len(rest) or item.data is not None:
        raise BadTensors(f"{name} has {len(rest)} bytes behind the JSON and no data in it, not {str(size)[:20]}")
    return _shaped(item, of_bytes(name, item.datatype, rest[:size])), rest[size:]


def _shaped(item: _Input, flat: NDArray[Any]) -> NDArray[Any]:
    name, wanted = item.name[:100], math.prod(item.shape)
    if len(flat) != wanted:
        raise BadTensors(f"{name} has {len(flat)} values, and its shape {item.shape[:8]} means {_count(wanted)}")
    # Beside a size of 0 any other would do, and as lists the array would be as many empty ones.
    if math.prod(filter(None, item.shape)) > max(wanted, MAX_ROWS):
        raise BadTensors(f"{name} has no values, and a size in its shape {item.shape[:8]} is too large")
    return flat.reshape(item.shape)


def _of_json(item: _Input) -> NDArray[Any]:
    name, kinds = item.name[:100], _KINDS[item.datatype.lstrip("U").rstrip("0123456789")]
    if not isinstance(item.data, list):
        raise BadTensors(f"{name} has no list of data")
    try:
        flat = list(_flat(item.data))
    except RecursionError:
        raise BadTensors(f"{name} is nested too deeply") from None
    for value in flat:
        # None is a missing value, which a column may have. True and False are numbers to Python alone.
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) != (kinds == (bool,))):
            raise BadTensors(f"{name} is of {item.datatype}, and {str(value)[:40]!r} is none")
    found = np.empty(len(flat), object)
    found[:] = flat
    return found


def _count(values: int) -> str:
    # Python refuses to write out a number of more than 4,300 digits, which a product of sizes may have.
    return str(values) if values < 2**63 else "more than there can be"


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def of_bytes(name: str, datatype: str, data: bytes) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array(list(_texts(name, data)), object)
    dtype = np.dtype(DATATYPES[datatype]).newbyteorder("<")
    if len(data) % dtype.itemsize:
        raise BadTensors(f"{name} has {len(data)} bytes, which is no whole number of {datatype}")
    return np.frombuffer(data, dtype)


def _texts(name: str, data: bytes) -> Iterator[str]:
    """Each text behind its length."""
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise BadTensors(f"{name} ends in the middle of a text")
        try:
            yield data[at + 4 : end].decode()
        except UnicodeDecodeError:
            raise BadTensors(f"{name} has a text that is no UTF-8") from None
        at = end


def _values(tensor: Tensor, column: Sequence[Any]) -> NDArray[Any]:
    """A column of answers as the tensor; a number for each label stands by the label's place."""
    rows = [[*value.values()] if isinstance(value, Mapping) else value for value in column]
    return np.array(rows, tensor.dtype)


def to_bytes(values: NDArray[Any]) -> bytes:
    if values.dtype == object:
        texts = [str(text).encode() for text in values.ravel()]
        return b"".join(np.array(len(text), _SIZE).tobytes() + text for text in texts)
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
