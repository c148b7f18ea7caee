"""Taking files in: every byte read once, copied aside and digested, before anything is made of them."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .. import files, show
from ..errors import Conflict, Damaged, Denied, Failed, NotFound, UsageProblem
from ..store import canonical

_TICK_NS = 1_000_000_000
_FIX = "make it writable, or choose another workspace"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a version: its name with forward slashes, its size, and the SHA-256 of its bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of a version, by name. Its digest covers every name and every byte."""

    files: tuple[File, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text().encode()).hexdigest()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def text(self) -> str:
        """The text that the digest is taken of, and that is kept beside the version."""
        return canonical([[file.name, file.size, file.sha256] for file in self.files])


def copy_in(source: Path, into: Path) -> None:
    """Copy a file or the files of a folder into the empty folder `into`.

    NotFound when there is nothing, Failed for a folder without files, a link to a folder, or a special file. Conflict
    when somebody writes there meanwhile: the copy would be of no moment that there ever was.
    """
    began_ns, before = time.time_ns(), _states(source)
    for path in before:
        _copy(path, into / _name(path, source))
    try:
        after = _states(source)
        # What was written to just before may have been again, within the same tick of the file system's clock.
        doubtful = [path for path, state in before.items() if began_ns - state.modified_ns < _TICK_NS]
        changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
        changed += [path for path in doubtful if not filecmp.cmp(path, into / _name(path, source), shallow=False)]
    except (NotFound, Failed, FileNotFoundError):  # something of it went, or was turned into something else
        changed = [source]
    if changed:
        raise Conflict(f"{changed[0]} changed while it was read", "wait until nobody writes to it, and repeat")


class _State(NamedTuple):
    """What changes when a file is written to, or another takes its place."""

    size: int
    inode: int
    modified_ns: int


def _states(source: Path) -> dict[Path, _State]:
    if not source.is_file() and not source.is_dir():
        raise NotFound(f"there is no file or folder {source}", "look at the path: it is read from the current folder")
    return {path: _state(path.stat()) for path in ([source] if source.is_file() else walk(source))}


def _state(found: os.stat_result) -> _State:
    return _State(found.st_size, found.st_ino, found.st_mtime_ns)


def _name(path: Path, source: Path) -> Path:
    return Path(path.name) if path == source else path.relative_to(source)


def check_text(path: Path) -> None:
    """Failed for a path that is not UTF-8: no record, and no reader of tables, could name it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise Failed(f"the path {str(path)!a} is not UTF-8", "give it a name of plain letters, with `mv`") from None


def walk(folder: Path) -> list[Path]:
    """The files below a folder, by name; Failed when there are none, when one is no file, or has a name in no UTF-8."""
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root, name)
            # `os.walk` does not follow it: its files would be missing without anybody noticing.
            if path.is_symlink() and path.is_dir():
                raise Failed(f"{path} is a link to a folder", "put the folder itself there, or add it on its own")
            check_text(path.relative_to(folder))
            if path.is_file():
                found.append(path)
            elif not path.is_dir():
                raise Failed(f"{path} is a broken link or no ordinary file", "take it out of the folder")
    if not found:
        # An empty version is nearly always a wrong path, and could not be told from one whose files are gone.
        raise Failed(f"there is no file in {folder}", "put the data there first")
    # The digest is taken in this order, and must not depend on the one in which a file system lists.
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def read_manifest(folder: Path) -> Manifest:
    """Read every byte below a folder."""
    return Manifest(tuple(_file(path, folder) for path in walk(folder)))


def read_list(path: Path, digest: str, fix: str = "`%data add` the content again") -> Manifest:
    """A manifest from its kept text. Damaged, with that fix, when it is gone or is not what the digest was taken of."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    # One check for gone, cut off and altered: the text is only good when it has the digest that the record holds.
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise Damaged(f"the list of files {path} is gone or altered", fix)
    return Manifest(tuple(File(*entry) for entry in json.loads(text)))


def move_in(folder: Path, target: Path) -> None:
    """Give a finished folder its path, over what a crash may have left there."""
    # Not flushed: what is taken in was flushed before, and what the store gives out it can give out again.
    files.publish(folder, target, replace=True, flush=False)


def protect(folder: Path) -> None:
    """Make the files below read-only: whoever opens one to write gets an error, and no version changes unnoticed."""
    for path in walk(folder):
        path.chmod(0o400)


def sizes_agree(manifest: Manifest, folder: Path) -> bool:
    """Whether the folder has the manifest's files in their sizes: cheap, and finds what is cut off or gone."""
    try:
        return all((folder / file.name).stat().st_size == file.size for file in manifest.files)
    except OSError:
        return False


def copy_out(source: Path, target: Path) -> None:
    """Copy a version to a path that must be free, writable there, whole or not at all."""
    inside = {path.suffix for path in source.rglob("*")} if source.is_dir() else set[str]()
    if target.suffix and target.suffix in inside:
        what = f"{target.name} is called like a file, and it would be a folder of all files of {source.name}"
        raise UsageProblem(what, f"did you mean {target.with_suffix('')}?")
    # A folder that is empty may take it, but no link to one: what is there is what was named.
    with files.lab_errors(target, "name another path"):
        if target.is_symlink() or not target.is_dir() or any(target.iterdir()):
            files.refuse_taken(target)
    if source.is_file():
        with files.writing(target) as aside:
            _copy(source, aside)
        return
    with files.building(target) as folder:
        copy_in(source, folder)
        files.publish(folder, target)


@contextlib.contextmanager
def incoming(home: Path) -> Iterator[Path]:
    """An empty folder for content that is being taken in, gone afterwards unless it was moved on.

    One process of a workspace takes in at a time. What a killed one left is cleared away first.
    """
    parent = home / "data" / "incoming"
    with files.lab_errors(home, _FIX):
        files.make_folder(parent)
        files.ignore_in_git(home, "*")
        with files.lock(home / "data" / "lock", on_wait=_show_waiting):
            clear_incoming(home)
            folder = Path(tempfile.mkdtemp(dir=parent))
            try:
                (folder / "new").mkdir()
                yield folder / "new"
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def is_incoming(home: Path) -> bool:
    """Whether content is being taken in, or was when a process was killed."""
    with contextlib.suppress(OSError):
        return any((home / "data" / "incoming").iterdir())
    return False


def clear_incoming(home: Path) -> None:
    """Delete what killed processes left. For who holds the lock, so that nothing belongs to one that is at work."""
    with contextlib.suppress(FileNotFoundError):
        for left in (home / "data" / "incoming").iterdir():
            shutil.rmtree(left, ignore_errors=True)


def _show_waiting() -> None:
    show.waiting("data", "Another process of this workspace takes data in: this waits for it. Ctrl-C changes nothing.")


def _copy(source: Path | str, target: Path | str) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        # Content without mode: a version's files are read-only, and copies of them must not be.
        shutil.copyfile(source, target)
    except PermissionError as problem:
        raise Denied(f"{problem.filename} may not be read or written", "look at its mode and owner") from problem


def _file(path: Path, folder: Path) -> File:
    # Unbuffered, since `file_digest` reads in large blocks itself.
    with path.open("rb", buffering=0) as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(path.relative_to(folder).as_posix(), path.stat().st_size, sha256)
