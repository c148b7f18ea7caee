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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..config import FILE, settings
from ..pool.match import OWN_FOLDER
from .opened import PASSED_OVER

REPORT = "AIINFRA_OPENED"
"""The variable of a step's kernel that names the file for its report."""

_MOST_FOLDERS = 2000
_MOST_NAMES = 200_000
# The end of reading and not the opening, which is the same for who writes.
_READ, _CREATE, _MOVED_TO, _WRITTEN, _IS_FOLDER = 0x10, 0x100, 0x80, 0x08, 0x40000000
_EVENT = struct.Struct("iIII")
_LOOK_S = 0.2
_OF_PACKAGES = (".dist-info", ".egg-info")
_watching: list[_Folders] = []
"""Of the runs that go on in this process."""


@dataclass
class Opened:
    """What was opened for reading and had not been written before. by_step: in the kernel; meanwhile: by somebody.

    A file that the kernel has opened by a link of the project is there by the link. written: in the kernel, before or
    after it was read. A file that was there, opened for both, is in both. made: written, and not read before by
    anybody; of what the kernel did not write, not after it either. moved: links that lead to another file now.
    """

    by_step: set[Path] = field(default_factory=set)
    meanwhile: set[Path] = field(default_factory=set)
    written: set[Path] = field(default_factory=set)
    made: set[Path] = field(default_factory=set)
    moved: set[Path] = field(default_factory=set)


class ProjectWatch:
    """The files of the project while a run goes on. Each of its steps has a window, and several may be open at once.

    What the kernel of one step reports is not taken for what another has opened in the same time.
    """

    def __init__(self) -> None:
        self._project = settings().project
        self._folders = _Folders(self._project)
        self._windows: list[StepWindow] = []

    def __enter__(self) -> ProjectWatch:
        _watching.append(self._folders)
        return self

    def __exit__(self, *_: object) -> None:
        _watching.remove(self._folders)
        self._folders.end()
        for window in self._windows:
            window.report.unlink(missing_ok=True)  # of a step whose end nobody took

    def open(self, report: Path) -> StepWindow:
        """Begin to watch for a step, whose kernel reports to that file; its folder is there when the kernel begins."""
        report.unlink(missing_ok=True)
        window = StepWindow(report, self._folders.open())
        self._windows.append(window)
        return window

    def close(self, window: StepWindow) -> Opened:
        """What was opened since then."""
        seen = self._folders.close(window.seen)
        reported = window.end()
        by_step, written = set(reported.read), reported.written
        made = (written | (seen.written - seen.reread)) - seen.opened - by_step
        others: set[Path] = set()
        for other in self._windows:
            if other is not window and other.overlaps(window):
                others |= other.reported().read.keys() | other.reported().written
        # What a library wrote past Python and the kernel then read; but what the kernel opened for both it read.
        by_step -= seen.written - seen.opened - written
        meanwhile = seen.opened - by_step - written - others
        # What it looked for in vain counts as well, but not what it has made and removed.
        by_step -= {path for path in by_step & written if not path.exists()}
        by_step = {path for path in by_step if not _is_own(path, self._project) and not path.is_dir()}
        links = {name: path for path in by_step for name in reported.read[path] - {path}}
        by_step = {name for path in by_step for name in reported.read[path]}
        # JupyterLab reads notebooks; that the step does, only its kernel can tell.
        meanwhile = {path for path in meanwhile if path.is_file() and path.suffix != ".ipynb"}
        meanwhile = {path for path in meanwhile if not _is_own(path, self._project)}
        return Opened(
            by_step, meanwhile, written, made, {name for name, path in links.items() if name.resolve() != path}
        )


@dataclass
class _Reported:
    """What a kernel has opened. read: each file → the names by which it did. written: before or after it was read."""

    read: dict[Path, set[Path]] = field(default_factory=dict)
    written: set[Path] = field(default_factory=set)


class StepWindow:
    """The time in which a step runs, and what its kernel reports. seen: what happens in the project's folders."""

    def __init__(self, report: Path, seen: _Seen) -> None:
        self.report, self.seen = report, seen
        self.began_at, self.ended_at = time.monotonic(), float("inf")
        self._reported: _Reported | None = None

    @property
    def variables(self) -> dict[str, str]:
        """For the environment of the kernel."""
        return {REPORT: str(self.report)}

    def overlaps(self, other: StepWindow) -> bool:
        """Whether both were open at one time."""
        return self.began_at < other.ended_at and other.began_at < self.ended_at

    def reported(self) -> _Reported:
        """What its kernel has reported until now."""
        if self._reported is not None:
            return self._reported
        found = _Reported()
        with contextlib.suppress(FileNotFoundError):
            for line in self.report.read_text().splitlines():
                with contextlib.suppress(ValueError):  # the last, of a process that was killed on a full disk
                    is_written, path, name = json.loads(line)
                    if is_written:
                        found.written.add(Path(path))
                    else:
                        found.read.setdefault(Path(path), set()).add(Path(name))
        return found

    def end(self) -> _Reported:
        """What it has reported in all."""
        self.ended_at, self._reported = time.monotonic(), self.reported()
        self.report.unlink(missing_ok=True)
        return self._reported


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """While the block runs, the file is read by this process, which decides about steps: no step has opened it."""
    with contextlib.ExitStack() as stack:
        for folders in _watching:
            stack.enter_context(folders.passing_over(path))
        yield


def is_changed(path: Path, since_at: float) -> bool:
    """Whether the file was written, renamed or removed since then, in epoch seconds."""
    try:
        stat = path.stat()
    except OSError:  # gone, or not ours to look at
        return True
    return max(stat.st_mtime, stat.st_ctime) >= since_at


def _is_own(path: Path, project: Path) -> bool:
    """Whether it is the toolkit's own, or of an installed package, which counts as that."""
    if path.parent.suffix in _OF_PACKAGES:
        return True
    return path.name == FILE or (path.suffix == ".toml" and path.parent == project / "recipes")


@dataclass
class _Seen:
    """What inotify tells of a time: opened, what was read and not written first; reread, what was read after that."""

    began_at: float
    opened: set[Path] = field(default_factory=set)
    written: set[Path] = field(default_factory=set)
    reread: set[Path] = field(default_factory=set)


class _Folders:
    """What inotify tells of the project's folders, also of those that are made meanwhile; nothing where there is none.

    The first window begins it: a run whose steps are all skipped needs none.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self._open: list[_Seen] = []
        self._handle = -1
        self._watched: dict[int, Path] = {}
        self._passed_over: collections.Counter[Path] = collections.Counter()  # by how many, in several threads
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look, name="opened-files", daemon=True)
        self._libc = ctypes.CDLL(None)

    def _begin(self) -> None:
        if self._handle >= 0 or not hasattr(self._libc, "inotify_init1"):
            return
        self._handle = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle >= 0:
            self._watch(self._project)
            self._thread.start()

    def _watch(self, folder: Path) -> None:
        mask = _READ | _CREATE | _MOVED_TO | _WRITTEN
        for each in _folders(folder, _MOST_FOLDERS - len(self._watched)):
            self._watched[self._libc.inotify_add_watch(self._handle, os.fsencode(each), mask)] = Path(each)

    def end(self) -> None:
        self._over.set()
        if self._handle >= 0:
            # That a watch is over is an event, too: the thread hears it at once. Nobody waits for it: the system takes
            # 10 ms and more to close the handle.
            self._libc.inotify_rm_watch(self._handle, next(iter(self._watched), -1))

    def open(self) -> _Seen:
        self._begin()
        self._drain()  # what was before is none of its
        seen = _Seen(time.time())
        with self._lock:
            self._open.append(seen)
        return seen

    def close(self, seen: _Seen) -> _Seen:
        """It, complete until now."""
        self._drain()
        with self._lock:
            self._open = [each for each in self._open if each is not seen]
        # A handle that could have written, and did not: who opens a database opens it so, and reads it.
        unchanged = {path for path in seen.written if not is_changed(path, seen.began_at)}
        seen.written -= unchanged
        seen.opened |= unchanged
        return seen

    @contextlib.contextmanager
    def passing_over(self, path: Path) -> Iterator[None]:
        """While the block runs, that this file is read counts for nobody."""
        if self._handle < 0:
            yield
            return
        self._drain()  # what others have read until now
        real = Path(os.path.realpath(path))
        with self._lock:
            self._passed_over[real] += 1
        try:
            yield
        finally:
            self._drain()
            with self._lock:
                self._passed_over -= collections.Counter([real])

    def _look(self) -> None:
        while not self._over.is_set():
            if select.select([self._handle], [], [], _LOOK_S)[0]:
                self._drain()
        with self._lock:
            handle, self._handle = self._handle, -1
        os.close(handle)

    def _drain(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            while self._handle >= 0:
                self._take(os.read(self._handle, 65536))

    def _take(self, content: bytes) -> None:
        place = 0
        while place < len(content):
            number, mask, _, length = _EVENT.unpack_from(content, place)
            place += _EVENT.size + length
            name = content[place - length : place].rstrip(b"\0")
            if number not in self._watched or not name or name.startswith(b"."):
                continue
            path = self._watched[number] / os.fsdecode(name)
            if mask & _IS_FOLDER:
                if mask & (_CREATE | _MOVED_TO) and _may_be_watched(path):
                    self._watch(path)
                continue
            for seen in self._open:
                if mask & (_CREATE | _MOVED_TO | _WRITTEN):
                    seen.written.add(path)
                elif not self._passed_over[path]:
                    (seen.reread if path in seen.written else seen.opened).add(path)


def _folders(root: Path, most: int) -> Iterator[str]:
    """A folder and those below it, those near it first, without hidden ones and what is installed in it.

    At most so many, and no more once 200,000 names were looked at: a folder may hold millions of files.
    """
    left, looked = collections.deque([os.path.realpath(root)]), 0
    for _ in range(most):
        if not left or looked > _MOST_NAMES:
            return
        yield (folder := left.popleft())
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in itertools.islice(entries, _MOST_NAMES):
                looked += 1
                if entry.is_dir(follow_symlinks=False) and _may_be_watched(Path(entry.path)):
                    left.append(entry.path)


def _may_be_watched(folder: Path) -> bool:
    is_passed_over = folder.name.startswith((".", OWN_FOLDER)) or folder.name in (*PASSED_OVER, "__pycache__")
    return not is_passed_over and not (folder / "pyvenv.cfg").exists()
