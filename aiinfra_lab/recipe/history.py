"""A recipe's runs: listed, and observed. The end of one whose process vanished is written by whoever observes it, who
also ends what it should have ended itself."""

from __future__ import annotations

import contextlib
import logging
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from .. import jobs
from ..config import settings
from ..errors import Conflict, Denied, LabError, Unavailable
from ..files import retry
from ..resolve import resolve
from ..store import NameIndex, Record, open_store
from ..uris import Uri
from . import archives, holding, started
from .record import RunRecord, RunState
from .recorded import ReadSteps, RecordedRun, read_steps

_log = logging.getLogger(__name__)

KIND = RunRecord.kind
NEVER_RAN = "never ran"
_LOOKED_AT = 10
_MOST_OVER = 512
_over: dict[tuple[int, str], RecordedRun] = {}
RECENT = 50
"""Among so many runs an attempt is looked for that a step can be skipped for: a run too many costs time alone."""


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """A run as it is now. `job` is its process, while that lives."""

    record: RecordedRun
    job: jobs.Job | None = None

    @property
    def state(self) -> RunState | Literal["stopping"]:
        """As its lists say it."""
        return "stopping" if self.job and self.job.stop_requested_at else self.record.body.state


def runs(name: str, most: int | None = None, *, is_patient: bool = False) -> Sequence[RecordedRun]:
    """The runs of a recipe that can be read, as they were written last, newest first; at most so many. One that cannot
    stands for no step. is_patient: see `RecordedRun`"""
    found = open_store().list(RunRecord, name=name, limit=most, skip_unreadable=True)
    return [RecordedRun(one, is_patient=is_patient) for one in found]


def recent(name: str, *, but: str = "", is_patient: bool = False) -> Sequence[RecordedRun]:
    """The newest runs of a recipe, of which an attempt may stand for a step; not the one of that label, which goes on,
    so that a run finds what its plan did."""
    found = runs(name, RECENT + bool(but), is_patient=is_patient)
    return [run for run in found if run.name != but][:RECENT]


def all_runs(name: str) -> Sequence[RecordedRun]:
    """All of a recipe that can be read, newest first, with their steps, of which some may not be readable: for what
    people look at."""
    found = open_store().list(RunRecord, name=name, skip_unreadable=True)
    return _with_steps(found, name)


def recorded_run(uri: Uri | str) -> RecordedRun:
    """One run, `NAME@N`, or a recipe's newest. NotFound when there is none."""
    return RecordedRun(resolve(uri, RunRecord))


def readable_runs(*, is_open: bool | None = None, with_steps: bool = False) -> Sequence[RecordedRun]:
    """The runs of all recipes that can be read, newest first: for what people look at. with_steps: all of these are
    wanted, and read at once."""
    store = open_store()
    found = store.list(RunRecord, is_open=is_open, skip_unreadable=True)
    if not with_steps:
        return list(map(looked_at, found))
    return _with_steps(found)


def _with_steps(found: Sequence[Record[RunRecord]], name: str | None = None) -> list[RecordedRun]:
    # The runs were read first: their steps are then at least as new.
    read = read_steps(name, skip_unreadable=True)
    return [RecordedRun(one, read.get(one.name, ReadSteps()), skip_unreadable=True) for one in found]


def looked_at(record: Record[RunRecord]) -> RecordedRun:
    """A run for somebody to look at, also where a step of it cannot be read. Those that are over are kept in memory,
    since a panel looks again and again."""
    run = RecordedRun(record, skip_unreadable=True)
    if record.body.is_open:
        return run
    there = _over.get((id(open_store()), record.name))
    if there and (there.record.rev, there.updated_at) == (record.rev, record.updated_at) and not there.lacks_steps:
        return there
    if len(_over) >= _MOST_OVER:
        _over.clear()
    _over[id(open_store()), record.name] = run
    return run


def count(name: str) -> int:
    """How many runs a recipe has."""
    store = open_store()
    if not isinstance(store, NameIndex):
        return len(runs(name))
    (labels,) = store.names([RunRecord], f"{name}@", sys.maxsize >> 1)
    return len(labels)


def usual_s(run: RecordedRun | None, name: str) -> dict[str, float]:
    """How long each step of a recipe mostly took where it was done, in seconds; in the ten runs before that one."""
    store = open_store()
    last = next(iter(store.list(RunRecord, name=name, limit=1, skip_unreadable=True)), None)
    since = last.version - run.version + 1 if run and last else 0  # that one, and those after it
    found = store.list(RunRecord, name=name, limit=max(0, since) + _LOOKED_AT, skip_unreadable=True)
    earlier = [looked_at(one) for one in found if run is None or one.version < run.version]
    took: dict[str, list[float]] = {}
    for step in (step for one in earlier for step in one.steps):
        if step.state == "done" and step.seconds is not None and not step.went_on:
            took.setdefault(step.name, []).append(step.seconds)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def newest(name: str) -> ObservedRun | None:
    """A recipe's newest run that can be read; None when it never ran."""
    store = open_store()
    found = store.list(RunRecord, name=name, limit=1, skip_unreadable=True)
    found = found or store.list(RunRecord, name=name, skip_unreadable=True)
    return next(iter(observe([looked_at(one) for one in found[:1]])), None)


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


def observe(records: Sequence[RecordedRun], *, is_dry: bool = False) -> list[ObservedRun]:
    """What these runs do now, in their order. One without a living process has ended, and then that is written down,
    unless is_dry."""
    if not any(record.body.is_open for record in records):
        return [ObservedRun(record) for record in records]
    # The runs were read before the jobs: a run and its job begin in one commit, so none of these lacks its job yet.
    try:
        live = {job.subject: job for job in jobs.ls(live=True)}
    except Unavailable:  # a job cannot be read, and it may be theirs: nothing is known to have ended
        return [ObservedRun(record) for record in records]
    lost = [record for record in records if record.body.is_open and record.uri not in live]
    ended = {record.name: record for record in (map(_as_it_is, lost) if is_dry else _write_ends(lost))}
    return [_observed(ended.get(record.name, record), live) for record in records]


def as_lost(run: RecordedRun) -> RecordedRun:
    """How a run ended whose process vanished: when it last gave a sign, and no step of it runs or waits."""
    return run.ended("lost", max([run.last_sign_at, *_saved_at(run)]))


def _saved_at(run: RecordedRun) -> Iterator[float]:
    """When the executed notebook of each step was saved last that was running: now and then while it is executed."""
    for step in run.steps:
        if step.state == "running" and step.archive:
            with contextlib.suppress(OSError):
                yield archives.path_of(step.archive).stat().st_mtime


def write_end(run: RecordedRun, end: Callable[[RecordedRun], RecordedRun]) -> RecordedRun:
    """Write down how a run ended that is still open, unless somebody else has done so by now."""
    there = run

    def step() -> RecordedRun:
        nonlocal there
        if not there.body.is_open:
            return there
        try:
            return end(there).commit(there)
        except Conflict:  # somebody has written it since it was read
            there = RecordedRun(resolve(run.name, RunRecord), skip_unreadable=run.skip_unreadable)
            raise

    return retry(step, changes_too_fast(run))


def _observed(record: RecordedRun, live: Mapping[str, jobs.Job]) -> ObservedRun:
    # A run writes its end a moment before its job does: then it is over all the same.
    return ObservedRun(record, live.get(record.uri) if record.body.is_open else None)


def _write_ends(lost: Sequence[RecordedRun]) -> Sequence[RecordedRun]:
    if not lost:
        return []
    ended = list(map(_as_ended, lost))
    changes = [each for was, now in zip(lost, ended, strict=True) for each in now.changes(was)]
    written: Sequence[RecordedRun]
    try:
        there = open_store().commit(changes)
        written = [run.as_written(there) for run in ended]
    except Conflict:  # another observer was faster, or one of them has written its own end since it was read
        written = [_written_or_not(run, now) for run, now in zip(lost, ended, strict=True)]
    except (Denied, Unavailable):
        return ended  # looking must work where nothing can be written
    if any(settings().home.glob("gpu/*/recipe.step")):
        from .session import end_orphans  # here, since few steps run in sessions

        with contextlib.suppress(LabError):
            end_orphans()
    _end_leftovers([record.uri for record in written if record.body.may_leave_things])
    for archive in (archive for run in written for archive in _lost(run).values()):
        # To complete one may take seconds, which a list has not: who looks at the run has it done.
        if archives.journal_of(archive).is_dir():
            archives.forget_sent(archives.journal_of(archive))
        else:
            archives.close_lost(archive)
    return written


def completed(run: RecordedRun) -> RecordedRun:
    """The run with the executed notebooks of its lost steps completed from their journals, where these are left."""
    left = {name: each for name, each in _lost(run).items() if archives.journal_of(each).is_dir()}
    return note_archives(run, {name: archives.close_lost(each) for name, each in left.items()}) if left else run


def _lost(run: RecordedRun) -> dict[str, Path]:
    """The executed notebook of each step that was lost, or, in a run that is over, could not be saved at its end."""
    found = {}
    for step in (step for step in run.steps if step.archive):
        archive = archives.path_of(step.archive)
        if step.state == "lost" or (not run.body.is_open and archives.is_left(archives.journal_of(archive))):
            found[step.name] = archive
    return found


def complete_held(recipe: str) -> None:
    """Have the executed notebooks completed whose kernels would have been held: their journals lie where these do."""
    if holding.has_any(recipe):
        for label in sorted({journal.parent.name for journal in holding.journals(recipe)}):
            with contextlib.suppress(LabError):  # a run that cannot be read keeps no other from beginning
                record = open_store().get(RunRecord, label)
                if record is not None and not record.body.is_open:
                    completed(RecordedRun(record))


def note_archives(run: RecordedRun, digests: Mapping[str, str]) -> RecordedRun:
    """Write down which files the executed notebooks of these steps are since they were completed; empty for none."""
    there = run

    def step() -> RecordedRun:
        nonlocal there
        changed = [step for step in there.steps if digests.get(step.name) not in (None, "", step.archive_sha256)]
        now = there.with_steps(replace(step, archive_sha256=digests[step.name]) for step in changed)
        try:
            return now.commit(there)
        except Conflict:  # somebody has written one of them since it was read
            there = recorded_run(run.name)
            raise

    try:
        written = retry(step, changes_too_fast(run))
    except LabError:  # looking must work where nothing can be written
        return run
    _over.pop((id(open_store()), run.name), None)  # its own record, by which it is known there, is as it was
    return written


def changes_too_fast(run: RecordedRun) -> Conflict:
    """What is wrong where somebody else writes a run again and again."""
    return Conflict(f"{run.name} changes too fast to be updated", "repeat in a moment")


def _written_or_not(run: RecordedRun, ended: RecordedRun) -> RecordedRun:
    """One that cannot be written, as one that is damaged, takes no other with it."""
    try:
        return write_end(run, _as_ended)
    except LabError as problem:
        _log.warning("the end of %s is not written down: %s", run.uri, problem)
        return ended


def _end_leftovers(runs: Sequence[str]) -> None:
    """Ask for the end of what these runs did not end: it may cost money without any limit, and nobody else would."""
    # `recipe stop` and the next run of the recipe end what cannot be asked now, and `lab check` names it.
    with contextlib.suppress(LabError):
        if runs and (asked := started.ask_to_end(*runs)):
            _log.warning("%s vanished; what was to end with it is asked to: %s", ", ".join(runs), ", ".join(asked))


def _as_it_is(run: RecordedRun) -> RecordedRun:
    """It may have written its end since it was read, before its job was over."""
    there = RecordedRun(resolve(run.name, RunRecord), skip_unreadable=run.skip_unreadable)
    return _as_ended(there) if there.body.is_open else there


def _as_ended(run: RecordedRun) -> RecordedRun:
    """How a run ended that wrote no end: it was stopped before its process began, or that vanished."""
    job = None if run.has_begun else jobs.find(run.uri)
    if job is not None and job.state == "stopped":
        return run.ended("stopped", job.ended_at or run.body.started_at)
    return as_lost(run)
