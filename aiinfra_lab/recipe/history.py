"""A recipe's runs: listed, and observed. The end of one whose process vanished is written by whoever observes it, who
also ends what it should have ended itself."""

from __future__ import annotations

import contextlib
import logging
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from .. import jobs
from ..config import settings
from ..errors import Conflict, Denied, LabError, Unavailable
from ..resolve import resolve
from ..store import NameIndex, Record, open_store, update
from ..uris import Uri
from . import archives, started
from .record import RunRecord, RunState

_log = logging.getLogger(__name__)

KIND = RunRecord.kind
NEVER_RAN = "never ran"
_LOOKED_AT = 10
RECENT = 50
"""Among so many runs an attempt is looked for that a step can be skipped for: a run too many costs time alone."""


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """A run as it is now. `job` is its process, while that lives."""

    record: Record[RunRecord]
    job: jobs.Job | None = None

    @property
    def state(self) -> RunState | Literal["stopping"]:
        """As its lists say it."""
        return "stopping" if self.job and self.job.stop_requested_at else self.record.body.state


def runs(name: str, most: int | None = None) -> Sequence[Record[RunRecord]]:
    """The runs of a recipe as they were written last, newest first; at most so many."""
    return open_store().list(RunRecord, name=name, limit=most)


def count(name: str) -> int:
    """How many runs a recipe has."""
    store = open_store()
    if not isinstance(store, NameIndex):
        return len(runs(name))
    (labels,) = store.names([RunRecord], f"{name}@", sys.maxsize >> 1)
    return len(labels)


def usual_s(run: Record[RunRecord] | None, name: str) -> dict[str, float]:
    """How long each step of a recipe mostly took where it was done, in seconds; in the ten runs before that one."""
    store = open_store()
    last = next(iter(store.list(RunRecord, name=name, limit=1, skip_unreadable=True)), None)
    since = last.version - run.version + 1 if run and last else 0  # that one, and those after it
    found = store.list(RunRecord, name=name, limit=max(0, since) + _LOOKED_AT, skip_unreadable=True)
    earlier = [one for one in found if run is None or one.version < run.version]
    took: dict[str, list[float]] = {}
    for step in (step for one in earlier for step in one.body.steps):
        if step.state == "done" and step.seconds is not None:
            took.setdefault(step.name, []).append(step.seconds)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def newest(name: str) -> ObservedRun | None:
    """A recipe's newest run that can be read; None when it never ran."""
    store = open_store()
    found = store.list(RunRecord, name=name, limit=1, skip_unreadable=True)
    return next(iter(observe((found or store.list(RunRecord, name=name, skip_unreadable=True))[:1])), None)


def to_resume(uri: Uri) -> str:
    """The URI of the run that a recipe's next run can go on with: its newest, which that must mean. Conflict when it
    does not, or when that is not over, or is done."""
    last = newest(uri.name)
    asked = resolve(uri, RunRecord)
    if last is None or asked.name != last.record.name:
        newer = last.record.name if last else uri.name
        raise Conflict(f"{asked.uri} is not the newest run", f"`%recipe run {newer} --resume` goes on with that")
    if last.record.body.is_open:
        raise Conflict(f"{asked.uri} is running", f"look at it with `%recipe show {asked.name}`")
    if last.state == "done":
        fix = f"`%recipe run {asked.name}` runs it once more: unchanged steps are skipped"
        raise Conflict(f"{asked.uri} is done, so there is nothing to go on with", fix)
    return asked.uri


def going(uri: str) -> list[jobs.Job]:
    """The jobs of a recipe's runs that go on, or of that run. One whose end is written is over, though its process may
    still send alerts."""
    store = open_store()
    found = [(job, store.get(RunRecord, Uri.parse(job.subject).label)) for job in jobs.ls(uri, live=True)]
    return [job for job, run in found if run is None or run.body.is_open]


def state_of(run: ObservedRun | None) -> str:
    """A recipe's state: that of its newest run."""
    return run.state if run else NEVER_RAN


def observe(records: Sequence[Record[RunRecord]]) -> list[ObservedRun]:
    """What these runs do now, in their order. One without a living process has ended, and then that is written down."""
    if not any(record.body.is_open for record in records):
        return [ObservedRun(record) for record in records]
    # The runs were read before the jobs: a run and its job begin in one commit, so none of these lacks its job yet.
    try:
        live = {job.subject: job for job in jobs.ls(live=True)}
    except Unavailable:  # a job cannot be read, and it may be theirs: nothing is known to have ended
        return [ObservedRun(record) for record in records]
    lost = [record for record in records if record.body.is_open and record.uri not in live]
    ended = {record.name: record for record in _write_ends(lost)}
    return [_observed(ended.get(record.name, record), live) for record in records]


def as_lost(body: RunRecord) -> RunRecord:
    """How a run ended whose process vanished: when it last gave a sign, and no step of it runs or waits."""
    return body.ended("lost", body.last_sign_at)


def _observed(record: Record[RunRecord], live: Mapping[str, jobs.Job]) -> ObservedRun:
    # A run writes its end a moment before its job does: then it is over all the same.
    return ObservedRun(record, live.get(record.uri) if record.body.is_open else None)


def _write_ends(lost: Sequence[Record[RunRecord]]) -> Sequence[Record[RunRecord]]:
    ended = [record.of(_as_ended(record)) for record in lost]
    if not ended:
        return []
    try:
        written = open_store().commit(ended)
    except Conflict:  # another observer was faster, or one of them has written its own end since it was read
        written = [_write_end(record) for record in lost]
    except (Denied, Unavailable):
        return ended  # looking must work where nothing can be written
    if any(settings().home.glob("gpu/*/recipe.step")):
        from .session import end_orphans  # here, since few steps run in sessions

        with contextlib.suppress(LabError):
            end_orphans()
    _end_leftovers([record.uri for record in written if record.body.may_leave_things])
    return [_close_archives(record) for record in written]


def _close_archives(run: Record[RunRecord]) -> Record[RunRecord]:
    lost = [step for step in run.body.steps if step.state == "lost" and step.archive]
    return note_archives(run, {step.name: archives.close_lost(archives.path_of(step.archive)) for step in lost})


def note_archives(run: Record[RunRecord], digests: Mapping[str, str]) -> Record[RunRecord]:
    """Write down which files the executed notebooks of these steps are since they were completed; empty for none."""

    def change(body: RunRecord) -> RunRecord | None:
        steps = [step for step in body.steps if digests.get(step.name) not in (None, "", step.archive_sha256)]
        for step in steps:
            body = body.with_step(replace(step, archive_sha256=digests[step.name]))
        return body if steps else None

    if not any(digests.values()):
        return run
    try:
        return update(open_store(), RunRecord, run.name, change)
    except LabError:  # looking must work where nothing can be written
        return run


def _end_leftovers(runs: Sequence[str]) -> None:
    """Ask for the end of what these runs did not end: it may cost money without any limit, and nobody else would."""
    # `recipe stop` and the next run of the recipe end what cannot be asked now, and `lab check` names it.
    with contextlib.suppress(LabError):
        if runs and (asked := started.ask_to_end(*runs)):
            _log.warning("%s vanished; what was to end with it is asked to: %s", ", ".join(runs), ", ".join(asked))


def _write_end(record: Record[RunRecord]) -> Record[RunRecord]:
    def end(body: RunRecord) -> RunRecord | None:
        return _as_ended(record.of(body)) if body.is_open else None

    return update(open_store(), RunRecord, record.name, end)


def _as_ended(record: Record[RunRecord]) -> RunRecord:
    """How a run ended that wrote no end: it was stopped before its process began, or that vanished."""
    job = None if record.body.has_begun else jobs.find(record.uri)
    if job is not None and job.state == "stopped":
        return record.body.ended("stopped", job.ended_at or record.body.started_at)
    return as_lost(record.body)
