"""A job as the workspace remembers it, and as it is observed: a dead process does not run, whatever was written."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from .. import files
from ..config import settings
from ..show import moment
from ..store import Body, Record
from . import process
from .home import home_id

State = Literal["starting", "running", "stopping", "done", "failed", "stopped", "lost"]

LIVE = ("starting", "running", "stopping")

# A machine that is restarted or short of memory comes back within that time.
GONE_S = 900.0

# Files of a job's folder. ALIVE is locked by the wrapper and by the command, which has the same handle of it: a command
# that outlives its wrapper still counts as running. STOP is made by a stop that cannot be written to the store.
ALIVE = "alive"
STOP = "stop"


class JobRecord(Body, frozen=True, kw_only=True):
    """A process that outlives the cell that started it.

    subject: URI of the thing that the job is for. context: what it was started for, such as a recipe's step.
    supervised: whether the supervisor starts and ends it; else it is a notebook's own process. pid, born: its leader
    and when that was born, as `process.birth` tells. ended_by: request, deadline, or why it is not started (again).
    restarts: how often it was started again after it failed, and restarted_at: when, the last few times. not_before:
    the earliest time of its next start. home: the folder whose supervisor watches it, as `home_id` tells; "" for the
    only one there is. seen_at: the last sign of life of a process that nobody supervises. process_table: where the pid
    of such a process means something, as `process.table` tells; "" in version 3. grace_s: how long it may take to end
    before it is killed; the supervisor's own time when None.
    """

    kind: ClassVar[str] = "job"
    # Version 1 lacked `home`, version 2 `seen_at`, version 3 `process_table`, version 4 `restarted_at`,
    # version 5 `grace_s`.
    schema_version: ClassVar[int] = 6

    subject: str
    state: State
    started_at: float
    supervised: bool = True
    restart: bool = False
    grace_s: float | None = None
    context: str = ""
    deadline_at: float | None = None
    stop_requested_at: float | None = None
    pid: int = 0
    born: float = 0.0
    restarts: int = 0
    restarted_at: tuple[float, ...] = ()
    not_before: float = 0.0
    home: str = ""
    seen_at: float = 0.0
    process_table: str = ""
    exit_code: int | None = None
    ended_at: float | None = None
    ended_by: str | None = None

    @property
    def about(self) -> str:
        return self.subject

    @property
    def is_open(self) -> bool:
        return self.state in LIVE

    @property
    def is_silent(self) -> bool:
        """Whether nobody supervises it, and it has given no sign of life for so long that it is taken for gone.

        False for one of a version that gave none.
        """
        return not self.supervised and self.seen_at > 0 and time.time() - self.seen_at >= GONE_S


class HomeRecord(Body, frozen=True, kw_only=True):
    """A folder that has had living jobs, by its id, and the last sign of life of its supervisor.

    path, host: the project's folder, for people. fingerprint: as `home.fingerprint_of` tells. pid, born: the
    supervisor, in that process table. since_at: when that began.
    """

    kind: ClassVar[str] = "job.home"

    path: str
    host: str
    fingerprint: str
    process_table: str
    pid: int
    born: float
    since_at: float
    seen_at: float


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was observed: the record, corrected by what the process table and the job's folder say.

    `state` is one of starting, running, stopping, done, failed, stopped, lost (its process vanished without a word).
    is_here: whether it can be seen from here, as `Folder.sees` tells.
    """

    id: str
    subject: str
    state: State
    started_at: float
    ended_at: float | None
    exit_code: int | None
    pid: int
    deadline_at: float | None
    stop_requested_at: float | None
    restarts: int
    restarted_at: tuple[float, ...]
    folder: Path
    supervised: bool
    context: str
    rev: int
    is_here: bool
    ended_by: str | None

    @property
    def live(self) -> bool:
        """Whether it still goes on."""
        return self.state in LIVE

    @property
    def restarts_shown(self) -> str:
        """How often it was started again after it had failed, and when last; empty when it never was."""
        return show_restarts(self.restarts, self.restarted_at[-1] if self.restarted_at else None)

    @property
    def log_path(self) -> Path:
        """Where its output goes; `log.1` beside it holds what came before, once there is much."""
        return self.folder / "log"

    @property
    def silent_s(self) -> float | None:
        """Seconds since its last heartbeat; None when it never gave one."""
        try:
            return max(0.0, time.time() - (self.folder / "heartbeat").stat().st_mtime)
        except FileNotFoundError:
            return None


class Folder:
    """This folder during one look, at one job or at thousands: its place and its id are asked for once."""

    def __init__(self) -> None:
        self.home = settings().home

    @functools.cached_property
    def id(self) -> str:
        """As `home_id` tells."""
        return home_id(self.home)

    def has(self, record: Record[JobRecord]) -> bool:
        """Whether it is this folder's job: several folders, or machines, may share one store."""
        return not record.body.home or record.body.home == self.id

    def sees(self, record: Record[JobRecord]) -> bool:
        """Whether it is this folder's job, and its pid means something here: containers may share the folder."""
        body = record.body
        return self.has(record) and (body.supervised or body.process_table in ("", process.table()))

    def of(self, job_id: str) -> Path:
        """Where a job's own files are."""
        return self.home / "jobs" / job_id


def observe(record: Record[JobRecord], where: Folder | None = None) -> Job:
    """What a record says, corrected by the process table. A job of another folder is what its supervisor wrote. One of
    another folder or container that nobody supervises is lost when it gives no sign of life.

    where: this folder, by whoever observes many
    """
    where = where or Folder()
    body, folder = record.body, where.of(record.name)
    state, code, here = body.state, body.exit_code, where.sees(record)
    if here and state in ("running", "stopping") and not _runs(record, folder):
        code = exit_code(folder)
        state = ended_state(code, stopped=state == "stopping" or body.stop_requested_at is not None)
    elif not here and body.is_open and body.is_silent:
        state = "lost"
    return Job(
        id=record.name,
        subject=body.subject,
        state=state,
        started_at=body.started_at,
        ended_at=body.ended_at,
        exit_code=code,
        pid=body.pid,
        deadline_at=body.deadline_at,
        stop_requested_at=body.stop_requested_at or (_asked_beside(folder) if here and body.is_open else None),
        restarts=body.restarts,
        restarted_at=body.restarted_at,
        folder=folder,
        supervised=body.supervised,
        context=body.context,
        rev=record.rev,
        is_here=here,
        ended_by=body.ended_by,
    )


def _asked_beside(folder: Path) -> float | None:
    """When somebody asked for a job's end who could not write it to the store."""
    try:
        return (folder / STOP).stat().st_mtime
    except OSError:
        return None


def show_restarts(restarts: int, last_at: float | None) -> str:
    """How often something came back after it had died, and when last, as far as that is known; empty when never."""
    if not restarts:
        return ""
    how_often = "once" if restarts == 1 else f"{restarts} times"
    return how_often if last_at is None else f"{how_often}, last at {moment(last_at, to_second=True)}"


def is_here(record: Record[JobRecord]) -> bool:
    """Whether it is this folder's, and not another's that shares the store."""
    return Folder().has(record)


def is_seen(record: Record[JobRecord]) -> bool:
    """Whether it can be seen from here, as `Folder.sees` tells."""
    return Folder().sees(record)


def runs(record: Record[JobRecord]) -> bool:
    """Whether its process runs: the wrapper, or the command alone when the wrapper was killed."""
    return _runs(record, folder_of(record.name))


def _runs(record: Record[JobRecord], folder: Path) -> bool:
    body = record.body
    if process.alive(body.pid, body.born):
        return True
    if not body.supervised:
        return False
    # What the command forked may hold the lock after its end, which the wrapper wrote then.
    return files.is_locked(folder / ALIVE) and exit_code(folder) is None


def stop_requested(record: Record[JobRecord]) -> bool:
    """Whether somebody asked for its end, be it where the store could not be written."""
    return record.body.stop_requested_at is not None or (folder_of(record.name) / STOP).exists()


def folder_of(job_id: str) -> Path:
    """Where a job's own files are."""
    return settings().home / "jobs" / job_id


def ended_state(code: int | None, *, stopped: bool) -> State:
    """How a job ended, by its exit code (124: its time was over; None: it left none)."""
    if stopped or code == 124:
        return "stopped"
    if code is None:
        return "lost"
    return "done" if code == 0 else "failed"


def exit_code(folder: Path) -> int | None:
    """The exit code that the job's wrapper wrote, or None."""
    try:
        return int((folder / "exit").read_text())
    except (FileNotFoundError, ValueError):
        return None
