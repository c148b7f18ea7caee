"""What a job's script runs on its node: it holds the allocation, and starts the host core that an owner brings.

A text, not a module: it goes over in the script, and runs by itself (standard library, Python 3.9). Whatever starts in
a step is killed with the step, so a step only hands its streams over, and the core descends from here. When the core
has ended this ends, and with it the job. One that nobody brings a kernel to ends by itself.

Arguments: the folder, when the session is over (epoch seconds), how long nobody may come (seconds).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_LATE_S = 20.0  # for an owner that moved the end while the job was in the queue, and only now hears that it has begun
_GONE_S = 10.0  # for the core, and what it started, after its guard
_NOBODY = 75  # EX_TEMPFAIL of sysexits.h: no owner has come
_NOTICE_S = 120.0  # as `--signal` asks for it


class JobScript:
    """door: the socket at which steps hand their streams over; a link in the folder leads there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # On the node itself, since a shared file system may know no sockets; a step runs on the same node.
        self.sockets = Path(tempfile.mkdtemp(prefix="aiinfra-"))
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.door.bind(str(self.sockets / "door"))
        self.door.listen(4)
        (folder / "door").symlink_to(self.sockets / "door")
        self.steps: dict[int, socket.socket] = {}
        self.has_begun = self.is_asked_to_end = False

    def run(self, until: float) -> None:
        """Return when the kernel has ended, or none has come by then."""
        wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        for number, hear in (
            (signal.SIGTERM, self.ask_to_end),
            (signal.SIGUSR1, self.note_end),
            (signal.SIGCHLD, lambda *_: None),
        ):
            signal.signal(number, hear)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        while self.goes_on(until):
            left = None if self.has_begun or self.steps else max(0.0, until - time.time())
            ready = select.select([self.door.fileno(), wakeup], [], [], left)[0]
            if wakeup in ready:
                os.read(wakeup, 4096)
                self.reap()
            if self.door.fileno() in ready:
                self.take()

    def goes_on(self, until: float) -> bool:
        if self.has_begun:
            return guard(self.folder) in children()
        return not self.is_asked_to_end and (bool(self.steps) or time.time() < until)

    def take(self) -> None:
        """Run a step's command here, with the step's own streams."""
        step = self.door.accept()[0]
        step.settimeout(10)
        try:
            command, streams, _, _ = socket.recv_fds(step, 1 << 16, 3)
        except OSError:
            return step.close()
        argv = [word.decode() for word in command.split(b"\0")]
        for stream in streams:
            os.set_inheritable(stream, False)  # else the core keeps it, and the step waits for its end
        moved = [(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)]
        try:
            self.steps[os.posix_spawnp(argv[0], argv, dict(os.environ), file_actions=moved)] = step
        except OSError:
            step.close()
        for stream in streams:
            os.close(stream)
        return None

    def reap(self) -> None:
        """Collect what has ended; a step gets the exit code of its command."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                step = self.steps.pop(ended[0], None)
                if step is None:
                    continue
                code = os.waitstatus_to_exitcode(ended[1])
                self.has_begun = self.has_begun or code == 0
                with step, contextlib.suppress(OSError):
                    step.send(bytes([code if 0 <= code < 256 else 1]))

    def ask_to_end(self, *_: object) -> None:
        self.is_asked_to_end = True
        pid = guard(self.folder)
        if pid in children():
            os.kill(pid, signal.SIGTERM)

    def note_end(self, *_: object) -> None:
        """Slurm will end the job soon: its time is nearly over, or another job takes its place."""
        with contextlib.suppress(OSError):
            (self.folder / "notice").write_text(f"{time.time() + _NOTICE_S:.0f}")

    def close(self) -> None:
        until = time.monotonic() + _GONE_S
        while children() and time.monotonic() < until:
            self.reap()
            time.sleep(0.05)
        shutil.rmtree(self.sockets, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.folder / "door").unlink()


def guard(folder: Path) -> int:
    """The process that keeps the kernel of that folder; 0 when there is none."""
    try:
        return int(json.loads((folder / "host.json").read_text())["pid"])
    except (OSError, ValueError, LookupError):
        return 0


def children() -> set[int]:
    me = os.getpid()
    return set(map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split()))


def main(folder: str, deadline_at: str, alone_s: str) -> None:
    os.umask(0o077)
    now, place = time.time(), Path(folder).expanduser()
    place.mkdir(0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    for name in ("door", "notice"):  # of a job before of this token, if there ever is one
        with contextlib.suppress(OSError):
            (place / name).unlink()
    os.environ["AIINFRA_NOTICE"] = str(place / "notice")
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # so that the core is a child of this process
    job = JobScript(place)
    try:
        job.run(min(now + float(alone_s), max(float(deadline_at), now + _LATE_S)))
    finally:
        job.close()
    if not (job.has_begun or job.is_asked_to_end):
        sys.exit(_NOBODY)


if __name__ == "__main__":
    main(*sys.argv[1:])
