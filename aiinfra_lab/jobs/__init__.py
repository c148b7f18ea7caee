"""Whatever outlives a cell is a job: a record, a supervised process, a heartbeat and a log.

`start` commits the record first and then sees to it that the workspace's one supervisor lives; the supervisor starts
the process. Jobs survive the supervisor's death and the next one adopts them. An in-process training run is a job too
(`here`), so that one list shows all that lives and one Stop reaches it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from .. import files, logs, modes, signals
from ..config import OPT_OUTS, settings
from ..errors import Conflict, Damaged, Denied, Interrupted, LabError, NotFound, Unavailable, UsageProblem
from ..nouns import KeptFile
from ..store import Event, Record, Store, open_store, patiently, update
from ..units import show_duration
from ..uris import Uri
from . import heartbeat, late, process, remote
from .home import make_home_id
from .record import (
    LIVE,
    STOP,
    Folder,
    HomeRecord,
    Job,
    JobRecord,
    State,
    ended_state,
    exit_code,
    folder_of,
    observe,
    stop_requested,
)

__all__ = [
    "LIVE", "LOCK", "OWN", "Here", "HomeRecord", "Job", "JobRecord",
    "beat", "cancel", "child_environment", "close_silent", "close_unseen", "discard", "ended_state", "exit_code",
    "find", "fix_of", "forget_restarts", "given_up", "here", "is_watched", "kept_files", "launch", "launch_or_withdraw",
    "log", "log_bytes", "ls", "needs_supervisor", "observe", "poll", "prepare", "start", "stop_requested", "wait",
    "withdraw",
]  # fmt: skip

OWN = ("AIINFRA_JOB", "AIINFRA_JOB_DIR", "AIINFRA_CONTEXT")
"""The variables of a job. A child with them would be taken for a part of it by `process.tree`, and be killed when it
ends."""

LOCK = "supervisor.lock"
_REQUEST = {"stop_requested_at"}
LOG_MIB = 32
_SUPERVISOR_S = 20.0  # until it lives
_SUPERVISORS = 4  # that are begun in turn where each is killed before that
_ANSWER_BYTES = 262_144


def prepare(
    subject: str,
    argv: Sequence[str],
    *,
    deadline_s: float | None = None,
    restart: bool = False,
    grace_s: float | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Record[JobRecord]:
    """A job's record, to be committed together with the record of what it is for; then call `launch`.

    The job runs in the environment of the workspace's supervisor, which is that of whoever needed it first.

    subject: URI of the thing the job is for
    argv: the command, no shell
    deadline_s: seconds after which it is ended, also when nobody is there to watch
    restart: whether it is started again when it fails (at most 5 times in 10 minutes, ever slower)
    grace_s: how long it may take to end before it is killed; 5 s when not given
    env: variables to add; never secrets' values: they are written to disk
    cwd: where it runs; the project folder when not given
    """
    now, uri = time.time(), Uri.parse(subject)
    log_bytes()  # a bound that makes no sense is refused before anything starts
    job_id = f"{uri.noun}-{uri.name}-{secrets.token_hex(4)}"
    folder = folder_of(job_id)
    files.make_folder(folder.parent)
    folder.mkdir(mode=0o700)
    spec = {"argv": list(argv), "env": dict(env or {}), "cwd": str(cwd or settings().project)}
    more = {"deadline_s": deadline_s, "umask": modes.users_umask()}
    try:
        path = folder / "spec.json"
        with files.lab_errors(path), open(path, "w", encoding="utf-8", opener=modes.opener) as file:
            json.dump({**spec, **more}, file)
        home = make_home_id(settings().home)
    except BaseException:  # nobody will ever know of it
        shutil.rmtree(folder, ignore_errors=True)
        raise
    body = JobRecord(
        subject=subject,
        state="starting",
        started_at=now,
        deadline_at=now + deadline_s if deadline_s else None,
        restart=restart,
        grace_s=grace_s,
        context=os.environ.get("AIINFRA_CONTEXT", ""),
        home=home,
    )
    return Record.new(job_id, body)


def given_up(job_id: str) -> list[Record[JobRecord]]:
    """The record of a job that died unseen, ended, to be committed with whatever takes its place; else nothing.

    Without it the next supervisor would start the job again, where it may be. What the job left running is ended.
    """
    record = open_store().get(JobRecord, job_id)
    if record is None or not record.body.is_open or (job := observe(record)).live:
        return []
    process.end(record.body.pid, record.body.born, job_id)
    return [record.with_(state=job.state, exit_code=job.exit_code, ended_at=time.time())]


def forget_restarts(job_id: str) -> None:
    """Let the job be started again as often as a new one, since somebody has asked for it anew."""

    def change(body: JobRecord) -> JobRecord | None:
        return replace(body, restarts=0, restarted_at=()) if body.restarts and body.is_open else None

    update(open_store(), JobRecord, job_id, change)


def is_watched() -> bool:
    """Whether the workspace's supervisor lives, which sees every end and starts again what shall be."""
    return files.is_locked(settings().home / LOCK)


def needs_supervisor() -> bool:
    """Whether this folder has something for a supervisor to do: a job that lives or died unseen, or is to be ended."""
    store, where = open_store(), Folder()
    for record in store.list(JobRecord, is_open=True, skip_unreadable=True):
        job = observe(record, where)
        if job.is_here and (job.live if job.supervised else not job.live and bool(record.body.home)):
            return True
    return bool(remote.ended_remotely(store, where.home, where.id))


def launch() -> None:
    """See to it that the workspace's supervisor lives; it starts every job whose record was committed."""
    home = settings().home
    # Two who look at once may each start one: the later supervisor finds the lock taken and ends.
    if is_watched():
        return
    files.make_folder(home)
    log = home / "supervisor.log"
    for _ in range(_SUPERVISORS):
        if _await_supervisor(home, log, _spawn_supervisor(home, log)):
            return
    raise _no_supervisor(log)


def _spawn_supervisor(home: Path, log: Path) -> tuple[int, float]:
    """Its pid and birth."""
    # Through a shell that ends at once: the supervisor must be nobody's child, or it would be left as a zombie.
    command = [sys.executable, "-m", "aiinfra_lab.jobs.supervisor"]
    logs.bound(log, log_bytes())  # supervisors that fail at once would fill it
    with open(log, "ab", opener=modes.opener) as output:
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            check=True,
            cwd=home,
            env=child_environment(settings().workspace, settings().project),
        )
    pid = int(shell.stdout)
    return pid, process.birth(pid)


def start(subject: str, argv: Sequence[str], **options: Any) -> Job:
    """Commit a job and start it; see `prepare` for the options. Returns at once, with state starting.

    Unavailable, and no job, when the workspace's supervisor does not start.
    """
    record = prepare(subject, argv, **options)
    try:
        record = open_store().commit([record])[0]
    except LabError:
        discard(record.name)
        raise
    launch_or_withdraw(record.name)
    return observe(record)


def close_unseen(job: Job) -> Job:
    """The job, with its end written when it died unseen: whoever tells its end must not have a supervisor undo it.

    While one lives it stays as it is: it writes the end, or starts the job again. Nothing is written by whoever may
    not write.
    """
    is_seen = job.live or job.ended_at is not None
    if is_seen or not job.supervised or not job.is_here or is_watched():
        return job
    with contextlib.suppress(LabError):
        open_store().commit(given_up(job.id))
    return poll(job.id)


def close_silent(subject: str) -> None:
    """Write the ends of the thing's jobs of other folders that are taken for gone; see `remote.close_silent`."""
    remote.close_silent(open_store(), subject)


def launch_or_withdraw(job_id: str) -> None:
    """Start a job whose record was committed. When that raises, no later supervisor starts the job."""
    try:
        launch()
    except (LabError, OSError, subprocess.SubprocessError):
        withdraw(job_id)
        raise


def withdraw(job_id: str) -> None:
    """End a job that may not have begun yet: it never begins, and one that does already is asked to end."""
    store = open_store()
    try:
        # The claim of its wrapper: whoever has it first decides, and whoever comes later ends.
        (folder_of(job_id) / "pid").touch(modes.OWNER_ONLY, exist_ok=False)
    except FileExistsError:
        _mark(store, job_id, stop_requested_at=time.time())
    else:
        _mark(store, job_id, state="stopped", ended_at=time.time(), ended_by="it could not be started")


def poll(job_id: str) -> Job:
    """The job as it is now. NotFound when there never was one of that id."""
    record = open_store().get(JobRecord, job_id)
    if record is None:
        raise NotFound(f"there is no job {job_id}", "list what lives with `%lab show`")
    return observe(record)


def ls(subject: str | None = None, *, live: bool = False) -> list[Job]:
    """Jobs, newest first: all, or those of one subject (a URI; without its version: of every version).

    Those whose record cannot be read are left out: `%lab check` names them.
    """
    # What is written down as ended has ended; of the others some may have died unseen.
    only_open = True if live else None
    records = open_store().list(JobRecord, about=subject, is_open=only_open, skip_unreadable=True)
    where = Folder()
    return [job for record in records if (job := observe(record, where)).live or not live]


def find(subject: str) -> Job | None:
    """The newest job of a subject, or None."""
    records = open_store().list(JobRecord, about=subject, limit=1)
    return observe(records[0]) if records else None


def cancel(job_id: str) -> Job:
    """Ask the job to end: SIGTERM, and SIGKILL to its whole tree 5 s later. Returns at once; may be repeated.

    A job in this or another interactive process sees the request at its next step. What a job that has ended left
    running is ended too. A request that the store does not take holds all the same; Denied or Unavailable when it can
    be written nowhere, or the store cannot be read. A job of another folder is ended by that one's supervisor; see
    `remote.settle` for one that gives no sign of life.
    """
    try:
        job = _mark(open_store(), job_id, stop_requested_at=time.time())
    except (Damaged, Denied, Unavailable) as problem:
        # A full disk, a damaged store or a database that takes no writes must not keep alive what costs money.
        try:
            (folder_of(job_id) / STOP).touch(modes.OWNER_ONLY)
        except OSError:
            raise problem from None
        job = poll(job_id)
    if not job.is_here:
        return _settle(job)
    if not job.supervised:
        return job
    if job.live:
        # A supervisor that was killed would never read the request, and a process that nobody watches would go on.
        launch()
    else:
        process.end(0, 0.0, job_id)
    return job


def wait(job_id: str, timeout_s: float | None = None, *, again: str = "") -> Job:
    """Wait until the job and whatever it started have ended, and return it.

    Unavailable after timeout_s, and at once when its end was requested and the folder that watches it gives no sign of
    life. On Ctrl-C only the waiting ends: Interrupted says how to find the job again, with `again`, the command that
    shows it.
    """

    def ended() -> Job | None:
        job = poll(job_id)
        # `ended_at` is written when the whole tree has ended; a state may be observed as soon as its leader has.
        if not job.live and (job.ended_at is not None or not job.supervised):
            return job
        if job.supervised and job.is_here:
            launch()  # one may have been killed since
        elif job.stop_requested_at and not job.is_here:
            _settle(job)
        return None

    def problem() -> Unavailable:
        job = poll(job_id)
        return Unavailable(f"{job.subject} still goes on after {show_duration(timeout_s or 0)}", _again(job, again))

    try:
        return files.until(ended, problem, within_s=timeout_s)
    except KeyboardInterrupt:
        raise Interrupted(f"you stopped waiting; {job_id} goes on", _again(poll(job_id), again)) from None


def log(job_id: str, lines: int = 200) -> str:
    """The end of the job's output, at most that many lines and 256 KiB; of a job of another folder, where it is."""
    job = poll(job_id)
    # A copy of that folder has the output, too.
    if not job.is_here and not job.log_path.exists():
        return f"the output of {job.subject} is in the folder that started it, which shares this store"
    text = logs.tail(job.log_path, _ANSWER_BYTES).decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-lines:])


def log_bytes() -> int:
    """What a job's log may take on disk, by the setting `jobs.log_mib`. UsageProblem when that is no size."""
    mib = settings().get("jobs.log_mib", LOG_MIB)
    if mib < 1:
        raise UsageProblem(f"jobs.log_mib = {mib} holds nothing", f"give it 1 or more; {LOG_MIB} is the default")
    return mib << 20


def kept_files() -> Iterator[KeptFile]:
    """The folders of the jobs that have ended, which hold their logs: nothing needs them but people."""
    for record in open_store().list(JobRecord, is_open=False, skip_unreadable=True):
        folder = folder_of(record.name)
        with contextlib.suppress(FileNotFoundError):  # freed before, or just now
            size = sum(path.stat().st_size for path in folder.iterdir())
            yield KeptFile(record.body.subject, folder, record.body.ended_at or record.body.started_at, size)


def beat() -> None:
    """Called by a job now and then to say that it is well; outside a job it does nothing."""
    if folder := os.environ.get("AIINFRA_JOB_DIR"):
        Path(folder, "heartbeat").touch(modes.OWNER_ONLY)


class Here:
    """This very process as a job, see `here`."""

    def __init__(self, job_id: str, store: Store) -> None:
        self.id = job_id
        # How it ended, when whoever works here knows better than by what was raised.
        self.ended: State | None = None
        self._store = store
        self._looked = 0.0
        self._asked = False

    def stop_requested(self) -> bool:
        """Whether somebody asked for the end, or wrote it; cheap: it looks at most five times a second."""
        if not self._asked and time.monotonic() - self._looked >= 0.2:
            self._looked = time.monotonic()
            with contextlib.suppress(Unavailable):  # a database that restarts ends no work
                record = self._store.get(JobRecord, self.id)
                # One that another folder took for gone has lost its claim to that one's next.
                self._asked = record is not None and (stop_requested(record) or not record.body.is_open)
        return self._asked


@contextlib.contextmanager
def here(subject: str, *also: Record[Any], event: Event | None = None) -> Iterator[Here]:
    """Work in this very process as a job: listed while it lasts, and reached by Stop through `stop_requested`.

    SIGTERM and SIGHUP interrupt it as Ctrl-C does, and then end the process; when that dies in the middle otherwise,
    the job is observed as lost. `also` and `event` are committed together with the
    job's record, so that nobody sees what the job is for without the job. Conflict, and no job, when they cannot be. A
    store that is away is waited for, as in `patiently`.
    """
    store = open_store()
    record = prepare(subject, [])
    pid, seen_at = os.getpid(), record.body.started_at
    leader = {"pid": pid, "born": process.birth(pid), "process_table": process.table()}
    running = record.with_(state="running", supervised=False, seen_at=seen_at, **leader)
    try:
        patiently(lambda: _commit_once(store, running, also, event))
    except LabError:
        discard(record.name)
        raise
    this = Here(record.name, store)
    # A kernel that is shut down, or a script that is ended, writes down its end first.
    with signals.taken() as requests:
        try:
            with heartbeat.beating(store, this.id), process.forks_end():
                yield this
        except BaseException as problem:
            requests.is_quiet = True
            stopped = this.stop_requested() or isinstance(problem, KeyboardInterrupt)
            _end_here(store, this.id, "stopped" if stopped else "failed")
            raise
        requests.is_quiet = True
        _end_here(store, this.id, this.ended or ("stopped" if this.stop_requested() else "done"))


def child_environment(workspace: Path, project: Path) -> dict[str, str]:
    """The environment of anything that must find this workspace again, and is no part of what runs here."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    # What the user has set himself overrides our switches, as in `opt_out`.
    return {**OPT_OUTS, **kept, "AIINFRA_WORKSPACE": str(workspace), "AIINFRA_PROJECT": str(project)}


def _commit_once(store: Store, job: Record[JobRecord], also: Sequence[Record[Any]], event: Event | None) -> None:
    """Commit a new job and what belongs to it, unless an earlier attempt has: its answer may have been lost."""
    if store.get(JobRecord, job.name) is None:
        store.commit([*also, job], event)


def discard(job_id: str) -> None:
    """Remove the folder of a job that was never committed."""
    shutil.rmtree(folder_of(job_id), ignore_errors=True)


def _end_here(store: Store, job_id: str, state: State) -> None:
    """Write the end of this process's own job."""
    ended_at = time.time()
    late.surely(lambda: _mark(store, job_id, state=state, ended_at=ended_at))


def _mark(store: Store, job_id: str, **changes: Any) -> Job:
    for _ in range(50):
        record = store.get(JobRecord, job_id)
        if record is None:
            raise NotFound(f"there is no job {job_id}", "list what lives with `%lab show`")
        # A request to stop that comes after the end must not turn `done` or `failed` into `stopped`, but one that is to
        # be started again has not ended; of several requests the first counts.
        seen = observe(record)
        goes_on = seen.live or (seen.state in ("lost", "failed") and record.body.restart and record.body.is_open)
        is_known = not goes_on or (changes.keys() == _REQUEST and record.body.stop_requested_at)
        if is_known and "state" not in changes:
            return observe(record)
        try:
            return observe(store.commit([record.with_(**changes)])[0])
        except Conflict:
            continue
    raise Conflict(f"job {job_id} changes too fast", "repeat in a moment")


def _settle(job: Job) -> Job:
    """A job of another folder whose end was requested; see `remote.settle`."""
    store = open_store()
    record = store.get(JobRecord, job.id)
    return observe(remote.settle(store, record)) if record and job.live else job


def fix_of(job: Job) -> str:
    """What helps when a job of another folder does not end that was asked to; "" for one of this folder."""
    store = open_store()
    record = None if job.is_here else store.get(JobRecord, job.id)
    return remote.fix(store, record) if record else ""


def _again(job: Job, again: str) -> str:
    if job.stop_requested_at and (helps := fix_of(job)):
        return helps
    subject = Uri.parse(job.subject)
    show, stop = (f"%{subject.noun} {verb} {subject.label}" for verb in ("show", "stop"))
    return f"look at it with `{again or show}`; end it with `{stop}`"


def _await_supervisor(home: Path, log: Path, begun: tuple[int, float]) -> bool:
    """Whether the workspace has one: as soon as it lives, or the one that was begun has ended without."""

    def is_decided() -> bool:
        return files.is_locked(home / LOCK) or not process.alive(*begun)

    files.until(is_decided, lambda: _no_supervisor(log), within_s=_SUPERVISOR_S, every_s=0.02)
    return files.is_locked(home / LOCK)


def _no_supervisor(log: Path) -> Unavailable:
    last = logs.last_problem(logs.tail(log, _ANSWER_BYTES).decode("utf-8", "replace")) or "it printed nothing"
    what = f"the workspace's supervisor does not start: {last}"
    return Unavailable(what, f"see {log}; is the machine overloaded?")
