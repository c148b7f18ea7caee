"""After the store was put back from a copy: what lives and what is written are brought together again.

The copy is of another past. It may not know a job that lives, call one live that has ended, or know an earlier process
of it. Until that is put right no supervisor may act on what it reads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from .. import files
from ..errors import LabError, Unavailable
from ..store import Record, open_store
from . import LOCK, launch, ls, process
from .record import JobRecord, ended_state, exit_code, is_here, runs, stop_requested
from .supervisor import GRACE_S, LEAVE, claim

PATIENCE_S = 20.0


@contextlib.contextmanager
def unsupervised(home: Path) -> Iterator[None]:
    """Have no supervisor while this lasts: it leaves, jobs go on, and afterwards they are watched again.

    Unavailable when it does not leave.
    """
    files.make_folder(home)
    try:
        # LEAVE first: it makes the supervisor let go of LOCK, and LOCK then keeps a new one from starting.
        with _held(home / LEAVE), _held(home / LOCK):
            yield
    finally:
        with contextlib.suppress(LabError):  # a store that cannot be read names nothing to watch
            if any(job.supervised for job in ls(live=True)):
                launch()


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    file = files.take_lock(path, PATIENCE_S)
    if file is None:
        fix = "end the process `aiinfra_lab.jobs.supervisor` (what it watches goes on), then repeat"
        raise Unavailable("the workspace's supervisor does not leave", fix)
    with file:
        yield


def end_unknown(home: Path) -> list[str]:
    """End the jobs that the store does not know, politely first; returns what they were for, e.g. gpu:trainer."""
    # By the keys alone: a job whose record cannot be read is known all the same.
    known = {key.name for key in open_store().changed() if key.kind == JobRecord.kind}
    folders = [folder for folder in (home / "jobs").glob("*/") if folder.name not in known and _lives(folder)]
    leaders = {folder.name: _leader(folder) for folder in folders}
    for job_id, leader in leaders.items():
        process.ask_to_end(*leader, job_id)
    process.wait_ended(leaders.values(), GRACE_S)
    for job_id, leader in leaders.items():
        process.end(*leader, job_id)
    return sorted(map(_subject, leaders))


def settle(home: Path) -> None:
    """Write down what became of the jobs that the store calls live.

    Those that have ended since stay ended: they may have been stopped, and a supervisor would start them again.
    """
    store = open_store()
    for record in store.list(JobRecord, is_open=True, skip_unreadable=True):
        if record.body.supervised and is_here(record):
            store.commit([_observed(record, home / "jobs" / record.name)])


def _observed(record: Record[JobRecord], folder: Path) -> Record[JobRecord]:
    pid, born = _leader(folder)
    running = record.with_(state="running", pid=pid, born=born)
    if runs(running):
        return running
    if record.body.state == "starting" and claim(folder) is None:
        return record  # nobody has begun it
    process.end(0, 0.0, record.name)  # whatever it left running
    code = exit_code(folder)
    return record.with_(state=ended_state(code, stopped=stop_requested(record)), exit_code=code, ended_at=time.time())


def _lives(folder: Path) -> bool:
    """Whether a process of it runs; in a copy of another workspace lie the folders of that one's jobs."""
    carriers = process.tree(0, 0.0, folder.name) if exit_code(folder) is None else ()
    return any(process.is_of_folder(pid, folder) for pid in carriers)


def _leader(folder: Path) -> tuple[int, float]:
    """The job's wrapper and when it was born; zeros when it is gone."""
    pid = claim(folder) or 0
    born = process.birth(pid) if pid and process.belongs(pid, folder.name) else 0.0
    return (pid, born) if born else (0, 0.0)


def _subject(job_id: str) -> str:
    """What the job was for, by its id: the record that said so is lost."""
    return job_id.rpartition("-")[0].replace("-", ":", 1)
