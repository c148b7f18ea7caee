"""What runs do now, whatever was written last: a run whose process is gone was killed.

Whoever finds that out writes it down, so that nobody has to look at that run again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import jobs
from ..errors import Conflict, Denied, LabError, Unavailable
from ..jobs import JobRecord, process
from ..resolve import resolve
from ..store import Record, open_store
from . import history, record
from .record import TrainingRun

RunState = Literal["starting", "running", "stopping", "done", "failed", "stopped", "killed"]

# Looking must end, however often others write: after so many times it answers with what it saw last.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class ObservedTraining:
    """A run's record, the state that was observed, and the job that does the run while one does."""

    record: Record[TrainingRun]
    state: RunState
    job: Record[JobRecord] | None = None

    @property
    def is_live(self) -> bool:
        """Whether it still goes on."""
        return self.state in ("starting", "running", "stopping")

    @property
    def ended_at(self) -> float | None:
        """When it ended; None while it goes on."""
        body = self.record.body
        return None if self.is_live else body.started_at if body.ended_at is None else body.ended_at

    @property
    def duration_s(self) -> float:
        """How long it took, or has taken until now; never less than nothing, though a clock was set back."""
        return max(0.0, (time.time() if self.ended_at is None else self.ended_at) - self.record.body.started_at)


def observe(runs: Sequence[Record[TrainingRun]]) -> list[ObservedTraining]:
    """What these runs do now, in their order. Of those that were killed the end is written, all in one commit.

    A store that may not be written is no error: the answer is the same, and whoever looks next finds it out again.
    """
    for _ in range(_TRIES):
        # The jobs are read after the runs: a run that says it is running has had its job in the store before.
        try:
            open_jobs = _open_jobs(runs)
        except Unavailable:  # a job cannot be read, and it may be theirs: nothing is known to have ended
            return [ObservedTraining(run, run.body.state) for run in runs]
        seen = [_observed(run, open_jobs.get(run.uri)) for run in runs]
        killed = [each.record for each in seen if each.state == "killed" and each.record.body.is_live]
        ended = _as_killed(killed)
        try:
            if killed:
                ended = [*open_store().commit([*ended, *_ended_jobs(ended, open_jobs)])]
        except Conflict:
            # Somebody wrote meanwhile: perhaps the run itself, which came to its end between our two looks.
            runs = [open_store().get(TrainingRun, run.name) or run for run in runs]
            continue
        except (Denied, Unavailable):
            pass
        break
    by_name = {run.name: run for run in ended if run.kind == TrainingRun.kind}
    return [dataclasses.replace(each, record=by_name.get(each.record.name, each.record)) for each in seen]


def find(text: object) -> ObservedTraining:
    """The run that a URI means, as it is now; raises as `resolve` does."""
    return observe([resolve(text, TrainingRun)])[0]


def request_stop(run: Record[TrainingRun]) -> list[str]:
    """Write down the request to end a run; the ids of the jobs that were asked. One that is over stays as it is."""
    seen = observe([run])[0]
    if seen.is_live and seen.job is None:
        record.change(run.name, stop_requested_at=time.time())  # it reads this when it begins
        seen = observe([run])[0]  # and it may have begun just before that was written
    if seen.job is None:
        return []
    return [jobs.cancel(seen.job.name).id]


def _open_jobs(runs: Sequence[Record[TrainingRun]]) -> Mapping[str, Record[JobRecord]]:
    """The run's URI → its job that no end was written of; one query, however many runs there are."""
    live = [run for run in runs if run.body.is_live]
    if not live:
        return {}
    about = live[0].uri if len(live) == 1 else None
    # The list begins with the newest, and the last of a key stays: so a run's newest job counts.
    return {job.body.subject: job for job in reversed(open_store().list(JobRecord, about=about, is_open=True))}


def _observed(run: Record[TrainingRun], job: Record[JobRecord] | None) -> ObservedTraining:
    if not run.body.is_live:
        return ObservedTraining(run, run.body.state)
    if job is not None and _lives(job):
        return ObservedTraining(run, "stopping" if job.body.stop_requested_at else _written(run), job)
    # Between the plan and its job lies the wait for a busy session; then only whoever planned it can be looked at.
    waits = job is None and run.body.state == "starting" and process.alive(*run.body.planned_by)
    return ObservedTraining(run, "starting" if waits else "killed")


def _lives(job: Record[JobRecord]) -> bool:
    """Whether the job goes on. One that follows a run elsewhere and was killed is started again, and goes on there."""
    if jobs.observe(job).live:
        return True
    if not job.body.restart or job.body.stop_requested_at is not None:
        return False
    with contextlib.suppress(LabError, OSError, subprocess.SubprocessError):
        jobs.launch()  # the supervisor may have been killed too
    return jobs.is_watched()


def _written(run: Record[TrainingRun]) -> Literal["starting", "running"]:
    return "starting" if run.body.state == "starting" else "running"


def _as_killed(runs: Sequence[Record[TrainingRun]]) -> list[Record[Any]]:
    """The records with the end that the runs themselves could not write: what their files say of it."""
    home = record.home() if runs else Path()
    ended: list[Record[Any]] = []
    for run in runs:
        points = history.read(home / run.name / history.FILE)
        at = points[-1].at if points else run.body.started_at
        ended.append(run.with_(state="killed", ended_at=at, metrics=history.latest(points)))
    return ended


def _ended_jobs(
    ended: Sequence[Record[TrainingRun]], open_jobs: Mapping[str, Record[JobRecord]]
) -> list[Record[JobRecord]]:
    """The jobs of runs that were killed, ended too: nobody supervises them, so nobody else would do it."""
    found = [(run, job) for run in ended if (job := open_jobs.get(run.uri)) and not job.body.supervised]
    return [
        job.with_(
            state=jobs.ended_state(None, stopped=job.body.stop_requested_at is not None), ended_at=run.body.ended_at
        )
        for run, job in found
    ]
