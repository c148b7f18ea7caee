"""Who may read what this process makes: what is ours is for its owner only, anything else has the user's umask.

A umask belongs to the process and not to the thread. So where files are made by ourselves they get their mode by name
(`opener`), and the umask is changed for what libraries write, and in processes that are ours alone.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from .config import HOME

OWNER_ONLY = 0o600
OWNERS_FOLDER = 0o700
OTHERS = 0o077


class _Umask:
    """The umask of this process: the user's, except in blocks that close it; in one that lifts it the user's again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = self._lifted = 0  # how many blocks of either kind are open, in all threads
        self._users = 0  # what it was before the first of them

    def count(self, *, closed: int = 0, lifted: int = 0) -> None:
        """Open or leave blocks."""
        with self._lock:
            if closed > 0 and not self._closed:
                self._users = os.umask(OTHERS)
            self._closed, self._lifted = self._closed + closed, self._lifted + lifted
            if self._closed or closed:
                os.umask(OTHERS if self._closed and not self._lifted else self._users)

    def users(self) -> int:
        """What it is where nothing of ours has changed it."""
        with self._lock:
            if self._closed:
                return self._users
            # There is no way to only look.
            found = os.umask(OTHERS)
            os.umask(found)
            return found


_umask = _Umask()


@contextlib.contextmanager
def owner_only() -> Iterator[None]:
    """While the block runs, all that this process makes is for its owner only, by whatever thread: keep it short in a
    process of the user.
    """
    _umask.count(closed=1)
    try:
        yield
    finally:
        _umask.count(closed=-1)


@contextlib.contextmanager
def as_the_user() -> Iterator[None]:
    """While the block runs, what is made has the modes of the user's umask again, also inside `owner_only`."""
    _umask.count(lifted=1)
    try:
        yield
    finally:
        _umask.count(lifted=-1)


def keep_to_owner() -> None:
    """From now on, all that this process makes is for its owner only: for processes that are ours alone."""
    _umask.count(closed=1)


def users_umask() -> int:
    """The umask that holds where nothing of ours has changed it; for processes that run the user's own code."""
    return _umask.users()


def is_ours(path: Path) -> bool:
    """Whether it lies in the toolkit's own folder of a workspace."""
    return HOME in path.parts


def opener(path: str, flags: int) -> int:
    """For `open(…, opener=…)`: a file that is made is for its owner only."""
    return os.open(path, flags | os.O_CLOEXEC, OWNER_ONLY)


def tighten(path: Path) -> None:
    """Take away what others may do with a file, or with all that lies below a folder; nothing where that is not ours to
    change.
    """
    below = [Path(root, name) for root, folders, names in os.walk(path) for name in (*folders, *names)]
    for each in (path, *below):
        with contextlib.suppress(OSError):
            mode = each.lstat().st_mode
            if mode & OTHERS and not each.is_symlink():
                each.chmod(mode & 0o700)
