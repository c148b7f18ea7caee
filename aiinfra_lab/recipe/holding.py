"""Kernels that are held after a cell has failed in them, until somebody goes on or their time is over.

There is one at most for each step of a recipe, since of that one run goes on at a time: the next one goes on in it, or
ends it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Container, Iterator
from pathlib import Path

import msgspec

from .. import files, modes
from ..config import settings
from . import archives
from .record import RunRecord

NOTEBOOK = "notebook.ipynb"
FACTS = "held.json"
_PLACE = "place"
_HOST, _RUN = "host", ".run-"


class HeldKernel(msgspec.Struct, frozen=True):
    """What it takes to go on in one.

    key: signs its messages. received: the last of those that has come here. until: when its time is over, in epoch
    seconds. at: which of the notebook's code cells has failed, counted from 0. cells: the digest of what each of them
    means.
    """

    key: str
    received: int
    until: float
    at: int
    cells: tuple[str, ...]


def folder_of(recipe: str, number: int, step: str) -> Path:
    """Where the run of that number holds the kernel of a step; not where one that was just ended may still write."""
    return _home(recipe) / f"{step}{_RUN}{number}"


def find(folder: Path) -> HeldKernel | None:
    """The kernel that is held there; None when there is none, or none that lives."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        found = msgspec.json.decode((folder / FACTS).read_bytes(), type=HeldKernel)
        return found if _is_here(folder) and is_alive(folder) else None
    return None


def is_alive(folder: Path) -> bool:
    """Whether the kernel lives that the folder has, be it held or not."""
    from ..kernels.kept import is_hosted  # here and below, since papermill loads this before it runs anything

    return is_hosted(folder / _HOST)


def claim(folder: Path) -> None:
    """Make the folder, for this user only: from now on it has the kernel that belongs to it."""
    files.make_private_folder(folder)
    files.write(folder / _PLACE, str(folder), mode=modes.OWNER_ONLY)


def withdraw(folder: Path) -> None:
    """The kernel is no longer as it was held: nobody else can go on with it."""
    (folder / FACTS).unlink(missing_ok=True)


def write(folder: Path, held: HeldKernel) -> None:
    """Write down that a kernel is held there, for this user only."""
    files.write_json(folder / FACTS, msgspec.to_builtins(held), mode=modes.OWNER_ONLY)


def held(recipe: str) -> dict[str, Path]:
    """The steps of a recipe whose kernels are held now, each with the folder for that."""
    return {folder.name.partition(_RUN)[0]: folder for folder in _below(_home(recipe)) if find(folder)}


def until(recipe: str) -> dict[str, float]:
    """To when the kernels of a recipe's steps are held that are held now, in epoch seconds."""
    return {step: found.until for step, folder in held(recipe).items() if (found := find(folder))}


def end(folder: Path) -> None:
    """Have the kernel end that is held there, if one is, and remove what belongs to it; returns at once."""
    end_kernel(folder)
    shutil.rmtree(folder, ignore_errors=True)


def end_kernel(folder: Path) -> None:
    """Have the kernel end that is held there, if one is; what it has sent stays. Returns at once."""
    from ..kernels.kept import end_host

    if _is_here(folder):
        end_host(folder / _HOST)


def has_any(recipe: str) -> bool:
    """Whether a kernel of a recipe is held, or would have been."""
    return bool(_below(_home(recipe)))


def journals(recipe: str) -> Iterator[Path]:
    """What is left by which executed notebooks of a recipe are completed. It looks into the folder of each run."""
    return _home(recipe).parent.glob(f"{recipe}@*/*.journal")


def end_all(recipe: str, but: Container[Path] = ()) -> None:
    """Have the kernels end that are held of a recipe, but for those. What one has sent stays while an executed notebook
    is to be completed by it."""
    home = _home(recipe)
    if folders := [each for each in _below(home) if each not in but]:
        needed = {archives.kept_by(journal) for journal in journals(recipe)}
        for folder in folders:
            (end_kernel if folder in needed else end)(folder)
    with contextlib.suppress(OSError):  # it has some still, or there is none
        home.rmdir()


def _is_here(folder: Path) -> bool:
    """Whether it is not the copy of one, whose kernel belongs to another workspace."""
    try:
        return (folder / _PLACE).read_text() == str(folder)
    except OSError:
        return False


def _below(home: Path) -> list[Path]:
    return sorted(home.iterdir()) if home.is_dir() else []


def _home(recipe: str) -> Path:
    return settings().home / RunRecord.kind / f"{recipe}.held"
