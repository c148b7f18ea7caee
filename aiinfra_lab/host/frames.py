"""The stream between a host core and its owner: frames with a kind and a number, and the messages that they carry.

A message is what the kernel or a client has sent, with its channel. Its parts are never looked into: they are signed
from end to end, and neither side of the stream needs the key for them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

_HEAD = struct.Struct(">IBQ")
MOST_BYTES = 1 << 30
_MOST_PARTS = (1 << 16) - 1
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What reading bytes of somebody else may raise, and what they hold: whoever does so drops them, and goes on."""


class TooLargeError(ValueError):
    """A message that no frame holds; whoever was to send it says so to who waits for it."""


class Kind(IntEnum):
    """What a frame is. Only messages are numbered; the number of `RECEIVED` is that of the last one that is safe."""

    HELLO = 1  # the owner's first, in JSON: `received`, the last message that it has
    WELCOME = (
        2  # the core's answer, in JSON: `received`; `first`, the oldest message that it can still send; `exchange`
    )
    MESSAGE = 3
    RECEIVED = 4
    LEASE = 5  # in JSON: `left_s`, seconds until the end or null, `reason` and `idle_s`
    PING = 6
    PONG = 7
    # Files, see `exchange`: not numbered either, since what came of them shows how far they are.
    PUT = 8  # the owner's: a piece, with `name` and `at`
    HAS = 9  # the core's answer: `name`, and `size` or `problem`
    GET = 10  # the owner's: `name` and `at`
    PIECE = 11  # the core's answer: `name`, `at`, the `size` of the whole and the piece, or a `problem`
    KEEP = 12  # the owner's, in JSON: the exchanges that go on; files of others are removed


class MessageChannel(IntEnum):
    """Where a message belongs. The first are the kernel's own; the others are between owner and core."""

    SHELL = 1
    IOPUB = 2
    STDIN = 3
    CONTROL = 5
    COMMAND = 8  # owner to core: `restart`, `end` or `signal N`
    STATE = 9  # core to owner, in JSON: see `state.HostState`


class Frame(NamedTuple):
    kind: int
    number: int
    payload: bytes


class Message(NamedTuple):
    """at: when it was written down, in epoch seconds by the clock of that side."""

    channel: int
    at: float
    parts: list[bytes]


def frame(kind: int, number: int = 0, payload: bytes = b"") -> bytes:
    """A frame as it goes over the stream."""
    return _HEAD.pack(len(payload), kind, number) + payload


def frame_head(kind: int, number: int, size: int) -> bytes:
    """What goes before a payload of that size."""
    return _HEAD.pack(size, kind, number)


def pack(channel: int, parts: Sequence[bytes], at: float) -> bytes:
    """A message as a frame and a journal hold it. TooLargeError when it is above what the other side takes."""
    return b"".join(pieces(channel, parts, at))


def pieces(channel: int, parts: Sequence[bytes], at: float) -> Sequence[bytes]:
    """The same, not joined yet: a large message is not copied for it."""
    size = 11 + 4 * len(parts) + sum(map(len, parts))
    if size > MOST_BYTES:
        raise TooLargeError(f"it has {size / 2**20:,.0f} MiB, and {MOST_BYTES >> 20:,} MiB is the most that goes")
    if len(parts) > _MOST_PARTS:
        raise TooLargeError(f"it has {len(parts):,} parts, and {_MOST_PARTS:,} is the most that goes")
    return (struct.pack(f">BdH{len(parts)}I", channel, at, len(parts), *map(len, parts)), *parts)


def unpack(payload: bytes | memoryview) -> Message:
    """The message of a payload. ValueError when it holds none."""
    try:
        channel, at, count = struct.unpack_from(">BdH", payload)
        sizes = struct.unpack_from(f">{count}I", payload, 11)
    except struct.error as problem:
        raise ValueError(f"no message: {problem}") from None
    start, parts = 11 + 4 * count, []
    for size in sizes:
        parts.append(bytes(payload[start : start + size]))
        start += size
    if start != len(payload):
        raise ValueError(f"a message of {start} bytes in {len(payload)}")
    return Message(channel, at, parts)


class Decoder:
    """Finds the frames in what comes over a stream, in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. ValueError when this is no stream of ours."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            size, kind, number = _HEAD.unpack_from(self._buffer)
            if size > MOST_BYTES or not Kind.HELLO <= kind <= Kind.KEEP:
                raise ValueError(f"no frame begins with {bytes(self._buffer[:16])!r}")
            end = _HEAD.size + size
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[_HEAD.size : end])
            del self._buffer[:end]
            yield Frame(kind, number, payload)
