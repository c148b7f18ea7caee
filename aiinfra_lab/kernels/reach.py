"""How an owner reaches the host of its kernel: by any command that passes bytes, or on this machine by a socket.

Nothing of ours has to be there: the host core's files go over the same way. The spec goes over standard input, since
arguments can be read by every user of a machine.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import re
import select
import shlex
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Protocol

from ..errors import Failed, LabError, Unavailable
from ..host import __file__ as _host
from ..host import remains
from ..host.spec import LISTENING, HostSpec, read_state
from ..jobs.process import end_child
from ..pool import asking, core, wanted

BEGIN_S = 30.0
NO_CORE = 69
_ONLY_FAILED = re.compile("srun: error: .*: Exited with exit code [0-9]+|command terminated with exit code [0-9]+")
_FIRST = """import os
s = b""
while len(s) < {size}:
    p = os.read(0, {size} - len(s))
    if not p: raise SystemExit(1)
    s += p
exec(s)"""


@dataclass(frozen=True, slots=True)
class ByteStream:
    """An open stream of bytes to a core, or to what it left. The other two are called once it was closed.

    problem: why it broke, as far as that is known. is_last: whether the host says that there is no core any more
    """

    reads: int
    writes: int
    close: Callable[[], None]
    problem: Callable[[], str] = field(default=lambda: "")
    is_last: Callable[[], bool] = field(default=lambda: False)

    @contextlib.contextmanager
    def as_files(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Its two directions, to read from and to write to; it is closed at the end."""
        with contextlib.ExitStack() as open_ones:
            open_ones.callback(self.close)
            reader = open_ones.enter_context(open(self.reads, "rb", closefd=False))
            writer = open(self.writes, "wb", closefd=False)  # noqa: SIM115  # closed by the next line
            open_ones.callback(_close_quietly, writer)
            yield reader, writer


def _close_quietly(writer: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # what could not be written any more
        writer.close()


class Reach(Protocol):
    """A way to the host of one kernel.

    keepalive_s: after how long a silent stream is asked for a sign of life; None where a broken one shows by itself
    attempts: how many to connect may be under way at one time
    """

    keepalive_s: float | None
    attempts: int

    def begin(self, spec: HostSpec) -> None:
        """Start the core; returns when an owner may connect. Failed when it cannot be started, Unavailable when its
        host cannot be reached."""

    def connect(self, within_s: float | None = None) -> ByteStream:
        """Open a stream to the core, or to what is left of it when it has ended. Unavailable when its host cannot be
        reached now, or not in that time; without one it takes as long as its host takes."""

    def serve(self, what: Literal["sync", "environment"], folder: str) -> ByteStream:
        """Open a stream to a program of ours on the host: one that syncs that folder, or makes environments in it.
        Unavailable when its host cannot be reached."""

    def run_by(self, python: str) -> Reach:
        """The same way to the host, with another Python that runs the core there."""


class LocalReach:
    """This machine: see `Reach`. folder: the spec's. warm: whether core and kernel may come out of the pool."""

    keepalive_s: float | None = None
    attempts = 1

    def __init__(self, folder: Path, *, warm: bool = False) -> None:
        self._folder, self._warm = folder, warm

    def begin(self, spec: HostSpec) -> None:
        if self._warm and asking.is_this_python(spec.argv) and wanted.pool() and core.keep(spec):
            return
        done = subprocess.run(
            command_here("keep"),
            input=spec.dump(),
            capture_output=True,
            timeout=BEGIN_S,
            env=spec.env,
            check=False,
        )
        if done.stdout != LISTENING:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise Failed(f"its host core did not start: {lines[-1] if lines else done.returncode}", "try again")

    def connect(self, within_s: float | None = None) -> ByteStream:
        core = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            state = read_state(self._folder)
            core.connect(state.socket if state else "")
        except OSError:
            core.close()
            return self._remains()
        return ByteStream(core.fileno(), core.fileno(), core.close)

    def serve(self, what: Literal["sync", "environment"], folder: str) -> ByteStream:
        return _stream_of(_started(command_here(what, folder)))

    def run_by(self, python: str) -> LocalReach:
        return self  # this Python keeps every kernel here

    def _remains(self) -> ByteStream:
        """What a core that is gone has left, in a thread of this process."""
        ours, theirs = socket.socketpair()

        def serve() -> None:
            with theirs:
                remains.serve(self._folder, theirs.fileno(), theirs.fileno())

        threading.Thread(target=serve, daemon=True).start()
        return ByteStream(ours.fileno(), ours.fileno(), ours.close, is_last=lambda: True)


class CommandReach:
    """A host behind a command that passes standard input and output: `ssh HOST`, `srun …`, `kubectl exec -i POD --`.

    folder: the spec's, on that host. shell: whether the command gives its arguments to a shell there, as ssh does.
    python: what runs the core there; it needs pyzmq. env: of the command itself, on this machine. attempts: see
    `Reach`; few of a command that is costly where it goes.
    """

    keepalive_s: float | None = 3.0

    def __init__(
        self,
        command: Sequence[str],
        folder: str,
        *,
        shell: bool = True,
        python: str = "python3",
        env: Mapping[str, str] | None = None,
        attempts: int = 4,
    ) -> None:
        self.attempts = attempts
        self._command, self._folder, self._shell, self._python = list(command), folder, shell, python
        self._env = env

    def begin(self, spec: HostSpec) -> None:
        process = self._run("keep")
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send_files(process)
            process.stdin.write(spec.dump())
            process.stdin.close()
            if process.stdout.readline() == LISTENING:
                process.stdout.close()
                return
        except OSError:
            pass  # what it says on standard error tells more
        raise self._problem(process)

    def connect(self, within_s: float | None = None) -> ByteStream:
        return self._open(within_s, "attach", self._folder)

    def serve(self, what: Literal["sync", "environment"], folder: str) -> ByteStream:
        return self._open(None, what, folder)

    def run_by(self, python: str) -> CommandReach:
        changed = copy.copy(self)
        changed._python = python
        return changed

    def _open(self, within_s: float | None, *arguments: str) -> ByteStream:
        process = self._run(*arguments)
        try:
            _send_files(process, within_s)
        except OSError as why:
            problem = self._problem(process, str(why))
            raise problem from None
        return _stream_of(process)

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        # The program comes over standard input too: on the command line it would fill what `ps` shows.
        program, remote = _loader(), self._remote(*arguments)
        argv = [*self._command, *(map(shlex.quote, remote) if self._shell else remote)]
        process = _started(argv, self._env)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it says on standard error tells more
            process.stdin.write(program)
        return process

    def _remote(self, *arguments: str) -> list[str]:
        """The command there."""
        return [self._python, "-c", _FIRST.format(size=len(_loader())), _digest(), *arguments]

    def _problem(self, process: subprocess.Popen[bytes], why: str = "") -> LabError:
        """Why a command ended, or was given up, that should have gone on; `why` where it says nothing itself."""
        _end(process)
        where, last = " ".join(self._command), _last_line(process)
        if process.returncode == 1 and last.startswith("ModuleNotFoundError"):
            what = f"{self._python} there cannot keep a kernel: {last}"
            return Failed(what, f"install ipykernel there, e.g. `{where} {self._python} -m pip install ipykernel`")
        return Unavailable(f"`{where}` does not reach a host: {last or why or process.returncode}", "try it by hand")


def command_here(*arguments: str) -> list[str]:
    """The command that runs the host's programs on this machine. They are no part of the package here either: they are
    found by their folder alone, which is first in the path as long as that takes: the user may have a module `host`,
    and our packages have names of others."""
    found = "import sys; sys.path.insert(0, sys.argv.pop(1)); import host; del sys.path[0]"
    code = f"{found}; from host.__main__ import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", code, str(Path(_host).parents[1]), *arguments]


def _started(argv: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C here is not for it
            env=env,
            bufsize=0,
        )
    except OSError as problem:
        raise Failed(f"{argv[0]} cannot be run: {problem.strerror}", f"install {argv[0]}") from None


def _stream_of(process: subprocess.Popen[bytes]) -> ByteStream:
    assert process.stdin is not None
    assert process.stdout is not None
    return ByteStream(
        process.stdout.fileno(),
        process.stdin.fileno(),
        close=lambda: _end(process),
        problem=lambda: _last_line(process),
        is_last=lambda: process.returncode == NO_CORE,
    )


def _send_files(process: subprocess.Popen[bytes], within_s: float | None = None) -> None:
    """Send the host core's files when the host asks for them. OSError when it is not reached in that time."""
    assert process.stdin is not None
    assert process.stdout is not None
    until = None if within_s is None else time.monotonic() + within_s
    answer = _answer(process.stdout, until)
    if answer == b"?":
        files = _bundle()
        process.stdin.write(len(files).to_bytes(4, "big") + files)
        answer = _answer(process.stdout, until)
    if answer != b"!":
        raise ConnectionError("the host does not answer")


def _answer(output: IO[bytes], until: float | None) -> bytes:
    """One byte of a command's output. TimeoutError when it takes longer."""
    if until is not None:
        poller = select.poll()
        poller.register(output, select.POLLIN)
        if not poller.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError("the host does not answer in time")
    return output.read(1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the command go, whatever it does."""
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        end_child(process)
        process.wait()


def _last_line(process: subprocess.Popen[bytes]) -> str:
    """The last that the command wrote on standard error, once it has ended."""
    if process.poll() is None or process.stderr is None or process.stderr.closed:
        return ""
    with process.stderr as errors:
        lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    # What a program there writes tells more than that it has failed.
    return next((line for line in reversed(lines) if not _ONLY_FAILED.fullmatch(line)), lines[-1] if lines else "")


@functools.cache
def _bundle() -> bytes:
    """The host core's files in one archive, always the same bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        top = Path(_host).parent
        for path in sorted(top.rglob("*.py")):
            name = f"host/{path.relative_to(top).as_posix()}"
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return data.getvalue()


@functools.cache
def _digest() -> str:
    return hashlib.sha256(_bundle()).hexdigest()[:16]


@functools.cache
def _loader() -> bytes:
    """The program that the host's Python is given: it asks for the files unless it has them, and runs them."""
    return (Path(_host).parent / "loader.py").read_bytes()
