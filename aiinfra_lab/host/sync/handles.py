"""Files and folders by the handles of the folders that they lie in, so that no link is followed on the way."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Of renameat2(2).
NOREPLACE, EXCHANGE = 1, 2
_MANY = 200


def stamp(about: os.stat_result) -> tuple[int, ...]:
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def sign(about: os.stat_result) -> tuple[int, int, int]:
    # Without the time of the last change of its name: a rename is one.
    return about.st_size, about.st_mtime_ns, about.st_ino


def make_and_open(name: str, parent: int) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, FOLDER, dir_fd=parent)


def unlink(name: str, parent: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)


def write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def flush_files(names: Iterable[str], parent: int) -> None:
    def flushed(name: str) -> None:
        file = os.open(name, FILE, dir_fd=parent)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    flush_many([*names], flushed)


def flush_many(names: Sequence[str], flushed: Callable[[str], object]) -> None:
    if len(names) > _MANY:
        os.sync()  # one by one, each would wait for the file system's journal
        return
    for name in names:
        flushed(name)


def _find_renameat2() -> Any:
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True).renameat2
    except (ImportError, OSError, AttributeError):
        return None


_renameat2 = _find_renameat2()


def rename(source: str, source_folder: int, target: str, target_folder: int, how: int) -> None:
    """Rename without replacing anything, or exchange the two, in one step where the system can."""
    if _renameat2 is not None:
        import ctypes

        names = (source_folder, os.fsencode(source), target_folder, os.fsencode(target))
        if _renameat2(*names, how) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(number, os.strerror(number), target)
    folders = {"src_dir_fd": source_folder, "dst_dir_fd": target_folder}
    if how == EXCHANGE:
        back = {"src_dir_fd": target_folder, "dst_dir_fd": source_folder}
        os.rename(target, source + ".swap", **back)
        os.rename(source, target, **folders)
        os.rename(source + ".swap", source, src_dir_fd=source_folder, dst_dir_fd=source_folder)
        return
    with contextlib.suppress(FileNotFoundError):
        os.stat(target, dir_fd=target_folder, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target, **folders)
