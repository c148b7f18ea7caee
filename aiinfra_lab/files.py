"""Files written whole or not at all, folders that appear when they are finished, locks, and bounded retry.

The only module that renames over a file or asks for a file lock; the others say what they want written or held.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import random
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TypeVar

from . import modes
from .errors import Conflict, Denied, LabError, Unavailable

READABLE = 0o644
FIX = "make it writable, or choose another place"
ASIDE = ".*.part"
"""What is not finished yet, and lies beside what it is to become."""
_OLD = "old"
_MANY = 200
# As `_beside` names what is being written.
_LEFT = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)
_OF_PEOPLE = re.compile(r"\.(.+\.(toml|ipynb|dvc)|config|\.gitignore|\.dvcignore)\.[0-9a-f]{8}\.part", re.DOTALL)
_LONGEST_LINE = 4096
# No link is followed, and no pipe in its place waited for.
_NEITHER_LINK_NOR_PIPE = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# Of renameat2(2).
_HERE, _RENAME_EXCHANGE = -100, 2
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_REFUSED = (*_TAKEN, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)

T = TypeVar("T")

# ---- files ----


def write(path: Path, content: str | bytes, *, mode: int | None = None, flush: bool = True, fix: str = FIX) -> None:
    """Write a file so that a crash leaves the old one or the new one; see `writing`."""
    with writing(path, mode=mode, flush=flush, fix=fix) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


def overwrite(path: Path, line: str, *, mode: int | None = None) -> None:
    """Write one short line of always the same length over the one before, in place and not flushed.

    For what is written so often that a new file each time would cost more than the work itself: ext4 brings the data of
    a file to the disk before it is renamed over another. The line carries a check of its own, since whoever reads
    meanwhile, or after a power cut, may see parts of two lines: see `checked`.
    """
    handle = os.open(path, os.O_WRONLY | _NEITHER_LINK_NOR_PIPE, _mode(path, mode))
    try:
        os.pwrite(handle, f"{line} {_check_of(line)}\n".encode(), 0)
    finally:
        os.close(handle)


def rewrite(path: Path, change: Callable[[str], str | None], *, mode: int | None = None) -> None:
    """Let `change` make the new line of such a file out of what the file holds, while nobody else does; None leaves it
    as it is."""
    handle = os.open(path, os.O_RDWR | _NEITHER_LINK_NOR_PIPE, _mode(path, mode))
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        line = change(os.pread(handle, _LONGEST_LINE, 0).decode(errors="replace"))
        if line is not None:
            os.pwrite(handle, f"{line} {_check_of(line)}\n".encode(), 0)
    finally:
        os.close(handle)


def checked(text: str) -> str:
    """The line that `overwrite` wrote. ValueError when the text is not such a line, whole."""
    line, _, check = text.strip().rpartition(" ")
    if check != _check_of(line):
        raise ValueError("it is torn, or was written by something else")
    return line


def _check_of(line: str) -> str:
    return f"{zlib.crc32(line.encode()):08x}"


def digests(folder: Path) -> dict[str, str]:
    """File → SHA-256, of every file in a folder; nothing where there is none."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: digest(path) for path in found if path.is_file()}


def differences(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """What is not as it was recorded, one sentence a file."""
    found = digests(folder)
    reasons = [f"{name} is missing" for name in recorded if name not in found]
    reasons += [f"{name} was changed" for name in recorded if name in found and found[name] != recorded[name]]
    return reasons + [f"{name} was added" for name in found if name not in recorded]


def digest(path: Path) -> str:
    """A file's SHA-256. It is read bit by bit: a model may be larger than the memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value: object, *, mode: int | None = None, fix: str = FIX) -> None:
    """Write JSON for people and programs; see `writing`. ValueError for NaN and infinity, which JSON does not have."""
    write(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", mode=mode, fix=fix)


@contextlib.contextmanager
def writing(path: Path, *, mode: int | None = None, flush: bool = True, fix: str = FIX) -> Iterator[Path]:
    """The path of an empty file in the same folder, for whoever writes by path; it takes the place of `path` when the
    block ends well, and is gone when it does not. What a killed writer left goes with the next write of that file.

    mode: lowered by the user's umask, as for any file; when none is given, what lies in the toolkit's own folder is for
        its owner only
    flush: return when file and name are on the disk, as far as it tells the truth
    fix: what Denied advises when the place may not be written. Unavailable when the disk is full
    """
    wanted = _mode(path, mode)
    with lab_errors(path, fix), _umask_for(path):
        make_folder(path.parent)
        aside, handle = _aside(path, lambda new: os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, wanted))
        try:
            yield aside
            if modes.is_ours(path):  # a library may have put another file there
                modes.tighten(aside)
            if flush:
                _flush(aside)  # opened anew: a library may have put another file there
            aside.replace(path)
            if flush:
                _flush(path.parent)
        finally:
            aside.unlink(missing_ok=True)
            os.close(handle)


def refuse_taken(path: Path, fix: str = "name another place, or take it away first") -> None:
    """Conflict when something is there that a person may want to keep, a link to nowhere too."""
    if os.path.lexists(path):
        raise Conflict(f"{path} is there already", fix)


@contextlib.contextmanager
def lab_errors(place: Path, fix: str = FIX) -> Iterator[None]:
    """What the file system refuses at or beside `place` becomes Denied with that fix; a full disk Unavailable."""
    if "\0" in str(place):
        raise Denied(f"{str(place)!r} cannot be a path", fix)
    try:
        yield
    except OSError as problem:
        number = _number(problem)
        if number in _NO_SPACE:
            raise Unavailable(f"no space is left for {place}", "free some space and repeat") from problem
        if number in _REFUSED and _concerns(problem, place):
            why = os.strerror(number)
            raise Denied(f"{problem.filename or place} may not be written: {why}", fix) from problem
        raise


# ---- folders ----


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there. The toolkit's own folder in a workspace is made for its
    owner only: nobody else then reaches what lies below, whatever modes that has.
    """
    if not modes.is_ours(path):
        with _umask_for(path):
            path.mkdir(parents=True, exist_ok=True)
        return
    # From the top: `parents=True` would give what is missing between the modes of the umask.
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(mode=modes.OWNERS_FOLDER if modes.is_ours(folder) else 0o777, exist_ok=True)


def make_private_folder(path: Path) -> None:
    """Make a folder for its owner only, and each above it that is not there: else another user could move it away."""
    for each in reversed((path, *path.parents)):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=modes.OWNERS_FOLDER)


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, to be filled and published; gone when the block ends unless it was."""
    with lab_errors(target), _umask_for(target):
        make_folder(target.parent)
        aside, handle = _aside(target, _open_new_folder)
        try:
            yield aside
        finally:
            _remove(aside)
            os.close(handle)


def publish(finished: Path, target: Path, *, replace: bool = False, flush: bool = True) -> None:
    """Give a finished folder or file its name, on the same file system; it is on the disk when this returns.

    Conflict when the name is taken, unless `replace`: then the two change places in one step, and the old one goes.
    Where the system has no such step, a kill may leave the old one aside and nothing under the name; the next publish
    of that name puts it back first.

    flush: False for contents that are flushed already, or that can be made again; the name is flushed all the same.
    """
    if modes.is_ours(target):
        modes.tighten(finished)
    if flush:
        flush_tree(finished)
    with lab_errors(target):
        make_folder(target.parent)
        _put_back(target)
        # A rename replaces a file without a word; only a folder that holds something is refused.
        if target.is_file() and not replace:
            raise _taken(target)
        try:
            if target.exists() and replace:
                _replace(finished, target)
            else:
                finished.rename(target)
                _flush(target.parent)
        except OSError as problem:
            if problem.errno not in _TAKEN:
                raise
            raise _taken(target) from problem


def put_in_place(finished: Path, target: Path) -> None:
    """Give a folder its name, where nothing is, on the same file system; unlike `publish` it waits for no disk."""
    finished.rename(target)


def remove_as(folder: Path, name: Path) -> None:
    """Remove a folder, which has that name meanwhile: who writes by the one that it knows would keep it from going."""
    with contextlib.suppress(OSError):
        folder = folder.rename(name)
    shutil.rmtree(folder, ignore_errors=True)


def remove_aside(folder: Path) -> None:
    """Remove a folder that others still write to: what a kill leaves of it is found as what writers leave."""
    remove_as(folder, _beside(folder))


def clear_left_of(target: Path) -> None:
    """Remove what those that were killed while they wrote `target`, or built it, left beside it."""
    with contextlib.suppress(OSError):
        _clear_left(target)


def clear_all_left(folder: Path) -> None:
    """`clear_left_of` everything in a folder, for who knows that nobody else writes there now."""
    for left in folder.glob(ASIDE):
        _remove(left)


def ignore_in_git(folder: Path, *patterns: str) -> None:
    """Have git pass over what matches in a folder, whether that is in a repository by now or not.

    What `.gitignore` has already stays, and a pattern that it has, or takes back, is not added.
    """
    path, before = _git_ignore(folder)
    there = before.split(b"\n")
    new = [each for each in map(str.encode, patterns) if each not in there and b"!" + each not in there]
    if new:
        gap = b"" if not before or before.endswith(b"\n") else b"\n"
        write(path, before + gap + b"".join(each + b"\n" for each in new))


def show_to_git(folder: Path, *patterns: str) -> None:
    """Take back what `ignore_in_git` added; the file goes when it holds nothing else."""
    path, before = _git_ignore(folder)
    lines = before.split(b"\n")
    kept = [line for line in lines if line not in map(str.encode, patterns)]
    if kept == lines:
        return
    if any(kept):
        write(path, b"\n".join(kept))
    else:
        path.unlink()


def _git_ignore(folder: Path) -> tuple[Path, bytes]:
    """The folder's `.gitignore`, where it really lies, and what it holds."""
    path = (folder / ".gitignore").resolve()
    with lab_errors(path):
        return path, path.read_bytes() if path.exists() else b""


def flush_data(path: Path) -> None:
    """Return when what was written to a file, or the names in a folder, are on the disk, as far as it tells the truth:
    for files that grow, of which no times are needed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)


def flush_tree(path: Path) -> None:
    """Return when a file, or all that lies below a folder, is on the disk, as far as it tells the truth."""
    found = [path, *path.rglob("*")]
    if len(found) > _MANY:
        os.sync()  # one by one, each would wait for the file system's journal
        return
    for each in found:
        if each.is_file() or (each.is_dir() and not each.is_symlink()):
            _flush(each)


def clear_left(folder: Path, *, of_people: bool = False) -> None:
    """Remove what writers of this user that were killed left in a folder; nothing where there is no folder.

    of_people: the folder is a person's, where only what was to become one of the files that the toolkit writes is ours
    """
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            left = [each for each in entries if (_OF_PEOPLE if of_people else _LEFT).fullmatch(each.name)]
        for each in left:
            if each.stat(follow_symlinks=False).st_uid == os.getuid() and not each.is_symlink():
                when_left(Path(each), _remove)


def when_left(path: Path, act: Callable[[Path], object]) -> None:
    """Do that with what lies there, unless a living process holds it, or it is gone or may not be touched."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            act(path)
        finally:
            os.close(handle)


# ---- locks: they go with their process, however that ends; the file stays ----
# flock and not lockf: a POSIX lock goes when any handle of the file closes, and threads do not exclude each other.


def take_lock(path: Path, patience_s: float = 1.0) -> IO[bytes] | None:
    """The file, held by this process alone until it is closed; None when another one keeps it that long."""
    # Appending makes the file when there is none, and cuts nothing: what is locked may be a log.
    file = open(path, "ab", opener=modes.opener)  # noqa: SIM115  # it is given away
    until_at = time.monotonic() + patience_s  # somebody who only asks holds it for a moment
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_at:
                file.close()
                return None
            time.sleep(0.02)
        else:
            return file


def is_locked(path: Path) -> bool:
    """Whether a process holds the file alone. Askers share it, so that they never see each other."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def lock(path: Path, *, on_wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the file alone, waiting for whoever holds it now, as long as that takes; its folder is made.

    on_wait: called once when that takes longer than a second
    """
    make_folder(path.parent)
    file = take_lock(path) if on_wait else None
    if on_wait and file is None:
        on_wait()
    with file or open(path, "ab", opener=modes.opener) as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # at once where it is held already
        yield


@contextlib.contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Hold the file together with others who share it, waiting for whoever holds it alone. OSError without a file."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


# ---- bounded retry ----


def retry(step: Callable[[], T], problem: LabError, *, on: type[Exception] = Conflict, attempts: int = 50) -> T:
    """What `step` returns, called again while it raises `on`; `problem` when the last attempt did too."""
    for attempt in range(attempts):
        try:
            return step()
        except on:
            # Those who got into each other's way once would do so again in step.
            time.sleep(random.uniform(0, 0.001 * min(attempt, 10)))  # noqa: S311
    raise problem


def until(
    ready: Callable[[], T | None],
    problem: LabError | Callable[[], LabError],
    *,
    within_s: float | None,
    every_s: float = 0.05,
) -> T:
    """What `ready` returns once that is true, asked every so often; `problem` when the time is over (None: never)."""
    until_at = math.inf if within_s is None else time.monotonic() + within_s
    while not (found := ready()):
        if time.monotonic() >= until_at:
            raise problem if isinstance(problem, LabError) else problem()
        time.sleep(every_s)
    return found


# ---- modes ----


def _mode(path: Path, mode: int | None) -> int:
    return mode if mode is not None else modes.OWNER_ONLY if modes.is_ours(path) else READABLE


def _umask_for(path: Path) -> contextlib.AbstractContextManager[None]:
    """What holds for what is written there: our own is made by its modes, anything else as the user's umask has it."""
    return contextlib.nullcontext() if modes.is_ours(path) else modes.as_the_user()


# ---- what lies aside ----


def _aside(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Something new beside `path`, and its handle, whose lock says that its writer lives."""
    _clear_left(path)
    while True:
        new = _beside(path)
        try:
            handle = make(new)
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise
            continue  # another writer took the folder for a dead one's before it was opened
        with contextlib.suppress(OSError):  # not every file system locks; then nothing there is cleared away either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if new.exists():
            return new, handle
        os.close(handle)  # another writer took it for a dead one's before it was locked


def _beside(path: Path, ending: str = "part") -> Path:
    return path.with_name(f"{_stem(path)}{os.urandom(4).hex()}.{ending}")


def _stem(path: Path) -> str:
    # Cut, since a name may have 255 bytes and ours are 15 longer.
    return f".{path.name.encode()[:200].decode(errors='ignore')}."


def _clear_left(path: Path) -> None:
    """Remove what writers of this file left that were killed: nobody holds its lock."""
    # Exactly as `_beside` names them: anything else is somebody's file.
    for each in _named(path, "part"):
        when_left(each, _remove)


def _named(path: Path, ending: str) -> list[Path]:
    """What lies beside a file under a name that `_beside` gives."""
    ours = re.compile(rf"{re.escape(_stem(path))}[0-9a-f]{{8}}\.{ending}")
    with os.scandir(path.parent) as entries:
        return [Path(each) for each in entries if ours.fullmatch(each.name)]


def _replace(finished: Path, target: Path) -> None:
    """Put one in the place of the other, and remove that."""
    if _exchange(finished, target):
        # The old one goes last: until the new name is on the disk, a power cut may leave nothing else.
        _flush(target.parent)
        _remove(finished)
        return
    old, handle = _beside(target, _OLD), os.open(target, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        target.rename(old)  # a full folder cannot be renamed over, and removing it takes a while
        try:
            finished.rename(target)
        except OSError:
            old.rename(target)
            raise
        _flush(target.parent)
        _remove(old)
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Whether two names changed places in one step: Linux can, on most file systems."""
    import ctypes  # here, since few ever replace a folder

    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    return swap is not None and swap(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _RENAME_EXCHANGE) == 0


def _put_back(target: Path) -> None:
    """Where whoever replaced it was killed between two renames: the old one gets its name again, or goes."""
    for each in _named(target, _OLD):
        when_left(each, lambda old: _remove(old) if target.exists() else old.rename(target))


def _open_new_folder(path: Path) -> int:
    path.mkdir(mode=modes.OWNERS_FOLDER if modes.is_ours(path) else 0o777)
    return os.open(path, os.O_RDONLY)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _taken(target: Path) -> Conflict:
    return Conflict(f"{target} is there already", "name another place, or take it away first")


def _number(problem: OSError) -> int:
    """The error number; libraries in Rust give it in words only."""
    named = re.search(r"\(os error (\d+)\)", str(problem))
    return problem.errno or (int(named[1]) if named else 0)


def _concerns(problem: OSError, place: Path) -> bool:
    """Whether it is about that place or its folder, and not about what was read meanwhile."""
    return problem.filename is None or Path(os.fsdecode(problem.filename)).is_relative_to(place.parent)
