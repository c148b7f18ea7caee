"""Our server on this machine: one supervised process for each endpoint, on the loopback address."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Sequence

from .. import jobs
from ..config import Settings
from ..errors import Conflict, NotFound
from ..store import Record, open_store
from .base import State


class Local:
    """See `Target` for the contract. A claim is a job's id."""

    def __init__(self, where: Settings) -> None:
        self.home = where.home

    def claim(self, name: str, before: str | None = None) -> tuple[str, Sequence[Record]]:
        command = [sys.executable, "-m", "aiinfra_lab.deploy.server", name]
        record = jobs.prepare(f"deploy:{name}", command, restart=True)
        return record.name, [record, *(jobs.given_up(before) if before else ())]

    def start(self, claim: str) -> None:
        jobs.launch()

    def observe(self, claim: str) -> State:
        try:
            job = jobs.poll(claim)
        except NotFound:
            return State("lost")
        # An endpoint that ended by itself has failed at being one, whatever its exit code.
        word = "stopping" if job.live and job.stop_requested_at else {"done": "stopped"}.get(job.state, job.state)
        return State(word, job.restarts)

    def stop(self, claim: str, timeout_s: float) -> None:
        while (record := open_store().get(jobs.JobRecord, claim)) and record.body.is_open:
            if self.observe(claim).live:
                jobs.cancel(claim)
                jobs.wait(claim, timeout_s=timeout_s)
            else:
                # Its process has just died: the supervisor would start it again, or does so at this moment.
                with contextlib.suppress(Conflict):
                    open_store().commit(jobs.given_up(claim))

    def output(self, claim: str, lines: int) -> str:
        try:
            return jobs.log(claim, lines)
        except NotFound:
            return ""

    def forget(self, claim: str) -> None:
        if open_store().get(jobs.JobRecord, claim) is None:
            shutil.rmtree(self.home / "jobs" / claim, ignore_errors=True)
