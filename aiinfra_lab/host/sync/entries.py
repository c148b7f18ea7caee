"""What lies at a path, which paths and links can be, and which are passed over."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

AREA = (".aiinfra", "sync")
# Of this machine only, whatever the rules are: our own files, and the rules, which the near side alone has.
NEVER = frozenset({AREA[0], ".aiinfraignore"})
MOST_PATH, MOST_NAME, MOST_PARTS = 4000, 255, 200


class TreeEntry(NamedTuple):
    """What lies at a path. kind: f, l or d; value: a file's SHA-256, a link's target, nothing for a folder."""

    kind: str
    value: str = ""
    mode: int = 0o755
    size: int = 0
    mtime_ns: int = 0

    @property
    def is_executable(self) -> bool:
        return self.kind == "f" and bool(self.mode & 0o100)

    def executable(self, wanted: bool) -> TreeEntry:
        """The same, with or without that."""
        if self.kind != "f" or wanted == self.is_executable:
            return self
        return self._replace(mode=self.mode | (self.mode & 0o444) >> 2 if wanted else self.mode & ~0o111)


Levels = tuple[Any, ...]  # of one folder: (where names begin, any of its rules, each of them), from the deepest up


def same(one: TreeEntry | None, other: TreeEntry | None) -> bool:
    """Whether both have the same content, whatever their modes and times."""
    if one is None or other is None:
        return one is other
    return one[:2] == other[:2]


def digest_of(entries: Mapping[str, TreeEntry], left_out: Iterable[Sequence[str]]) -> str:
    """A digest of what is compared, by which a side learns that the other has not changed."""
    rows = [[path, each.kind, each.value, each.size, each.is_executable] for path, each in sorted(entries.items())]
    return hashlib.sha256(json.dumps([rows, sorted(map(list, left_out))]).encode()).hexdigest()


def moved(known: dict[str, Any], source: str, target: str) -> None:
    """Give what is known of a path, and of all below it, another name."""
    for path in [each for each in known if each == source or each.startswith(source + "/")]:
        known[target + path[len(source) :]] = known.pop(path)


class Rules:
    """Rules of gitignore by the folder that they hold for; the deepest folder's decide, and of those the last."""

    def __init__(self, by_folder: Mapping[str, Sequence[Sequence[Any]]]) -> None:
        self._levels: dict[str, Any] = {}
        for folder, lines in by_folder.items():
            self.add(folder, lines)

    def add(self, folder: str, lines: Sequence[Sequence[Any]]) -> None:
        """lines: [ignores, regular expression], in their order; folder: "" or a path that ends with a slash."""
        if lines:
            # One search for all of them, since hardly any path matches any.
            any_of = re.compile("|".join(f"(?:{each})" for _, each in lines), re.DOTALL)
            compiled = [(bool(ignores), re.compile(each, re.DOTALL)) for ignores, each in reversed(lines)]
            self._levels[folder] = (len(folder), any_of, compiled)

    def below(self, folder: str, levels: Levels = ()) -> Levels:
        """The levels that hold in a folder, given those of the one above."""
        own = self._levels.get(folder)
        return (own, *levels) if own else levels

    @staticmethod
    def ignores(path: str, levels: Levels) -> bool:
        """Whether a path is passed over; a folder's ends with a slash. Nothing below an ignored folder is asked for."""
        for start, any_of, rules in levels:
            name = path[start:]
            if any_of.search(name):
                for ignores, regex in rules:
                    if regex.search(name):
                        return bool(ignores)
        return False


def problem_of_path(path: str) -> str:
    """Why something cannot be at that path; empty where it can."""
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        return "it is no path inside the folder"
    try:
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        return "its name cannot be written"
    if len(parts) > MOST_PARTS or max(sizes) > MOST_NAME or sum(sizes) + len(sizes) > MOST_PATH:
        return "its path is too long"
    return ""


def stays_inside(path: str, target: str) -> bool:
    """Whether a link at that path leads into the folder, whatever other links it passes through.

    Dots only at its beginning: behind a name they would lead up from wherever that name leads.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    is_inside = ups <= path.count("/") and ".." not in parts[ups:]
    return bool(parts) and is_inside and not target.startswith("/") and "\0" not in target
