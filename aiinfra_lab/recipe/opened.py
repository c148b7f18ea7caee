"""Which files of the project a Python process opens. Sent as text to a step's kernel, where it needs nothing of ours.

What a library opens past Python, as polars does, is not seen here, nor what another program opens; see `watching`.
"""

import json
import os
import sys

# Of whatever else may be installed inside a project.
PASSED_OVER = ("site-packages", "node_modules")
MOST = 1000


def watch(report: str, project: str) -> None:
    """From now on append a line of JSON, [is written, path], when a file of the project is opened for the first time.

    One that was written first is not reported again when it is read. Called once in a process; its forks go on.
    """
    # Whole lines are appended to one open file: a process that is killed loses none, and forks share it.
    handle = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    inside, installed = (os.path.join(os.path.realpath(place), "") for place in (project, sys.prefix))
    seen: set[tuple[object, bool, str]] = set()
    reported: set[tuple[bool, str]] = set()

    def look(name: str | bytes, mode: str | None, flags: int) -> None:
        is_written = bool(flags & (os.O_WRONLY | os.O_RDWR)) or any(letter in (mode or "") for letter in "wax+")
        here = "" if os.path.isabs(name) else os.getcwd()
        if (name, is_written, here) in seen or len(reported) >= MOST:
            return
        seen.add((name, is_written, here))
        path = _source(os.path.realpath(os.path.join(here, os.fsdecode(name))))
        if path.startswith(inside) and not path.startswith(installed) and not _is_passed_over(path[len(inside) :]):
            for kind in [False] if not is_written else [False, True] if "+" in (mode or "") else [True]:
                add(kind, path)

    def add(is_written: bool, path: str) -> None:
        if (is_written, path) not in reported and (True, path) not in reported:
            reported.add((is_written, path))
            os.write(handle, (json.dumps([is_written, path]) + "\n").encode())

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            try:
                look(*arguments)  # type: ignore[arg-type]  # the names and types that the event has
            except (OSError, TypeError, ValueError):
                return  # a handle, or a name that cannot be: whatever it is, the notebook may open it

    sys.addaudithook(hook)


def _source(path: str) -> str:
    """The module from which a compiled file was made."""
    folder, name = os.path.split(path)
    if not name.endswith(".pyc") or os.path.basename(folder) != "__pycache__":
        return path
    return os.path.join(os.path.dirname(folder), name.partition(".")[0] + ".py")


def _is_passed_over(path: str) -> bool:
    return any(part.startswith(".") or part in PASSED_OVER for part in path.split(os.sep))
