"""The files, folders and globs of the project that a step takes or makes, and versions of data.

A folder means all files below it. As in a shell, a glob does not match names that begin with a dot; nor does a folder.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import FILE, settings
from ..errors import Denied, NotFound, UsageProblem, did_you_mean, nearest
from ..resolve import resolve_any
from ..store import canonical_digest
from .base import Recipe, Value
from .lines import of_step
from .parameters import ValueKind, takes_many
from .watching import reading

MOST_FILES = 10_000
_MAGIC = frozenset("*?[")
_LONGEST_NAME = 255  # bytes, of most file systems

Stamp = tuple[int, int, int, int]
"""What changes when a file does: its inode, size and times."""


@dataclass(frozen=True)
class Taken:
    """Files as they were when a step began. digest: of their names and contents."""

    files: tuple[Path, ...]
    digest: str
    stamps: tuple[Stamp, ...]

    @classmethod
    def of(cls, files: Sequence[Path]) -> Taken:
        """Read the files. NotFound when one has vanished, Denied when one cannot be read."""
        with looked_at("a file"):
            # Before the content: a change while it is read leaves another stamp.
            stamps = tuple(map(_stamp, files))
            return cls(tuple(files), _digest(files), stamps)

    @classmethod
    def made(cls, path: str) -> Taken:
        """What a step is to make, or has made there; without files while there is nothing."""
        if not _mode(_inside(settings().project, path)):
            return cls((), "", ())
        try:
            return cls.of(files_of(path))
        except NotFound:
            return cls((), "", ())

    def is_unchanged(self) -> bool:
        """Whether the files are what they were: by their stamps or, where those differ, by their content."""
        try:
            return tuple(map(_stamp, self.files)) == self.stamps or _digest(self.files) == self.digest
        except OSError:
            return False


def is_path(text: str) -> bool:
    """Whether what `in` says means files of the project although there may be none; a step's name comes first."""
    is_one = "/" in text or text.startswith(".") or is_glob(text)
    return is_one or _mode(settings().project / text) != 0


def is_glob(source: str) -> bool:
    """Whether it may mean several files."""
    return not _MAGIC.isdisjoint(source)


def files_of(source: str) -> list[Path]:
    """The files that a path, a folder or a glob of the project means, by name; at least one.

    Denied outside of the project, in the toolkit's own folder and for what cannot be looked at, NotFound when there is
    none, UsageProblem when there are more than 10,000, and for a name that no record can hold.
    """
    with looked_at(source):
        return _files_of(source)


def _files_of(source: str) -> list[Path]:
    root = settings().project
    path = _inside(root, source)
    mode = _mode(path)
    if stat.S_ISREG(mode):
        return [path]
    is_folder = stat.S_ISDIR(mode)
    # A folder that is there may be called as a glob is written.
    begin, pattern = (path, ("**", "*")) if is_folder else (root, path.relative_to(root).parts)
    if not is_folder and not is_glob(source):
        raise NotFound(f"there is no file or folder {source} in {root}", f"put it there; {_beside(path)}")
    found: set[Path] = set()
    for each in _matches(begin, pattern):
        if not _is_text(each):
            raise UsageProblem(f"the name of {in_project(each)} is no UTF-8", "call the file otherwise")
        found.add(each)
        if len(found) > MOST_FILES:
            raise UsageProblem(
                f"{source} means more than {MOST_FILES:,} files",
                "name fewer, or record them: `%data add NAME FOLDER`, and data:NAME in `in` instead",
            )
    if not found:
        raise NotFound(f"{source} means no file in {root}", f"put one there, or correct {source!r} in `in` of the step")
    return sorted(found)


def place_of(made: str) -> Path:
    """Where a file or folder lies that a step makes.

    UsageProblem for a glob, and for what no file can be called; Denied as in `files_of`, for what is the project's own,
    and for a folder that holds more of the project than what is made.
    """
    if is_glob(made):
        raise UsageProblem(f"{made!r} in `out` names many files", "name one, or the folder in which they lie")
    is_other = ":" in made or made.startswith("~")  # a URI; and what a shell reads as a folder outside
    if is_other or not made.isprintable() or max(len(os.fsencode(part)) for part in made.split("/")) > _LONGEST_NAME:
        raise UsageProblem(f"{made[:80]!r} in `out` can be no file", "call it otherwise, e.g. build/table.csv")
    root, fix = settings().project, "name a path of the project, e.g. build/table.csv"
    try:
        path = _inside(root, made)
    except Denied as problem:
        raise Denied(problem.what, fix) from None
    if any((root / own).is_relative_to(path) for own in (FILE, "notebooks", "recipes")) or _is_source(root, path):
        raise Denied(
            f"{made!r} in `out` is the project's own", "name a file or folder of its own, e.g. build/table.csv"
        )
    return path


def _is_source(root: Path, path: Path) -> bool:
    """Whether it is where people write a notebook, or a recipe."""
    written = ("notebooks", ".ipynb"), ("recipes", ".toml")
    return any(path.suffix == suffix and path.is_relative_to(root / folder) for folder, suffix in written)


def pinned(recipe: Recipe) -> dict[str, str]:
    """The version of each `data:` name that a step takes, as it is now; and whether all files are there, and all
    sessions on which steps run.

    The errors of `files_of` and of `session.check_places`, and NotFound for data that does not exist.
    """
    if any(step.on for step in recipe.steps):
        from .session import check_places  # here, since few steps run elsewhere

        check_places(recipe)
    found: dict[str, str] = {}
    for step in recipe.steps:
        for name, source in {**step.files, **step.data}.items():
            with of_step(recipe, step, name):
                if name in step.files:
                    files_of(source)
                elif source not in found:
                    found[source] = resolve_any(source).uri
    return found


def values_of(
    folder: Path, sources: Mapping[str, str], taken: Mapping[str, Taken], kinds: Mapping[str, ValueKind]
) -> dict[str, Value]:
    """What a notebook in that folder is given: a list of the files where its parameter is a list, else the text.

    sources: parameter → a path, folder or glob. kinds: parameter → what it may be
    """
    return {
        name: [os.path.relpath(file, folder) for file in taken[source].files]
        if name in kinds and takes_many(kinds[name])
        else os.path.relpath(settings().project / source, folder)
        for name, source in sources.items()
    }


def file_digest(path: Path) -> str:
    """The SHA-256 of the file as it is."""
    with reading(path), path.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def in_project(path: Path) -> str:
    """How a file of the project is called in it; what of that is no UTF-8 as `\\xe9`, for a record is text."""
    return os.fsencode(os.path.relpath(path, settings().project)).decode("utf-8", "backslashreplace")


def _beside(path: Path) -> str:
    """What is there instead, as `in` names it; of a folder of millions, some of it."""
    there = itertools.islice(path.parent.iterdir(), 1000) if path.parent.is_dir() else ()
    names = [each.name for each in there]
    if near := nearest(path.name, names):
        return f"did you mean {in_project(path.with_name(near))}?"
    return did_you_mean(path.name, names)


def _inside(root: Path, source: str) -> Path:
    path = Path(os.path.normpath(root / source))
    if not path.is_relative_to(root):
        raise Denied(
            f"{source} lies outside of the project {root}",
            "copy or link it into the project, or record it with `%data add NAME PATH` and take data:NAME",
        )
    home = settings().home
    if path.is_relative_to(home) or path.resolve().is_relative_to(home.resolve()):
        raise Denied(f"{source} lies in the toolkit's own folder", "take a version of data by its name, as data:NAME")
    return path


def _matches(folder: Path, pattern: Sequence[str]) -> Iterator[Path]:
    """Lazily, since a folder may hold millions. Below `**` no link is followed: it may lead back up."""
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        yield from _matches(folder, rest or ["*"])
        for entry in _visible(folder, "*"):
            if entry.is_dir(follow_symlinks=False):
                yield from _matches(Path(entry.path), pattern)
    elif _MAGIC.isdisjoint(first):
        yield from _go_on(folder / first, rest)
    else:
        for entry in _visible(folder, first):
            yield from _go_on(Path(entry.path), rest)


def _go_on(path: Path, rest: Sequence[str]) -> Iterator[Path]:
    if rest and path.is_dir():
        yield from _matches(path, rest)
    elif not rest and path.is_file():
        yield path


def _visible(folder: Path, pattern: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if fnmatch.fnmatchcase(entry.name, pattern) and (pattern[0] == "." or entry.name[0] != "."):
                yield entry


def _mode(path: Path) -> int:
    """What is there; 0: nothing, or the name can be none."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(files: Iterable[Path]) -> str:
    return canonical_digest({in_project(path): file_digest(path) for path in files})


def _is_text(path: Path) -> bool:
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


@contextlib.contextmanager
def looked_at(source: str) -> Iterator[None]:
    """What the system says of files, as an error of ours. source: where it does not say of which."""
    try:
        yield
    except OSError as problem:
        what = in_project(Path(os.fsdecode(problem.filename))) if problem.filename else source
        if isinstance(problem, (FileNotFoundError, NotADirectoryError)):
            raise NotFound(f"{what} was there and has vanished", "put it back, and run the recipe again") from None
        raise Denied(f"{what} cannot be read: {problem.strerror}", "make it a file that you may read") from None
