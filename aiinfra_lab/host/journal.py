"""A journal: numbered records in the files of one folder, which outlives its process.

Each side of the stream writes down what it sends, or has received, before it lets go of it. What the other side has
safe is dropped; what nobody fetches is bounded, and then the oldest goes: a gap in the numbers shows it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import files

_RECORD = struct.Struct(">QII")  # number, bytes, CRC-32
SEGMENT_BYTES = 1 << 20
LIMIT_BYTES = 1 << 30
_JOINED_BYTES = 1 << 16  # less than that is written at one time
_OPEN, _SEALED = ".log", ".log.z"


class JournalEntry(NamedTuple):
    """payload: a part of what was read at one time, which is held as long as it is."""

    number: int
    payload: memoryview


class _Segment:
    """One file: records that follow each other. A sealed one is compressed and never written again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = int(path.name.split(".")[0])
        self.size = path.stat().st_size if path.exists() else 0

    @property
    def is_sealed(self) -> bool:
        return self.path.name.endswith(_SEALED)

    def read(self) -> bytes:
        data = self.path.read_bytes()
        return zlib.decompress(data) if self.is_sealed else data


def read(folder: Path) -> Iterator[JournalEntry]:
    """What a journal holds now, be it written by another process meanwhile; nothing where there is none."""
    for segment in sorted(_segments(folder), key=lambda segment: segment.first):
        for path in (segment.path, segment.path.with_name(f"{segment.path.name}.z")):  # sealed since
            with contextlib.suppress(FileNotFoundError, zlib.error):
                segment.path = path
                yield from _records(segment.read())
                break


def _segments(folder: Path) -> list[_Segment]:
    with contextlib.suppress(FileNotFoundError):
        return [_Segment(path) for path in folder.iterdir() if path.name.endswith((_OPEN, _SEALED))]
    return []


class Journal:
    """The records of a folder, for its user only. One process writes it at a time; others may read.

    limit_bytes: what it may take on disk. Records are not flushed: they outlive the process, not the machine. A file
    that is full is compressed by `seal_one`, or when the limit is reached: writing itself keeps up with any kernel.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self._limit, self._segment_bytes = folder, limit_bytes, segment_bytes
        self._segments = sorted(_segments(folder), key=lambda segment: segment.first)
        self._unsealed = deque(segment for segment in self._segments if not segment.is_sealed)
        self._file = -1
        self.last = self._recovered()

    @property
    def first(self) -> int:
        """The number of the oldest record that is kept; one more than `last` when there is none."""
        return self._segments[0].first if self._segments else self.last + 1

    @property
    def size(self) -> int:
        """What it takes on disk, in bytes."""
        return sum(segment.size for segment in self._segments)

    def append(self, *pieces: bytes) -> int:
        """Write a record down, and return its number. OSError when the disk takes nothing: the number is used up.

        pieces: the payload, which is written as it is: joining a large one would take its size in memory again
        """
        self.last += 1
        size, check = 0, 0
        for piece in pieces:
            size, check = size + len(piece), zlib.crc32(piece, check)
        if self._file < 0:
            self._begin(self.last)
        current = self._segments[-1]
        try:
            _write(self._file, (_RECORD.pack(self.last, size, check), *pieces))
        except OSError:
            # Half a record would end the file for whoever reads it: a later one begins another file.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, current.size)
            self._close()
            raise
        current.size += _RECORD.size + size
        if current.size >= self._segment_bytes:
            self._close()
            self._keep_to_limit()
        return self.last

    @property
    def is_sealable(self) -> bool:
        """Whether a file is full, and not compressed yet."""
        return len(self._unsealed) > (self._file >= 0)

    def seal_one(self) -> None:
        """Compress the oldest file that is full, if there is one: for when nothing else is to be done."""
        if self.is_sealable:
            segment = self._unsealed.popleft()
            sealed = segment.path.with_name(segment.path.name + ".z")
            with contextlib.suppress(OSError):  # a full disk: it stays as it is
                files.write(sealed, zlib.compress(segment.path.read_bytes(), 1))
                segment.path.unlink()
                segment.path, segment.size = sealed, sealed.stat().st_size

    def skip_to(self, number: int) -> None:
        """Leave the numbers up to that one out: the next record gets the one behind it. Never back."""
        if number > self.last:
            self._close()
            self.last = number

    def after(self, number: int) -> Iterator[JournalEntry]:
        """The records behind that number, as far as they are kept, in order; what is appended meanwhile too."""
        while number < self.last:
            segment = self._holding(number + 1)
            if segment is None:
                return
            before = number
            for record in _records(segment.read()):
                if record.number > number:
                    number = record.number
                    yield record
            if number == before:  # what it should hold was never written: the disk was full
                following = [each.first for each in self._segments if each.first > number + 1]
                if not following:
                    return
                number = following[0] - 1

    def drop(self, number: int) -> None:
        """Forget the records up to that number, in whole files; a small one that is written stays for now."""
        while self._segments and self._end_of(0) <= number:
            if len(self._segments) == 1:
                if self._file >= 0 and self._segments[0].size < self._segment_bytes // 16:
                    return
                self._close()
            self._remove_oldest()

    def forget(self, number: int) -> None:
        """Forget the records up to that number, also on the disk, where those behind them are written anew."""
        rest, last = [(each.number, bytes(each.payload)) for each in self.after(number)], self.last
        self._close()
        while self._segments:
            self._remove_oldest()
        for each, payload in rest:
            self.last = each - 1  # there may be gaps
            self.append(payload)
        self.last = last

    def close(self) -> None:
        """Close its file; what is written stays."""
        self._close()

    def _recovered(self) -> int:
        """The number of the last record that is whole; what a killed writer left behind it is cut off."""
        last = 0
        for segment in reversed(self._segments):
            whole = 0
            with contextlib.suppress(zlib.error):
                for record in _records(segment.read()):
                    last, whole = record.number, whole + _RECORD.size + len(record.payload)
            if segment.path.name.endswith(_OPEN) and whole < segment.size:
                os.truncate(segment.path, whole)
                segment.size = whole
            if last:
                return last
            last = segment.first - 1
        return max(last, 0)

    def _begin(self, number: int) -> None:
        path = self.folder / f"{number:016d}{_OPEN}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._segments.append(_Segment(path))
        self._unsealed.append(self._segments[-1])

    def _keep_to_limit(self) -> None:
        while self.size > self._limit and self.is_sealable:
            self.seal_one()
        while self.size > self._limit and len(self._segments) > 1:
            self._remove_oldest()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _remove_oldest(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._segments[0].path.unlink()
        if self._unsealed and self._unsealed[0] is self._segments[0]:
            self._unsealed.popleft()
        del self._segments[0]

    def _end_of(self, index: int) -> int:
        """The number of a segment's last record."""
        return self._segments[index + 1].first - 1 if index + 1 < len(self._segments) else self.last

    def _holding(self, number: int) -> _Segment | None:
        """The segment with that record, or the first behind it."""
        for index, segment in enumerate(self._segments):
            if number <= self._end_of(index):
                return segment
        return None


def _records(data: bytes) -> Iterator[JournalEntry]:
    """The whole records at the beginning of a file's content."""
    at, view = 0, memoryview(data)
    while at + _RECORD.size <= len(data):
        number, size, check = _RECORD.unpack_from(data, at)
        payload = view[at + _RECORD.size : at + _RECORD.size + size]
        if len(payload) < size or zlib.crc32(payload) != check:
            return
        at += _RECORD.size + size
        yield JournalEntry(number, payload)


def _write(file: int, pieces: Sequence[bytes]) -> None:
    if sum(map(len, pieces)) < _JOINED_BYTES:
        pieces = (b"".join(pieces),)
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(file, view) :]
