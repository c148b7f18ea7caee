"""Our server on this machine: one supervised process for each endpoint, on the loopback address."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import jobs
from ..config import Settings
from ..errors import Conflict, UsageProblem
from ..jobs import Job, JobRecord
from ..logs import last_problem
from ..store import open_store
from ..uris import Uri
from . import client
from .base import Claim, PredictedRow, Report, Serving, State, Word
from .ports import bind
from .record import DesiredState, EndpointRecord
from .server import predictions_log

_WORDS: Mapping[str, Word] = {
    "starting": "starting", "running": "running", "stopping": "stopping", "stopped": "stopped", "failed": "failed",
    # An endpoint that ended by itself has failed at being one, whatever its exit code.
    "done": "stopped", "lost": "lost",
}  # fmt: skip
_LAST_LINES = 5


class Local:
    """See `Target`. A claim is a job's id; its process follows the endpoint's record by itself."""

    def __init__(self, where: Settings) -> None:
        self.home = where.home

    def claim(self, name: str, port: int | None) -> Claim:
        before = open_store().get(EndpointRecord, name)
        chosen = _free_port(before.body.port if before else 0, port)
        command = [sys.executable, "-m", "aiinfra_lab.deploy.server", name]
        job = jobs.prepare(str(Uri("deploy", name)), command, restart=True)
        # A job that died unseen would be started again, beside the new one.
        died = jobs.given_up(before.body.job) if before else []
        return Claim(job.name, (job, *died), chosen, str(self.home / "deploy" / name / "log"))

    def apply(self, claim: str, desired: DesiredState) -> None:
        job = _poll(claim)
        if job is None or job.is_here:
            if job and job.restarts:
                jobs.forget_restarts(claim)  # what it serves from now on may be well
            jobs.launch()  # the job was committed with the record, and its process reads the desired state there

    def observe(self, claims: Sequence[str]) -> Mapping[str, State]:
        # One question for all that may live; those that ended are asked for one by one, until their end is written.
        open_jobs = {job.id: job for job in jobs.ls(live=True)} if len(claims) > 1 else {}
        found = {claim: open_jobs.get(claim) or _poll(claim) for claim in claims}
        # One that died unseen is closed together with its endpoint: what is told as lost does not come back by itself.
        return {claim: _state(jobs.close_unseen(job)) if job else State("lost") for claim, job in found.items()}

    def serving(self, claim: str) -> Serving:
        url, generation = _asked(claim)
        # Read again: a problem is written before the next generation is served, so that none is missed.
        record = _record(claim) or EndpointRecord()
        return Serving(url, generation, record.problem or "", record.problem_generation or 0)

    def stop(self, claim: str, timeout_s: float) -> None:
        if _poll(claim) is None:
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
        return jobs.log(claim, lines) if _poll(claim) else ""

    # ---- capabilities ----

    def report(self, claim: str) -> Report | None:
        record = _record(claim)
        return client.report(record.url, claim) if record and _is_here(claim) else None

    def predictions(self, claim: str, log_dir: str, rows: int) -> Sequence[PredictedRow]:
        if (record := _record(claim)) and _is_here(claim):
            client.flush(record.url)
        return predictions_log.newest(Path(log_dir), rows)


def _poll(claim: str) -> Job | None:
    record = open_store().get(JobRecord, claim)
    return jobs.observe(record) if record else None


def _is_here(claim: str) -> bool:
    """Whether its process is on this machine, where it alone can be asked."""
    job = _poll(claim)
    return job is not None and job.is_here


def _asked(claim: str) -> tuple[str, int]:
    """Where it can be asked, and the generation that it serves; of one elsewhere what it wrote last."""
    record = _record(claim)
    if record is None:
        return "", 0
    if not _is_here(claim):
        return "", record.served_generation
    ready = client.readiness(record.url)
    if ready is None:
        return record.url, 0
    # Somebody else may have been given its port. A server that 0.1.0 started, and that serves on, names no claim.
    is_itself = ready.get("claim", claim) == claim and {"ready", "generation"} <= ready.keys()
    return (record.url, int(ready["generation"]) if ready["ready"] else 0) if is_itself else ("", 0)


def _record(claim: str) -> EndpointRecord | None:
    """The endpoint's record while the claim is its own and lives."""
    job = _poll(claim)
    if job is None or not job.live:
        return None
    record = open_store().get(EndpointRecord, Uri.parse(job.subject).name)
    # A later start of the same name has a claim of its own, and this one's process ends by itself.
    return record.body if record and record.body.job == claim else None


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


def _free_port(before: int, port: int | None) -> int:
    """The port that was asked for, when it is free; the one it had before, when that is; else 0: any."""
    if port is not None and not 1024 <= port < 65_536:
        raise UsageProblem(f"{port} is no port", "choose one from 1024 to 65535, or leave --port out")
    wanted = port or before
    try:
        # Only tried, and let go: the server binds it itself, and fails with a reason when somebody was faster.
        with bind(wanted) as listener:
            return int(listener.getsockname()[1]) if port else wanted
    except Conflict as problem:
        if port:
            raise Conflict(problem.what, "choose another --port, or leave it out for a free one") from None
        return 0
