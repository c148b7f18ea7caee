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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from . import files, processes, remains
from .core import Core
from .exchange import HostFiles
from .kernel import Start
from .spec import CORE_FAILED, HOLD, LOG, WAS_KILLED, HostSpec, HostState, read_state, write_state
from .sync import serving

_BY_FORCE_S = 4.0  # a little more than a kernel and an owner are given to end
_WHY_LENGTH = 200  # of an exception, in the reason of an end
_LONGEST = 90  # of a folder for unix sockets, whose paths may have 107 bytes


def keep(seed: Callable[[], Start] | None = None) -> int:
    """Write `listening` once an owner may connect, and leave the guard behind; 1 when it did not begin.

    seed: called in the core's process, before it has anything else; gives what starts the kernel's process. With it
    this process, which leads a session already, is the guard itself, and returns at its end
    """
    if importlib.util.find_spec("zmq") is None:  # only the core imports it, which nobody would hear
        sys.stderr.write("ModuleNotFoundError: No module named 'zmq'\n")
        return 1
    spec = HostSpec.load(sys.stdin.buffer.read())
    folder = Path(spec.folder).expanduser()
    spec = replace(spec, folder=str(folder), cwd=str(Path(spec.cwd).expanduser()))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_kept(folder):  # whoever asked for it did not hear the answer
        os.write(1, b"listening\n")
        return 0
    if seed is not None:
        return _guard_apart(spec, folder, os.dup(1), seed)
    answer, report = os.pipe()
    # Whoever ran this command gets it back at once: a guard of its session would keep an ssh waiting, or be its zombie.
    if os.fork():
        os.close(report)
        if found := os.read(answer, 64):
            os.write(1, found)
            return 0
        sys.stderr.write((folder / LOG).read_text("utf-8", "replace")[-4000:])
        return 1
    os.close(answer)
    os.setsid()
    return _guard_apart(spec, folder, report, None)


def _guard_apart(spec: HostSpec, folder: Path, report: int, seed: Callable[[], Start] | None) -> NoReturn:
    """Be the guard until its end."""
    _write_to(folder / LOG)
    try:
        _guard(spec, folder, report, seed)
    except Exception:  # noqa: BLE001  # a process of its own: its log is who hears of it
        traceback.print_exc()
    os._exit(0)


def _is_kept(folder: Path) -> bool:
    """Whether the kernel of that folder is kept already."""
    state = read_state(folder)
    return state is not None and bool(state.socket) and files.is_held(Path(state.socket).parent / HOLD)


def _guard(spec: HostSpec, folder: Path, report: int, seed: Callable[[], Start] | None) -> None:
    """Start the core, and return when nothing of it is left."""
    sockets = Path(tempfile.mkdtemp(prefix="aiinfra-", dir=_short_folder()))
    held = files.hold(sockets / HOLD)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(sockets / "core"))
    listener.listen(4)
    processes.adopt_orphans()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard, alive = os.getpid(), os.pipe()
    state = HostState(incarnation=spec.incarnation_after, pid=guard, socket=str(sockets / "core"), at=time.time())
    write_state(folder, state)
    second = os.fork()
    if second == 0:
        os.close(alive[1])
        os.close(report)
        second = os.getpid()
        processes.adopt_orphans()
        core = os.fork()
        if core == 0:
            start = seed() if seed else subprocess.Popen
            _run(Core(spec, sockets, listener, state.but(core_pid=os.getpid()), start), alive[0], folder)
            if os.getppid() != second:
                _clear_up(spec, state, sockets)
            os._exit(0)
        listener.close()
        os.close(alive[0])
        _watch_over(core, spec)
        if os.getppid() != guard:
            _clear_up(spec, state, sockets)
        os._exit(0)
    listener.close()
    os.close(alive[0])
    os.write(report, b"listening\n")
    os.close(report)
    _watch_over(second, spec)
    _clear_up(spec, state, sockets)
    held.close()


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


def _write_to(log: Path) -> None:
    """Hold on to nothing of whoever started it; what it complains about goes into a file."""
    null = os.open(os.devnull, os.O_RDWR)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
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
