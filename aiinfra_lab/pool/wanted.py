"""Whether there is to be a pool, by the settings that hold here; where one is wanted it is started."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .. import files
from ..config import settings
from ..errors import LabError
from . import asking, match


def pool() -> bool:
    """Whether one is wanted, which is then started in the background unless it is there."""
    setting, named = _set()
    if not asking.may_be(setting):
        return False
    place = match.folder()
    with contextlib.suppress(OSError):  # its disk is full or read-only: what would be forked is spawned
        # By its lock: one that was killed leaves its socket.
        if not (match.is_private(place) and files.is_locked(Path(place, asking.HOLD))):
            asking.start(named)
    return True


def preload() -> str:
    """The packages that the settings name for it; empty for the usual ones."""
    return _set()[1]


def is_on() -> bool:
    """Whether one is wanted."""
    return asking.may_be(_set()[0])


def _set() -> tuple[str, str]:
    named = os.environ.get(match.VARIABLE, "")
    try:
        where = settings()
    except LabError:  # JupyterLab or papermill outside of a workspace
        return named.lower() or "auto", ""
    return named.lower() or where.get("kernels.pool", "auto").lower(), where.get("kernels.preload", "")
