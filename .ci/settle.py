"""Waits until no process of this checkout's workspace is left; fails, naming them, when some stay."""

import contextlib
import os
import sys
import time
from pathlib import Path

from aiinfra_lab.config import settings

PATIENCE_S = 30


def alive(workspace: Path) -> list[str]:
    """Processes that were started for the workspace, as `pid command`."""
    wanted, found = f"AIINFRA_WORKSPACE={workspace}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if entry.name != str(os.getpid()) and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(f"{entry.name} {(entry / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()}")
    return found


def main() -> int:
    """The exit code."""
    workspace, until = settings().workspace, time.monotonic() + PATIENCE_S
    while (left := alive(workspace)) and time.monotonic() < until:
        time.sleep(0.1)
    for line in left:
        sys.stderr.write(f"still runs: {line}\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
