"""The messages of an Arrow IPC stream by their metadata alone: what a body would become, before anything is made of it.

The library reads compressed buffers whatever they inflate to, and takes any number of rows that no bytes stand for: it
is asked only once this has looked. Of the metadata (FlatBuffers) a few fields are taken; the library verifies the rest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_CONTINUES = 0xFFFFFFFF
# Places of fields, as in Arrow's Message.fbs.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_LENGTH, _COMPRESSION = 0, 3
_DICTIONARY_DATA, _IS_DELTA = 1, 2


class BadStream(ValueError):
    """Bytes that are no stream of Arrow's."""


class Unsupported(ValueError):
    """A stream of Arrow's that is not taken; its text says what to send."""


@dataclass(frozen=True)
class _Table:
    """A FlatBuffers table within some bytes."""

    data: memoryview
    at: int

    def place(self, field: int) -> int:
        """Where a field is; 0 where it is not there."""
        start = self.at - _number("<i", self.data, self.at)
        inside = 4 + 2 * field
        if inside >= _number("<H", self.data, start):
            return 0
        offset = _number("<H", self.data, start + inside)
        return self.at + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        return _number(form, self.data, at) if (at := self.place(field)) else 0

    def table(self, field: int) -> _Table:
        if not (at := self.place(field)):
            raise BadStream("a message has no content")
        return _Table(self.data, at + _number("<I", self.data, at))


def rows_of(body: bytes) -> int:
    """How many rows a stream has. BadStream for what is none or has no end, Unsupported for one that is not taken."""
    rest, rows, before = memoryview(body), 0, 0
    while True:
        if _number("<I", rest, 0) != _CONTINUES:
            raise BadStream("a message does not begin as one")
        if not (size := _number("<I", rest, 4)):
            break
        metadata = rest[8 : 8 + size]
        message = _Table(metadata, _number("<I", metadata, 0))
        kind, body_size = message.number(_HEADER_TYPE, "<B"), message.number(_BODY_LENGTH, "<q")
        if not 0 <= body_size <= len(rest) - 8 - size:
            raise BadStream("it ends in the middle of a message")
        if (kind == _SCHEMA) != (before == 0) or kind not in (_SCHEMA, _DICTIONARY, _BATCH):
            raise BadStream(f"a message of kind {kind} stands where none can be")
        rows += 0 if kind == _SCHEMA else _rows(message.table(_HEADER), kind)
        rest, before = rest[8 + size + body_size :], kind
    if not before or len(rest) > 8:
        raise BadStream("it has no schema" if not before else f"{len(rest) - 8} bytes follow its end")
    return rows


def _rows(header: _Table, kind: int) -> int:
    if kind == _DICTIONARY and header.number(_IS_DELTA, "<B"):
        raise Unsupported("it has a dictionary that grows from batch to batch: send it whole, before the batches")
    batch = header.table(_DICTIONARY_DATA) if kind == _DICTIONARY else header
    if batch.place(_COMPRESSION):
        raise Unsupported("its buffers are compressed: send it uncompressed, or the whole body with gzip")
    length = batch.number(_LENGTH, "<q")
    if length < 0:
        raise BadStream("a batch has less than no rows")
    return length if kind == _BATCH else 0


def _number(form: str, data: memoryview, at: int) -> int:
    # A place before the beginning would be taken from the end.
    if at < 0 or at + struct.calcsize(form) > len(data):
        raise BadStream("it ends in the middle, or is damaged")
    found: int = struct.unpack_from(form, data, at)[0]
    return found
