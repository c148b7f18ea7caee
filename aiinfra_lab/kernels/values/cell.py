"""In the kernel that runs a cell: the variables that it was given before it begins, and those that it is to give back.

Both at once with the cell: whatever others run in the kernel comes before or after. IPython calls `_begin` before each
cell, and evaluates `give` as one of the request's expressions right after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .packing import pack
from .unpacking import unpack

KEY = "aiinfra_cell"
"""In the metadata of a request: which cell it is."""

_taken: dict[str, dict[str, Any]] = {}
_before: dict[str, int] = {}


def take(cell: str, path: str) -> None:
    """Unpack what a cell gets, and remove the file. Nothing of it can be seen before the cell begins."""
    place = Path(path)
    data = bytearray(place.stat().st_size)
    with place.open("rb") as file:
        file.readinto(data)
    _taken[cell] = unpack(data, pickles=True)
    place.unlink()


def expect() -> None:
    """Have IPython call us before each cell, once."""
    events = shell().events
    others = [each for each in events.callbacks["pre_run_cell"] if getattr(each, "__name__", "") == _begin.__name__]
    for each in others:  # of an earlier version of this text
        events.unregister("pre_run_cell", each)
    events.register("pre_run_cell", _begin)


def give(names: Sequence[str], path: str, most_bytes: int) -> str:
    """Pack variables into a file, unless it is too large. The answer, in JSON: `sizes` of those there are; `missing`
    and, if there are such, what the cell has `made`; the `size` of the file, what it `needs`, and what `changes` on
    the way; or a `problem` with its kind, what it is and what helps."""
    now = shell().user_ns
    there = {name: now[name] for name in names if name in now}
    missing = [name for name in names if name not in now]
    answer: dict[str, Any] = {"missing": missing, "made": _made(now) if missing else []}
    answer.update(sizes={}, size=0, needs={}, changes=[])
    try:
        if there and not missing:
            packed = pack(there)
            answer.update(sizes=packed.sizes, size=packed.size, needs=packed.needs, changes=packed.changes)
            if packed.size <= most_bytes:
                write(Path(path), packed)
    except OSError as problem:
        what = f"on the machine of the kernel: {problem.strerror}: {path}"
        answer["problem"] = ["Unavailable", what, "free some space there, and bring it back by another cell"]
    except Exception as problem:  # noqa: BLE001  # whatever the objects' own code raises
        what, _, fix = str(problem).partition("\n  fix: ")
        answer["problem"] = [type(problem).__name__, what, fix]
    return json.dumps(answer)


def _begin(_info: Any = None) -> None:
    _before.clear()
    cell = (shell().get_parent() or {}).get("metadata", {}).get(KEY)
    if cell is not None:
        shell().push(_taken.pop(cell, {}))
        _before.update((name, id(value)) for name, value in shell().user_ns.items())


def _made(names: dict[str, Any]) -> list[str]:
    """What the cell has set, the newest last."""
    return [name for name, value in names.items() if name[:1] != "_" and _before.get(name) != id(value)]


def write(path: Path, packed: Iterable[bytes | memoryview]) -> int:
    """Write it; nobody looks for it before it is whole. The size of the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            for piece in packed:
                file.write(piece)
            return file.tell()
    except OSError:
        path.unlink(missing_ok=True)
        raise


def shell() -> Any:
    """IPython's, of this kernel."""
    from IPython import get_ipython

    return get_ipython()
