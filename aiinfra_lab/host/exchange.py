"""Files that an owner and the code of its kernel exchange, in one folder of the host.

They go in pieces, and each piece says where it belongs. None is numbered or written down: the files on both sides show
how far they have come, so that the next connection goes on there, and a piece that comes twice changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .frames import Kind, frame

PIECE_BYTES = 1 << 18  # a message waits for one of them at most; on a slow link that is a second or two
_NAME = re.compile(r"([0-9a-z_]{1,40})\.(in|out)")
_SIZE = struct.Struct(">H")


def pack_piece(data: bytes = b"", **head: Any) -> bytes:
    """The payload of a frame: what is to be known about a piece, and the piece."""
    text = json.dumps(head).encode()
    return _SIZE.pack(len(text)) + text + data


def unpack_piece(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """ValueError when that is none."""
    if len(payload) < _SIZE.size:
        raise ValueError("no piece of a file")
    start = _SIZE.size + _SIZE.unpack_from(payload)[0]
    head = json.loads(payload[_SIZE.size : start])
    if not isinstance(head, dict):
        raise ValueError("the head of a piece is an object")
    return head, payload[start:]


class HostFiles:
    """The files of `folder`, which is made for this user only once there is one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the file of that name is; ValueError when that is none of these."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"no file is exchanged by the name {name!r}")
        return self.folder / name

    def write(self, path: Path, at: int, data: bytes) -> bytes:
        """Put a piece where it belongs; the answer says how large the file is now, or what is wrong."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(file).st_size
                if at > size:
                    raise OSError(0, "a part of it has vanished there")
                _write_at(file, data, at)
            finally:
                os.close(file)
        except OSError as problem:
            with contextlib.suppress(OSError):
                path.unlink()
            return frame(Kind.HAS, 0, pack_piece(name=path.name, problem=problem.strerror))
        return frame(Kind.HAS, 0, pack_piece(name=path.name, size=max(size, at + len(data))))

    def read(self, path: Path, at: int) -> bytes:
        """The piece that is asked for, with the size of the whole file."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = os.pread(file.fileno(), PIECE_BYTES, at)
        except OSError as problem:
            return frame(Kind.PIECE, 0, pack_piece(name=path.name, problem=problem.strerror))
        return frame(Kind.PIECE, 0, pack_piece(data, name=path.name, at=at, size=size))

    def keep(self, names: Collection[str]) -> None:
        """Remove what belongs to none of these exchanges: it is over, or whoever began it has ended. NAME_PART
        belongs to NAME too, whoever has made it."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                name = path.name.partition(".")[0]
                if name not in names and name.partition("_")[0] not in names:
                    path.unlink()


def _write_at(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written
