"""The Open Inference Protocol, version 2, over REST: a request's tensors as columns of rows, and answers as tensors.

A model of columns takes a tensor of each column, one value a row; a model of arrays takes its arrays. Tensors come as
JSON, or as bytes behind it (the extension `binary_tensor_data`). It knows no sockets.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...errors import did_you_mean
from ...features.contract import CATEGORY
from ...train.saved_model import SavedModel
from ...train.signature import DATATYPES, Tensor, may_hold, probabilities
from ...uris import Uri
from .array_rows import Named
from .duplicates import repeated_name
from .rows import MAX_ROWS

MOST_SIZES = 32  # in a shape
EXTENSIONS = ("binary_tensor_data",)
_SIZE = np.dtype("<u4")

_NOTHING = type(None)

_encode = msgspec.json.Encoder().encode
Parameters = dict[str, Any]


class BadTensors(ValueError):
    """A request that is none of the protocol, or that does not fit the model; its text says why."""


class _Input(msgspec.Struct):
    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()  # nothing is made of it before the shape was looked at
    parameters: Parameters = {}


class _Output(msgspec.Struct):
    name: str
    parameters: Parameters = {}


class _InferRequest(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    outputs: list[_Output] | None = None
    parameters: Parameters = {}


class _KeyParameter(msgspec.Struct, frozen=True):
    key: str | int | None = None


class _KeyOnly(msgspec.Struct):
    parameters: _KeyParameter = _KeyParameter()


_decode = msgspec.json.Decoder(_InferRequest).decode
_anything = msgspec.json.Decoder().decode
_decode_key = msgspec.json.Decoder(_KeyOnly).decode
_NO_REQUEST = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class Inference:
    """How an answer is wanted.

    id: what the client calls the request. wanted: the outputs that it asks for, each with whether as bytes.
    """

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


def key_of(body: bytes, json_bytes: int | None) -> str | int | None:
    """A request's key, of which nothing else is made; BadTensors where it cannot be found."""
    try:
        return _decode_key(body[:json_bytes]).parameters.key
    except _NO_REQUEST as problem:
        raise BadTensors(str(problem)) from None


def read(
    body: bytes, json_bytes: int | None, outputs: Sequence[Tensor], inputs: Sequence[Tensor]
) -> tuple[dict[str, Named], Inference]:
    """A request's columns, see `array_rows`, and how its answer is wanted.

    json_bytes: how much of the body is JSON, when bytes of tensors follow. outputs: what may be wanted. inputs: what
    the model takes. BadTensors.
    """
    request, rest = _opened(body, json_bytes)
    _check_rows(request.inputs, inputs)
    _check_names(body, rest)
    key = request.parameters.get("key")
    if not isinstance(key, str | int | None) or isinstance(key, bool):
        raise BadTensors(f"the key is a text or a whole number, not {str(key)[:40]!r}")
    columns = _columns(request.inputs, rest, {item.name for item in inputs if item.is_scalar})
    names = [item.name for item in outputs]
    for item in request.outputs or ():
        if item.name not in names:
            raise BadTensors(f"there is no output {item.name[:100]!r}; {did_you_mean(item.name[:100], names)}")
    as_bytes = bool(request.parameters.get("binary_data_output", False))
    wanted = {item.name: bool(item.parameters.get("binary_data", as_bytes)) for item in request.outputs or ()}
    return columns, Inference(request.id, wanted or None, as_bytes)


def _opened(body: bytes, json_bytes: int | None) -> tuple[_InferRequest, memoryview]:
    if json_bytes is not None and json_bytes > len(body):
        raise BadTensors(f"the body has {len(body)} bytes, of which {json_bytes} should be JSON")
    text = body if json_bytes is None else body[:json_bytes]
    try:
        request = _decode(text)
    except _NO_REQUEST as problem:
        raise BadTensors(f"{str(problem)[:200]}; a request has inputs with name, shape, datatype and data") from None
    return request, memoryview(body)[len(text) :]


def _check_names(body: bytes, rest: memoryview) -> None:
    if (twice := repeated_name(body[: len(body) - len(rest)])) is not None:
        raise BadTensors(f"the name {twice[:100]!r} stands twice in one object")


def _check_rows(inputs: Sequence[_Input], known: Sequence[Tensor] | None = None) -> None:
    """How many rows, and values in each, the shapes mean: a few bytes may stand for as many zeros as a body may have.

    known: what the model takes.
    """
    by_name = {item.name: item for item in known or ()}
    for item in inputs:
        name = item.name[:100]
        if not item.shape:
            raise BadTensors(f"{name} has no shape; the first size is that of the rows")
        if len(item.shape) > MOST_SIZES:
            raise BadTensors(f"{name} has a shape of {len(item.shape)} sizes, and at most {MOST_SIZES} are taken")
        if not 0 < item.shape[0] <= MAX_ROWS:
            rows = _count(item.shape[0])
            raise BadTensors(f"a request has 1 to {MAX_ROWS} rows, and the shape of {name} has {rows}")
        if known is None:
            continue
        if (wanted := by_name.get(item.name)) is None:
            raise BadTensors(f"there is no input {name!r}; {did_you_mean(name, by_name)}")
        found = math.prod(item.shape[1:])
        if found != math.prod(wanted.row_shape) and -1 not in wanted.row_shape:
            raise BadTensors(f"{name} is {wanted.type}, and its shape means {_count(found)} values in each row")
    counts = {item.name: item.shape[0] for item in inputs}
    if len({*counts.values()}) != 1:
        raise BadTensors(f"all inputs have the same number of rows, the first size in a shape; here {_some(counts)}")


def columns_as_they_came(body: bytes, json_bytes: int | None) -> dict[str, Named]:
    """A request's columns, where no model is at hand. BadTensors."""
    request, rest = _opened(body, json_bytes)
    _check_rows(request.inputs)
    return _columns(request.inputs, rest, [item.name for item in request.inputs if item.shape[1:] in ([], [1])])


def write(
    columns: Mapping[str, Sequence[Any]], inference: Inference, uri: str, outputs: Sequence[Tensor]
) -> tuple[bytes, int | None]:
    """The protocol's form of what that version answered, and how much of it is JSON when bytes follow.

    columns: of each output its value in every row; the protocol has no place for a row that got none.
    """
    described, parts = [], []
    for tensor in outputs:
        if inference.wanted is not None and tensor.name not in inference.wanted:
            continue
        values = _values(tensor, columns[tensor.name])
        found = {"name": tensor.name, "datatype": tensor.datatype, "shape": [*values.shape]}
        is_bytes = inference.as_bytes if inference.wanted is None else inference.wanted[tensor.name]
        if is_bytes:
            parts.append(to_bytes(values))
            described.append({**found, "parameters": {"binary_data_size": len(parts[-1])}})
        else:
            described.append({**found, "data": values.ravel().tolist()})
    by = {"model_name": name_of(uri), "model_version": version_of(uri)}
    whole = {**by, "id": inference.id, "outputs": described}
    text = _encode({key: value for key, value in whole.items() if value != ""})
    return b"".join([text, *parts]), len(text) if parts else None


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [*tensor.shape]}


def _columns(inputs: Sequence[_Input], rest: memoryview, scalars: Container[str]) -> dict[str, Named]:
    """Named columns. An unknown name stays, so that it is refused as it is everywhere."""
    columns: dict[str, Named] = {}
    for item in inputs:
        if item.name in columns:
            raise BadTensors(f"the input {item.name[:100]!r} is there twice")
        values, rest = _column(item, rest)
        # A column of a table may come with a size of 1 behind the rows, as clients of other servers have it.
        if item.name in scalars:
            values = values.reshape(len(values))
        columns[item.name] = values.tolist() if values.dtype == object and values.ndim == 1 else values
    if rest:
        raise BadTensors(f"{len(rest)} bytes follow that belong to no input")
    return columns


def _some(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name[:100]}: {count}" for name, count in [*counts.items()][:12]) or "there are none"


def _column(item: _Input, rest: memoryview) -> tuple[NDArray[Any], memoryview]:
    """The array of an input, and the bytes that are left."""
    name, size = item.name[:100], item.parameters.get("binary_data_size")
    if item.datatype not in DATATYPES:
        raise BadTensors(f"{name} is of {item.datatype[:100]!r}; {did_you_mean(item.datatype, DATATYPES)}")
    if size is None:
        return _shaped(item, _of_json(item)), rest
    if not isinstance(size, int) or not 0 <= size <= len(rest) or bytes(item.data) not in (b"", b"null"):
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
    name = item.name[:100]
    try:
        data = _anything(item.data) if bytes(item.data) else None
    except _NO_REQUEST as problem:
        raise BadTensors(f"{name}: {str(problem)[:200]}") from None
    if not isinstance(data, list):
        raise BadTensors(f"{name} has no list of data")
    flat = _flat(item, data)
    # None is a missing value, which a column may have. True and False are numbers to Python alone.
    if odd := {kind for kind in {*map(type, flat)} - {_NOTHING} if not may_hold(item.datatype, kind)}:
        value = next(value for value in flat if type(value) in odd)
        raise BadTensors(f"{name} is of {item.datatype}, and {str(value)[:40]!r} is none")
    found = np.empty(len(flat), object)
    found[:] = flat
    return found


def _count(values: int) -> str:
    # Python refuses to write out a number of more than 4,300 digits, which a product of sizes may have.
    return str(values) if values < 2**63 else "more than there can be"


def _flat(item: _Input, values: list[Any]) -> list[Any]:
    """Data that is flat, or nested as its shape says; what is innermost may be flat in place of further lists."""
    for depth in range(1, len(item.shape) + 1):
        if list not in (kinds := {*map(type, values)}):
            return values
        is_even = kinds == {list} and len({*map(len, values)}) == 1
        if depth == len(item.shape) or not is_even or len(values) != math.prod(item.shape[:depth]):
            break
        values = [*chain.from_iterable(values)]
    raise BadTensors(f"{item.name[:100]} has data that is nested in another way than its shape {item.shape[:8]}")


def of_bytes(name: str, datatype: str, data: bytes | memoryview) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array(list(_texts(name, data)), object)
    dtype = np.dtype(DATATYPES[datatype]).newbyteorder("<")
    if len(data) % dtype.itemsize:
        raise BadTensors(f"{name} has {len(data)} bytes, which is no whole number of {datatype}")
    return np.frombuffer(data, dtype)


def _texts(name: str, data: bytes | memoryview) -> Iterator[str]:
    """Each text behind its length."""
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise BadTensors(f"{name} ends in the middle of a text")
        try:
            yield str(data[at + 4 : end], "utf-8")
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
