"""What killed processes leave: files that were being written, and folders in the temporary directory.

Each is locked by whoever uses it, and a lock goes with its process: what nobody holds is removed by a later verb.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from . import files, modes
from .config import Settings, settings
from .errors import LabError

EVERY_S = 60.0  # for a workspace, however many verbs run in it
WITHIN_S = 0.02  # a large workspace is looked through in parts, in another order each time
_PREFIX = "aiinfra-"
_TEMPORARY = re.compile(r"aiinfra-[a-z0-9_]{8}")
_OWNER = "owner"
_EMPTY_FOR_S = 3600.0
IN_MEMORY = Path("/dev/shm")  # noqa: S108
"""Where files are in memory alone. What lies there of a process that was killed is for whoever looks what became of it,
and stays for a day."""
_IN_MEMORY_S = 86_400.0
_MARK = "swept"
# Other tools' own files are below these, and their number has no bound.
_NOT_BELOW = ("mlflow", "versions", "environments")

_held: dict[Path, IO[bytes]] = {}
_next_at: dict[Path, float] = {}


def make_temporary(within: Path | None = None) -> Path:
    """A new folder in the temporary directory, for this user only. It stays until `remove_temporary`, or until a verb
    finds that this process has ended."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=within))
    if owner := files.take_lock(folder / _OWNER):  # its file is new: nobody else has it
        _held[folder] = owner
    return folder


def take_temporary(folder: Path) -> bool:
    """Go on with a folder that a process which was killed had made, also where a verb has removed it meanwhile; False
    when another process has it, or it is none of ours."""
    if not _TEMPORARY.fullmatch(folder.name):
        return False
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid() or folder.is_symlink() or folder.stat().st_mode & 0o077:
        return False
    if owner := files.take_lock(folder / _OWNER):
        _held[folder] = owner
    return owner is not None


def remove_temporary(folder: Path) -> None:
    """Remove a folder that `make_temporary` made, here or in a process that has ended; nothing for any other."""
    if _TEMPORARY.fullmatch(folder.name):
        _remove(folder)
        if owner := _held.pop(folder, None):
            owner.close()


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder in the temporary directory for as long as the block runs."""
    folder = make_temporary()
    try:
        yield folder
    finally:
        remove_temporary(folder)


def sweep() -> None:
    """Remove what killed processes of this user left here and in the temporary directory; at most once a minute."""
    with contextlib.suppress(LabError, OSError):
        where = settings()
        if time.monotonic() >= _next_at.get(where.home, 0.0) and _is_due(where.home):
            _sweep_workspace(where)
            for place in {Path(tempfile.gettempdir()), Path("/tmp")}:  # noqa: S108
                _sweep_temporary(place)
            _sweep_temporary(IN_MEMORY, _IN_MEMORY_S)


def _is_due(home: Path) -> bool:
    """Whether nobody has swept the workspace within the last minute; then this process is the one that does."""
    _next_at[home] = time.monotonic() + EVERY_S
    mark = home / _MARK
    with contextlib.suppress(FileNotFoundError):
        if 0 <= time.time() - mark.stat().st_mtime < EVERY_S:
            return False
    if not home.is_dir():  # a verb that looks makes no folder
        return False
    mark.touch(modes.OWNER_ONLY)
    os.utime(mark)
    return True


def _sweep_workspace(where: Settings) -> None:
    until_at = time.monotonic() + WITHIN_S
    for folder in (where.workspace / ".dvc", where.workspace / "data", *_projects(where.project)):
        files.clear_left(folder, of_people=True)
    files.clear_left(where.home / "environments")
    waiting = [str(where.home)]
    while waiting and time.monotonic() < until_at:
        here = waiting.pop(random.randrange(len(waiting)))  # noqa: S311
        files.clear_left(Path(here))
        with contextlib.suppress(OSError), os.scandir(here) as entries:
            waiting += [each.path for each in entries if _is_searched(each)]


def _projects(project: Path) -> tuple[Path, ...]:
    return project, project / "notebooks", project / "recipes"


def _is_searched(entry: os.DirEntry[str]) -> bool:
    is_folder = entry.is_dir(follow_symlinks=False)
    return is_folder and entry.name not in _NOT_BELOW and not entry.name.startswith(".")


def _sweep_temporary(place: Path, unchanged_s: float = EVERY_S) -> None:
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        found = [Path(each) for each in entries if _TEMPORARY.fullmatch(each.name)]
    for folder in found:
        with contextlib.suppress(OSError):
            state = folder.lstat()
            if stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid():
                _remove_unless_held(folder, state.st_mtime, unchanged_s)


def _remove_unless_held(folder: Path, changed_at: float, at_least_s: float) -> None:
    """Remove a folder whose owner has ended; one without an owner's file only when it is empty, and has been so."""
    unchanged_s = time.time() - changed_at
    if not os.path.lexists(folder / _OWNER):
        # Of an earlier version, or of a process that was killed between the two: a living one takes no hour for it.
        if unchanged_s > _EMPTY_FOR_S:
            folder.rmdir()
    elif unchanged_s > at_least_s:  # between making the file and locking it a living owner takes no minute
        files.when_left(folder / _OWNER, lambda _: _remove(folder))


def _remove(folder: Path) -> None:
    files.remove_as(folder, folder.with_name(f"{_PREFIX}{secrets.token_hex(4)}"))
