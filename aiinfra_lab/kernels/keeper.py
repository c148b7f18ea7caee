"""The process that keeps a kernel: it starts it, is a proxy before its control channel, and ends its whole tree.

It depends on nobody: neither a supervisor nor a client has to live for the deadline to hold and the end to be written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from msgspec.structs import replace

from .. import modes
from ..config import settings
from ..errors import LabError
from ..jobs import process
from ..leftovers import remove_temporary
from .base import Lease, Owner
from .control import ControlProxy
from .kept import KeptKernel, KernelState
from .specs import remove_spec, write_spec

_log = logging.getLogger(__name__)

READY_S = 60.0
LEASE_S = 1.0
# SIGTERM gives a job 5 s before everything is killed: the kernel gets half of them to run its exit handlers.
POLITE_S = 2.0

TIME_OVER = 124  # the exit code by which jobs know that a deadline ended them


def run(kernel: KeptKernel, owner: Owner) -> int:
    """Keep the kernel until its lease, SIGTERM or the kernel itself ends it; the exit code of this process.

    Conflict when another process keeps it. Takes over the signals of this process: nothing else may run in it.
    """
    with kernel.hold():
        return _Keeper(kernel, owner).keep()


class _Keeper:
    """One kept kernel, from its start to the end of its process tree."""

    def __init__(self, kernel: KeptKernel, owner: Owner) -> None:
        self.kept, self.owner = kernel, owner
        self.is_asked_to_end = False
        signal.signal(signal.SIGTERM, self._on_term)  # before there is anything to clear away
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.sockets = kernel.open_sockets()
        self.proxy = ControlProxy(kernel, self.sockets)
        self.kernel: subprocess.Popen[bytes] | None = None
        self.state = KernelState(phase="starting")
        self.lease = Lease()

    def keep(self) -> int:
        """Hold the kernel until it is over; the exit code."""
        process.adopt_orphans()
        why, code = "the keeper failed", 1
        try:
            self._start_kernel()
            why, code = self._watch()
        finally:
            self._end(why)
        return code

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked_to_end = True

    def _watch(self) -> tuple[str, int]:
        """Serve the proxy, and renew the lease once a second; why it is over, and with which exit code."""
        started = renewed = time.monotonic()
        self._renew()
        while True:
            if self._is_time_over():
                return self.lease.reason, TIME_OVER
            if self.is_asked_to_end:
                return "stopped", 0
            if (status := self.kernel.poll() if self.kernel else 0) is not None:
                return f"its kernel ended {_exit_text(status)}", 1
            # Short: pyzmq goes on waiting after a signal's handler (PEP 475), and the kernel's end wakes nobody.
            if self.proxy.serve(timeout_s=0.2):
                self._start_kernel()
                started = time.monotonic()
            if self.proxy.is_answered and self.state.phase == "starting":
                self._write_state(phase="ready", kernel=self._enter_launcher())
            elif self.state.phase == "starting" and time.monotonic() - started > READY_S:
                return f"its kernel did not answer within {READY_S:.0f} s", 1
            if time.monotonic() - renewed >= LEASE_S:
                renewed = time.monotonic()
                self._renew()

    def _is_time_over(self) -> bool:
        """Whether the deadline has passed; it may just have been moved, so it is read again before it counts."""
        if self._is_due():
            self._renew()
        return self._is_due()

    def _is_due(self) -> bool:
        return self.lease.deadline_at is not None and time.time() >= self.lease.deadline_at

    def _renew(self) -> None:
        """Collect orphans, and read the lease again, which also shows that this process is alive."""
        self._reap()
        self.lease = self.owner.lease()

    def _enter_launcher(self) -> str:
        """Show it in JupyterLab's launcher; its name there. Where that may not be written: none, and the kernel serves
        verbs all the same."""
        try:
            return write_spec(self.kept, self.owner.display_name())
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
            umask=modes.users_umask(),
        )
        self.proxy.connect()
        self._write_state(phase="starting", incarnation=self.state.incarnation + 1, kernel_pid=self.kernel.pid)

    def _end_kernel(self) -> int | None:
        """Ask the kernel to shut down, then end all that is left of its tree; its exit code."""
        assert self.kernel is not None
        if self.kernel.poll() is None:
            self.proxy.shut_down_kernel()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.kernel.wait(POLITE_S)
        process.end_descendants()
        return self.kernel.poll()

    def _end(self, why: str) -> None:
        """End the tree, take the kernel out of the launcher, and write down how it ended."""
        exit_code = self._end_kernel() if self.kernel else None
        self.proxy.close()
        remove_spec(self.kept)
        remove_temporary(self.sockets)  # the workspace, and with it our own note of it, may be gone
        self.kept.close_sockets()
        # The file first: should the owner's record be out of reach, whoever looks next reads the reason there.
        self._write_state(phase="ended", why=why, exit_code=exit_code, kernel_pid=0)
        self.owner.ended(self.state)

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


def _exit_text(status: int) -> str:
    return f"with exit code {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
