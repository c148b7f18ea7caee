"""Every predicted row as a line of JSON on disk, written by a thread of its own at least every 0.2 s.

Files are for their owner only, a new one begins at every start and whenever one is full, and the oldest are deleted
when the folder holds more than it may. Lines that cannot be written are counted, never waited for: predictions go on.
Of a long text a line has the beginning.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...files import make_folder
from ...modes import OWNERS_FOLDER
from ...train.texts import LOGGED_CHARACTERS, as_logged
from ..base import PredictedRow
from ..record import Role

FLUSH_S = 0.2
FILE_BYTES = 16 << 20
# Lines in memory while the disk is slow; any more are counted as lost, so that memory stays bounded.
MOST_WAITING = 100_000

_log = logging.getLogger(__name__)
_encode_lines = msgspec.json.Encoder().encode_lines


class Line(msgspec.Struct, omit_defaults=True):
    """One row: when, which request and row, who answered and in what role, what went in and what came out.

    latency_ms: from the request's last byte to its outputs.
    """

    at: float
    request_id: str
    row_id: str
    model: str
    arm: Role
    latency_ms: float
    inputs: Any
    outputs: dict[str, Any] | None
    error: str | None = None


class PredictionsLog:
    """Takes lines on the event loop's thread and writes them from its own.

    most_bytes: what the folder's files may hold together; then the oldest are deleted, the one being written never.
    """

    def __init__(self, folder: Path, most_bytes: float) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._lines: deque[tuple[bytes, int]] = deque()
        self._taken = self._written = 0  # rows; each is counted on one thread only
        self._turned_away = self._unwritten = 0
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
        """How many lines are nowhere: the disk refused them, or was too slow."""
        return self._turned_away + self._unwritten

    def add(self, lines: bytes, rows: int) -> None:
        """Take the lines of so many rows, each with its end; they are on disk within FLUSH_S."""
        if self._taken - self._written < MOST_WAITING:
            self._taken += rows
            self._lines.append((lines, rows))
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
        rows = sum(count for _, count in taken)
        try:
            self._write(b"".join(lines for lines, _ in taken))
        except OSError:
            self._unwritten += rows
            self._take_back()
        self._written += rows

    def _write(self, block: bytes) -> None:
        if self._file < 0 or self._file_bytes > FILE_BYTES:
            self._next_file()
        rest = memoryview(block)
        while rest:
            # The system may write a part only, e.g. when the disk is nearly full.
            rest = rest[os.write(self._file, rest) :]
        self._file_bytes += len(block)

    def _take_back(self) -> None:
        """Cut off what a failed write left, so that the next line does not continue half of another."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._file_bytes)

    def _next_file(self) -> None:
        path = self.folder / f"{time.time_ns() // 1000}.jsonl"
        # Opened before the old one is closed: should that fail, there is still a file to write. O_APPEND, so that
        # after `_take_back` the next line goes to the new end.
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._file_bytes = opened, 0
        self._delete_oldest()

    def _delete_oldest(self) -> None:
        found = files(self.folder)
        sizes = [path.stat().st_size for path in found]
        excess = sum(sizes) + FILE_BYTES - self._most_bytes  # the new file will grow to that
        for path, size in zip(found[:-1], sizes[:-1], strict=True):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
            _log.info("deleted %s (%d bytes): the log is full, see the setting deploy.log_gib", path, size)


def encoded(lines: Iterable[Line]) -> bytes:
    """Lines as `PredictionsLog.add` takes them, of their long texts the beginnings."""
    rows = [*lines]
    found = _encode_lines(rows)
    # Only a long line can have a long text: to look at the values of each would cost every request.
    long = [at for at, text in enumerate(found.split(b"\n")) if len(text) > LOGGED_CHARACTERS]
    for at in long:
        rows[at] = _shortened(rows[at])
    return _encode_lines(rows) if long else found


def _shortened(line: Line) -> Line:
    named = line.inputs if isinstance(line.inputs, dict) else msgspec.to_builtins(line.inputs)
    inputs = {name: as_logged(value) for name, value in named.items()}
    outputs = line.outputs and {name: as_logged(value) for name, value in line.outputs.items()}
    return msgspec.structs.replace(line, inputs=inputs, outputs=outputs)


def files(folder: Path) -> list[Path]:
    """The log's files, oldest first."""
    # Names are microseconds, and texts sort as numbers only when they are equally long.
    return sorted(folder.glob("*.jsonl"), key=lambda path: (len(path.name), path.name))


def newest(folder: Path, rows: int) -> list[PredictedRow]:
    """The last lines, newest first. A line that a crash cut short is passed over."""
    found: list[PredictedRow] = []
    if rows <= 0:
        return found
    for path in reversed(files(folder)):
        found += list(_backwards(path))[: rows - len(found)]
        if len(found) >= rows:
            break
    return found


def _backwards(path: Path) -> Iterator[PredictedRow]:
    # A file is little longer than FILE_BYTES: it can be read whole.
    for line in reversed(path.read_bytes().splitlines()):
        with contextlib.suppress(msgspec.DecodeError):
            try:
                yield msgspec.json.decode(line, type=PredictedRow)
            except msgspec.ValidationError:
                found = _with_arm(msgspec.json.decode(line, type=dict[str, Any]))
                rows = _of_columns(found) if "columns" in found else [_of_score(found)]
                yield from reversed([msgspec.convert(row, PredictedRow) for row in rows])


def _of_columns(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a request that came as columns."""
    inputs, outputs, errors = line["columns"], line["outputs"], line.get("errors", {})
    ids = inputs.pop("row_id", None)
    for at in range(len(next(iter(outputs.values())))):
        error = errors.get(str(at))
        yield {
            "at": line["at"],
            "request_id": line["request_id"],
            "row_id": str(ids[at]) if ids else f"{line['request_id']}-{at}",
            **{key: line[key] for key in ("model", "arm", "latency_ms")},
            "inputs": {name: values[at] for name, values in inputs.items()},
            "outputs": None if error else {name: values[at] for name, values in outputs.items()},
            **({"error": error} if error else {}),
        }


def _of_score(line: dict[str, Any]) -> dict[str, Any]:
    """A line from before models gave anything but a score."""
    if "outputs" in line:
        return line
    score = line.get("score")
    return {**line, "outputs": None if score is None else {"score": score}}


def _with_arm(line: dict[str, Any]) -> dict[str, Any]:
    """A line from before there were other arms than a champion and a canary."""
    return {"arm": "canary" if line.pop("canary", False) else "champion", **line}
