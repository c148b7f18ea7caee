"""`python -m aiinfra_lab.gpu.keeper NAME`: the process that keeps the kernel of a session on this machine."""

from __future__ import annotations

import os
import sys

from ..kernels import KeeperState
from ..kernels.keeper import keep
from . import sessions


class SessionLedger:
    """A session's record, as its keeper reads and closes it. See `Ledger` for the contract."""

    def __init__(self, name: str) -> None:
        self.name = name

    def shown_as(self) -> str:
        record = sessions.get(self.name)
        return (record.body.shown_as if record else "") or self.name

    def limit(self) -> str:
        record = sessions.get(self.name)
        return record.body.deadline_by if record else ""

    def close(self, state: KeeperState) -> None:
        sessions.close_own(self.name, os.environ.get("AIINFRA_JOB"), state.why, state.at, state.exit_code)


def main(name: str) -> int:
    """The exit code."""
    return keep(f"gpu:{name}", SessionLedger(name))


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1]))
