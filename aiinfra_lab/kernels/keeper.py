"""The process that holds a kernel for its owner here: launcher, clients' sockets, lease and record.

The kernel itself is kept by a host core, which goes on without this process: one that is started again finds it as it
is. Clients whose sockets are gone for that moment connect again by themselves.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from .. import jobs, modes
from ..config import settings
from ..errors import LabError
from ..host.frames import MessageChannel
from ..host.spec import HostSpec, HostState
from ..jobs import process
from ..leftovers import remove_temporary
from .base import Lease, Owner
from .bridge import KEEP_BYTES, Bridge, forget
from .kept import KeptKernel, KernelState
from .link import Link
from .reach import LocalReach, Reach
from .shim import Shim
from .specs import remove_spec, write_spec

_log = logging.getLogger(__name__)

LEASE_S = 1.0
# The deadline is kept here, where it may be moved at the last moment; the host keeps it when nobody is here.
_HOST_LATER_S = 2.0
_ALONE_S = 60.0  # for whoever starts this process again, before a host core on this machine ends by itself
_CLIENTS_AGAIN_S = 0.5  # clients of a keeper that was killed connect again within that time: zmq tries every 0.1 s
_END_S = 4.5  # SIGTERM gives a job 5 s before everything is killed

TIME_OVER = 124  # the exit code by which jobs know that a deadline ended them


@dataclass(frozen=True, slots=True)
class Place:
    """Where a kernel is kept, and how. folder, argv, cwd, env, alone_s: see `HostSpec`; `~` is the home of its user
    there, and env comes on top of the environment there. is_here: whether that is this machine."""

    reach: Reach
    folder: str
    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    alone_s: float
    is_here: bool = False

    @classmethod
    def here(cls, kernel: KeptKernel) -> Place:
        """This machine, and the environment of this process."""
        where = settings()
        return cls(
            reach=LocalReach(kernel.host),
            folder=str(kernel.host),
            argv=(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            cwd=str(where.project),
            env=jobs.child_environment(where.workspace, where.project),
            alone_s=_ALONE_S,
            is_here=True,
        )


def run(kernel: KeptKernel, owner: Owner, *, place: Place | None = None, resume: bool = False) -> int:
    """Keep the kernel until its lease, SIGTERM or the kernel itself ends it; the exit code of this process.

    Conflict when another process keeps it. Takes over the signals of this process: nothing else may run in it.

    place: where it is kept; this machine when not given
    resume: there is one already, of a process that was killed: go on with it, or write down how it ended
    """
    with kernel.hold():
        return _Keeper(kernel, owner, place or Place.here(kernel), resume=resume).keep()


class _Keeper:
    """One kept kernel, from its start to the end of its process tree."""

    def __init__(self, kernel: KeptKernel, owner: Owner, place: Place, *, resume: bool) -> None:
        self.kept, self.owner, self.place, self.resume = kernel, owner, place, resume
        self.wakeup, self.asked_at, self.is_ending = _wakeup(self), 0.0, False
        self.sockets = kernel.open_sockets(again=resume)
        self.key = kernel.connection_info()["key"]
        self.shim = Shim(self.sockets, self.key)
        self.bridge: Bridge
        self.lease = Lease()
        self.sent_lease: Lease | None = None
        self.renewed_at = 0.0
        self.state = kernel.state() if resume else KernelState(phase="starting")
        self.host: HostState | None = None

    def keep(self) -> int:
        """Hold the kernel until it is over; the exit code."""
        why = "its keeper failed"
        try:
            self._renew()
            if not self.resume:
                self._begin()
            else:
                time.sleep(_CLIENTS_AGAIN_S)  # what is published before they have subscribed again is lost to them
            link = Link(self.place.reach, self.kept.folder, keep_bytes=KEEP_BYTES)
            self.bridge = Bridge(self.shim, link, self.wakeup)
            why = self._watch()
        except LabError as problem:
            why = f"{why}: {problem.what}"
            raise
        finally:
            self._end(why)
        return TIME_OVER if why == self.lease.reason else 0 if why in ("stopped", "idle") else 1

    def ask_to_end(self) -> None:
        """Called by a signal: the next turn of the loop ends the kernel."""
        self.asked_at = self.asked_at or time.monotonic()

    # ---- the loop ----

    def _begin(self) -> None:
        """Start the host core, and nothing of an earlier one is left then."""
        shutil.rmtree(self.kept.host, ignore_errors=True)
        forget(self.kept.folder)
        self._write_state(phase="starting")
        spec = HostSpec(
            folder=self.place.folder,
            argv=list(self.place.argv),
            cwd=self.place.cwd,
            env=dict(self.place.env),
            key=self.key,
            umask=modes.users_umask(),
            left_s=self._left_s(),
            reason=self.lease.reason,
            alone_s=self.place.alone_s,
            idle_s=self.lease.idle_s,
            spare=process.SUPERVISOR,
        )
        self.place.reach.begin(spec)

    def _watch(self) -> str:
        """Between clients and host until it has ended; why it has."""
        while not (why := self._why_over()):
            for state in self.bridge.turn(self._patience_s()):
                self._take(state)
            if time.monotonic() - self.renewed_at >= LEASE_S:
                self._renew()
                self._note_reach()
            if not self.is_ending and (reason := self._reason_to_end()):
                self.bridge.link.send(MessageChannel.COMMAND, [b"end", reason.encode()])
                self.asked_at, self.is_ending = self.asked_at or time.monotonic(), True
        for _ in self.bridge.serve():  # the host hears that its end was heard
            pass
        return why

    def _why_over(self) -> str:
        """Why it has ended; empty while it goes on."""
        if self.host is not None and self.host.phase == "ended":
            return self.host.why
        if self.bridge.link.is_over:
            return "its host core was killed"
        # A host core here that does not listen is ended below. Of a far one nobody knows that it has ended: this
        # process is killed while it still tries, and the session is stopping until the host is reached.
        late = self.is_ending and time.monotonic() - self.asked_at > _END_S
        return "stopped" if late and self.place.is_here and not self.bridge.link.is_connected else ""

    def _patience_s(self) -> float:
        until = self.renewed_at + LEASE_S - time.monotonic()
        due = self._is_due_in()
        return max(0.0, until if due is None else min(until, due))

    def _reason_to_end(self) -> str:
        """Why it is to end now; empty when it is not. A deadline may just have been moved: it is read again."""
        due = self._is_due_in()
        if due is not None and due <= 0:
            self._renew()
            due = self._is_due_in()
            if due is not None and due <= 0:
                return self.lease.reason
        return "stopped" if self.asked_at else ""

    def _is_due_in(self) -> float | None:
        return None if self.lease.deadline_at is None else self.lease.deadline_at - time.time()

    def _left_s(self) -> float | None:
        due = self._is_due_in()
        return None if due is None else max(0.0, due) + _HOST_LATER_S

    def _renew(self) -> None:
        """Read the lease again, which also shows that this process is alive."""
        self.renewed_at = time.monotonic()
        self.lease = self.owner.lease()
        if self.lease != self.sent_lease and hasattr(self, "bridge"):
            self.sent_lease = self.lease
            self.bridge.link.lease(self._left_s(), self.lease.reason, self.lease.idle_s)

    def _take(self, host: HostState) -> None:
        """What the host reports of itself goes into the state."""
        self.host = host
        if host.phase == "ended":
            return
        kernel = self.state.kernel
        if host.phase == "ready" and self.state.phase != "ready":
            kernel = self._enter_launcher()
        self._write_state(
            phase=host.phase,
            incarnation=host.incarnation,
            kernel_pid=host.kernel_pid,
            kernel=kernel,
            use=host.use,
            used_at=host.used_at,
            crashed=host.crashed,
            crash=host.crash,
        )

    def _note_reach(self) -> None:
        """Write down since when the host has not been reached, for who looks at a session that seems to hang."""
        link = self.bridge.link
        at = 0.0 if link.is_connected else link.broken_at or 0.0
        if self.host is not None and at != self.state.unreached_at:
            self._write_state(unreached_at=at, unreached=link.problem if at else "")

    def _enter_launcher(self) -> str:
        """Show it in JupyterLab's launcher; its name there. Where that may not be written: none, and the kernel serves
        verbs all the same."""
        try:
            return write_spec(self.kept, self.owner.display_name())
        except (OSError, LabError) as problem:
            _log.warning("not in JupyterLab's launcher: %s", problem)
            return ""

    def _end(self, why: str) -> None:
        """Take the kernel out of the launcher, and write down how it ended."""
        if hasattr(self, "bridge"):
            self.bridge.link.close()
        if self.place.is_here:
            self.kept.end_host(self.host)  # there is none any more, unless this process has failed
        self.shim.close()
        remove_spec(self.kept)
        remove_temporary(self.sockets)  # the workspace, and with it our own note of it, may be gone
        self.kept.close_sockets()
        # The file first: should the owner's record be out of reach, whoever looks next reads the reason there.
        self._write_state(phase="ended", why=why, exit_code=self.host.exit_code if self.host else None, kernel_pid=0)
        self.owner.ended(self.state)

    def _write_state(self, **changes: Any) -> None:
        self.state = replace(self.state, at=time.time(), **changes)
        self.kept.write_state(self.state)


def _wakeup(keeper: _Keeper) -> int:
    """A file descriptor that can be read when SIGTERM has come, which then was told to the keeper."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGTERM, lambda *_: keeper.ask_to_end())  # before there is anything to clear away
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read
