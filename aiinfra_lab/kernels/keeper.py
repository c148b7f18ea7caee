"""The owner of a session's kernel, run as a job.

It starts the kernel, guards its control channel, ends itself and the whole process tree at the deadline or on SIGTERM,
and writes down how it ended. It needs nobody: neither a supervisor nor a client has to live. What the session is, and
where its end is recorded, is for the noun to know: it gives the keeper its `Ledger`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any, Protocol

from msgspec.structs import replace

from .. import jobs, logs
from ..config import settings
from ..errors import LabError
from ..jobs import process
from ..store import open_store
from .gate import Gate
from .kept import KeeperState, KeptKernel
from .specs import remove_spec, write_spec

_log = logging.getLogger(__name__)

READY_S = 60.0
LOOK_S = 1.0
# SIGTERM gives a job 5 s before everything is killed: the kernel gets half of them to run its exit handlers.
POLITE_S = 2.0

TIME_OVER = 124  # the exit code by which jobs know that a deadline ended them


class Ledger(Protocol):
    """What the keeper asks of whoever records the session. A method may raise LabError: the keeper goes on without."""

    def shown_as(self) -> str:
        """What JupyterLab's launcher calls the session."""

    def limit(self) -> str:
        """What a deadline that has passed was: its time, or its budget; empty when that is not known."""

    def close(self, state: KeeperState) -> None:
        """Record that the session has ended; without effect when its end is recorded already."""


class Keeper:
    """One session's kernel, from its start to the end of its tree."""

    def __init__(self, kept: KeptKernel, ledger: Ledger) -> None:
        self.kept, self.ledger = kept, ledger
        self.asked_to_end = False
        signal.signal(signal.SIGTERM, self._on_term)  # before there is anything to clear away
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.sockets = kept.open_sockets()
        self.gate = Gate(kept, self.sockets)
        self.kernel: subprocess.Popen[bytes] | None = None
        self.state = KeeperState(phase="starting")
        self.deadline_at: float | None = None

    def keep(self) -> int:
        """Hold the kernel until it is over; the exit code of the job."""
        process.adopt_orphans()
        why, code = "the keeper failed", 1
        try:
            self._start_kernel()
            why, code = self._watch()
        finally:
            self._end(why)
        return code

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self.asked_to_end = True

    def _watch(self) -> tuple[str, int]:
        """Serve the gate and look at everything else once a second; why it is over, and with which exit code."""
        begun = looked = time.monotonic()
        self._look()
        while True:
            if self._time_is_over():
                return self._limit(), TIME_OVER
            if self.asked_to_end:
                return "stopped", 0
            if (status := self.kernel.poll() if self.kernel else 0) is not None:
                return f"its kernel ended {_exit_reason(status)}", 1
            # Short: pyzmq goes on waiting after a signal's handler (PEP 475), and the kernel's end wakes nobody.
            if self.gate.serve(timeout_s=0.2):
                self._start_kernel()
                begun = time.monotonic()
            if self.gate.answered and self.state.phase == "starting":
                self._write_state(phase="ready", kernel=self._enter_launcher())
            elif self.state.phase == "starting" and time.monotonic() - begun > READY_S:
                return f"its kernel did not answer within {READY_S:.0f} s", 1
            if time.monotonic() - looked >= LOOK_S:
                looked = time.monotonic()
                self._look()

    def _time_is_over(self) -> bool:
        """Whether the deadline has passed; `gpu start` on a live name may just have moved it."""
        if self.deadline_at is not None and time.time() >= self.deadline_at:
            self._look()
        return self.deadline_at is not None and time.time() >= self.deadline_at

    def _look(self) -> None:
        """Beat, collect orphans, and read the job's deadline again."""
        jobs.beat()
        self._reap()
        with contextlib.suppress(LabError):  # a store out of reach changes no deadline that is known
            job = open_store().get(jobs.JobRecord, os.environ.get("AIINFRA_JOB", ""))
            self.deadline_at = job.body.deadline_at if job else self.deadline_at

    def _limit(self) -> str:
        with contextlib.suppress(LabError):
            return self.ledger.limit() or "deadline"
        return "deadline"

    def _enter_launcher(self) -> str:
        """Show the session in JupyterLab's launcher; what the kernel is called there. Where it cannot be entered:
        nothing, and the session serves `--on` all the same."""
        try:
            return write_spec(self.kept, self.ledger.shown_as())
        except (OSError, LabError) as problem:
            _log.warning("not in JupyterLab's launcher: %s", problem)
            return ""

    def _start_kernel(self) -> None:
        """Start a kernel; whatever the one before it left is ended first."""
        if self.kernel is not None:
            self._end_kernel()
        environment = {**os.environ, "JPY_PARENT_PID": str(os.getpid())}  # it ends by itself when the keeper is gone
        self.kernel = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(self.kept.own_connection())],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt goes to its group, and SIGTERM to ours
            env=environment,
            cwd=settings().project,
        )
        self.gate.open()
        self._write_state(phase="starting", incarnation=self.state.incarnation + 1, kernel_pid=self.kernel.pid)

    def _end_kernel(self) -> int | None:
        """Ask the kernel to shut down, then end all that is left of its tree; its exit code."""
        assert self.kernel is not None
        if self.kernel.poll() is None:
            self.gate.shut_down_kernel()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.kernel.wait(POLITE_S)
        process.end_descendants()
        return self.kernel.poll()

    def _end(self, why: str) -> None:
        """End the tree, take the session out of the launcher, and write down how it ended."""
        exit_code = self._end_kernel() if self.kernel else None
        self.gate.close()
        remove_spec(self.kept)
        shutil.rmtree(self.sockets, ignore_errors=True)  # the workspace, and with it our own note of it, may be gone
        self.kept.close_sockets()
        self._write_state(phase="ended", why=why, exit_code=exit_code, kernel_pid=0)
        with contextlib.suppress(LabError):  # the state file says it too, and whoever looks next reads that
            self.ledger.close(self.state)

    def _write_state(self, **changes: Any) -> None:
        self.state = replace(self.state, at=time.time(), **changes)
        self.kept.write_state(self.state)

    def _reap(self) -> None:
        """Collect ended orphans, which are our children now; the kernel's own end is read by `poll`."""
        assert self.kernel is not None
        with contextlib.suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if found.si_pid == self.kernel.pid:
                    return
                os.waitpid(found.si_pid, 0)


def _exit_reason(status: int) -> str:
    return f"with exit code {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def keep(session: str, ledger: Ledger) -> int:
    """Keep the kernel of that session until it is over; the exit code of the process, which must be a job's."""
    logs.configure()
    kept = KeptKernel.of(session)
    try:
        with kept.take():
            return Keeper(kept, ledger).keep()
    except LabError as problem:
        _log.error("%s", problem)
        return problem.exit_code
