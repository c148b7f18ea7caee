"""Which files of the project a Python process opens. Sent as text to a step's kernel, where it needs nothing of ours.

What a library opens past Python, as polars does, is not seen here, nor what another program opens; see `watching`.
"""

import functools
import json
import os
import sys
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

# Of whatever else may be installed inside a project.
PASSED_OVER = ("site-packages", "node_modules")
MOST = 1000


def watch(report: str, project: str) -> None:
    """From now on append a line of JSON, [is written, path, name], when a file of the project is opened for the first
    time. name: what it was opened by, which differs from the path where a link in the project leads to it.

    One that was written first is not reported again when it is read; one that was there and is opened for both is
    reported as read and as written. Called once in a process; its forks go on.
    """
    # Whole lines are appended to one open file: a process that is killed loses none, and forks share it.
    handle = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    inside, installed = (os.path.join(os.path.realpath(place), "") for place in (project, sys.prefix))
    seen: set[tuple[object, int, str]] = set()
    reported: set[tuple[bool, str, str]] = set()
    written: set[str] = set()

    def look(name: str | bytes, flags: int) -> None:
        use = flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC)
        here = "" if os.path.isabs(name) else os.getcwd()
        if (name, use, here) in seen or len(reported) >= MOST:
            return
        seen.add((name, use, here))
        where = os.path.join(here, os.fsdecode(name))
        real, given = os.path.realpath(where), os.path.normpath(where)
        # Not where `..` behind a link leads to another file than it seems to.
        names = [real] if given == real or os.path.realpath(given) != real else [real, given]
        watched = [path for path in map(_source, names) if _is_watched(path, inside, installed)]
        if watched:
            # The file itself, unless it lies outside; by the link, which may lead to another one next time.
            for is_written in _uses(watched[0], use):
                add(is_written, watched[0], watched[-1])

    def add(is_written: bool, path: str, name: str) -> None:
        line = (is_written, path, name)
        if line not in reported and path not in written:
            reported.add(line)
            written.update([path] if is_written else [])
            os.write(handle, (json.dumps(line) + "\n").encode())

    sys.addaudithook(functools.partial(_take, look))


def _take(look: Callable[[str | bytes, int], None], event: str, arguments: tuple[object, ...]) -> None:
    if names := _EVENTS.get(event):
        try:
            for name, flags in names(*arguments):
                look(name, flags)
        except (OSError, TypeError, ValueError):
            return  # a handle, or a name that cannot be: whatever it is, the notebook may open it


def _uses(path: str, flags: int) -> list[bool]:
    """What opening it so is, in this order: False for reading, True for writing."""
    if flags == os.O_RDWR and os.path.exists(path):  # the event comes before it is made
        return [False, True]
    return [bool(flags)]


def _opening(name: str | bytes, mode: str | None, flags: int) -> list[tuple[str | bytes, int]]:
    if any(letter in (mode or "") for letter in "wax"):
        flags |= os.O_RDWR if "+" in (mode or "") else os.O_WRONLY
    return [(name, flags)]


def _connecting(database: str | bytes) -> list[tuple[str | bytes, int]]:
    """SQLite opens its files past Python, for both uses. database: a path or a URI of one."""
    name = os.fsdecode(database)
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    log = f"{name}-wal"  # of what was committed and does not stand in the file yet
    return [(each, os.O_RDWR) for each in [name, *([log] if os.path.exists(log) else [])]]


_EVENTS: dict[str, Callable[..., list[tuple[str | bytes, int]]]] = {
    "open": _opening,
    "sqlite3.connect": _connecting,
}


def _source(path: str) -> str:
    """The module from which a compiled file was made."""
    folder, name = os.path.split(path)
    if not name.endswith(".pyc") or os.path.basename(folder) != "__pycache__":
        return path
    return os.path.join(os.path.dirname(folder), name.partition(".")[0] + ".py")


def _is_watched(path: str, inside: str, installed: str) -> bool:
    if not path.startswith(inside) or path.startswith(installed):
        return False
    return not any(part.startswith(".") or part in PASSED_OVER for part in path[len(inside) :].split(os.sep))
