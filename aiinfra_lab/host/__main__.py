"""`keep` reads a spec and keeps its kernel; `attach FOLDER` passes standard input and output to its core and back;
`sync FOLDER` and `environment FOLDER` serve a folder of files, and one of Python environments.

Four processes, each the parent of the next: two guards, of which each ends whatever is left below it when the process
below has ended, however that does; the core; and the kernel. The core ends when the first guard does. So nothing is
left when any two of them are killed in the same moment: nothing but a process can end what detached itself, whose
parent is then the next guard above, and only all three at once leave nobody.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

from . import files, processes, remains
from .core import Core
from .exchange import HostFiles
from .spec import (
    CORE_FAILED,
    HOLD,
    LISTENING,
    LOG,
    WAS_KILLED,
    HostSpec,
    HostState,
    read_state,
    write_state,
)
from .sync import serving

_BY_FORCE_S = 4.0  # a little more than a kernel and an owner are given to end
_WHY_LENGTH = 200  # of an exception, in the reason of an end
_LONGEST = 90  # of a folder for unix sockets, whose paths may have 107 bytes


class KernelStarter(Protocol):
    """What starts a kernel's process, as `subprocess.Popen` does."""

    def __call__(self, argv: Sequence[str], **options: Any) -> Any: ...

    def discard(self) -> None:
        """It is not needed."""


class Ahead(Protocol):
    """What a core needs whose processes are there before anybody asks for them."""

    def seed(self) -> KernelStarter:
        """What will start the kernel's process; called in the core's process, before it has anything else."""

    def take_place(self, place: Any) -> None:
        """Have this process be where who asks for it is; OSError or ValueError where it cannot. place: of JSON."""


def keep() -> int:
    """Write `listening` once an owner may connect, and leave the guard behind; 1 when it did not begin."""
    if importlib.util.find_spec("zmq") is None:  # only the core imports it, which nobody would hear
        sys.stderr.write("ModuleNotFoundError: No module named 'zmq'\n")
        return 1
    spec = _loaded(sys.stdin.buffer.read())
    folder = _made(spec)
    if _is_kept(folder):  # whoever asked for it did not hear the answer
        os.write(1, LISTENING)
        return 0
    answer, report = os.pipe()
    # Whoever ran this command gets it back at once: a guard of its session would keep an ssh waiting, or be its zombie.
    if os.fork() == 0:
        os.close(answer)
        _be(lambda: _guard_apart(spec, report))
    os.close(report)
    if found := os.read(answer, 64):
        os.write(1, found)
        return 0
    sys.stderr.write((folder / LOG).read_text("utf-8", "replace")[-4000:])
    return 1


class KeptAhead:
    """A core whose processes are there before anybody asks for it: this process is the first guard, and leads a session
    already.

    own: descriptors of this process that those below do not keep
    """

    def __init__(self, ahead: Ahead, own: Sequence[int]) -> None:
        self._ahead = ahead
        self._below = Below(ahead, own)

    def discard(self) -> None:
        """It is not needed; returns when what is below has ended."""
        self._below.discard()

    def keep(self, spec: bytes, place: Any, report: int) -> NoReturn:
        """Be the guard until its end. `listening` is written to report once an owner may connect. place: see `Ahead`;
        this process is there already."""
        _be(lambda: self._guard(spec, place, report))

    def _guard(self, text: bytes, place: Any, report: int) -> None:
        with contextlib.ExitStack() as unless_begun:
            unless_begun.callback(self._below.discard)
            spec = _loaded(text)
            _take_environment(spec)
            if _is_kept(_made(spec)):
                os.write(report, LISTENING)
                return
            if not Path(self._below.state(spec).socket).exists():  # somebody has cleared the folder for temporary files
                raise FileNotFoundError(f"{self._below.sockets} is gone")
            unless_begun.pop_all()
        _write_to(Path(spec.folder) / LOG, is_new=True)
        _guard(spec, self._below, report, place)


def _guard_apart(spec: HostSpec, report: int) -> None:
    os.setsid()
    _write_to(Path(spec.folder) / LOG, is_new=True)
    _guard(spec, Below(None, (report,)), report)


def _be(work: Callable[[], object]) -> NoReturn:
    """Do that, and nothing behind it; the log of this process is who hears of errors."""
    try:
        work()
    except Exception:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(0)


def _take_environment(spec: HostSpec) -> None:
    """Have that of the spec and no other, in a process that was made before it."""
    os.environ.clear()
    os.environ.update(spec.env)


def _loaded(text: bytes) -> HostSpec:
    """With the home of this user in the place of `~`."""
    spec = HostSpec.load(text)
    return replace(spec, folder=str(Path(spec.folder).expanduser()), cwd=str(Path(spec.cwd).expanduser()))


def _made(spec: HostSpec) -> Path:
    """Its folder, which is there from now on."""
    folder = Path(spec.folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _is_kept(folder: Path) -> bool:
    """Whether the kernel of that folder is kept already."""
    state = read_state(folder)
    return state is not None and bool(state.socket) and files.is_held(Path(state.socket).parent / HOLD)


def _guard(spec: HostSpec, below: Below, report: int, place: Any = None) -> None:
    """Have the core begin, and return when nothing of it is left. place: where those below are to be, too; see
    `Ahead`"""
    state = below.state(spec)
    write_state(Path(spec.folder), state)
    try:
        below.begin(spec, place)
    except BrokenPipeError:
        below.discard()
        raise
    os.write(report, LISTENING)
    os.close(report)
    _watch_over(below.pid, spec)
    _clear_up(spec, state, below.sockets)


class Below:
    """The processes below this one, which is the first guard: the second one, and the core, which wait for the spec.

    ahead: where they are made before anybody asks for them. own: descriptors of this process that those below do not
    keep. pid: of the second guard. sockets: the folder of the core's sockets, held by all of them
    """

    def __init__(self, ahead: Ahead | None, own: Sequence[int]) -> None:
        self._ahead = ahead
        self.sockets = Path(tempfile.mkdtemp(prefix="aiinfra-", dir=_short_folder()))
        self._held = files.hold(self.sockets / HOLD)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.sockets / "core"))
        self._listener.listen(4)
        processes.adopt_orphans()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._guard, self._alive = os.getpid(), os.pipe()
        self._for_second, for_second = os.pipe()
        self._for_core, for_core = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:  # there can be no more processes
            self._remove()
            raise
        if self.pid == 0:
            for each in (self._alive[1], for_second, for_core, *own):
                os.close(each)
            _be(self._be_second)
        self._listener.close()
        for each in (self._alive[0], self._for_second, self._for_core):
            os.close(each)
        self._writers = [os.fdopen(each, "wb") for each in (for_second, for_core)]

    def state(self, spec: HostSpec) -> HostState:
        """With which the core of that spec begins."""
        place = str(self.sockets / "core")
        return HostState(incarnation=spec.incarnation_after, pid=self._guard, socket=place, at=time.time())

    def begin(self, spec: HostSpec, place: Any = None) -> None:
        """Give them the spec. place: see `Ahead`. BrokenPipeError where one of them was killed."""
        for each in self._writers:
            with each:
                each.write(json.dumps(place).encode() + b"\n" + spec.dump())

    def discard(self) -> None:
        """Have them end, which are not needed; returns when they have."""
        for each in self._writers:
            with contextlib.suppress(BrokenPipeError):
                each.close()
        _await(self.pid)
        self._remove()

    def _remove(self) -> None:
        """Remove the folder of sockets that nobody needs, by each of them: any of the others may have been killed."""
        shutil.rmtree(self.sockets, ignore_errors=True)

    def _spec_by(self, given: int) -> HostSpec | None:
        """The spec that has come, where this process is then at its place; None where none has."""
        with os.fdopen(given, "rb") as reader:
            place, _, text = reader.read().partition(b"\n")
        if not text:
            return None
        spec = _loaded(text)
        if self._ahead is not None:
            self._ahead.take_place(json.loads(place))
            _take_environment(spec)
        return spec

    def _be_second(self) -> None:
        processes.adopt_orphans()
        second, core = os.getpid(), os.fork()
        if core == 0:
            os.close(self._for_second)
            _be(lambda: self._be_core(second))
        self._listener.close()
        for each in (self._alive[0], self._for_core):
            os.close(each)
        spec = self._spec_by(self._for_second)
        if spec is None:
            _await(core)
            self._remove()
            return
        _write_to(Path(spec.folder) / LOG)
        _watch_over(core, spec)
        if os.getppid() != self._guard:
            _clear_up(spec, self.state(spec), self.sockets)

    def _be_core(self, second: int) -> None:
        start = None if self._ahead is None else self._ahead.seed()
        spec = self._spec_by(self._for_core)
        if spec is None:
            if start is not None:
                start.discard()
            self._remove()
            return
        _write_to(Path(spec.folder) / LOG)
        state = self.state(spec).but(core_pid=os.getpid())
        _run(Core(spec, self.sockets, self._listener, state, start or subprocess.Popen), self._alive[0], _made(spec))
        if os.getppid() != second:
            _clear_up(spec, state, self.sockets)


def _watch_over(child: int, spec: HostSpec) -> None:
    """Return when a child has ended and nothing of it is left."""
    signal.signal(signal.SIGTERM, lambda *_: processes.signal_process(child, signal.SIGTERM))
    _await(child)
    processes.reap()
    processes.end_descendants(spec.spare)
    processes.reap()


def _clear_up(spec: HostSpec, state: HostState, sockets: Path) -> None:
    """What is left to be done by the last of the processes."""
    folder = Path(spec.folder)
    last = read_state(folder) or state
    if last.phase != "ended":
        last = last.but(phase="ended", why=last.why or WAS_KILLED, socket="", kernel_pid=0, at=time.time())
        write_state(folder, last)
    shutil.rmtree(sockets, ignore_errors=True)
    HostFiles(folder / "exchange").keep(())
    processes.run_apart(spec.at_end)


def _run(core: Core, alive: int, folder: Path) -> None:
    """Be the core. One that fails writes down why; that it has ended is for the guard, once nothing of it is left."""
    try:
        _end_with(alive, core, core.spec.spare)
        write_state(folder, core.run())
    except Exception as problem:
        why = traceback.format_exception_only(type(problem), problem)[-1].strip()[-_WHY_LENGTH:]
        write_state(folder, core.state.but(why=CORE_FAILED + why))
        raise


def attach(folder: str) -> int:
    """Pass bytes between standard input and output and the core of that folder; 69 when there is none, after what it
    left has been passed on."""
    place = Path(folder).expanduser()
    state = read_state(place)
    core = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        core.connect(state.socket if state else "")
    except OSError:
        if state is not None:
            remains.serve(place, 0, 1)
        sys.stderr.write("there is no core\n")
        return 69  # EX_UNAVAILABLE of sysexits.h
    thread = threading.Thread(target=_copy_in, args=(core,), daemon=True)
    thread.start()
    while data := core.recv(1 << 16):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return 0


def _copy_in(core: socket.socket) -> None:
    while data := os.read(0, 1 << 16):
        core.sendall(data)
    with contextlib.suppress(OSError):
        core.shutdown(socket.SHUT_RDWR)


def _short_folder() -> str:
    found = tempfile.gettempdir()
    return found if len(found) < _LONGEST - 20 else "/tmp"  # noqa: S108


def _end_with(pipe: int, core: Core, spare: str) -> None:
    """Have the core end when the other end of a pipe closes, since its holder is gone; by force when it does not."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(pipe, 1)
        core.asked[0] = WAS_KILLED
        processes.signal_process(os.getpid(), signal.SIGTERM)
        time.sleep(_BY_FORCE_S)
        processes.end_descendants(spare)
        processes.signal_process(os.getpid(), signal.SIGKILL)

    processes.adopt_orphans()
    threading.Thread(target=watch, daemon=True).start()


def _write_to(log: Path, *, is_new: bool = False) -> None:
    """Hold on to nothing of whoever started it; what it complains about goes into a file, which may be a new one."""
    null = os.open(os.devnull, os.O_RDWR)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_new else 0), 0o600)
    for number, target in ((0, null), (1, file), (2, file)):
        os.dup2(target, number)
    os.close(null)
    os.close(file)


def _await(core: int) -> None:
    """Wait for the core's end, and collect the orphans of the kernel that come here instead of there."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0)[0] != core:
            pass


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["keep"]:
        return keep()
    if arguments[:1] == ["attach"] and len(arguments) == 2:
        return attach(arguments[1])
    if arguments[:1] in (["sync"], ["environment"]) and len(arguments) == 2:
        return serving.main(arguments)
    sys.stderr.write("usage: keep | attach FOLDER | sync FOLDER | environment FOLDER\n")
    return 64  # EX_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
