"""Endpoints whose process is a job of this workspace: what a target does alike, whatever engine that process has.

A claim is a job's id.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence

from .. import jobs
from ..config import Settings
from ..errors import Conflict, UsageProblem
from ..jobs import Job, JobRecord
from ..logs import last_problem
from ..store import Record, open_store
from ..uris import Uri
from .base import State, Word
from .ports import bind
from .record import EndpointRecord

_WORDS: Mapping[str, Word] = {
    "starting": "starting", "running": "running", "stopping": "stopping", "stopped": "stopped", "failed": "failed",
    # An endpoint that ended by itself has failed at being one, whatever its exit code.
    "done": "stopped", "lost": "lost",
}  # fmt: skip
_LAST_LINES = 5


class Supervised:
    """See `Target`, of which it lacks what differs: `apply` and `serving`, and a `claim` of `free_port` and `job`."""

    def __init__(self, where: Settings) -> None:
        self.home = where.home

    def observe(self, claims: Sequence[str]) -> Mapping[str, State]:
        # One question for all that may live; those that ended are asked for one by one, until their end is written.
        open_jobs = {job.id: job for job in jobs.ls(live=True)} if len(claims) > 1 else {}
        found = {claim: open_jobs.get(claim) or poll(claim) for claim in claims}
        # One that died unseen is closed together with its endpoint: what is told as lost does not come back by itself.
        return {claim: _state(jobs.close_unseen(job)) if job else State("lost") for claim, job in found.items()}

    def stop(self, claim: str, timeout_s: float) -> None:
        if poll(claim) is None:
            # A claim that was never committed is but the folder that `jobs.prepare` made.
            shutil.rmtree(self.home / "jobs" / claim, ignore_errors=True)
        while (record := open_store().get(JobRecord, claim)) and record.body.is_open:
            if jobs.observe(record).live:
                jobs.cancel(claim)
                if not timeout_s:
                    return
                jobs.wait(claim, timeout_s=timeout_s)
            else:
                # Its process has just died: the supervisor would start it again, or does so at this moment.
                with contextlib.suppress(Conflict):
                    open_store().commit(jobs.given_up(claim))

    def output(self, claim: str, lines: int) -> str:
        return jobs.log(claim, lines) if poll(claim) else ""


def job(name: str, command: Sequence[str]) -> list[Record[JobRecord]]:
    """The records of a new job that runs the command for the endpoint of that name, its own first."""
    before = open_store().get(EndpointRecord, name)
    prepared = jobs.prepare(str(Uri("deploy", name)), command, restart=True)
    # A job that died unseen would be started again, beside the new one.
    return [prepared, *(jobs.given_up(before.body.job) if before else [])]


def start_process(claim: str) -> None:
    """See to it that the process of a claim that is here lives; what it serves from now on may be well."""
    found = poll(claim)
    if found is None or found.is_here:
        if found and found.restarts:
            jobs.forget_restarts(claim)
        jobs.launch()


def poll(claim: str) -> Job | None:
    """The job of a claim; None where there is none."""
    record = open_store().get(JobRecord, claim)
    return jobs.observe(record) if record else None


def is_here(claim: str) -> bool:
    """Whether its process is on this machine, where it alone can be asked."""
    found = poll(claim)
    return found is not None and found.is_here


def _state(job: Job) -> State:
    word: Word = "stopping" if job.live and job.stop_requested_at else _WORDS[job.state]
    last = job.restarted_at[-1] if job.restarted_at else None
    if not job.live and job.is_here and job.ended_at is None and jobs.is_watched():
        # In a moment its supervisor starts it again, or writes its end.
        return State("starting", job.restarts, job=job.id, restarted_at=last)
    detail = ""
    if word == "failed" or job.ended_by:
        detail = _why_ended(job)
    elif job.live and not job.is_here:
        detail = "in another folder that shares this store"
    elif job.live and job.restarts:
        detail = f"started again {job.restarts_shown}"
    return State(word, job.restarts, detail, None if job.live else _ended_at(job), job.id, last)


def _why_ended(job: Job) -> str:
    """Its exit code, that it was given up, and the last problem that it printed."""
    code = "" if job.exit_code is None else f"exit code {job.exit_code}"
    last = last_problem(jobs.log(job.id, _LAST_LINES)) if job.restarts and job.is_here else ""
    return "; ".join(filter(None, (code, job.ended_by, last)))


def _ended_at(job: Job) -> float:
    """The last heartbeat: of what died unseen it is nearer to its end than when somebody noticed that."""
    silent_s = job.silent_s
    beat_at = None if silent_s is None else time.time() - silent_s
    return max(job.started_at, beat_at or job.ended_at or 0.0)


def free_port(name: str, port: int | None) -> int:
    """The port that was asked for, when it is free; the one that the endpoint had before, when that is; else 0: any."""
    if port is not None and not 1024 <= port < 65_536:
        raise UsageProblem(f"{port} is no port", "choose one from 1024 to 65535, or leave --port out")
    before = open_store().get(EndpointRecord, name)
    wanted = port or (before.body.port if before else 0)
    try:
        # Only tried, and let go: the server binds it itself, and fails with a reason when somebody was faster.
        with bind(wanted) as listener:
            return int(listener.getsockname()[1]) if port else wanted
    except Conflict as problem:
        if port:
            raise Conflict(problem.what, "choose another --port, or leave it out for a free one") from None
        return 0
