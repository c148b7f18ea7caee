"""`python -m aiinfra_lab.gpu.owner gpu:NAME PROVIDER OFFER`: the job of a session whose kernel is kept from here.

It keeps the session's kernel, and writes the session's end into its record, also when nobody looks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time

from msgspec.structs import replace

from .. import jobs, logs, modes
from ..config import settings
from ..cost import budgets
from ..errors import LabError
from ..jobs.supervisor import MAX_RESTARTS, RESTARTS_WITHIN_S
from ..kernels import KeptKernel, KernelState, Lease, cells, keeper
from ..kernels.project import ProjectCopy
from ..providers import make
from ..store import Record, open_store, update
from ..uris import Uri
from . import pool_members, sessions
from .keeping import KeepingMachines, read_offer
from .noun import NOUN
from .record import SessionRecord
from .renting import Rental

_MOST_FAILURES, _FAILING_WITHIN_S = 2, 60.0  # a third failure within a minute is its last
_log = logging.getLogger("aiinfra_lab.gpu.owner")  # __name__ is __main__ here


class SessionOwner:
    """See `kernels.Owner` for the contract. job: the id of the job that runs this. rental: where its machine is one."""

    def __init__(self, name: str, job: str, rental: Rental | None = None) -> None:
        self._name, self._job, self._rental = name, job, rental
        self._lease = Lease()

    def display_name(self) -> str:
        with contextlib.suppress(LabError):
            if record := sessions.get(self._name):
                return record.body.shown_as
        return self._name

    def lease(self) -> Lease:
        with contextlib.suppress(OSError):  # its folder may be gone with the workspace: then the kernel is to end
            jobs.beat()
        with contextlib.suppress(LabError):  # a store out of reach changes no deadline that is known
            store = open_store()
            # The job's deadline counts, since that is what was renewed; the session knows what it stands for.
            job, session = store.get(jobs.JobRecord, self._job), store.get(SessionRecord, self._name)
            if job is not None:
                reason = session.body.deadline_by if session else ""
                idle_s = session.body.idle_s if session else None
                self._lease = Lease(job.body.deadline_at, reason or "deadline", idle_s)
            if session is not None and session.body.handle in (None, self._job):
                if self._rental is not None:
                    self._rental.note_prices()
                _warn(session)
        return self._lease

    def ended(self, state: KernelState) -> None:
        with contextlib.suppress(LabError):  # the state file has it too, and whoever looks next reads that
            record = sessions.get(self._name)
            # Without a handle it is ours as well: whoever started it has not written down yet which machine it got.
            if record is not None and record.body.handle in (None, self._job):
                _warn(sessions.close(record, state.why, state.at, state.exit_code))


def _warn(session: Record[SessionRecord]) -> None:
    """Have its budget warned of while nobody looks: a notebook that runs a long cell, or none at all.

    That of a pool's session is but a share: the pool's job warns of the whole.
    """
    budget = None if pool_members.pool_of(session) else NOUN.budget(session)
    if budget is not None and (text := budgets.warn(budget)):
        _log.warning("%s", text)


def main(subject: str, provider: str, offer: str) -> int:
    """Keep the kernel of that session until it ends; the exit code of the job."""
    logs.configure()
    uri = Uri.parse(subject, noun=SessionRecord.kind)
    job, kernel = os.environ.get("AIINFRA_JOB", ""), KeptKernel.of(uri)
    try:
        _bind(uri.name, job)
        machines: KeepingMachines = make("gpu.machines", provider)
        source = machines.source(kernel, read_offer(offer), job)
        most_bytes = settings().get("gpu.namespace_bytes", cells.MOST_BYTES)
        resume = _has_begun(kernel, job)
        owner = SessionOwner(uri.name, job, source if isinstance(source, Rental) else None)
        project = _project(kernel, uri.name)
        code = keeper.run(
            kernel,
            owner,
            source=source,
            resume=resume,
            namespace_bytes=most_bytes,
            project=project,
            is_started_again=lambda: is_started_again(job),
        )
    except LabError as problem:
        _log.error("%s", problem)
        code = problem.exit_code
    except BaseException:
        _stays_ended(job)
        raise
    if code != keeper.LEFT:
        _stays_ended(job)
    return code


def is_started_again(job: str) -> bool:
    """Whether the job of a keeper that fails now is started again. Not for ever: who has failed so often will do so
    again, and its kernel and its machine are ended while somebody is there who can."""
    with contextlib.suppress(LabError):  # out of reach: then nobody could write that it is not to be
        record = open_store().get(jobs.JobRecord, job)
        if record is None or not record.body.restart or record.body.stop_requested_at:
            return False
        ago = [abs(time.time() - at) for at in record.body.restarted_at]
        lately = sum(each < _FAILING_WITHIN_S for each in ago)
        return lately < _MOST_FAILURES and sum(each < RESTARTS_WITHIN_S for each in ago) < MAX_RESTARTS
    return True


def _bind(name: str, job: str) -> None:
    """Write down whose machine it is: whoever started the session may have died before that."""
    with contextlib.suppress(LabError):  # where nothing can be written now, whoever looks does it
        record = sessions.get(name)
        if job and record is not None and record.body.is_open and record.body.handle is None:
            sessions.bind(record, job)


def _project(kernel: KeptKernel, name: str) -> ProjectCopy:
    """What its host is to have of the project."""
    session = sessions.get(name)
    sync, environment = (session.body.sync, session.body.environment) if session else (False, False)
    return ProjectCopy(kernel, settings().project, has_files=sync, has_packages=environment)


def _has_begun(kernel: KeptKernel, job: str) -> bool:
    """Whether this job was killed after it had begun a kernel, and was started again."""
    record = open_store().get(jobs.JobRecord, job)
    return record is not None and kernel.state().at >= record.body.started_at


def _stays_ended(job: str) -> None:
    """An end that was written is one: only a job that was killed is started again."""
    with contextlib.suppress(LabError):
        update(open_store(), jobs.JobRecord, job, lambda body: replace(body, restart=False) if body.restart else None)


if __name__ == "__main__":
    modes.keep_to_owner()
    sys.exit(main(*sys.argv[1:]))
