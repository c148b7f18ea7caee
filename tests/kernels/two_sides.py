"""A folder here, one that a host serves over pipes in a thread, and syncs between them that may be cut at any byte."""

import contextlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiinfra_lab.host.sync.serving import serve
from aiinfra_lab.kernels.sync import SyncReport, sync

NOTHING_DONE = (0, 0, 0, 0, 0, ())


class _Line:
    """Bytes that may pass in both directions together until the line is cut."""

    def __init__(self, limit: int | None) -> None:
        self.limit, self.passed = limit, 0

    def take(self, wanted: int) -> int:
        """How many of these may pass."""
        free = wanted if self.limit is None else min(wanted, self.limit - self.passed)
        self.passed += free
        return free


@dataclass
class _Reader:
    stream: Any
    line: _Line

    def read(self, size: int) -> bytes:
        return bytes(self.stream.read(self.line.take(size)))


@dataclass
class _Writer:
    stream: Any
    line: _Line

    def write(self, data: bytes) -> int:
        free = self.line.take(len(data))
        self.stream.write(data[:free])
        if free < len(data):
            self.stream.flush()
            raise BrokenPipeError
        return free

    def flush(self) -> None:
        self.stream.flush()


class TwoSides:
    """Two folders; `passed` is how many bytes went over the stream in the last sync."""

    def __init__(self, top: Path) -> None:
        self.near, self.far, self.state = top / "near", top / "far", top / "state"
        self.near.mkdir()
        self.passed = 0

    def sync(self, cut_at: int | None = None, **given: Any) -> SyncReport:
        """Sync them, with a host that starts anew."""
        to_host, from_host = os.pipe(), os.pipe()
        ends = [os.fdopen(to_host[0], "rb"), os.fdopen(from_host[1], "wb")]
        served = threading.Thread(target=serve, args=(str(self.far), *ends))
        served.start()
        line = _Line(cut_at)
        with os.fdopen(from_host[0], "rb") as reader, os.fdopen(to_host[1], "wb") as writer:
            try:
                return sync(
                    self.near,
                    _Reader(reader, line),
                    _Writer(writer, line),
                    state=self.state,
                    **{"host": "box", **given},
                )
            finally:
                self.passed = line.passed
                _close_both(reader, writer)
                served.join()
                for end in ends:
                    _close_both(end)


def _close_both(*streams: Any) -> None:
    for stream in streams:
        with contextlib.suppress(OSError):
            stream.close()


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """All that lies in a folder, but what is never synced: kind, content, and who may execute it."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if name.partition("/")[0] in (".aiinfra", ".aiinfraignore"):
            continue
        if path.is_symlink():
            found[name] = ("l", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("d",)
        else:
            found[name] = ("f", path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


def write(path: Path, content: str) -> Path:
    """Write a file, in folders that are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def done(report: SyncReport) -> tuple[Any, ...]:
    """What a sync did, without what it left out."""
    return (
        *(report.sent_files, report.sent_bytes, report.received_files, report.received_bytes),
        *(report.deleted, report.conflicts),
    )
