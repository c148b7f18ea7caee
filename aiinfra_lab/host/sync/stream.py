"""Frames on a pair of byte streams: a head in JSON and bytes, each preceded by its length."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

MOST_HEAD, MOST_BODY = 64 << 20, 4 << 20


class Cut(Exception):
    """The stream ended."""


def send(writer: Any, head: Mapping[str, Any], body: bytes = b"") -> None:
    """Write one frame. Cut when nobody reads any more."""
    text = json.dumps(head).encode()
    rest = memoryview(struct.pack("!II", len(text), len(body)) + text + body)
    try:
        while rest:
            rest = rest[writer.write(rest) or 0 :]
    except (OSError, ValueError) as problem:
        raise Cut(str(problem)) from problem


def flush(writer: Any) -> None:
    """See that all frames are under way."""
    try:
        writer.flush()
    except (OSError, ValueError) as problem:
        raise Cut(str(problem)) from problem


def receive(reader: Any) -> tuple[dict[str, Any], bytes]:
    """Read one frame. Cut at the end of the stream, or where it is no frame."""
    head_size, body_size = struct.unpack("!II", _read(reader, 8))
    if head_size > MOST_HEAD or body_size > MOST_BODY:
        raise Cut("what came is no frame")
    try:
        head = json.loads(_read(reader, head_size))
    except (ValueError, RecursionError) as problem:
        raise Cut("what came is no frame") from problem
    if not isinstance(head, dict):
        raise Cut("what came is no frame")
    return head, _read(reader, body_size)


def _read(reader: Any, size: int) -> bytes:
    parts = []
    while size:
        try:
            part = reader.read(size)
        except (OSError, ValueError) as problem:
            raise Cut(str(problem)) from problem
        if not part:
            raise Cut("the stream ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
