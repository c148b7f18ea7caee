"""Whoever wants a process forked: asks the pool, and starts one in the background where there is none.

Imported by the command line before anything else: the standard library alone, and little of it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time

from . import match

TYPE_CHECKING = False  # `typing` takes as long to import as all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

_WITHIN_S = 10.0
_LEAST_BYTES = 4 << 30
_AGAIN_S = 600.0  # after a pool that was not healthy
SOCKET, LOG, PROBLEM, HOLD, WRITTEN = "s", "log", "problem", "lock", "written"
CONFIRMED = b"\n"  # a fork begins once who has asked for it says so, who may have given it up


class Forked:
    """A process that the pool has forked for this one, which ends with it.

    connection: to the pool, which knows how it has ended. own: to the process, which says that itself, before its
    memory is given back; and is asked where the pool was killed. is_light: whether that word is enough: of a kernel,
    which may have a whole accelerator, it must be gone before another one begins.
    """

    returncode: int | None = None
    _is_silent = False  # whether it has ended without a word

    def __init__(
        self, connection: socket.socket, own: socket.socket, pid: int, rest: bytes, *, is_light: bool = True
    ) -> None:
        self.pid, self._is_light = pid, is_light
        self._connection, self._own, self._rest = connection, own, rest

    def leave(self) -> None:
        """Hear no more of it."""
        self._connection.close()
        self._own.close()

    def poll(self) -> int | None:
        """Its exit code once it has ended, as of `subprocess`; None before."""
        return self.wait(0.0)

    def wait(self, timeout: float | None = None, *, alone: Callable[[], object] = lambda: None) -> int | None:
        """The same, waiting for it; None when it takes longer. alone: called when it goes on without its pool."""
        while self.returncode is None:
            if self._is_light and self._connection is not self._own and not self._is_silent:
                heard = self._heard(timeout)
                if not heard:
                    return None
                if self._own.fileno() in heard:
                    self._take_word()
                    continue
            self._connection.settimeout(timeout)
            try:
                answer, self._rest = read_line(self._connection, self._rest)
            except (BlockingIOError, TimeoutError):
                return None
            except OSError:
                answer = {}
            if not answer and self._connection is not self._own:  # the pool was killed
                self._connection.close()
                self._connection = self._own
                alone()
                continue
            # Who says nothing at its end was killed, too.
            self.returncode = int(answer.get("code", -signal.SIGKILL))
            self.leave()
        return self.returncode

    def _heard(self, timeout: float | None) -> list[int]:
        """From whom of the two something has come; empty when that takes longer."""
        poller = select.poll()
        for each in (self._own, self._connection):
            poller.register(each, select.POLLIN)
        return [number for number, _ in poller.poll(None if timeout is None else timeout * 1000)]

    def _take_word(self) -> None:
        answer, _ = read_line(self._own, b"")
        self._is_silent = not answer  # it was killed, and the pool knows how
        if answer:
            self.returncode = int(answer["code"])
            self.leave()


def fork(
    kind: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    umask: int,
    descriptors: Sequence[int] = (0, 1, 2),
) -> Forked | None:
    """Have the pool fork a process of a kind; None when there is none, or it cannot do that: spawn it then.

    env, cwd, umask, descriptors: the process's own, the last its standard input, output and error
    """
    place = match.folder()
    if not match.is_private(place):
        return None
    request = {
        "kind": kind,
        "argv": list(argv),
        "env": dict(env),
        "cwd": cwd,
        "umask": umask,
        "fixed": match.fixed(env),
        "adjustable": match.adjustable(),
    }
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_WITHIN_S)
    own, theirs = socket.socketpair()
    try:
        connection.connect(f"{place}/{SOCKET}")
        data = json.dumps(request).encode()
        socket.send_fds(connection, [len(data).to_bytes(8, "big")], [*descriptors, theirs.fileno()])
        connection.sendall(data)
        answer, rest = read_line(connection, b"")
        if "pid" in answer:
            own.sendall(CONFIRMED)
            return Forked(connection, own, int(answer["pid"]), rest, is_light=kind != "kernel")
    except (OSError, ValueError):
        pass
    finally:
        theirs.close()  # its end is seen where nobody else has it
    connection.close()
    own.close()
    return None


def read_line(connection: socket.socket, rest: bytes) -> tuple[dict[str, Any], bytes]:
    """One answer of the pool, empty when it has closed the connection, and what came behind it."""
    while b"\n" not in rest:
        piece = connection.recv(4096)
        if not piece:
            return {}, b""
        rest += piece
    line, _, rest = rest.partition(b"\n")
    return dict(json.loads(line)), rest


def order(what: str) -> dict[str, Any]:
    """`show`: what a pool says of itself; `end`: it ends once nothing that it has forked is left. Empty without one."""
    place = match.folder()
    if not match.is_private(place):
        return {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_WITHIN_S)
        try:
            connection.connect(f"{place}/{SOCKET}")
            data = json.dumps({"kind": what}).encode()
            connection.sendall(len(data).to_bytes(8, "big") + data)
            return read_line(connection, b"")[0]
        except (OSError, ValueError):
            return {}


def may_be(setting: str) -> bool:
    """Whether there may be a pool here, by the setting: `auto` wants Linux and 4 GB of memory."""
    if setting in match.OFF or not sys.platform.startswith("linux"):
        return False
    return setting in ("on", "1", "true", "yes") or match.total_bytes() >= _LEAST_BYTES


def start(preload: str = "") -> None:
    """Start a pool in the background, unless there is one, or there was one a short time ago that was not healthy."""
    import contextlib
    import subprocess
    from pathlib import Path

    place = Path(match.folder())
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        if not match.is_private(str(place)):
            return
    except OSError:
        return
    problem = place / PROBLEM
    if problem.exists() and time.time() - problem.stat().st_mtime < _AGAIN_S:
        return
    left_out = ("AIINFRA_", *match.THREADS)  # how many threads is for each fork to have
    env = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    # It is no child of whoever began it, whose end would be that of all.
    apart = "import os, sys; os.fork() and os._exit(0)"
    code = f"{apart}; from aiinfra_lab.pool.template import main; main(sys.argv[1])"
    with contextlib.ExitStack() as opened:
        try:
            log = opened.enter_context(open(place / LOG, "wb", opener=_private))
        except OSError:  # its disk is full or read-only
            return
        subprocess.Popen(
            [sys.executable, "-c", code, preload],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place,
            env=env,
            start_new_session=True,
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def wait_ready(within_s: float) -> bool:
    """Whether a pool answers within that time."""
    until = time.monotonic() + within_s
    while not order("show"):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def is_this_python(argv: Sequence[str]) -> bool:
    """Whether a kernel's command is that of ipykernel in this interpreter."""
    return list(argv[:3]) == [sys.executable, "-m", "ipykernel_launcher"]


def folder_of_log() -> Path:
    """Where a pool writes what it complains about."""
    from pathlib import Path

    return Path(match.folder(), LOG)
