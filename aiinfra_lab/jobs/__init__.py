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
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, logs
from ..config import OPT_OUTS, settings
from ..errors import Conflict, Interrupted, NotFound, Unavailable, UsageProblem
from ..store import Record, Store, open_store
from ..units import show_duration
from . import process

_OWN = ("AIINFRA_JOB", "AIINFRA_JOB_DIR", "AIINFRA_CONTEXT")

LIVE = ("starting", "running", "stopping")
KIND = "job"
LOCK = "supervisor.lock"
LOG_MIB = 32
_ANSWER_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was observed: the record, corrected by what the process table and the job's folder say.

    `context` is what it was started for, such as a recipe's step.
    `state` is one of starting, running, stopping, done, failed, stopped, lost (its process vanished without a word).
    """

    id: str
    subject: str
    state: str
    started_at: float
    ended_at: float | None
    exit_code: int | None
    pid: int
    deadline_at: float | None
    stop_requested_at: float | None
    restarts: int
    folder: Path
    supervised: bool
    context: str
    rev: int

    @property
    def live(self) -> bool:
        """Whether it still goes on."""
        return self.state in LIVE

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


def prepare(
    subject: str,
    argv: Sequence[str],
    *,
    deadline_s: float | None = None,
    restart: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Record:
    """A job's record, to be committed together with the record of what it is for; then call `launch`.

    The job runs in the environment of the workspace's supervisor, which is that of whoever needed it first.

    subject: URI of the thing the job is for
    argv: the command, no shell
    deadline_s: seconds after which it is ended, also when nobody is there to watch
    restart: whether it is started again when it fails (at most 5 times, ever slower)
    env: variables to add; never secrets' values: they are written to disk
    cwd: where it runs; the project folder when not given
    """
    home, now = settings().home, time.time()
    log_bytes()  # a bound that makes no sense is refused before anything starts
    job_id = f"{subject.partition('@')[0].replace(':', '-')}-{secrets.token_hex(4)}"
    folder = home / "jobs" / job_id
    folder.mkdir(parents=True, mode=0o700)
    spec = {"argv": list(argv), "env": dict(env or {}), "cwd": str(cwd or settings().project)}
    (folder / "spec.json").write_text(json.dumps({**spec, "deadline_s": deadline_s}))
    body = {
        "subject": subject,
        "state": "starting",
        "started_at": now,
        "deadline_at": now + deadline_s if deadline_s else None,
        "restart": restart,
        "supervised": True,
        "context": os.environ.get("AIINFRA_CONTEXT", ""),
    }
    return Record.new(KIND, job_id, body)


def given_up(job_id: str) -> list[Record]:
    """The record of a job that died unseen, ended, to be committed with whatever takes its place; else nothing.

    Without it the next supervisor would start the job again, where it may be.
    """
    record = open_store().get(KIND, job_id)
    if record is None or record.body["state"] not in LIVE or (job := observe(record)).live:
        return []
    return [record.with_(state=job.state, exit_code=job.exit_code, ended_at=time.time())]


def launch() -> None:
    """See to it that the workspace's supervisor lives; it starts every job whose record was committed."""
    home = settings().home
    if files.is_locked(home / LOCK):
        return
    home.mkdir(parents=True, exist_ok=True)
    # Through a shell that ends at once: the supervisor must be nobody's child, or it would be left as a zombie.
    command = [sys.executable, "-m", "aiinfra_lab.jobs.supervisor"]
    log = home / "supervisor.log"
    logs.bound(log, log_bytes())  # supervisors that fail at once would fill it
    with log.open("ab") as output:
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            check=True,
            cwd=home,
            env=child_environment(settings().workspace, settings().project),
        )
    _await_supervisor(home, log)


def start(subject: str, argv: Sequence[str], **options: Any) -> Job:
    """Commit a job and start it; see `prepare` for the options. Returns at once, with state starting."""
    store = open_store()
    record = store.put(prepare(subject, argv, **options), expected_rev=0)
    launch()
    return observe(record)


def poll(job_id: str) -> Job:
    """The job as it is now. NotFound when there never was one of that id."""
    record = open_store().get(KIND, job_id)
    if record is None:
        raise NotFound(f"there is no job {job_id}", "list what lives with `%lab show`")
    return observe(record)


def ls(subject: str | None = None, *, live: bool = False) -> list[Job]:
    """Jobs, newest first: all, or those of one subject (a URI; without its version: of every version)."""
    found = []
    for record in open_store().list(KIND):
        theirs = record.body["subject"]
        if subject is None or subject in (theirs, theirs.partition("@")[0]):
            job = observe(record)
            if job.live or not live:
                found.append(job)
    return sorted(found, key=lambda job: job.started_at, reverse=True)


def find(subject: str) -> Job | None:
    """The newest job of a subject, or None."""
    return next(iter(ls(subject)), None)


def cancel(job_id: str) -> Job:
    """Ask the job to end: SIGTERM, and SIGKILL to its whole tree 5 s later. Returns at once; may be repeated.

    A job in this or another interactive process sees the request at its next step.
    """
    job = _mark(open_store(), job_id, stop_requested_at=time.time())
    if job.live and job.supervised:
        launch()
    return job


def wait(job_id: str, timeout_s: float | None = None, *, again: str = "") -> Job:
    """Wait until the job and whatever it started have ended, and return it.

    Unavailable after timeout_s. On Ctrl-C only the waiting ends: Interrupted says how to find the job again, with
    `again`, the command that shows it.
    """

    def ended() -> Job | None:
        job = poll(job_id)
        if not job.live and (job.ended_at is not None or not job.supervised):
            return job
        if job.supervised:
            launch()  # one may have been killed since
        return None

    def problem() -> Unavailable:
        job = poll(job_id)
        return Unavailable(f"{job.subject} still goes on after {show_duration(timeout_s or 0)}", _again(job, again))

    try:
        return files.until(ended, problem, within_s=timeout_s)
    except KeyboardInterrupt:
        raise Interrupted(f"you stopped waiting; {job_id} goes on", _again(poll(job_id), again)) from None


def log(job_id: str, lines: int = 200) -> str:
    """The end of the job's output, at most that many lines and 256 KiB."""
    text = logs.tail(poll(job_id).log_path, _ANSWER_BYTES).decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-lines:])


def log_bytes() -> int:
    """What a job's log may take on disk, by the setting `jobs.log_mib`. UsageProblem when that is no size."""
    mib = settings().get("jobs.log_mib", LOG_MIB)
    if mib < 1:
        raise UsageProblem(f"jobs.log_mib = {mib} holds nothing", f"give it 1 or more; {LOG_MIB} is the default")
    return mib << 20


def beat() -> None:
    """Called by a job now and then to say that it is well; outside a job it does nothing."""
    if folder := os.environ.get("AIINFRA_JOB_DIR"):
        Path(folder, "heartbeat").touch()


class Here:
    """This very process as a job, see `here`."""

    def __init__(self, job_id: str, store: Store) -> None:
        self.id = job_id
        self.ended = ""  # done, failed or stopped, when whoever works here knows better than by what was raised
        self._store = store
        self._looked = 0.0
        self._asked = False

    def stop_requested(self) -> bool:
        """Whether somebody asked for the end; cheap: it looks at most five times a second."""
        if not self._asked and time.monotonic() - self._looked >= 0.2:
            self._looked = time.monotonic()
            record = self._store.get(KIND, self.id)
            self._asked = record is not None and bool(record.body.get("stop_requested_at"))
        return self._asked


@contextlib.contextmanager
def here(subject: str) -> Iterator[Here]:
    """Work in this very process as a job: listed while it lasts, and reached by Stop through `stop_requested`.

    When the process dies in the middle the job is observed as lost.
    """
    store = open_store()
    record = prepare(subject, [])
    pid = os.getpid()
    body = {**record.body, "state": "running", "supervised": False, "pid": pid, "born": process.birth(pid)}
    store.put(Record.new(KIND, record.name, body), expected_rev=0)
    this = Here(record.name, store)
    try:
        yield this
    except BaseException as problem:
        stopped = this.stop_requested() or isinstance(problem, KeyboardInterrupt)
        _mark(store, this.id, state="stopped" if stopped else "failed", ended_at=time.time())
        raise
    state = this.ended or ("stopped" if this.stop_requested() else "done")
    _mark(store, this.id, state=state, ended_at=time.time())


def observe(record: Record) -> Job:
    """What a record says, corrected by the process table: a dead process is not running, whatever was written last."""
    body = record.body
    folder = settings().home / "jobs" / record.name
    state, code, pid = body["state"], body.get("exit_code"), body.get("pid", 0)
    if state in ("running", "stopping") and not process.alive(pid, body.get("born", 0.0)):
        code = exit_code(folder)
        state = ended_state(code, stopped=state == "stopping" or bool(body.get("stop_requested_at")))
    return Job(
        id=record.name,
        subject=body["subject"],
        state=state,
        started_at=body["started_at"],
        ended_at=body.get("ended_at"),
        exit_code=code,
        pid=pid,
        deadline_at=body.get("deadline_at"),
        stop_requested_at=body.get("stop_requested_at"),
        restarts=body.get("restarts", 0),
        folder=folder,
        supervised=body.get("supervised", True),
        context=body.get("context", ""),
        rev=record.rev,
    )


def ended_state(code: int | None, *, stopped: bool) -> str:
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


def child_environment(workspace: Path, project: Path) -> dict[str, str]:
    """The environment of anything that must find this workspace again, and is no part of what runs here."""
    kept = {name: value for name, value in os.environ.items() if name not in _OWN}
    return {**OPT_OUTS, **kept, "AIINFRA_WORKSPACE": str(workspace), "AIINFRA_PROJECT": str(project)}


def _mark(store: Store, job_id: str, **changes: Any) -> Job:
    for _ in range(50):
        record = store.get(KIND, job_id)
        if record is None:
            raise NotFound(f"there is no job {job_id}", "list what lives with `%lab show`")
        if not observe(record).live and "state" not in changes:
            return observe(record)
        try:
            return observe(store.put(record.with_(**changes), expected_rev=record.rev))
        except Conflict:
            continue
    raise Conflict(f"job {job_id} changes too fast", "repeat in a moment")


def _again(job: Job, again: str) -> str:
    noun, _, name = job.subject.partition(":")
    return f"look at it with `{again or f'%{noun} show {name}'}`; end it with `%{noun} stop {name}`"


def _await_supervisor(home: Path, log: Path) -> None:
    def problem() -> Unavailable:
        last = logs.last_problem(logs.tail(log, _ANSWER_BYTES).decode("utf-8", "replace")) or "it printed nothing"
        what = f"the workspace's supervisor does not start: {last}"
        return Unavailable(what, f"see {log}; is the machine overloaded?")

    files.until(lambda: files.is_locked(home / LOCK), problem, within_s=20, every_s=0.02)
