"""jupyter-scheduler's jobs and definitions: refused before a kernel when they cannot run, and never left as running."""

from __future__ import annotations

import multiprocessing
import platform
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import psutil
from jupyter_scheduler.exceptions import SchedulerError
from jupyter_scheduler.models import Status
from jupyter_scheduler.orm import Job
from jupyter_scheduler.scheduler import Scheduler
from jupyter_scheduler.utils import get_utc_timestamp
from traitlets import default

from ...errors import LabError
from ...host.processes import signal_process
from ...jobs import process
from .. import archives
from .execution import FOLDER, LabExecutionManager, archive_of, folder_of, send_alert
from .request import check, in_form
from .times import LabTaskRunner, calendar_of

_OPEN = (Status.CREATED, Status.QUEUED, Status.IN_PROGRESS, Status.STOPPING)
_PLACE = "aiinfra_place"  # of a job's `runtime_environment_parameters`: where it runs
_VANISHED = "its process vanished: it was killed, or its machine went away"
_SPAWNED = "multiprocessing.spawn"  # on the command line of every process that multiprocessing spawns
_MOST_WAIT_S, _LOOK_S = 10.0, 0.05
_GRACE_S = 4.0  # twice of it is less than what `docker stop` leaves a server


class LabScheduler(Scheduler):  # type: ignore[misc]  # it ships no types
    """See `Scheduler` of jupyter-scheduler for the contract, and for its settings."""

    @default("execution_manager_class")
    def _execution(self) -> type[LabExecutionManager]:
        return LabExecutionManager

    @default("task_runner_class")
    def _times(self) -> type[LabTaskRunner]:
        return LabTaskRunner

    def __init__(self, *args: Any, **options: Any) -> None:
        self._closing = set[str]()
        super().__init__(*args, **options)
        # Called before multiprocessing waits for all processes that it has begun, which it does when the server ends.
        Finalize(None, self._end_jobs, exitpriority=0)

    def create_job(self, model: Any) -> str:
        """SchedulerError when it could not run. What a definition has is looked at by its job, which can say so."""
        self._refuse_formats(model)
        if not model.job_definition_id:
            self._prepare(model)
        own = model.runtime_environment_parameters or {}
        model.runtime_environment_parameters = {**own, _PLACE: _here()}
        made = str(super().create_job(model))
        with self.db_session() as session:
            # Which writes that it was stopped until its process says that it is in progress.
            begins = session.query(Job).filter(Job.job_id == made, Job.start_time.is_(None))
            begins.update({"status": Status.CREATED})
            session.commit()
        return made

    def create_job_definition(self, model: Any) -> str:
        """SchedulerError when its jobs could not run."""
        self._refuse_formats(model)
        self._prepare(model)
        if model.schedule is not None:
            self._raising(calendar_of, model.schedule, model.timezone)
        return str(super().create_job_definition(model))

    def update_job_definition(self, job_definition_id: str, model: Any) -> None:
        """SchedulerError when its jobs could not run, or it would not be known when they are due."""
        before = self.get_job_definition(job_definition_id)
        self._refuse_formats(model)
        if model.schedule is not None or (model.timezone is not None and before.schedule is not None):
            schedule = before.schedule if model.schedule is None else model.schedule
            self._raising(calendar_of, schedule, model.timezone or before.timezone)
        own = model.runtime_environment_parameters
        if model.input_uri or own is not None:
            folder = self._path_of(model.input_uri).parent if model.input_uri else folder_of(before, self.root_dir)
            kept = before.runtime_environment_parameters if own is None else own
            model.runtime_environment_parameters = {**(kept or {}), FOLDER: str(folder)}
        if model.input_uri or model.tags is not None or model.parameters is not None:
            self._check_changed(before, model)
        super().update_job_definition(job_definition_id, model)

    def create_job_from_definition(self, job_definition_id: str, model: Any) -> str:
        """SchedulerError when it could not run with the parameters that it is given; see `create_job`."""
        if model.parameters is not None:
            self._check_changed(self.get_job_definition(job_definition_id), model)
        return str(super().create_job_from_definition(job_definition_id, model))

    def stop_job(self, job_id: str) -> None:
        """Ask for its end: the cell that runs is interrupted. Asked once more some seconds later, at once.

        SchedulerError where it runs on another machine.
        """
        pid = self._pid_of(job_id)
        with self.db_session() as session:
            job = session.query(Job).filter(Job.job_id == job_id, Job.status.in_(_OPEN))
            job.update({"status": Status.STOPPING})
            session.commit()
        if _is_at_work(pid):
            signal_process(pid, signal.SIGTERM)
        else:
            self._settle()

    def delete_job(self, job_id: str) -> None:
        """End it at once where it goes on, and remove all of it; see `stop_job`."""
        pid = self._pid_of(job_id)
        for number in (signal.SIGTERM, signal.SIGINT):  # the second one means at once
            if _is_at_work(pid):
                signal_process(pid, number)
        for left in _left_after(_MOST_WAIT_S, [pid]):
            signal_process(left, signal.SIGKILL)
        super().delete_job(job_id)

    def get_job(self, job_id: str, job_files: bool | None = True) -> Any:
        """See `Scheduler`."""
        self._settle()
        return super().get_job(job_id, job_files)

    def list_jobs(self, query: Any) -> Any:
        """See `Scheduler`."""
        self._settle()
        return super().list_jobs(query)

    def count_jobs(self, query: Any) -> int:
        """See `Scheduler`."""
        self._settle()
        return int(super().count_jobs(query))

    def _prepare(self, model: Any) -> None:
        """Refuse what could not run, and keep where its file lies: what runs is a copy, and knows no project."""
        if not self.file_exists(model.input_uri):
            return  # which jupyter-scheduler reports
        path = self._path_of(model.input_uri)
        self._raising(check, path, path.parent, model.tags, model.parameters)
        if not _is_file_name(model.input_filename):
            raise SchedulerError(f"{model.input_filename!r} is no name of a file: leave out input_filename")
        own = model.runtime_environment_parameters or {}
        model.runtime_environment_parameters = {**own, FOLDER: str(path.parent)}

    def _check_changed(self, definition: Any, model: Any) -> None:
        """Refuse what a job of that definition could not run with. Its jobs run a copy of what its file was."""
        changed = {"input_uri": None, **definition.dict(), **model.dict(exclude_none=True)}
        path, folder = Path(self.get_staging_paths(definition)["input"]), folder_of(definition, self.root_dir)
        if changed["input_uri"]:
            path = self._path_of(changed["input_uri"])
            folder = path.parent
        self._raising(check, path, folder, changed["tags"], changed["parameters"])

    def _refuse_formats(self, model: Any) -> None:
        """Refuse what the form does not offer: no list of jobs could be shown that has one with such an output."""
        offered = self.environments_manager.output_formats_mapping()
        if wrong := [each for each in model.output_formats or () if each not in offered]:
            raise SchedulerError(f"there is no output as {', '.join(wrong)}: output_formats takes {', '.join(offered)}")

    def _path_of(self, uri: str) -> Path:
        return Path(self.root_dir, uri).absolute()

    def _end_jobs(self) -> None:
        """Stop those that this server has begun; at once what takes longer."""
        begun = [child.pid for child in multiprocessing.active_children()]
        with self.db_session() as session:
            found = session.query(Job).filter(Job.status.in_(_OPEN), Job.pid.in_(begun))
            pids = {job.job_id: job.pid for job in found if _place_of(job) == _here()}
        for job_id in pids:
            self.stop_job(job_id)
        for number in (signal.SIGINT, signal.SIGKILL):
            for pid in _left_after(_GRACE_S, list(pids.values())):
                signal_process(pid, number)
        _left_after(_GRACE_S, list(pids.values()))
        self._settle(waits=True)

    def _raising(self, looks: Any, *of: Any) -> None:
        """A problem as the package's own error, whose text its form shows."""
        try:
            looks(*of)
        except LabError as problem:
            raise SchedulerError(in_form(problem)) from None

    def _settle(self, *, waits: bool = False) -> None:
        """Write down the end of jobs whose process is gone without having done so. waits: until that is written."""
        with self.db_session() as session:
            found = session.query(Job).filter(Job.status.in_(_OPEN), Job.pid.isnot(None))
            gone = [(job.job_id, Status(job.status)) for job in found if _is_gone(job)]
        for job_id, status in gone:
            if waits:
                self._end_lost(job_id, status)
            elif job_id not in self._closing:
                self._closing.add(job_id)
                # It may take seconds, and the server's one loop is here.
                threading.Thread(target=self._end_lost, args=(job_id, status), name="end-lost", daemon=True).start()

    def _end_lost(self, job_id: str, status: Any) -> None:
        """Complete its executed notebook, and then write down that it ended: who sees that takes a copy of the file."""
        try:
            job = super().get_job(job_id, False)
            _complete(archive_of(self.get_staging_paths(job)))
            ends = (Status.STOPPED, None) if status == Status.STOPPING else (Status.FAILED, _VANISHED)
            values = {"status": ends[0], "status_message": ends[1], "end_time": get_utc_timestamp()}
            with self.db_session() as session:
                # Not if it has done so in this moment.
                changed = session.query(Job).filter(Job.job_id == job_id, Job.status == status).update(values)
                session.commit()
            if changed and ends[0] == Status.FAILED:
                send_alert(job, self.root_dir, "failed", "its process vanished")
        finally:
            self._closing.discard(job_id)

    def _pid_of(self, job_id: str) -> int:
        """Its process; 0 where it has none that could be at work."""
        with self.db_session() as session:
            job = session.query(Job).filter(Job.job_id == job_id).one()
            is_open, place, pid = job.status in _OPEN, _place_of(job), job.pid
        if is_open and place and (machine := place.partition(" ")[0]) != platform.node():
            raise SchedulerError(f"it runs on {machine}, and only a Jupyter server there can end it")
        return pid if is_open and pid and place == _here() else 0


def _is_file_name(name: str) -> bool:
    """Whether it stays in its folder: jupyter-scheduler writes to where it leads."""
    return Path(name).name == name and name != ".."


def _complete(archive: Path) -> None:
    """Have it say how its job ended: as soon as the kernel has, which takes a moment longer than its owner."""
    until_at = time.monotonic() + _MOST_WAIT_S
    while not archives.close_lost(archive) and archive.exists() and time.monotonic() < until_at:
        time.sleep(_LOOK_S)


def _here() -> str:
    """This machine's name, and where a process's number means something."""
    return f"{platform.node()} {process.table()}"


def _place_of(job: Any) -> str:
    return str((job.runtime_environment_parameters or {}).get(_PLACE, ""))


def _is_gone(job: Any) -> bool:
    """Whether its process has ended; not known, and so False, of one on another machine that has the same database."""
    place = _place_of(job)
    if place == _here():
        return not _is_at_work(job.pid)
    return place.startswith(f"{platform.node()} ")  # which was started anew


def _is_at_work(pid: int) -> bool:
    """Whether the process of a job goes on; the number may be another process's since."""
    if not pid:
        return False
    try:
        found = psutil.Process(pid)
        return found.status() != psutil.STATUS_ZOMBIE and any(_SPAWNED in word for word in found.cmdline())
    except psutil.Error:
        return False


def _left_after(most_s: float, pids: Sequence[int]) -> list[int]:
    """Which of them still go on then; sooner where none does."""
    until = time.monotonic() + most_s
    while (left := [pid for pid in pids if _is_at_work(pid)]) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return left
