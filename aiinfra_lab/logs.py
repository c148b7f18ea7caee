"""Logs with a bound: what our own processes log, and whatever a job's process writes.

The package logs to `aiinfra_lab.…` as a library does: nothing is shown until a program configures logging. The
processes that are ours alone do so here.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from pathlib import Path
from typing import IO

from .files import shared_lock, take_lock
from .secrets import redactor

REPEAT_S = 60.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_PREFIX = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+ [\w.]+: ")
_MOST_KNOWN = 1000
_CHUNK = 1 << 20


def configure() -> logging.Handler:
    """Log to standard error, in a process of ours: all from us, warnings of others. Whoever reads it bounds it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
    handler.addFilter(Repeats())
    logging.getLogger().addHandler(handler)
    logging.getLogger("aiinfra_lab").setLevel(logging.INFO)
    return handler


def take_back(handler: logging.Handler) -> None:
    """Have logging as it was before `configure`, in a fork that is a program of its own."""
    logging.getLogger().removeHandler(handler)
    logging.getLogger("aiinfra_lab").setLevel(logging.NOTSET)


class _Formatter(logging.Formatter):
    """Writes no secret, neither of a message nor of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return redactor().clean(super().format(record))


class Repeats(logging.Filter):
    """Writes a problem once in REPEAT_S, and then how often it came meanwhile: a failing request comes again and again.

    Problems are the same when they were logged at one line with one message and raised at one line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.pathname, record.lineno, record.getMessage(), *_raised_at(record)), time.monotonic()
        written_at, since = self._known.get(key, (-REPEAT_S, 0))
        if now - written_at < REPEAT_S:
            self._known[key] = (written_at, since + 1)
            return False
        # Problems whose text is never the same must not fill the memory.
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = (now, 0)
        if since:
            record.msg, record.args = f"{record.getMessage()} (and {since} times since it was last written)", None
        return True


def _raised_at(record: logging.LogRecord) -> tuple[object, ...]:
    kind, _, trace = record.exc_info or (None, None, None)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (kind, trace and (trace.tb_frame.f_code, trace.tb_lineno))


def last_problem(text: str) -> str:
    """The error that output ends with: its last line, or both lines of one of ours; "" for no output."""
    *before, last = ["", *(_PREFIX.sub("", line.strip(), count=1) for line in text.splitlines() if line.strip())]
    fix = last.removeprefix("fix: ")
    return f"{before[-1]} ({fix})" if fix != last and before else last


def bound(path: Path, most_bytes: int) -> None:
    """Keep a log that others append to within that size on disk; cheap when there is nothing to do.

    Past half of it the end is copied to `NAME.1` and the log is cut to nothing, since its writers hold it open. What
    they write between the two is lost: microseconds, or more of a writer that is faster than the copy. A log that
    cannot be copied is left for the next time.
    """
    half = most_bytes // 2
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size > half and (older := take_lock(_older(path), patience_s=0)) is not None:
            with older, path.open("r+b") as log:
                older.truncate(0)  # first: it may be what fills the disk
                # A quarter of the half is left for what its writers add while it is copied.
                log.seek(size - half * 3 // 4)
                if not _copy(log, older, half):
                    older.write(b"\n")  # what comes next does not continue that line
                log.truncate(0)


def tail(path: Path, most_bytes: int) -> bytes:
    """The last bytes of a bounded log, read across the place where it was cut; nothing when there is none."""
    older = _older(path)
    with contextlib.suppress(FileNotFoundError):
        while not older.exists():
            found = _end(path, most_bytes)
            if not older.exists():  # else it was cut meanwhile, for the first time
                return found
        with shared_lock(older):
            found = _end(path, most_bytes)
            return _end(older, most_bytes - len(found)) + found
    return b""


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _copy(source: IO[bytes], target: IO[bytes], most_bytes: int) -> bool:
    """Copy up to the end, which moves while somebody writes; False when that is further than `most_bytes`."""
    while most_bytes > 0 and (chunk := source.read(min(_CHUNK, most_bytes))):
        target.write(chunk)
        target.flush()
        most_bytes -= len(chunk)
    return not source.read(1)


def _end(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - most_bytes))
            return file.read(most_bytes)
    except FileNotFoundError:
        return b""
