"""Files that one process at a time holds. The lock goes with its process, however that ends; the file stays."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO


def take(path: Path, patience_s: float = 1.0) -> IO[bytes] | None:
    """The file, held by this process alone until it is closed; None when another one keeps it that long."""
    file = path.open("ab")
    until = time.monotonic() + patience_s  # somebody who only asks holds it for a moment
    while time.monotonic() < until:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return file
    file.close()
    return None


def held(path: Path) -> bool:
    """Whether a process holds the file alone. Askers share it, so that they never see each other."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
