"""The memory of the pool's processes, Linux.

Of the pool itself in huge pages: a fork copies the tables of all pages, and its end goes through them. Of small ones
that takes three times as long. What a fork writes to it copies in small pages all the same, one page fault for each: of
a kernel until it is ready these are half its time. A fork that waits has them of its own before, see `own`. Which they
are is seen of a kernel by a trial, and of a command by the first ones.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import logging
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from .. import files
from ..host import processes
from . import match

Range = tuple[int, int]  # addresses, the second one behind its last byte

_COLLAPSE = 25  # MADV_COLLAPSE of madvise(2), Linux 6.1
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of madvise(2), Linux 5.14
_HUGE = 1 << 21
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OWN = 1 << 63 | 1 << 56  # of an entry of /proc/self/pagemap: present, and in no other process
_LOOK_EVERY = 64  # ranges
_TRIAL_S = 10.0
_FEW = 1000  # page faults of a command: to know them takes longer than they do
_MOST = 1 << 14  # pages that a command gets before, 64 MB
_LARGEST = 1 << 20  # bytes of a file that lists them
_log = logging.getLogger(__name__)


def collapse() -> int:
    """Put what this process has in memory into huge pages, as far as it fills such; how many there are now. A system
    that cannot do that has none."""
    found = 0
    with contextlib.suppress(OSError, ValueError):
        for begin, end in _private():
            first = -(-begin // _HUGE) * _HUGE
            found += sum(_advise(at, _HUGE, _COLLAPSE) for at in range(first, end - _HUGE + 1, _HUGE))
    return found


def written_by(work: Callable[[], object]) -> list[Range]:
    """The memory that a fork of this process writes to when it does that, seen by one that does it; empty where the
    system does not show that, or it cannot be done."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            before = set(_own_pages())
            work()
            found = json.dumps(_ranges(sorted(set(_own_pages()) - before))).encode()
            with os.fdopen(write, "wb") as report:
                report.write(found)
        except BaseException as problem:  # noqa: BLE001  # its forks only take longer then
            _log.warning("what a fork writes to is not known: %r", problem)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as report:
        text = report.read() if select.select([report], [], [], _TRIAL_S)[0] else b""
    processes.signal_process(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with contextlib.suppress(ValueError):  # it was killed
        return [(begin, end) for begin, end in json.loads(text)]
    return []


def own(written: Sequence[Range], until: object) -> bool:
    """Have that memory of one's own now, as a write to each of its pages would; at most until something can be read
    there, since who waits for that would do it no later. Whether it is all of it."""
    poller = select.poll()
    poller.register(until, select.POLLIN)  # type: ignore[arg-type]
    for at, (begin, end) in enumerate(written):
        if at % _LOOK_EVERY == 0 and poller.poll(0):
            return False
        _advise(begin, end - begin, _POPULATE_WRITE)
    return True


class WrittenByCommands:
    """The memory that commands of a pool have written to so far, each verb's first, in a file for those that come.

    file: where that is; in a folder of this user only. pool: the process that forks them: of another one's memory it
    says nothing
    """

    def __init__(self, file: Path, pool: int) -> None:
        self._file, self._pool = file, pool
        self._verbs, self._ranges = self._read()
        self._is_whole, self._faults = False, 0

    def own(self, until: object) -> None:
        """See `own`."""
        self._is_whole = own(self._ranges, until)
        self._faults = _faults()

    def learn(self, words: Sequence[str]) -> None:
        """Add what this process has written to, which was the command of these words; nothing where it is known, or
        little, or so much that it was no loss of time."""
        verb = " ".join(words[:2])
        is_new = self._is_whole and verb.replace(" ", "").isidentifier() and verb not in self._verbs
        if not is_new or _faults() - self._faults < _FEW or not self._is_safe():
            return
        try:
            found = list(_own_pages())
            if len(found) <= _MOST:
                facts = {"pool": self._pool, "verbs": [*self._verbs, verb], "ranges": _ranges(found)}
                files.write_json(self._file, facts, mode=0o600)
        except Exception as problem:  # noqa: BLE001  # the command is done; the next ones only take longer
            _log.debug("what a command writes to is not known: %r", problem)

    def _is_safe(self) -> bool:
        """Whether the folder is there still, and this user's alone: a command would make it anew with modes with which
        no pool can begin there."""
        return match.is_private(str(self._file.parent))

    def _read(self) -> tuple[list[str], list[Range]]:
        with contextlib.suppress(Exception):  # it is damaged: the commands only take longer
            facts = json.loads(self._content())
            if facts["pool"] == self._pool:
                return [str(each) for each in facts["verbs"]], _checked(facts["ranges"])
        return [], []

    def _content(self) -> bytes:
        if not self._is_safe():
            return b""
        with open(self._file, "rb", opener=_without_waiting) as file:
            return file.read(_LARGEST)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # for who writes to a pipe


def _checked(found: Iterable[Sequence[int]]) -> list[Range]:
    """Those ranges. ValueError where they are not memory, or more than a command gets."""
    ranges = [(int(begin), int(end)) for begin, end in found]
    is_memory = all(0 <= begin < end < sys.maxsize for begin, end in ranges)
    if not is_memory or sum(end - begin for begin, end in ranges) > _MOST * _PAGE:
        raise ValueError("it is none that commands write to")
    return ranges


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _advise(at: int, size: int, what: int) -> bool:
    """Whether the system has done that with that memory."""
    advise = _madvise()
    return advise is not None and advise(at, size, what) == 0


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    try:
        found = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return found


def _own_pages() -> Iterator[int]:
    """The addresses of the pages that are in this process alone."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as file:
        for begin, end, _ in _writable():
            entries = os.pread(file.fileno(), (end - begin) // _PAGE * 8, begin // _PAGE * 8)
            for number, (entry,) in enumerate(struct.iter_unpack("<Q", entries)):
                if entry & _OWN == _OWN:
                    yield begin + number * _PAGE


def _ranges(pages: Iterable[int]) -> list[Range]:
    """Ascending addresses of pages, put together."""
    found: list[Range] = []
    for at in pages:
        if found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + _PAGE)
        else:
            found.append((at, at + _PAGE))
    return found


def _private() -> list[Range]:
    """Where this process has memory of its own that it can write, without that of files and of stacks."""
    return [(begin, end) for begin, end, is_plain in _writable() if is_plain]


def _writable() -> list[tuple[int, int, bool]]:
    """Where a write is this process's own; and whether neither a file nor a stack is behind it."""
    found = []
    lines = Path("/proc/self/maps").read_bytes().split(b"\n")  # in a file's name there may be any other character
    for line in lines[:-1]:
        place, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == b"rw-p":
            begin, end = (int(each, 16) for each in place.split(b"-"))
            found.append((begin, end, inode == b"0" and name in ([], [b"[heap]"])))
    return found
