"""Machines that are there already: a session on them is a keeper's job here, and the kernel that it holds there.

What providers of such machines share; each says which machines there are, and how their kernels are reached.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import msgspec
from msgspec.structs import replace

from .. import jobs, logs
from ..errors import NotFound, Unavailable
from ..kernels import KeptKernel, MachineSource, renew, sweep
from ..kernels.errand import send_off
from ..store import open_store, update
from ..uris import Uri
from .base import Offer, Plan, Status
from .record import SessionRecord

# By handle, the last that this process began: whoever waits for an end looks twenty times a second.
_endings: dict[str, Future[None]] = {}
_endings_lock = threading.Lock()


class KeepingMachines(ABC):
    """See `Machines` and `KernelHost` for the contracts. A machine's handle is the id of its keeper's job."""

    name: str
    """The provider's, by which sessions are its own."""
    grace_s: float | None = None
    """How long a keeper that is to end may take for its machine; None where it ends with its kernel."""
    has_our_files = True
    """Whether its kernels see the workspace as processes here do."""

    @abstractmethod
    def offers(self) -> Sequence[Offer]:
        """See `Machines`."""

    @abstractmethod
    def source(self, kernel: KeptKernel, offer: Offer, handle: str) -> MachineSource:
        """Where the machine of a session comes from that has that offer. The handle is another one at each start."""

    def environment(self, offer: Offer) -> Mapping[str, str]:
        """What the keeper's job has in its environment besides. Jupyter's folder is that of who asks: its launcher is
        where the session shall appear."""
        from jupyter_core.paths import jupyter_data_dir

        return {"JUPYTER_DATA_DIR": jupyter_data_dir()}

    @abstractmethod
    def may_live(self, kernel: KeptKernel) -> bool:
        """Whether the kernel may live without its keeper, as far as that can be told at once."""

    @abstractmethod
    def end_alone(self, kernel: KeptKernel, offer: Offer, handle: str) -> None:
        """Have a kernel end that has no keeper any more. Unavailable when it cannot be reached."""

    def create(self, plan: Plan) -> str:
        subject = str(Uri(SessionRecord.kind, plan.name))
        if living := jobs.ls(subject, live=True):
            jobs.launch()  # whoever made the job may have come no further
            return living[0].id
        offer = msgspec.json.encode(plan.offer).decode()
        argv = [sys.executable, "-m", "aiinfra_lab.gpu.owner", subject, self.name, offer]
        # A keeper that is killed is started again, and finds its kernel.
        record = jobs.prepare(subject, argv, env=self.environment(plan.offer), restart=True, grace_s=self.grace_s)
        # With its deadline before there is a process: whoever crashes here leaves nothing that runs without end.
        open_store().commit([record.with_(deadline_at=plan.deadline_at)])
        jobs.launch_or_withdraw(record.name)
        return record.name

    def status(self, handle: str) -> Status:
        try:
            job = jobs.poll(handle)
        except NotFound:
            return Status("ended", "it is not known here")
        if not job.is_here:
            return _status_of_remote(job)
        kernel = KeptKernel.of(job.subject)
        state = kernel.state()
        is_written = state.at >= job.started_at  # an earlier start of that name left its state behind
        if not job.live and is_written and self.may_live(kernel):
            return self._status_alone(job, kernel)
        job = jobs.close_unseen(job)
        if not job.live:
            sweep(kernel)  # a keeper that was killed left its entry in the launcher and its sockets
            if is_written and state.phase == "ended":
                return Status("ended", state.why, state.at, state.fix)
            return Status("ended", _how(job), _last_sign(job))
        if not is_written or state.phase in ("none", "starting"):
            if job.state == "starting" and not job.stop_requested_at:
                jobs.launch()  # whoever made the job may have come no further
            step = state.steps[-1].what if is_written and state.steps else ""
            return Status("stopping" if job.stop_requested_at else "starting", step=step)
        # A keeper that has written the end still holds its lock for a moment.
        is_ready = state.phase == "ready" and kernel.is_alive() and not job.stop_requested_at
        return Status("ready" if is_ready else "stopping")

    def renew(self, handle: str, deadline_at: float | None) -> None:
        with contextlib.suppress(NotFound):
            update(open_store(), jobs.JobRecord, handle, lambda body: replace(body, deadline_at=deadline_at))
            job = jobs.poll(handle)
            if job.is_here:
                renew(KeptKernel.of(job.subject))

    def terminate(self, handle: str) -> None:
        with contextlib.suppress(NotFound):
            job = jobs.cancel(handle)
            if not job.live and job.is_here:
                # A keeper that was killed left its kernel behind, or its kernel's spec and sockets.
                kernel = KeptKernel.of(job.subject)
                if self.may_live(kernel):
                    self._await_end(self._end_beside(job, kernel))
                sweep(kernel)

    def list_owned(self) -> Mapping[str, str]:
        live = {job.id: Uri.parse(job.subject) for job in jobs.ls(live=True) if _provider_of(job) == self.name}
        return {handle: uri.name for handle, uri in live.items() if uri.noun == SessionRecord.kind}

    def kernel(self, handle: str) -> KeptKernel:
        job = jobs.poll(handle)
        if not job.is_here:
            fix = f"use it there, or start one here by another name: `%gpu start {Uri.parse(job.subject).name}-2`"
            raise Unavailable(f"the kernel of {job.subject} is in another folder that shares this store", fix)
        return KeptKernel.of(job.subject)

    def _status_alone(self, job: jobs.Job, kernel: KeptKernel) -> Status:
        """What a session does whose keeper is gone and whose kernel lives: the keeper is started again, unless it is to
        end, which the keeper may not have come to."""
        if job.ended_at is None and not job.stop_requested_at:
            jobs.launch()  # the supervisor may have been killed too
            return Status("starting")
        ending = self._end_beside(job, kernel)
        if self.has_our_files:  # else it takes the time that its host takes
            self._await_end(ending)
        return Status("stopping")

    def _await_end(self, ending: Future[None]) -> None:
        with contextlib.suppress(Unavailable):  # it keeps to its deadline, and is asked again by whoever looks next
            ending.result()

    def _end_beside(self, job: jobs.Job, kernel: KeptKernel) -> Future[None]:
        """Have a kernel end that has no keeper any more, in a thread of its own."""
        with _endings_lock:
            ending = _endings.get(job.id)
            if ending is None or ending.done():
                offer = offer_of(job)
                ending = _endings[job.id] = send_off(lambda: self.end_alone(kernel, offer, job.id))
            return ending

    def taken(self) -> dict[str, str]:
        """Which session has which device."""
        open_records = open_store().list(SessionRecord, is_open=True)
        owned = set(self.list_owned().values()) if open_records else set()
        # Both are asked: nobody may have written down yet that a session's machine is gone.
        mine = [record for record in open_records if record.body.provider == self.name and record.name in owned]
        return {record.body.device: record.name for record in mine}


def _provider_of(job: jobs.Job) -> str:
    """Whose machine a keeper's job keeps: what it was started with says so, before there is any record too."""
    if arguments := _arguments(job)[4:]:
        return arguments[0]
    record = open_store().get(SessionRecord, Uri.parse(job.subject).name)
    return record.body.provider if record else "local"


def offer_of(job: jobs.Job) -> Offer:
    """What a keeper's job was started for."""
    return read_offer((_arguments(job)[5:] or [""])[0])


def read_offer(text: str) -> Offer:
    """The offer in the command of a keeper's job; one that an earlier version started has the device alone."""
    try:
        return msgspec.json.decode(text, type=Offer)
    except msgspec.MsgspecError:
        return Offer("", 0.0, device=text)


def _arguments(job: jobs.Job) -> list[str]:
    """The command of a keeper's job; nothing where its folder is not here."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        return list(map(str, json.loads((job.folder / "spec.json").read_text())["argv"]))
    return []


def _status_of_remote(job: jobs.Job) -> Status:
    """What the supervisor of another folder wrote: neither its processes nor its kernel can be looked at from here."""
    if not job.live:
        why = job.ended_by if job.state == "lost" else None
        return Status("ended", why or _how(job), job.ended_at)
    if job.stop_requested_at or job.state == "stopping":
        return Status("stopping")
    return Status("ready" if job.state == "running" else "starting")


def _how(job: jobs.Job) -> str:
    """How a job ended whose keeper did not write it."""
    # 137 is 128 + SIGKILL, as the shell that wraps a job reports it.
    if job.state == "lost" or job.exit_code == 137:
        return "its keeper was killed"
    if job.state == "failed":
        problem = logs.last_problem(jobs.log(job.id, lines=3))
        return f"its keeper failed: {problem}" if problem else f"its keeper failed with exit code {job.exit_code}"
    if job.ended_by == "deadline":  # before there was anything to keep: the keeper says itself what ends a kernel
        record = open_store().get(SessionRecord, Uri.parse(job.subject).name)
        return (record.body.deadline_by if record else "") or "deadline"
    return job.state


def _last_sign(job: jobs.Job) -> float | None:
    """When a job ended that did not write it. Nobody may have noticed for days: then its last heartbeat counts."""
    if job.silent_s is None:
        return job.ended_at
    return max(job.started_at, time.time() - job.silent_s)
