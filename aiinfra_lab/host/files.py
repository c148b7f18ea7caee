"""What the host core writes: files for its user only, whole or not at all, and the lock that says that it lives.

`aiinfra_lab.files` does it for the rest of the package; nothing of that is on the host.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


def create(path: Path) -> IO[bytes]:
    """An empty file to be written, for this user only."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def write(path: Path, content: bytes) -> None:
    """Write a file so that a crash of this process leaves the old one or the new one."""
    aside = path.with_name(f"{path.name}.part")
    with create(aside) as file:
        file.write(content)
    aside.replace(path)


def hold(path: Path) -> IO[bytes]:
    """The file, locked until every process that has it from here, forks included, has closed it or ended."""
    file = create(path)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def is_held(path: Path) -> bool:
    """Whether a process that lives holds it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
