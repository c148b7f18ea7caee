"""What a store holds, in a line outside of its database: who changes the database alone is found by it.

The line is written after its commit is on the disk: it may lag behind after a crash, and never runs ahead.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import NamedTuple

from .. import files, modes
from ..config import Settings
from ..errors import LabError
from .base import GENESIS

UNKNOWN = "-"


class Head(NamedTuple):
    """All that a store holds: its newest event, its newest revision, and the digest of all its records."""

    seq: int
    hash: str
    rev: int
    total: str


NOTHING = Head(0, GENESIS, 0, UNKNOWN)


def folder(where: Settings) -> Path:
    """Where copies of heads are kept, outside of every workspace: the setting `store.heads`, or the user's own."""
    own = where.get("store.heads", "")
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return where.project / Path(own).expanduser() if own else state / "aiinfra-lab" / "heads"


def copy_of(heads: Path, store: str) -> Path:
    """The file there for the store at that place, as this machine names it."""
    return heads / f"{hashlib.sha256(f'{platform.node()}:{store}'.encode()).hexdigest()[:32]}.head"


def line(head: Head) -> str:
    """As it is written."""
    return f"{head.seq:020d} {head.hash} {head.rev:020d} {head.total}"


def read(path: Path | None) -> Head:
    """What a file holds; NOTHING where it is torn or gone: it proves nothing, and the next commit writes it."""
    try:
        text = _text_of(path) if path else ""
        seq, digest, *more = text.split()
        if more:  # 0.1.0 wrote two words, as a new file each time
            files.checked(text)
        rev, total = more[:2] if len(more) > 2 else (0, UNKNOWN)
        return Head(int(seq), digest, int(rev), total)
    except (OSError, ValueError):
        return NOTHING


def write(path: Path, head: Head) -> None:
    """Write it in place. Where that cannot be done nothing is: a commit that is on the disk must not fail by it."""
    # Not flushed: what a power cut leaves of it proves less, never more.
    with contextlib.suppress(OSError, LabError):
        try:
            files.overwrite(path, line(head), mode=modes.OWNER_ONLY)
        except FileNotFoundError:
            _make_folder(path.parent)
            files.overwrite(path, line(head), mode=modes.OWNER_ONLY)


def _text_of(path: Path) -> str:
    # No link is followed, and no pipe in its place waited for.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
        return file.read()


def _make_folder(path: Path) -> None:
    """For its owner only, and so is each above it that is not there: else another user could move it away."""
    for each in reversed((path, *path.parents)):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=modes.OWNERS_FOLDER)
