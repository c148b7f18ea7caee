"""`python -m aiinfra_lab.jobs.supervisor`: the one process that starts, watches and ends a workspace's jobs.

It holds a lock for as long as it lives and goes when nothing has lived for a while; with `stay`, as a service, it
waits for that lock and stays. With `stay in-container` it is what a container runs, which nothing outlives: at
SIGTERM it asks those jobs to end that nobody would start again. It may be killed at any moment: a job's wrapper claims
the job and writes its exit code without it, and its successor reads both.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from .. import files, logs, modes
from ..config import settings
from ..errors import Conflict, Denied, Unavailable, UsageProblem
from ..host import processes
from ..store import Record, open_store
from ..units import show_duration
from . import LOCK, LOG_MIB, child_environment, log_bytes, process
from .heartbeat import Heartbeat
from .home import home_id, renew_home_id
from .record import ALIVE, Folder, JobRecord, ended_state, exit_code, runs, stop_requested
from .remote import ended_remotely

IDLE_S = 5.0
GRACE_S = 5.0
TICK_S = 0.1
WAIT_S = 0.5
MAX_RESTARTS = 5
RESTARTS_WITHIN_S = 600.0
FIRST_PAUSE_S = 0.2

_log = logging.getLogger("aiinfra_lab.jobs.supervisor")  # __name__ is __main__ here

# Who holds this file for himself alone asks the supervisor to leave; a lock, so that the wish goes with its process.
LEAVE = "supervisor.leave"

# How long a wrapper may take until it claims its job.
CLAIM_S = 10.0

# `set -C` makes the pid file a claim: of two wrappers of one job only the first goes on. The trap lets the command
# get the SIGTERM that is sent to the whole group while the wrapper stays to write down how it ended: over spaces that
# have their room on the disk already, since it may be full by then.
_WRAPPER = """
set -C; echo $$ 2>/dev/null > "$AIINFRA_JOB_DIR/pid" || exit 0
printf '%4s' ' ' >| "$AIINFRA_JOB_DIR/exit.part"
trap : TERM INT HUP
asked=$1; shift
(umask "$asked"; exec "$@")
printf '%3d\\n' $? 1<> "$AIINFRA_JOB_DIR/exit.part" && mv "$AIINFRA_JOB_DIR/exit.part" "$AIINFRA_JOB_DIR/exit"
"""


class Supervisor:
    """Brings records and processes together, one tick at a time."""

    def __init__(self) -> None:
        self.settings = settings()
        self.home = self.settings.home
        self.store = open_store()
        self.live: dict[str, Record[JobRecord]] = {}
        self.seen_rev = 0
        self.asked_at: dict[str, float] = {}
        self.spawned_at: dict[str, float] = {}
        # Ended by another folder, which took this one for gone: leader, and when it was asked.
        self.leaving: dict[str, tuple[int, float, float]] = {}
        self.file = _identity(self.home)
        self.log_bytes = _log_bytes()
        self.heartbeat: Heartbeat | None = None
        self.may_act = True
        self.has_cleared = False

    def tick(self) -> int:
        """Look at every live job once; how many there are."""
        processes.reap()
        logs.bound(self.home / "supervisor.log", self.log_bytes)
        try:
            self._read()
            self.may_act = self._beat()
        except Unavailable as problem:
            # The database is away or the disk is full: what is known to live is watched all the same.
            _log.warning("the store cannot be read: %s", problem)
        if self.may_act:
            self._look_at_all()
        return len(self.live) + len(self.leaving)

    def _look_at_all(self) -> None:
        for name, (pid, born, asked_at) in list(self.leaving.items()):
            if time.monotonic() - asked_at > GRACE_S:
                process.end(pid, born, name)
                del self.leaving[name]
        for record in list(self.live.values()):
            try:
                self._look(record)
            except (Conflict, Denied, Unavailable):
                continue  # somebody asked for its end just now, or the store takes nothing: the next tick looks again

    def _beat(self) -> bool:
        """Give a sign of life while a job lives; whether the jobs may be acted on."""
        if not any(record.body.home for record in self.live.values()):
            return True
        self.heartbeat = self.heartbeat or Heartbeat(self.store, self.home)
        standing = self.heartbeat.look()
        if standing == "taken":
            _log.warning("another folder has this one's id and is watched: this one gets an id of its own")
            self.heartbeat, self.seen_rev = None, 0
            self.live.clear()
            renew_home_id(self.home)  # last, since a full disk may take none
        return standing == "acting"

    def _read(self) -> None:
        if (file := _identity(self.home)) != self.file:
            # The store was put back from a copy: what was read before may be of another past.
            self.file, self.seen_rev = file, 0
            self.live.clear()
        if not self.has_cleared:
            for name in ended_remotely(self.store, self.home, home_id(self.home)):
                self._dismiss(name, 0, 0.0)
            self.has_cleared = True
        # Of the first look only what is open matters, of later ones also what others have ended.
        only_open = None if self.seen_rev else True
        found = self.store.list(
            JobRecord, since_rev=self.seen_rev, is_open=only_open, order="written", skip_unreadable=True
        )
        where = Folder()
        for record in reversed(found):
            self.seen_rev = max(self.seen_rev, record.rev)
            if record.body.is_open and where.sees(record):
                self.live[record.name] = record
            elif (known := self.live.pop(record.name, None)) and known.body.supervised:
                self._dismiss(record.name, known.body.pid, known.body.born)

    def _dismiss(self, name: str, pid: int, born: float) -> None:
        """End what still runs of a job whose end somebody else has written."""
        if name not in self.leaving and any(process.tree(pid, born, name)):
            process.ask_to_end(pid, born, name)
            self.leaving[name] = (pid, born, time.monotonic())

    def _look(self, record: Record[JobRecord]) -> None:
        body = record.body
        logs.bound(self._folder(record) / "log", self.log_bytes)
        if not body.supervised:
            if not process.alive(body.pid, body.born):
                self._write(record, state="lost", ended_at=time.time())
        elif body.state == "starting":
            self._bring_up(record)
        elif not runs(record):
            self._ended(record)
        elif self._due(record):
            self._wind_down(record)

    def _bring_up(self, record: Record[JobRecord]) -> None:
        folder = self._folder(record)
        claimed = claim(folder)
        if claimed and process.belongs(claimed, record.name) and (born := process.birth(claimed)):
            self._write(record, state="running", pid=claimed, born=born)
        elif claimed is not None:
            self._ended(record)  # before anybody saw it run, with its exit code or without a word
        elif stop_requested(record):
            self._write(record, state="stopped", ended_at=time.time())
        # Again when nobody claimed it: its wrapper may have been killed first, and of two only one goes on.
        elif time.time() >= record.body.not_before and time.monotonic() - self._spawned(record) > CLAIM_S:
            self.spawned_at[record.name] = time.monotonic()
            try:
                _spawn(record.name, folder, self.settings.workspace, self.settings.project)
            except (OSError, ValueError, KeyError) as problem:  # its folder is gone, its words are too long, …
                _log.warning("%s could not be started: %s", record.name, problem)
                with contextlib.suppress(OSError), (folder / "log").open("a") as log:
                    log.write(f"it could not be started: {problem}\n")
                self._write(record, state="failed", ended_at=time.time(), ended_by=str(problem))

    def _spawned(self, record: Record[JobRecord]) -> float:
        # Not 0: the monotonic clock counts from boot, and may itself be young.
        return self.spawned_at.get(record.name, -1e9)

    def _due(self, record: Record[JobRecord]) -> bool:
        deadline_at = record.body.deadline_at
        return stop_requested(record) or (deadline_at is not None and time.time() >= deadline_at)

    def _wind_down(self, record: Record[JobRecord]) -> None:
        pid, born = record.body.pid, record.body.born
        if record.name not in self.asked_at:
            # Written first: whoever sees the process end must already be able to read why.
            with contextlib.suppress(Denied, Unavailable):  # but a full disk keeps nothing alive
                self._write(record, state="stopping", ended_by="request" if stop_requested(record) else "deadline")
            self.asked_at[record.name] = time.monotonic()
            process.ask_to_end(pid, born, record.name)
        elif time.monotonic() - self.asked_at[record.name] > (record.body.grace_s or GRACE_S):
            process.end(pid, born, record.name)

    def _ended(self, record: Record[JobRecord]) -> None:
        code = exit_code(self._folder(record))
        process.end(record.body.pid, record.body.born, record.name)  # whatever it left running
        logs.bound(self._folder(record) / "log", self.log_bytes)
        stopped = stop_requested(record) or record.body.ended_by == "deadline"
        state = ended_state(code, stopped=stopped)
        ended_by = record.body.ended_by or ("deadline" if code == 124 else None)
        if state in ("failed", "lost") and record.body.restart:
            if _lately(record.body) < MAX_RESTARTS:
                self._again(record)
                return
            ended_by = f"given up after {MAX_RESTARTS} restarts within {show_duration(RESTARTS_WITHIN_S)}"
        self._write(record, state=state, exit_code=code, ended_at=time.time(), ended_by=ended_by)

    def _again(self, record: Record[JobRecord]) -> None:
        folder, body, now = self._folder(record), record.body, time.time()
        # Before the record: one that is `starting` beside an old claim would be read as ended already.
        for name in ("pid", "exit"):
            (folder / name).unlink(missing_ok=True)
        self.spawned_at.pop(record.name, None)
        # Doubled each time: 3.2 s before the last start.
        not_before = now + FIRST_PAUSE_S * 2 ** _lately(body)
        restarted_at = (*body.restarted_at, now)[-MAX_RESTARTS:]
        counted = {"restarts": body.restarts + 1, "restarted_at": restarted_at}
        self._write(record, state="starting", not_before=not_before, pid=0, born=0.0, **counted)

    def _write(self, record: Record[JobRecord], **changes: object) -> None:
        written = self.store.commit([record.with_(**changes)])[0]
        self.live[record.name] = written
        if not written.body.is_open:
            self.asked_at.pop(record.name, None)
            self.live.pop(record.name, None)

    def _folder(self, record: Record[JobRecord]) -> Path:
        return self.home / "jobs" / record.name


def _lately(body: JobRecord) -> int:
    """How often it was started again within RESTARTS_WITHIN_S, by a clock that may have been set meanwhile."""
    return sum(abs(time.time() - at) < RESTARTS_WITHIN_S for at in body.restarted_at)


def _identity(home: Path) -> int:
    """Which file the store is; 0 when it is elsewhere."""
    try:
        return (home / "store.sqlite").stat().st_ino
    except OSError:
        return 0


def _log_bytes() -> int:
    """A bound that makes no sense must not keep what lives from being watched."""
    try:
        return log_bytes()
    except UsageProblem as problem:
        _log.warning("%s", problem)
        return LOG_MIB << 20


def claim(folder: Path) -> int | None:
    """The process that the job's wrapper said it is; None while nobody claimed the job.

    0 when whoever claimed it never wrote who it is: it was killed, or the job was withdrawn.
    """
    path = folder / "pid"
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        # It may be about to write it.
        return 0 if time.time() - path.stat().st_mtime > CLAIM_S else None


def _spawn(job_id: str, folder: Path, workspace: Path, project: Path) -> None:
    spec = json.loads((folder / "spec.json").read_text())
    argv = spec["argv"]
    if spec["deadline_s"]:
        # The command's own dead man's switch: it holds when no supervisor lives. --foreground: stay in our group.
        argv = ["timeout", "--foreground", "--kill-after=5", f"{spec['deadline_s']:.3f}", *argv]
    # Unbuffered: a log shows what was printed at once, and keeps it when the job is killed.
    mine = {"AIINFRA_JOB": job_id, "AIINFRA_JOB_DIR": str(folder), "PYTHONUNBUFFERED": "1"}
    if (alive := files.take_lock(folder / ALIVE)) is None:
        return  # an earlier wrapper, which has not claimed it yet
    with alive, (folder / "log").open("ab") as log:
        subprocess.Popen(
            ["/bin/sh", "-c", _WRAPPER, "sh", f"{spec.get('umask', modes.OTHERS):03o}", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[alive.fileno()],
            # `ask_to_end` signals the group that this makes, and `tree` finds the session.
            start_new_session=True,
            cwd=spec["cwd"],
            env={**child_environment(workspace, project), **spec["env"], **mine},
        ).returncode = 0  # its wrapper tells the exit code; `reap` collects the child


def _take(home: Path, asked: list[int], *, stays: bool) -> IO[bytes] | None:
    """The lock of whoever supervises; who stays waits for it, until asked to end, and for whoever asked the one before
    to leave."""
    is_noted = False
    while not asked:
        is_taken = stays and (files.is_locked(home / LEAVE) or files.is_locked(home / LOCK))
        lock = None if is_taken else files.take_lock(home / LOCK)
        if lock is not None or not stays:
            return lock
        if not is_noted:
            _log.info("waits for the end of another supervisor of %s", home)
            is_noted = True
        processes.reap()  # as the first process of a container it gets what others leave
        time.sleep(WAIT_S)
    return None


def main(*, stays: bool = False, in_container: bool = False) -> None:
    """Watch until nothing has lived for IDLE_S (not who stays), somebody asks it to leave, or the workspace is gone.

    in_container: at SIGTERM end the jobs that are not started again, such as runs of recipes, and then itself
    """
    logs.configure()
    supervisor = Supervisor()
    if in_container:
        files.make_folder(supervisor.home)  # its volume may be a new one
    asked: list[int] = []
    if in_container:  # the first process of one is not ended by a signal that it does not take
        signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    lock = _take(supervisor.home, asked, stays=stays)
    if lock is None:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.adopt_orphans()
    _end_all(_watch(supervisor, lock, asked, stays=stays))


def _watch(supervisor: Supervisor, lock: IO[bytes], asked: list[int], *, stays: bool) -> list[Record[JobRecord]]:
    """Watch while there is something to watch; what is to end with the supervisor."""
    idle_since = time.monotonic()
    while (supervisor.home / LOCK).exists() and not asked:
        if files.is_locked(supervisor.home / LEAVE):
            return []  # and what lives goes on
        if supervisor.tick():
            idle_since = time.monotonic()
        elif not stays and time.monotonic() - idle_since > IDLE_S:
            lock.close()
            # A job committed after the last look and before the lock was free would wait for ever: look once more.
            if not supervisor.tick():
                return []
            if (taken := files.take_lock(supervisor.home / LOCK)) is None:
                return []
            lock = taken
        time.sleep(TICK_S)
    live = [record for record in supervisor.live.values() if record.body.supervised]
    # Where nobody asked, the workspace is gone: no record can show any more what lives, and nobody could stop it.
    return [record for record in live if not (asked and record.body.restart)]


def _end_all(records: list[Record[JobRecord]]) -> None:
    """Ask them to end, and end what has not when its time is over: one may keep a machine that costs money."""
    for record in records:
        process.ask_to_end(record.body.pid, record.body.born, record.name)
    began = time.monotonic()
    while records:
        processes.reap()
        lasted_s = time.monotonic() - began
        for record in list(records):
            body = record.body
            is_late = lasted_s > (body.grace_s or GRACE_S)
            if is_late:
                process.end(body.pid, body.born, record.name)
            if is_late or not any(process.tree(body.pid, body.born, record.name)):
                records.remove(record)
        time.sleep(TICK_S)


if __name__ == "__main__":
    modes.keep_to_owner()
    main(stays="stay" in sys.argv[1:], in_container="in-container" in sys.argv[1:])
