"""Which paths are passed over: the rules of gitignore, from `.aiinfraignore`, as regular expressions for both sides."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable
from typing import Any

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from ... import files
from ...errors import UsageProblem
from ...host.sync.entries import Rules
from ...host.sync.handles import FILE

NAME = ".aiinfraignore"
DEFAULTS = (
    # However it is spelled: git on a file system that knows no case takes each of these for its own.
    *(".[gG][iI][tT]", ".hg", ".svn", ".venv", ".venvs", ".tox", ".nox", "node_modules", "__pycache__", "*.py[co]"),
    ".env",  # secrets: whoever wants them there takes that back by a rule of their own
    *(".ipynb_checkpoints", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".DS_Store", files.ASIDE),
)
_MOST_BYTES = 1 << 20
# How its expressions end: a folder's with a slash. Without these ends they match what lies below as well.
_FOLDER = "(?P<ps_d>/)"
_EITHER = f"(?:{_FOLDER}|$)"


class Ignore:
    """The rules of a folder and of those below it that have some of their own, as they are found."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        self.by_folder: dict[str, list[list[Any]]] = {"": _rules([*DEFAULTS, *extra])}
        self.rules = Rules(self.by_folder)

    def read(self, folder: str, handle: int) -> None:
        """Take the rules of a folder that is about to be looked through."""
        with contextlib.suppress(FileNotFoundError):
            kind = os.stat(NAME, dir_fd=handle, follow_symlinks=False).st_mode
            if not stat.S_ISREG(kind):
                what = f"{folder}{NAME} is {'a link' if stat.S_ISLNK(kind) else 'no file'}: its rules are not read"
                raise UsageProblem(f"{what}, and nothing is synced without them", "make it a file")
            file = os.open(NAME, FILE, dir_fd=handle)
            with os.fdopen(file, "rb") as stream:
                lines = stream.read(_MOST_BYTES).decode(errors="surrogateescape").replace("\r\n", "\n").split("\n")
            self.by_folder[folder] = [*self.by_folder.get(folder, ()), *_rules(lines)]
            self.rules.add(folder, self.by_folder[folder])


def _rules(lines: Iterable[str]) -> list[list[Any]]:
    """[ignores, expression] of each line that is a rule; of one that is none there is nothing to obey, as in git."""
    found = []
    for line in lines:
        with contextlib.suppress(GitIgnorePatternError, re.error):  # as of a range that ends before it begins
            found += [(each.include, each.regex) for each in GitIgnoreSpec.from_lines([line]).patterns]
    return [[ignores, _of_whole_paths(regex.pattern)] for ignores, regex in found if regex is not None]


def _of_whole_paths(expression: str) -> str:
    """The expression for a path itself: what lies below an ignored folder is never asked for, and a rule that takes
    back a folder does not take back what is in it."""
    if expression.endswith(_EITHER):
        return expression.removesuffix(_EITHER) + r"/?\Z"
    if expression.endswith(_FOLDER):
        return expression.removesuffix(_FOLDER) + r"/\Z"
    # `a/**` is all below `a`, and not `a`.
    return re.sub(r"/$", "/.", expression)
