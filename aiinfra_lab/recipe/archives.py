"""Executed notebooks whose run is over, without what it takes to execute one.

Beside papermill's words the metadata of each code cell, and of the notebook, has `aiinfra.state`: done, failed,
timeout, killed, oom, interrupted, stopped or not_run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from ..config import settings
from ..errors import LabError
from ..files import digest, is_locked, write
from ..secrets import redactor
from .at_once import once

_log = logging.getLogger(__name__)

OWNER = "owner"
"""In the folder of a journal: locked as long as the process lives that executes the notebook."""
FACTS = "facts.json"
"""There: where all else is that it takes, see `kept_by`."""
LOST = "the process of the run vanished while this cell ran: it was killed, or its machine went away"

_OWN = "aiinfra"
_ERROR = {"output_type": "error", "ename": "Lost", "evalue": LOST, "traceback": [LOST]}


def rename_end(archive: Path, state: str) -> None:
    """Write a more exact word for its end into an executed notebook that says `stopped`; nothing where that cannot be.

    Who executes a notebook knows that its end was asked for, and not whether for its time or by a signal.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, LabError):
        notebook: dict[str, Any] = json.loads(archive.read_text("utf-8"))
        for part in (notebook, *notebook["cells"]):
            if part["metadata"].get(_OWN, {}).get("state") == "stopped":
                part["metadata"][_OWN]["state"] = state
        write(archive, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def clean(archive: Path) -> None:
    """Take the secrets that are known here out of an executed notebook, wherever they stand in it.

    It is removed where that cannot be written, as on a full disk.
    """
    with contextlib.suppress(OSError):
        text = archive.read_text("utf-8", "surrogateescape")
        if (cleaned := redactor().clean(text)) != text:
            try:
                write(archive, cleaned.encode("utf-8", "surrogateescape"))
            except LabError as problem:
                archive.unlink()
                _log.warning("%s held a secret and is removed: %s", archive, problem)


def path_of(recorded: str) -> Path:
    """Where the executed notebook lies that a record names: in this workspace, which may have been moved since then."""
    own = once(settings)().home.joinpath(*Path(recorded).parts[-3:])  # recipe/NAME@N/STEP.ipynb
    return own if own.is_file() or journal_of(own).is_dir() else Path(recorded)


def journal_of(archive: Path) -> Path:
    """The folder by which an executed notebook is completed where the process that executes it is killed: what its
    kernel has sent. It is there as long as that goes on, and after a kill until somebody looks."""
    return archive.with_suffix(".journal")


def is_left(journal: Path) -> bool:
    """Whether it is one whose process has ended, and which nobody has taken in yet."""
    return journal.is_dir() and not is_locked(journal / OWNER)


def kept_by(journal: Path) -> Path | None:
    """Where the kernel is kept by which this journal completes its notebook: in it, or where the recipe's kernels are
    held. None for that of a session, and where it cannot be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts: dict[str, str] = json.loads((journal / FACTS).read_bytes())
        kept = Path(os.path.normpath(journal / facts["kept"]))
        return kept if not facts.get("client") and kept.is_relative_to(journal.parent.parent) else None
    return None


def complete(archive: Path) -> bool:
    """Complete an executed notebook from the journal that a process which was killed has left; False where there is
    none. It stays as it is where it cannot be read or written: the journal then waits for who looks next."""
    if not is_left(journal_of(archive)):
        return False
    from .engine.rebuilding import rebuild  # what renders messages takes a second to import

    try:
        return rebuild(archive)
    except Exception as problem:  # noqa: BLE001  # whatever is wrong with it, looking must work
        _log.warning("%s cannot be completed from its journal: %r", archive, problem)
        return False


def digest_of(archive: Path) -> str:
    """The SHA-256 of an executed notebook; empty where it is gone or cannot be read."""
    with contextlib.suppress(OSError):
        return digest(archive)
    return ""


def forget_sent(journal: Path) -> None:
    """Remove what was sent to the kernel, with the values that it was given: it is not needed to complete anything."""
    if is_left(journal) and (kept := kept_by(journal)) is not None:
        shutil.rmtree(kept / "sent", ignore_errors=True)


def close_lost(archive: Path) -> str:
    """Complete an executed notebook whose run's process vanished: from its journal, or, where there is none, by saying
    that it did, and that the cell failed which ran then, if one did.

    Nothing happens where it is gone, cannot be written, says how it ended already, or cannot be completed yet. Its
    digest; empty where it is gone, or is to be completed yet.
    """
    complete(archive)
    if journal_of(archive).is_dir():
        return ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, LabError):
        notebook: dict[str, Any] = json.loads(archive.read_text("utf-8"))
        running = [cell for cell in notebook["cells"] if _state(cell).get("status") == "running"]
        for cell in running:
            _state(cell).update(status="failed", exception=True)
            cell["metadata"][_OWN] = {"state": "killed"}
            if cell["cell_type"] == "code":
                cell["outputs"].append(_ERROR)
        if running or notebook["metadata"].get(_OWN, {}).get("state") == "running":
            notebook["metadata"]["papermill"]["exception"] = True
            notebook["metadata"][_OWN] = {"state": "killed"}
            write(archive, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return digest_of(archive)


def _state(cell: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = cell["metadata"].get("papermill", {})
    return found
