"""Which files of the project are opened while a step runs: what its kernel reports and, on Linux, all that happens.

A library that opens files past Python, and a program that the notebook starts, report nothing. inotify(7) sees them,
but not who it was: another process of this machine may have opened the file in the same minutes.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import itertools
import json
import os
import select
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..config import FILE, settings
from .opened import PASSED_OVER

REPORT = "AIINFRA_OPENED"
"""The variable of a step's kernel that names the file for its report."""

_MOST_FOLDERS = 2000
_MOST_NAMES = 200_000
# The end of reading and not the opening, which is the same for who writes.
_READ, _CREATE, _MOVED_TO, _WRITTEN, _IS_FOLDER = 0x10, 0x100, 0x80, 0x08, 0x40000000
_EVENT = struct.Struct("iIII")
_LOOK_S = 0.2
# The toolkit's own, which its verbs read, and notebooks, which JupyterLab does.
_OWN = (FILE,)


@dataclass
class Opened:
    """What was opened for reading and had not been written before. by_step: in the kernel; meanwhile: by somebody.

    written: in the kernel, before or after it was read. A file that was there, opened for both, is in both.
    """

    by_step: set[Path] = field(default_factory=set)
    meanwhile: set[Path] = field(default_factory=set)
    written: set[Path] = field(default_factory=set)


@contextlib.contextmanager
def opened_files(report: Path) -> Iterator[tuple[Mapping[str, str], Opened]]:
    """Watch while this lasts; the variables for the kernel, and what was opened, which is known at the end."""
    found = Opened()
    project = settings().project
    report.unlink(missing_ok=True)
    with _Folders(project) as folders:
        yield {REPORT: str(report)}, found
    _read(report, found)
    # What a library wrote past Python and the kernel then read; but what the kernel opened for both it read.
    found.by_step -= folders.written - folders.opened - found.written
    found.meanwhile = folders.opened - found.by_step - found.written
    for some in (found.by_step, found.meanwhile):
        some.difference_update([path for path in some if _is_own(path, project) or not path.is_file()])


def _read(report: Path, found: Opened) -> None:
    with contextlib.suppress(FileNotFoundError):
        for line in report.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last, of a process that was killed on a full disk
                is_written, path = json.loads(line)
                (found.written if is_written else found.by_step).add(Path(path))
        report.unlink()


def is_changed(path: Path, since_at: float) -> bool:
    """Whether the file was written, renamed or removed since then, in epoch seconds."""
    try:
        stat = path.stat()
    except OSError:  # gone, or not ours to look at
        return True
    return max(stat.st_mtime, stat.st_ctime) >= since_at


def _is_own(path: Path, project: Path) -> bool:
    return path.suffix == ".ipynb" or path.name in _OWN or path.parent == project / "recipes"


class _Folders:
    """What inotify tells of the project's folders; nothing where there is none. opened: what was not written first.

    Both are complete once the watch has ended.
    """

    def __init__(self, project: Path) -> None:
        self.opened: set[Path] = set()
        self.written: set[Path] = set()
        self._project, self._began_at = project, time.time()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> _Folders:
        libc = ctypes.CDLL(None)
        handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(libc, "inotify_init1") else -1
        if handle >= 0:
            mask = _READ | _CREATE | _MOVED_TO | _WRITTEN
            folders = list(_folders(self._project))
            watched = {libc.inotify_add_watch(handle, os.fsencode(each), mask): Path(each) for each in folders}
            self._thread = threading.Thread(target=self._look, args=(handle, watched), name="opened-files", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()
        # A handle that could have written, and did not: who opens a database opens it so, and reads it.
        unchanged = {path for path in self.written if not is_changed(path, self._began_at)}
        self.written -= unchanged
        self.opened |= unchanged

    def _look(self, handle: int, watched: Mapping[int, Path]) -> None:
        with open(handle, "rb", buffering=0) as events:
            is_last = False
            while not is_last:
                is_last = self._over.is_set()  # once more after the end: what came until then counts
                if select.select([handle], [], [], 0 if is_last else _LOOK_S)[0]:
                    self._take(events.read(65536) or b"", watched)

    def _take(self, content: bytes, watched: Mapping[int, Path]) -> None:
        place = 0
        while place < len(content):
            number, mask, _, length = _EVENT.unpack_from(content, place)
            place += _EVENT.size + length
            name = content[place - length : place].rstrip(b"\0")
            if number not in watched or mask & _IS_FOLDER or not name or name.startswith(b"."):
                continue
            path = watched[number] / os.fsdecode(name)
            if mask & (_CREATE | _MOVED_TO | _WRITTEN):
                self.written.add(path)
            elif path not in self.written:
                self.opened.add(path)


def _folders(project: Path) -> Iterator[str]:
    """The project's folders, those near its root first, without hidden ones and what is installed in it.

    At most 2,000, and no more once 200,000 names were looked at: a folder may hold millions of files.
    """
    left, looked = collections.deque([os.path.realpath(project)]), 0
    for _ in range(_MOST_FOLDERS):
        if not left or looked > _MOST_NAMES:
            return
        yield (folder := left.popleft())
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in itertools.islice(entries, _MOST_NAMES):
                looked += 1
                if entry.is_dir(follow_symlinks=False) and _is_watched(entry):
                    left.append(entry.path)


def _is_watched(folder: os.DirEntry[str]) -> bool:
    is_passed_over = folder.name.startswith(".") or folder.name in (*PASSED_OVER, "__pycache__")
    return not is_passed_over and not Path(folder.path, "pyvenv.cfg").exists()
