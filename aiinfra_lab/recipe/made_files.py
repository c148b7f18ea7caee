"""The files that a step makes: what is left of them from before is removed, and what an attempt wrote is found.

So that they are the same in a project where the step ran often as in a fresh clone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import settings
from ..errors import Failed
from ..units import counted
from .base import RecipeStep
from .record import MadeFile
from .taken import Taken, in_project
from .watching import is_changed

# By so much the time in which a file system counts is behind.
_CLOCK_TICK_S = 0.05
_NAMED = 3


@dataclass(frozen=True)
class Leftovers:
    """What earlier attempts of a step may have left where it makes files.

    paths: those files and folders. made: the digests of what its earlier runs made
    """

    paths: tuple[str, ...] = ()
    made: Collection[str] = ()

    def remove(self, since_at: float = math.inf) -> None:
        """Remove what is as an earlier run made it, and what was written since then, in epoch seconds. Folders stay.

        What somebody has edited or put there stays too. LabError when it cannot be looked at or removed.
        """
        for path in self.paths:
            there = Taken.made(path)
            for file in there.files:
                if there.digest in self.made or _is_written(file, since_at):
                    _remove(file)


def made_files(step: RecipeStep, since_at: float, *, went_on: bool = False) -> tuple[MadeFile, ...]:
    """The files of a step, all of which it wrote since then, in epoch seconds. Failed when it did not.

    went_on: it may have written them before, in an earlier run of the recipe
    """
    found = []
    for name, path in step.made_files.items():
        there = Taken.made(path)
        if not there.files:
            raise _only_hidden(step, path) if _has_any(path) else made_no(step, path)
        left = [] if went_on else [each for each in there.files if not _is_written(each, since_at - _CLOCK_TICK_S)]
        if left:
            raise _not_written(step, path, left)
        found.append(MadeFile(name, path, there.digest))
    return tuple(found)


def made_no(step: RecipeStep, what: str) -> Failed:
    """That a step ended well without one of its outputs."""
    return Failed(f"{step.name} ran, but made no {what}", f"correct {step.notebook.name}, or `out` of the step")


def _not_written(step: RecipeStep, path: str, left: Sequence[Path]) -> Failed:
    more = f" and {counted(len(left) - _NAMED, 'other')}" if len(left) > _NAMED else ""
    what = (
        f"{', '.join(map(in_project, left[:_NAMED]))}{more}, which {'was' if len(left) == 1 else 'were'} there before"
    )
    fix = f"remove from {path} what {step.notebook.name} does not make, or have it write all of that each time"
    return Failed(f"{step.name} ran, but did not write {what}", fix)


def _only_hidden(step: RecipeStep, path: str) -> Failed:
    what = f"{step.name} ran, but made no file in {path} that counts: names that begin with a dot do not"
    return Failed(what, f"correct {step.notebook.name}, or name such a file in `out` itself")


def _has_any(path: str) -> bool:
    with contextlib.suppress(OSError):
        return any(each.is_file() for each in (settings().project / path).rglob("*"))
    return False


def _is_written(file: Path, since_at: float) -> bool:
    """Whether it, or the link that it is, is of since then."""
    return is_changed(file, since_at) or (file.is_symlink() and file.lstat().st_ctime >= since_at)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as problem:
        what = f"{in_project(file)} is of an earlier run, and cannot be removed: {problem.strerror}"
        raise Failed(what, "remove it, or have its folder be yours to write") from None
