"""Bodies that are a stream of Arrow's IPC format: columns in, columns out, and no object for each number.

What a stream would become is looked at first (`arrow_messages`), then its types, and only then the values are. pyarrow
is imported with the first such body: most processes never see one. Arrays are made of buffers and taken from them, for
`pyarrow.array` and `to_numpy` import pandas: 0.7 s, in which a process looks like one that hangs.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...features.contract import ROW_ID
from ...train.signature import Signature, Tensor, probabilities
from . import arrow_messages
from .array_rows import Named, listed
from .arrow_messages import Unsupported
from .rows import MAX_ROWS, MOST_REPEATED, Refusal

if TYPE_CHECKING:
    import pyarrow as pa

# Beyond twice the body: what texts may become that a dictionary, or views of them, give to many rows.
MOST_TEXT_BYTES = 4 << 20
ERROR = "error"
# Arrow's name of a type → NumPy's, where they differ.
_NAMES = {"halffloat": "float16", "float": "float32", "double": "float64"}


def read(body: bytes, names: Container[str], shapes: Mapping[str, Sequence[int]]) -> dict[str, Named]:
    """A request's columns, see `array_rows`; of a name that is unknown nothing but that.

    names: what a row may have. shapes: of the inputs that are arrays, what one row of them has. Refusal 400 for what is
    no stream, 415 for one that is compressed, 422 for types that are not taken and for too many rows.
    """
    import pyarrow as pa

    try:
        _check_rows(arrow_messages.rows_of(body))
        # One thread: other models answer on the other cores.
        options = pa.ipc.IpcReadOptions(use_threads=False)
        with pa.ipc.open_stream(body, options=options) as stream:
            if unknown := [name for name in stream.schema.names if name not in names]:
                return {name: [None] for name in unknown}
            _check_columns(stream.schema, shapes)
            table = stream.read_all()
        table.validate(full=True)
        _check_texts(table, 2 * len(body) + MOST_TEXT_BYTES)
        return {
            name: _shaped(_joined([_values(chunk) for chunk in column.chunks]), shapes.get(name, ()))
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    except Unsupported as problem:
        raise Refusal(415, str(problem)) from None
    except (pa.ArrowException, OSError, ValueError, OverflowError) as problem:
        # BadStream too: whatever is wrong with the bytes, they are no stream.
        raise Refusal(400, f"this is no Arrow IPC stream: {str(problem)[:MOST_REPEATED]}") from None


class AnswerWriter:
    """Writes the answers of one version as streams: what it calls itself, and the type of each output."""

    def __init__(self, uri: str, signature: Signature) -> None:
        self._uri = uri
        self._signature = signature

    @cached_property
    def _types(self) -> dict[str, pa.DataType]:
        """The type of each output's column, as `/predict` names them."""
        import pyarrow as pa

        found: dict[str, pa.DataType] = {}
        for item in self._signature.outputs:
            if self._signature.has_labels(item):
                found[item.name] = pa.string()
                each = [(label, _type(item)) for label in self._signature.task.labels]
                found[probabilities(item.name)] = pa.struct(each)
            else:
                found[item.name] = _type(item)
                for _ in item.row_shape:
                    found[item.name] = pa.list_(found[item.name])
        return found

    def write(
        self,
        request_id: str,
        ids: Sequence[str | None],
        columns: Mapping[str, Sequence[Any]],
        errors: Mapping[int, str],
    ) -> bytes:
        """The answer: `row_id` where rows came with one, each output, and `error` where some row got none."""
        import pyarrow as pa

        arrays = {ROW_ID: _array(ids, pa.string())} if ids.count(None) < len(ids) else {}
        arrays |= {name: _array(columns[name], kind) for name, kind in self._types.items()}
        if errors:
            arrays[ERROR] = _array([errors.get(at) for at in range(len(ids))], pa.string())
        batch = pa.record_batch(arrays, metadata={"request_id": request_id, "model": self._uri})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        found: bytes = sink.getvalue().to_pybytes()
        return found


def _type(item: Tensor) -> pa.DataType:
    import pyarrow as pa

    if item.is_text:
        return pa.string()
    # Many readers know no float of 16 bits.
    return pa.from_numpy_dtype("float32" if item.datatype == "FP16" else item.dtype)


def _check_rows(rows: int) -> None:
    if not 0 < rows <= MAX_ROWS:
        raise Refusal(422, f"a request has 1 to {MAX_ROWS} rows, this one has {rows}")


def _check_columns(schema: pa.Schema, shapes: Container[str]) -> None:
    import pyarrow as pa

    names = schema.names
    if not names:
        raise Refusal(422, "columns have one length, these have none")
    for field in schema:
        if names.count(field.name) > 1:
            raise Refusal(422, f"the column {field.name[:100]!r} is there twice")
        if not _is_taken(field.type):
            what = "columns are numbers, truth values, texts, dictionaries of texts, and lists of numbers"
            raise Refusal(422, f"it is of {str(field.type)[:MOST_REPEATED]}; {what}", 0, field.name)
        if pa.types.is_nested(field.type) and field.name not in shapes:
            raise Refusal(422, "one value is needed, not a list", 0, field.name)


def _is_taken(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_number(_innermost(kind))
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return _is_number(kind) or _is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)


def _innermost(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_texts(table: pa.Table, most: int) -> None:
    """Refuse texts that few bytes stand for, before they are made."""
    total = 0
    for column in table.columns:
        for chunk in column.chunks:
            total += sum(_text_bytes(chunk))
            if total > most:
                raise Refusal(422, f"its texts are more than {most} bytes: send the rows in several requests")


def _text_bytes(chunk: pa.Array) -> Iterator[int]:
    """How many bytes the texts of a column have, in all rows; of a dictionary those of its texts besides."""
    import pyarrow as pa

    if pa.types.is_dictionary(chunk.type):
        lengths = _lengths(chunk.dictionary)
        yield int(lengths.sum())
        yield int(np.append(lengths, 0)[_indices(chunk)].sum())
    elif _is_text(chunk.type):
        yield int(_lengths(chunk).sum())


def _lengths(texts: pa.Array) -> np.ndarray[Any, Any]:
    import pyarrow as pa

    _, places, *_ = texts.buffers()
    if not len(texts) or places is None:
        return np.zeros(len(texts), np.int64)
    if pa.types.is_string_view(texts.type):
        views = np.frombuffer(places, np.int32).reshape(-1, 4)
        return views[texts.offset : texts.offset + len(texts), 0].astype(np.int64)
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    ends = np.frombuffer(places, kind)[texts.offset : texts.offset + len(texts) + 1]
    return np.diff(ends).astype(np.int64)


def _values(chunk: pa.Array) -> Named:
    """A column of one batch."""
    import pyarrow as pa

    kind = chunk.type
    if pa.types.is_dictionary(kind):
        texts = [*chunk.dictionary.to_pylist(), None]
        return [texts[at] for at in _indices(chunk).tolist()]
    if _is_number(kind):
        return _numbers(chunk)
    if _is_number(_innermost(kind)):
        return _lists(chunk)
    found: list[Any] = chunk.to_pylist()
    return found


def _indices(chunk: pa.Array) -> np.ndarray[Any, Any]:
    """Where each row's text stands in the dictionary; where none does, the place behind its end."""
    at = _buffered(chunk.indices)
    return np.where(_is_there(chunk), at, len(chunk.dictionary)) if chunk.null_count else at


def _numbers(chunk: pa.Array) -> Named:
    import pyarrow as pa

    is_float = pa.types.is_floating(chunk.type)
    if chunk.null_count and not is_float:
        listed: list[Any] = chunk.to_pylist()  # as floats, large ones would be others
        return listed
    found = _buffered(chunk)
    is_there = _is_there(chunk) if chunk.null_count else None
    # Missing is null here, and NaN is no number: who reads the array takes it for one that is missing.
    if is_float and np.isnan(found if is_there is None else found[is_there]).any():
        return [None if value is None else float(value) for value in chunk.to_pylist()]
    return found if is_there is None else np.where(is_there, found, np.nan)


def _buffered(chunk: pa.Array) -> np.ndarray[Any, Any]:
    """The numbers that a column has in its buffer; where one is missing, anything."""
    dtype = np.dtype(_NAMES.get(str(chunk.type), str(chunk.type)))
    data = chunk.buffers()[1]
    if data is None or not len(chunk):
        return np.zeros(len(chunk), dtype)
    return np.frombuffer(data, dtype, len(chunk), chunk.offset * dtype.itemsize)


def _is_there(chunk: pa.Array) -> np.ndarray[Any, Any]:
    """Of each row whether it has a value."""
    bits = np.unpackbits(np.frombuffer(chunk.buffers()[0], np.uint8), bitorder="little")
    return bits[chunk.offset : chunk.offset + len(chunk)].astype(bool)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column of that type, of values or None."""
    import pyarrow as pa

    is_there = np.array([value is not None for value in values], bool)
    bits = None if is_there.all() else pa.py_buffer(np.packbits(is_there, bitorder="little"))
    if pa.types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        inner = [_array([value and value[field.name] for value in values], field.type) for field in fields]
        return pa.Array.from_buffers(kind, len(values), [bits], children=inner)
    if pa.types.is_list(kind):
        given = [value or () for value in values]
        inner = [_array([item for value in given for item in value], kind.value_type)]
        return pa.Array.from_buffers(kind, len(values), [bits, _ends(given)], children=inner)
    if pa.types.is_string(kind):
        texts = [(value or "").encode("utf-8", "replace") for value in values]
        return pa.Array.from_buffers(kind, len(values), [bits, _ends(texts), pa.py_buffer(b"".join(texts))])
    numbers = np.array([value or 0 for value in values], _NAMES.get(str(kind), str(kind)))
    data = np.packbits(numbers, bitorder="little") if pa.types.is_boolean(kind) else numbers
    return pa.Array.from_buffers(kind, len(values), [bits, pa.py_buffer(data)])


def _ends(values: Sequence[Sequence[Any]]) -> pa.Buffer:
    """Where each of these ends, behind where the first begins."""
    import pyarrow as pa

    return pa.py_buffer(np.cumsum([0, *map(len, values)]).astype(np.int32))


def _lists(chunk: pa.Array) -> Named:
    """Lists of numbers: one array where all are equally long, else one for each row."""
    import pyarrow as pa

    listed: list[Any]
    if chunk.null_count or not len(chunk) or not isinstance(flat := _flat(chunk), np.ndarray):
        listed = chunk.to_pylist()
        return listed
    if pa.types.is_fixed_size_list(chunk.type):
        return flat.reshape(len(chunk), chunk.type.list_size, *flat.shape[1:])
    ends = np.diff(_buffered(chunk.offsets))
    if len(ends) and (ends == ends[0]).all():
        return flat.reshape(len(chunk), ends[0], *flat.shape[1:])
    listed = np.split(flat, np.cumsum(ends)[:-1])
    return listed


def _flat(chunk: pa.Array) -> Named | None:
    inner = chunk.flatten()
    if inner.null_count:
        return None
    return _buffered(inner) if _is_number(inner.type) else _lists(inner)


def _joined(parts: Sequence[Named]) -> Named:
    """The batches' values one behind the other."""
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts) and len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return [value for part in parts for value in listed(part, as_rows=True)]


def _shaped(values: Named, shape: Sequence[int]) -> Named:
    """Numbers that came flat, as the array that they are in a row."""
    if not isinstance(values, np.ndarray) or values.ndim != 2 or len(shape) < 2 or min(shape) < 0:
        return values
    return values.reshape(len(values), *shape) if values.shape[1] == math.prod(shape) else values
