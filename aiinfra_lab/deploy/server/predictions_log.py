"""Every request with its answer as a line of JSON on disk, written by a thread of its own at least every 0.2 s.

Both stand there as they went over the wire, of a long text the beginning: nothing is encoded twice, and `newest` takes
them apart into rows. Files are for their owner only, a new one begins at every start and whenever one is full, and the
oldest are deleted when the folder holds more than it may. Lines that cannot be written are counted by their rows,
never waited for: predictions go on.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import operator
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...files import make_folder
from ...modes import OWNERS_FOLDER
from ..base import PredictedRow
from ..record import Role

FLUSH_S = 0.2
# Sooner than that when so much waits: memory that is used again costs less than what the kernel has to find.
FLUSH_BYTES = 512 << 10
PIECE_BYTES = 64 << 10  # of a longer write at once the kernel made three times the work
FILE_BYTES = 16 << 20
# Rows in memory while the disk is slow; any more are counted as lost, so that memory stays bounded.
MOST_WAITING = 100_000
_ROUNDED_S = 0.02

_log = logging.getLogger(__name__)


class PredictionsLog:
    """Takes lines on the event loop's thread and writes them from its own.

    most_bytes: what the folder's files may hold together; then the oldest are deleted, the one being written never.
    """

    def __init__(self, folder: Path, most_bytes: float) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._lines: deque[tuple[float, Role, float, bytes, bytes, int]] = deque()
        self._taken = self._written = 0  # rows; each is counted on one thread only
        self._turned_away = self._unwritten = self._waiting_bytes = 0
        self._file = -1
        self._file_bytes = 0
        self._flushed: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._done = False
        make_folder(folder.parent)
        folder.mkdir(mode=OWNERS_FOLDER, exist_ok=True)
        self._thread = threading.Thread(target=self._write_on, name="predictions-log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many rows are nowhere: the disk refused them, or was too slow."""
        return self._turned_away + self._unwritten

    def add(self, arm: Role, latency_ms: float, request: bytes, answer: bytes, rows: int) -> None:
        """Take what so many rows were answered, by an arm of that role, both as JSON; it is on disk within FLUSH_S."""
        if self._taken - self._written < MOST_WAITING:
            self._taken += rows
            self._lines.append((time.time(), arm, latency_ms, request, answer, rows))
            self._waiting_bytes += len(request)
            if self._waiting_bytes > FLUSH_BYTES:
                self._waiting_bytes = 0
                self._wake.set()
        else:
            self._turned_away += rows

    def flush(self, done: Callable[[], None]) -> None:
        """Write now what was added before; `done` is called, on the log's thread, when that was tried."""
        self._flushed.append(done)
        self._wake.set()

    def close(self) -> None:
        """Write what is there and end; nothing may be added afterwards."""
        self._done = True
        self._wake.set()
        self._thread.join()
        if self._file >= 0:
            os.close(self._file)

    def _write_on(self) -> None:
        while not self._done:
            self._wake.wait(FLUSH_S)
            # Cleared before the flush: who asks while it runs wakes the next one.
            self._wake.clear()
            self._flush()
        self._flush()  # what was added while the last lines were written

    def _flush(self) -> None:
        # Those who wait from here on are served by the next flush: their lines may come after the count below.
        waiting = [self._flushed.popleft() for _ in range(len(self._flushed))]
        self._write_lines()
        for done in waiting:
            done()

    def _write_lines(self) -> None:
        # popleft and append are atomic: no line is lost between the two threads, and no lock is in a request's way.
        taken = [self._lines.popleft() for _ in range(len(self._lines))]
        if not taken:
            return
        rows = sum(line[-1] for line in taken)
        try:
            self._write(b"".join([_line(*line) for line in taken]))
        except OSError:
            self._unwritten += rows
            self._take_back()
        self._written += rows

    def _write(self, block: bytes) -> None:
        if self._file < 0 or self._file_bytes > FILE_BYTES or not os.fstat(self._file).st_nlink:
            self._next_file()
        rest = memoryview(block)
        while rest:
            # The system may write a part only, e.g. when the disk is nearly full.
            rest = rest[os.write(self._file, rest[:PIECE_BYTES]) :]
        self._file_bytes += len(block)

    def _take_back(self) -> None:
        """Cut off what a failed write left, so that the next line does not continue half of another."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._file_bytes)

    def _next_file(self) -> None:
        # Opened before the old one is closed: should that fail, there is still a file to write. O_APPEND, so that
        # after `_take_back` the next line goes to the new end. Each front writes files of its own.
        flags, opened = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, -1
        while opened < 0:
            path = self.folder / f"{time.time_ns() // 1000}.jsonl"
            with contextlib.suppress(FileExistsError):
                opened = os.open(path, flags, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._file_bytes = opened, 0
        self._delete_oldest()

    def _delete_oldest(self) -> None:
        found = [(path, status.st_size) for path, status in _statuses(self.folder)]
        excess = sum(size for _, size in found) + FILE_BYTES - self._most_bytes  # the new file will grow to that
        for path, size in found[:-1]:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
            _log.info("deleted %s (%d bytes): the log is full, see the setting deploy.log_gib", path, size)


def _line(at: float, arm: Role, latency_ms: float, request: bytes, answer: bytes, _rows: int) -> bytes:
    # JSON may be written on several lines; inside its texts no line ends.
    one_line = request.replace(b"\n", b" ").replace(b"\r", b" ")
    form = b'{"at":%.4f,"arm":"%b","latency_ms":%.3f,"request":%b,"answer":%b}\n'
    return form % (at, arm.encode(), latency_ms, one_line, answer)


def files(folder: Path) -> list[Path]:
    """The log's files, oldest first."""
    # Names are microseconds, and texts sort as numbers only when they are equally long.
    return sorted(folder.glob("*.jsonl"), key=lambda path: (len(path.name), path.name))


def _statuses(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Of each file, the oldest first; another front may delete some meanwhile."""
    for path in files(folder):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat()


class _Request(msgspec.Struct):
    rows: list[dict[str, Any]] = []
    columns: dict[str, list[Any]] = {}


class _Answer(msgspec.Struct):
    request_id: str
    model: str
    predictions: list[dict[str, Any]] = []
    columns: dict[str, list[Any]] = {}
    errors: dict[str, str] = {}


class _Line(msgspec.Struct):
    at: float
    arm: Role
    latency_ms: float
    request: _Request
    answer: _Answer


def newest(folder: Path, rows: int) -> list[PredictedRow]:
    """The last rows, newest first. A line that a crash cut short, or that is damaged, is passed over."""
    found: list[PredictedRow] = []
    # Several fronts write at once: no row of a file is newer than the file's last change, as the kernel rounds it.
    changed = [(status.st_mtime, path) for path, status in reversed([*_statuses(folder)])]
    for changed_at, path in sorted(changed, key=operator.itemgetter(0), reverse=True):
        if found and len(found) >= rows and found[-1]["at"] >= changed_at + _ROUNDED_S:
            break
        found += itertools.islice(_backwards(path), rows)
        found = sorted(found, key=operator.itemgetter("at"), reverse=True)[:rows]
    return found


def _backwards(path: Path) -> Iterator[PredictedRow]:
    # A file is little longer than FILE_BYTES: it can be read whole.
    lines: list[bytes] = []
    with contextlib.suppress(FileNotFoundError):  # its server has just deleted it
        lines = path.read_bytes().splitlines()
    for line in reversed(lines):
        yield from reversed(_read(line))


def _read(line: bytes) -> list[PredictedRow]:
    """A line's rows; none of one that cannot be read, whatever became of it on the disk: the others can."""
    with contextlib.suppress(Exception):
        try:
            return _rows_of(msgspec.json.decode(line, type=_Line))
        except msgspec.ValidationError:
            return [_of_before(line)]
    return []


def _rows_of(line: _Line) -> list[PredictedRow]:
    answer = line.answer
    predictions = answer.predictions or [*_of_columns(answer.columns, answer.errors)]
    inputs = line.request.rows or [*_of_columns(line.request.columns, {})]
    return [
        _row(line, f"{answer.request_id}-{at}", given, prediction)
        for at, (given, prediction) in enumerate(zip(inputs, predictions, strict=True))
    ]


def _row(line: _Line, row_id: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> PredictedRow:
    inputs.pop("row_id", None)
    error: str | None = outputs.pop("error", None)
    found: PredictedRow = {
        "at": line.at,
        "request_id": line.answer.request_id,
        "row_id": outputs.pop("row_id", row_id),
        "model": line.answer.model,
        "arm": line.arm,
        "latency_ms": line.latency_ms,
        "inputs": inputs,
        "outputs": outputs if error is None else None,
    }
    if error is not None:
        found["error"] = error
    return found


def _of_columns(columns: dict[str, list[Any]], errors: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The rows that columns are, those with an error with it."""
    for at, row in enumerate(zip(*columns.values(), strict=True)):
        error = {"error": errors[str(at)]} if str(at) in errors else {}
        yield {**dict(zip(columns, row, strict=True)), **error}


def _of_before(line: bytes) -> PredictedRow:
    """A line from before each had a whole request: it had one row, two arms at most, and in 0.1 nothing but a score."""
    found = msgspec.json.decode(line, type=dict[str, Any])
    found["arm"] = "canary" if found.pop("canary", False) else "champion"
    if "score" in found:
        score = found.pop("score")
        found["outputs"] = None if score is None else {"score": score}
    return msgspec.convert(found, PredictedRow)
