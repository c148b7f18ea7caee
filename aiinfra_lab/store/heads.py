"""What a store holds, in a line outside of its database: who changes the database alone is found by it.

The line is written after its commit is on the disk: it may lag behind after a crash, and never runs ahead.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
from collections.abc import Callable, Sequence
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


class HeadNote(NamedTuple):
    """What a file holds: what a store held, and what it holds if a commit that was announced has come to the disk.

    is_of_now: whether it was written since the machine was started. One of before may lack what a power cut took.
    """

    now: Head
    then: Head
    is_of_now: bool


def line(now: Head, then: Head | None = None) -> str:
    """As it is written, always as long. then: what a commit makes of it that is not on the disk yet."""
    half = _half(now)
    return f"{half} {_half(then) if then else half} {_start():>36}"


def _half(head: Head) -> str:
    return f"{head.seq:020d} {head.hash} {head.rev:020d} {head.total:>64}"


def read(path: Path | None) -> Head:
    """What a file holds; NOTHING where it is torn or gone: it proves nothing, and the next commit writes it."""
    return read_note(path).now


def read_note(path: Path | None) -> HeadNote:
    """The same with all that the file says."""
    try:
        return _parsed(_text_of(path) if path else "")
    except OSError:
        return _NO_NOTE


def write(path: Path, head: Head) -> None:
    """Write it in place. Where that cannot be done nothing is: a commit that is on the disk must not fail by it."""
    # Not flushed: what a power cut leaves of it proves less, never more.
    _if_it_can_be(path, lambda: files.overwrite(path, line(head), mode=modes.OWNER_ONLY))


def announce(path: Path, before: Head, after: Head, is_stale: Callable[[HeadNote], bool]) -> bool:
    """Say what a commit that is about to be made makes of a store. False, and nothing is said, when the store is not
    what it was noted to be: something else has changed it, and what is written over the note would hide that.

    is_stale: whether it is the note that is wrong, where the two disagree
    """
    is_as_noted = True

    def change(text: str) -> str | None:
        nonlocal is_as_noted
        # As a text first, which is that in most cases: two notes are read in each commit.
        if _half(before) not in text:
            noted = _parsed(text)
            is_as_noted = any(agree(each, before) for each in noted[:2]) or is_stale(noted)
        return line(before, after) if is_as_noted else None

    _if_it_can_be(path, lambda: files.rewrite(path, change, mode=modes.OWNER_ONLY))
    return is_as_noted


def confirm(path: Path, head: Head) -> None:
    """Say that it is on the disk, unless a later commit was announced meanwhile."""
    announced = f" {_half(head)} "
    _if_it_can_be(path, lambda: files.rewrite(path, lambda text: line(head) if announced in text else None))


def agree(noted: Head, there: Head) -> bool:
    """Whether a store holds what was noted. What is torn or gone says nothing, a note of before nothing of records."""
    if noted == NOTHING:
        return True
    are_events = (noted.seq, noted.hash) == (there.seq, there.hash)
    return are_events and (noted.total == UNKNOWN or (noted.rev, noted.total) == (there.rev, there.total))


def is_before(noted: Head, there: Head) -> bool:
    """Whether records that are there may have come out of those that were noted."""
    return noted.rev < there.rev or (noted.rev, noted.total) == (there.rev, there.total)


def _if_it_can_be(path: Path, write_it: Callable[[], None]) -> None:
    with contextlib.suppress(OSError, LabError):
        try:
            write_it()
        except FileNotFoundError:
            files.make_private_folder(path.parent)
            write_it()


def _parsed(text: str) -> HeadNote:
    try:
        words = text.split()
        if len(words) > 2:  # 0.1.0 wrote two words, as a new file each time
            words = files.checked(text).split()
        now = _head_of(words[:4])
        return HeadNote(now, _head_of(words[4:8]) if len(words) > 4 else now, words[8:] == [_start()])
    except ValueError:
        return _NO_NOTE


def _head_of(words: Sequence[str]) -> Head:
    seq, digest, *more = words
    rev, total = more if more else (0, UNKNOWN)
    return Head(int(seq), digest, int(rev), total)


@functools.cache
def _start() -> str:
    """This start of the machine; "-" where that cannot be told, which is then none of the others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or UNKNOWN
    except OSError:
        return UNKNOWN


_NO_NOTE = HeadNote(NOTHING, NOTHING, is_of_now=False)


def _text_of(path: Path) -> str:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
        return file.read()
