"""The process that holds a kernel for its owner here: launcher, clients' sockets, lease, record and machine.

The kernel itself is kept by a host core, which goes on without this process: one that is started again finds it as it
is. Clients whose sockets are gone for that moment connect again by themselves. They are served from the beginning: what
they ask before there is a machine waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from msgspec.structs import replace

from .. import jobs, modes
from ..config import settings
from ..errors import LabError, Unavailable
from ..host.frames import MessageChannel
from ..host.spec import CORE_FAILED, LOG, MACHINE_ENDS, WAS_KILLED, HostSpec, HostState
from ..jobs import process
from ..jobs.record import folder_of
from ..leftovers import remove_temporary
from .base import Lease, Loss, MachineSource, Owner, Place, Standing
from .bridge import KEEP_BYTES, Bridge, forget
from .client import UNSEEN
from .errand import send_off
from .kept import KeptKernel, KernelState, StartStep
from .link import Link, end_core
from .namespace import SavedNamespace
from .project import NEAR_END_S, ProjectCopy, begin_anew
from .reach import LocalReach
from .shim import Shim
from .specs import kernel_argv, remove_spec, write_spec

_log = logging.getLogger(__name__)

LEASE_S = 10.0  # between two looks at the lease; who moves it says so
_LOOK_S = 1.0  # while the host is not reached, or there is no kernel yet
# The deadline is kept here, where it may be moved at the last moment; the host keeps it when nobody is here.
_HOST_LATER_S = 2.0
_ALONE_S = 60.0  # for whoever starts this process again, before a host core on this machine ends by itself
_CLIENTS_AGAIN_S = 0.5  # clients of a keeper that was killed connect again within that time: zmq tries every 0.1 s
_END_S = 4.5  # SIGTERM gives a job 5 s before everything is killed
_ASK_AGAIN_S = 5.0  # between two questions to who has the machines
_UNREACHED_S = 8.0  # after which it is asked whether the machine is still there
_BEGUN_S = 2.0  # of them, for a host core that is just being begun
_GOING_S = 120.0  # for a provider to say what has become of a machine that ended itself
_FAREWELL_S = 30.0  # for a host core elsewhere to end, of a keeper that has failed for good
_WHY_LENGTH = 200  # of an exception, in the reason of an end
_RELEASE_S = 600.0  # for a machine to go; whoever looks at the session later asks again

TIME_OVER = 124  # the exit code by which jobs know that a deadline ended them
LEFT = 75  # it has failed, and has left its kernel and its machine to who starts it again; EX_TEMPFAIL of sysexits.h


def here(kernel: KeptKernel) -> Place:
    """This machine, and the environment of this process."""
    where = settings()
    return Place(
        reach=LocalReach(kernel.host),
        folder=str(kernel.host),
        argv=kernel_argv(sys.executable),
        cwd=str(where.project),
        env=jobs.child_environment(where.workspace, where.project),
        alone_s=_ALONE_S,
        is_here=True,
    )


def run(
    kernel: KeptKernel,
    owner: Owner,
    *,
    source: MachineSource | None = None,
    resume: bool = False,
    namespace_bytes: int = 0,
    project: ProjectCopy | None = None,
    is_started_again: Callable[[], bool] = lambda: False,
) -> int:
    """Keep the kernel until its lease, SIGTERM or the kernel itself ends it; the exit code of this process.

    Conflict when another process keeps it. Takes over the signals of this process: nothing else may run in it.

    source: where its machine comes from; this machine when not given
    resume: there is one already, of a process that was killed: go on with it, or write down how it ended
    namespace_bytes: how much of its namespace is saved when its machine is taken away, 0 for nothing
    project: what its host is to have of the project here; nothing when not given
    is_started_again: whether this process is, with `resume`, should it fail now: then it fails with LEFT, and leaves
    its kernel and its machine as they are. Else they are ended
    """
    with kernel.hold():
        source = source or Standing(here(kernel))
        project = project or ProjectCopy(kernel, settings().project, has_files=False, has_packages=False)
        made = _Keeper(kernel, owner, source, project, resume=resume, namespace_bytes=namespace_bytes)
        return made.keep(is_started_again)


class _UnwantedError(Exception):
    """Nobody wants the machine any more that is waited for."""


class _Keeper:
    """One kept kernel, from its start to the end of its process tree and of its machine."""

    def __init__(
        self,
        kernel: KeptKernel,
        owner: Owner,
        source: MachineSource,
        project: ProjectCopy,
        *,
        resume: bool,
        namespace_bytes: int,
    ) -> None:
        self.kept, self.owner, self.source, self.resume = kernel, owner, source, resume
        self.project = project
        self.namespace = SavedNamespace(kernel, namespace_bytes)
        self.wakeup, self.wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.asked_at, self.is_ending = 0.0, False
        self._hear_signals()
        self.sockets = kernel.open_sockets(again=resume)
        self.key = kernel.connection_info()["key"]
        self.shim = Shim(self.sockets, self.key)
        self.shim.is_kernel_there = resume and kernel.state().phase == "ready"
        self.bridge: Bridge
        self.lease = Lease()
        self.sent_lease: Lease | None = None
        self.renewed_at = 0.0
        self.state = kernel.state() if resume else KernelState(phase="starting")
        self.host: HostState | None = None
        self.place: Place | None = None
        self.bringing: Future[Place] | None = None
        self.asking: Future[Loss | None] | None = None
        self.going_since = 0.0
        self.ask_at = 0.0  # by the monotonic clock: not before then is the source of machines asked again
        self.why, self.fix = "", ""

    def keep(self, is_started_again: Callable[[], bool]) -> int:
        """Hold the kernel until it is over; the exit code. See `run`."""
        try:
            self._renew()
            if self.resume:
                time.sleep(_CLIENTS_AGAIN_S)  # what is published before they have subscribed again is lost to them
            else:
                shutil.rmtree(self.kept.host, ignore_errors=True)
                forget(self.kept.folder)
                begin_anew(self.kept)
                self._write_state(phase="starting", kernel=self._enter_launcher())
            self.bridge = Bridge(self.shim, Link(None, self.kept.folder, keep_bytes=KEEP_BYTES), self.wakeup)
            why = self._watch()
        except LabError as problem:
            self._end(f"its keeper failed: {problem.what}")
            raise
        except Exception as problem:
            if self._is_to_go_on() and is_started_again():
                _log.exception("its keeper failed, and leaves its kernel to the next one")
                self._leave()
                return LEFT
            self.fix = f"{folder_of(job) / 'log'} says where" if (job := os.environ.get("AIINFRA_JOB", "")) else ""
            self._end(f"its keeper failed: {traceback.format_exception_only(problem)[-1].strip()[-_WHY_LENGTH:]}")
            raise
        if why.startswith(CORE_FAILED) and self.place is not None:
            self.fix = f"{self.place.folder}/{LOG}{'' if self.place.is_here else ' on its machine'} says where"
        self._end(why)
        return TIME_OVER if why == self.lease.reason else 0 if why in ("stopped", "idle") else 1

    def _is_to_go_on(self) -> bool:
        """Whether nobody has asked for its end, and its folder is still there."""
        return not (self.is_ending or self.asked_at) and self.kept.folder.is_dir()

    def _leave(self) -> None:
        """Let go of clients and host; both are found again."""
        with contextlib.suppress(Exception):
            self.bridge.close() if hasattr(self, "bridge") else self.shim.close()

    # ---- the loop ----

    def _watch(self) -> str:
        """Between clients and host until it has ended; why it has."""
        while not (why := self._why_over()):
            self._see_to_machine()
            for state in self.bridge.turn(self._patience_s()):
                self._take(state)
            if self.shim.is_asked_to_renew or time.monotonic() - self.renewed_at >= LEASE_S:
                self._renew()
            self._note_reach()
            self._see_to_project()
            if not self.is_ending and (reason := self._reason_to_end()):
                self.why = reason
                self.bridge.link.send(MessageChannel.COMMAND, [b"end", reason.encode()])
                self.asked_at, self.is_ending = self.asked_at or time.monotonic(), True
        for _ in self.bridge.serve():  # the host hears that its end was heard
            pass
        return why

    def _why_over(self) -> str:
        """Why it has ended; empty while it goes on."""
        if self.host is not None and self.host.phase == "ended" and not self._is_machine_going(self.host):
            # Machine and session may have one deadline: why that is over is what counts.
            return self.why if self.why and self.host.why == MACHINE_ENDS else self.host.why
        if self.place is None:  # there is no kernel yet
            return self.why
        if self.bridge.link.is_over and not self._is_machine_going(self.host):
            return WAS_KILLED
        # A host core here that does not listen is ended below, and a machine that goes takes its own along. Of another
        # one nobody knows that it has ended: this process is killed while it still tries, and the session is stopping
        # until the host is reached.
        late = self.is_ending and time.monotonic() - self.asked_at > _END_S
        can_end = self.place.is_here or self.place.rented
        return self.why if late and can_end and not self.bridge.link.is_connected else ""

    def _is_machine_going(self, host: HostState | None) -> bool:
        """Whether the host core was ended with its machine: who has the machine knows whether there is another one."""
        if host is None or host.why != MACHINE_ENDS or self.is_ending:
            return False
        self.going_since = self.going_since or time.monotonic()
        return time.monotonic() - self.going_since < _GOING_S

    def _patience_s(self) -> float:
        until = self.renewed_at + LEASE_S - time.monotonic()
        if self.place is None or self.is_ending or not self.bridge.link.is_connected:
            until = min(until, _LOOK_S)
        near_in = self._near_end_in() or None  # once it is near, what is due then is the project's own
        ahead = [each for each in (self._is_due_in(), near_in, self.project.due_in()) if each is not None]
        return max(0.0, min([until, *ahead]))

    def _reason_to_end(self) -> str:
        """Why it is to end now; empty when it is not. A deadline may just have been moved: it is read again."""
        due = self._is_due_in()
        if due is not None and due <= 0:
            self._renew()
            due = self._is_due_in()
            if due is not None and due <= 0:
                return self.lease.reason
        if self.asked_at:
            return "stopped"
        # Nobody finds a kernel any more whose folder was deleted, and so nobody would end it.
        return "" if self.kept.folder.is_dir() else "its folder was deleted"

    def _is_due_in(self) -> float | None:
        return None if self.lease.deadline_at is None else self.lease.deadline_at - time.time()

    def _left_s(self) -> float | None:
        due = self._is_due_in()
        return None if due is None else max(0.0, due) + _HOST_LATER_S

    def _renew(self) -> None:
        """Read the lease again, which also shows that this process is alive."""
        self.renewed_at, self.shim.is_asked_to_renew = time.monotonic(), False
        self.lease = self.owner.lease()
        if self.lease != self.sent_lease and hasattr(self, "bridge"):
            self.sent_lease = self.lease
            self.bridge.link.lease(self._left_s(), self.lease.reason, self.lease.idle_s)

    # ---- the project's files ----

    def _see_to_project(self) -> None:
        """Have them be the same on both sides; nothing of it is waited for."""
        link, near_in = self.bridge.link, self._near_end_in()
        self.project.is_near_end = near_in == 0.0 or bool(self.state.notice_at)
        self.project.turn(self.place if link.is_connected else None, link.received.last, self.wake)

    def _near_end_in(self) -> float | None:
        """Seconds until the deadline is so near that they are brought here all the time."""
        due = self._is_due_in()
        return None if due is None else max(0.0, due - NEAR_END_S)

    # ---- the machine ----

    def _see_to_machine(self) -> None:
        """Get a machine and a host core on it, and another one when it is lost; nothing of it is waited for."""
        if self.is_ending or time.monotonic() < self.ask_at:
            return
        if self.bringing is not None:
            if self.bringing.done():
                self._brought(self.bringing)
        elif self.asking is not None:
            if self.asking.done():
                self._asked(self.asking)
        elif self.place is None:
            self.bringing = send_off(self._bring_up, self.wake)
        elif self._is_unreached():
            self.asking = send_off(self.source.lost, self.wake)

    def _bring_up(self) -> Place:
        """A machine, and the host core on it: one that is there already is gone on with. Runs beside the loop."""
        place = self.source.obtain(self._step)
        if self.resume and self.state.incarnation and place.name == self.state.machine:
            return self.project.known(place)
        place = self.project.prepare(place, self._step)
        self._step("starts its kernel")
        place.reach.begin(self._spec(place))
        return place

    def _step(self, what: str) -> None:
        """What is done now to get a machine and a kernel, for whoever waits."""
        if self.is_ending:
            raise _UnwantedError
        steps = self.state.steps
        if not steps or steps[-1].what != what:
            self._write_state(steps=(*steps, StartStep(what, time.time())))

    def _brought(self, bringing: Future[Place]) -> None:
        self.bringing = None
        try:
            self.place = bringing.result()
        except Unavailable as problem:  # a cloud that does not answer may have made the machine: it is asked again
            self._not_yet(problem)
        except LabError as problem:
            self.why, self.fix = problem.what, problem.fix
        except _UnwantedError:
            pass
        else:
            self._write_state(
                machine=self.place.name, project=self.project.there, project_here=str(self.project.folder)
            )
            self.sent_lease = None
            self.bridge.link.go_by(self.place.reach)

    def _not_yet(self, problem: Unavailable) -> None:
        """What cannot be told now is asked again; on machines that are there already it is who starts who is told."""
        if isinstance(self.source, Standing):
            self.why, self.fix = problem.what, problem.fix
            return
        self.ask_at = time.monotonic() + _ASK_AGAIN_S
        self._step(f"tries again: {problem.what}")

    def _is_unreached(self) -> bool:
        link = self.bridge.link
        return self._is_machine_going(self.host) or (
            link.broken_at is not None and time.time() - link.broken_at > _UNREACHED_S
        )

    def _asked(self, asking: Future[Loss | None]) -> None:
        """Whether the machine is gone is known now, or is not."""
        self.asking, self.ask_at = None, time.monotonic() + _ASK_AGAIN_S
        try:
            loss = asking.result()
        except LabError as problem:
            _log.warning("whether its machine is still there cannot be told: %s", problem)
            return
        if loss is not None and loss.may_replace:
            self._replace(loss.why)
        elif loss is not None:
            self.why, self.place = self._reason_to_end() or loss.why, None

    def _replace(self, how: str) -> None:
        """The machine is gone, and its kernel with it: the next one goes on."""
        link = self.bridge.link
        if self.state.crashed < self.state.incarnation:
            self._note_loss(how, link.sent.last if link.is_connected else link.sent_before_break)
        link.go_by(None)
        self.place, self.host, self.resume = None, None, False
        self.ask_at = self.going_since = 0.0
        self._write_state(crash=how, machine="", unreached_at=0.0)

    def _note_loss(self, how: str, owner_after: int) -> None:
        """The kernel is gone with its machine. What was sent to it up to that number may have run, and is not sent
        again; what comes from now on is for the next one."""
        self.shim.is_kernel_there = False
        self.shim.announce("status", {"execution_state": "restarting"})
        crashed = self.state.incarnation
        self._write_state(
            phase="starting",
            kernel_pid=0,
            machine="",
            notice_at=0.0,
            crashed=crashed,
            crash=how,
            owner_after=owner_after,
            lost_at=time.time(),
        )

    def _first_request(self, place: Place) -> list[str]:
        """What a kernel gets before all that waits for it, when the one before was lost with its machine."""
        if not self.state.incarnation:
            return []
        how, lost_at = self.state.crash.removeprefix("its machine is gone: "), self.state.lost_at
        if self.state.crashed < self.state.incarnation:  # while there was no keeper
            how, lost_at = "the one before is gone", time.time()
        at = time.strftime("%H:%M", time.localtime(lost_at))
        where = f"{self.kept.uri} is on another machine since {at} ({how})"
        return self.shim.request(
            "execute_request", {"code": self.namespace.first_request(place, where, lost_at), **UNSEEN}
        )

    def _spec(self, place: Place) -> HostSpec:
        return HostSpec(
            folder=place.folder,
            argv=list(place.argv),
            cwd=place.cwd,
            env=dict(place.env),
            key=self.key,
            umask=modes.users_umask(),
            left_s=self._left_s(),
            reason=self.lease.reason,
            alone_s=place.alone_s,
            idle_s=self.lease.idle_s,
            whole=place.whole,
            rented=place.rented,
            spare=process.SUPERVISOR,
            journal_after=self.bridge.link.received.last,
            owner_after=self.state.owner_after,
            incarnation_after=self.state.incarnation,
            at_end=list(place.at_end),
            at_lease=list(place.at_lease),
            first=self._first_request(place),
        )

    # ---- what is written down ----

    def _take(self, host: HostState) -> None:
        """What the host reports of itself goes into the state."""
        self.host = host
        if host.phase == "ended":
            if self._is_machine_going(host) and self.state.crashed < self.state.incarnation:
                self._note_loss(host.why, self.bridge.link.sent.last)
            return
        kernel = self.state.kernel
        if host.phase == "ready" and self.state.phase != "ready":
            self.shim.is_kernel_there = True
            kernel = self._enter_launcher()
            self.namespace.forget_when_read()
        self._write_state(
            phase=host.phase,
            incarnation=host.incarnation,
            kernel_pid=host.kernel_pid,
            kernel=kernel,
            use=host.use,
            used_at=host.used_at,
            notice_at=host.notice_at,
            crashed=max(host.crashed, self.state.crashed),
            crash=host.crash or self.state.crash,
        )
        if host.notice_at and host.phase == "ready":
            self.namespace.save(host.incarnation, host.notice_at, host.notice_at - host.at)

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
        """Take the kernel out of the launcher, end its machine, and write down how it ended."""
        self.is_ending, phase = True, self.state.phase
        self._write_state(phase="stopping")
        self._end_begun()
        if hasattr(self, "bridge"):
            self.bridge.link.close()
        # There is no host core any more, unless this process has failed.
        is_ended = self._end_host()
        self.namespace.close()
        self.shim.close()
        remove_spec(self.kept)
        remove_temporary(self.sockets)  # the workspace, and with it our own note of it, may be gone
        self.kept.close_sockets()
        self._release()
        # The file first: should the owner's record be out of reach, whoever looks next reads the reason there.
        if not is_ended:  # who looks at the session ends it, once its host is reached: till then it is not over
            self._write_state(phase=phase, why=why, fix=self.fix)
            return
        exit_code = self.host.exit_code if self.host else None
        self._write_state(phase="ended", why=why, fix=self.fix, exit_code=exit_code, kernel_pid=0)
        self.owner.ended(self.state)

    def _end_host(self) -> bool:
        """End the host core that this process leaves behind; False for one that is not reached and lives on."""
        place = self.place
        if place is None and isinstance(self.source, Standing) and self.resume and self.state.incarnation:
            place = self.source.place  # of a keeper before, which this one has not come to look for
        if place is None or place.is_here:
            self.kept.end_host(self.host)
            return True
        is_over = self.host is not None and self.host.phase == "ended"
        if (
            place.rented or is_over or (hasattr(self, "bridge") and self.bridge.link.is_over)
        ):  # it goes with its machine
            return True
        return self._quietly(lambda: end_core(place.reach, within_s=_BEGUN_S if self.asked_at else _FAREWELL_S))

    def _end_begun(self) -> None:
        """End what is begun at this moment: a host core, or a machine that is being created."""
        if self.bringing is None:
            return
        within_s = _BEGUN_S if isinstance(self.source, Standing) else _RELEASE_S
        try:
            self.place = self.bringing.result(within_s)
        except Exception as problem:  # noqa: BLE001  # there is none
            _log.info("no kernel was begun: %s", problem)

    def _release(self) -> None:
        """End the machine, and try until it is gone: it costs money."""
        until = time.monotonic() + _RELEASE_S
        while not self._quietly(self.source.release) and time.monotonic() < until:
            time.sleep(_ASK_AGAIN_S)

    def _quietly(self, work: Callable[[], object]) -> bool:
        """Whether it could be done."""
        try:
            work()
        except LabError as problem:
            _log.warning("its machine has not gone yet: %s", problem)
            return False
        return True

    def _write_state(self, **changes: Any) -> None:
        self.state = replace(self.state, at=time.time(), **changes)
        self.kept.write_state(self.state)

    def _hear_signals(self) -> None:
        """SIGTERM asks for the end, which the next turn of the loop sees."""

        def on_term(*_: object) -> None:
            self.asked_at = self.asked_at or time.monotonic()

        signal.signal(signal.SIGTERM, on_term)  # before there is anything to clear away
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
