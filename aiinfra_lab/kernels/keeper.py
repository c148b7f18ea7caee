"""`python -m aiinfra_lab.kernels.keeper gpu:NAME`: the owner of a session's kernel, run as a job.

It starts the kernel, guards its control channel, ends itself and the whole process tree at the deadline or on SIGTERM,
and writes down how it ended. It needs nobody: neither a supervisor nor a client has to live.
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
from dataclasses import replace
from types import FrameType
from typing import Any

from .. import jobs, logs
from ..config import settings
from ..errors import LabError
from ..jobs import process
from ..store import Event, Loose, Store, open_store, update
from ..uris import Uri
from .gate import Gate
from .place import Place, State
from .specs import remove_spec, write_spec

_log = logging.getLogger("aiinfra_lab.kernels.keeper")  # __name__ is __main__ here

READY_S = 60.0
LOOK_S = 1.0
# SIGTERM gives a job 5 s before everything is killed: the kernel gets half of them to run its exit handlers.
POLITE_S = 2.0

TIME_OVER = 124  # the exit code by which jobs know that a deadline ended them


class Keeper:
    """One session's kernel, from its start to the end of its tree."""

    def __init__(self, subject: Uri, place: Place, store: Store) -> None:
        self.subject, self.place, self.store = subject, place, store
        self.asked_to_end = False
        signal.signal(signal.SIGTERM, self._on_term)  # before there is anything to clear away
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.sockets = place.open_sockets()
        self.gate = Gate(place, self.sockets)
        self.kernel: subprocess.Popen[bytes] | None = None
        self.state = State(phase="starting")
        self.deadline_at: float | None = None

    def keep(self) -> int:
        """Hold the kernel until it is over; the exit code of the job."""
        process.adopt_orphans()
        why, code = "the keeper failed", 1
        try:
            self._begin_life()
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
                return self._body().get("deadline_by") or "deadline", TIME_OVER
            if self.asked_to_end:
                return "stopped", 0
            if (status := self.kernel.poll() if self.kernel else 0) is not None:
                return f"its kernel ended {_words(status)}", 1
            if self.gate.serve(timeout_s=0.2):
                self._begin_life()
                begun = time.monotonic()
            if self.gate.answered and self.state.phase == "starting":
                self._say(phase="ready", kernel=self._enter_launcher())
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
            job = self.store.get(jobs.JobRecord, os.environ.get("AIINFRA_JOB", ""))
            self.deadline_at = job.body.deadline_at if job else self.deadline_at

    def _body(self) -> Loose:
        """The session's record, as far as it can be read."""
        with contextlib.suppress(LabError):
            record = self.store.get(self.subject.noun, self.subject.name)
            return record.body if record else {}
        return {}

    def _enter_launcher(self) -> str:
        """Show the session in JupyterLab's launcher; what the kernel is called there. Without a place for it: nothing,
        and the session serves `--on` all the same."""
        try:
            return write_spec(self.place, self._body().get("shown_as", self.subject.name))
        except (OSError, LabError) as problem:
            _log.warning("not in JupyterLab's launcher: %s", problem)
            return ""

    def _begin_life(self) -> None:
        """Start a kernel; whatever the one before it left is ended first."""
        if self.kernel is not None:
            self._end_kernel()
        environment = {**os.environ, "JPY_PARENT_PID": str(os.getpid())}  # it ends by itself when the keeper is gone
        self.kernel = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(self.place.own_connection())],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt goes to its group, and SIGTERM to ours
            env=environment,
            cwd=settings().project,
        )
        self.gate.open()
        self._say(phase="starting", life=self.state.life + 1, kernel_pid=self.kernel.pid)

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
        remove_spec(self.place)
        shutil.rmtree(self.sockets, ignore_errors=True)  # the workspace, and with it our own note of it, may be gone
        self.place.close_sockets()
        self._say(phase="ended", why=why, exit_code=exit_code, kernel_pid=0)
        with contextlib.suppress(LabError):  # the state file says it too, and whoever looks next reads that
            close_record(self.store, self.subject, self.state)

    def _say(self, **changes: Any) -> None:
        self.state = replace(self.state, at=time.time(), **changes)
        self.place.say(self.state)

    def _reap(self) -> None:
        """Collect ended orphans, which are our children now; the kernel's own end is read by `poll`."""
        assert self.kernel is not None
        with contextlib.suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if found.si_pid == self.kernel.pid:
                    return
                os.waitpid(found.si_pid, 0)


def close_record(store: Store, subject: Uri, state: State) -> None:
    """Write a session's end into its record, with one event; does nothing when that stands there already."""
    mine = os.environ.get("AIINFRA_JOB")

    def close(body: Loose) -> Loose:
        if body.get("ended_at") or (mine and body.get("handle") not in (None, mine)):
            raise _ClosedAlready
        return {**body, "ended_at": state.at, "ended_by": state.why, "exit_code": state.exit_code}

    detail = {"why": state.why, "exit_code": state.exit_code}
    with contextlib.suppress(_ClosedAlready):
        update(store, subject.noun, subject.name, close, Event(f"{subject.noun} stop", str(subject), detail=detail))


class _ClosedAlready(Exception):
    """The record has an end, or belongs to a later start."""


def _words(status: int) -> str:
    return f"with exit code {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def main(subject: str) -> int:
    """Keep the kernel of that session."""
    logs.configure()
    uri = Uri.parse(subject, noun="gpu")
    place = Place.of(uri)
    try:
        with place.take():
            return Keeper(uri, place, open_store()).keep()
    except LabError as problem:
        _log.error("%s", problem)
        return problem.exit_code


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1]))
