"""The process that forks: it has imported, and must never compute. One torch matmul in it, and every child hangs.

So: third-party packages and our own source, nothing of a project; a trial fork that computes before anybody is served;
as many threads as after the imports, or it ends; another one in its place when the installed packages change.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import config, files, logs
from ..host import processes
from . import ahead, asking, becoming, match, pages, wanted

USUAL = ("numpy", "pandas", "torch", "mlflow", "matplotlib", "pyarrow", "sklearn")
IDLE_S = 600.0
_TRIAL_S = 5.0
_REQUEST_S = 2.0  # for whoever has connected to say what it wants
_LOOK_S = 0.1  # between two looks at the installed packages
_LARGEST = 1 << 24
_log = logging.getLogger("aiinfra_lab.pool.template")

Work = Callable[[], object]


@dataclass
class _Fork:
    pid: int
    connection: socket.socket
    is_apart: bool  # whether it goes on when whoever asked for it has ended


class Template:
    """Serves until it is idle, ended, or no longer what a new process would be. preload: see `imported`. held: the
    lock of the pool, which it gives away when it takes no more requests."""

    def __init__(self, listener: socket.socket, preload: str, installed: str, held: IO[bytes]) -> None:
        self._listener, self._preload, self._installed, self._held = listener, preload, installed, held
        self._fixed = match.fixed(os.environ)
        self._threads = threads()
        self._forks: dict[int, _Fork] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._write = write
        self._is_ending = False
        self._used_at, self._looked_at, self._count = time.monotonic(), -_LOOK_S, 0
        self.report = -1  # of a fork: what takes its exit code
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def serve(self) -> Work | None:
        """Fork at each request. In a fork it returns what that has to do, in the template None at its end."""
        while not (self._is_ending and not self._forks):
            ready = self._selector.select(IDLE_S / 10)
            for key, _ in ready:
                if key.fileobj is self._listener:
                    if work := self._accept():
                        return work
                elif key.fd == self._wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake, 4096)
                else:
                    self._abandon(key.data)
            self._collect()
            if not self._forks and time.monotonic() - self._used_at > IDLE_S:
                self._end()
        return None

    def _accept(self) -> Work | None:
        connection, _ = self._listener.accept()
        connection.settimeout(_REQUEST_S)
        try:
            request, descriptors = _received(connection)
        except (OSError, ValueError, KeyError, TypeError) as problem:
            _log.warning("a request was not understood: %s", problem)
            connection.close()
            return None
        work = None
        if request.get("kind") in ("show", "end"):
            _answer(connection, self._facts())
            connection.close()
            if request["kind"] == "end":
                self._end()
        elif why := self._refusal(request):
            _log.warning("nothing is forked: %s", why)
            _answer(connection, {"no": why})
            connection.close()
        else:
            work = self._fork(connection, request, descriptors)
        if work is None:
            for each in descriptors:
                os.close(each)
        return work

    def _facts(self) -> dict[str, Any]:
        loaded = [name for name in imported(self._preload) if name in sys.modules]
        return {"running": os.getpid(), "forked": self._count, "alive": len(self._forks), "packages": loaded}

    def _refusal(self, request: dict[str, Any]) -> str:
        """Why nothing is forked; empty when nothing speaks against it."""
        # Of several requests at once the first has it looked at.
        if time.monotonic() - self._looked_at > _LOOK_S:
            if match.installed(self._preload) != self._installed:
                self._end()
                return "the installed packages have changed"
            self._looked_at = time.monotonic()
        if threads() != self._threads:
            self._end()
            return "something has computed here"
        theirs = request.get("fixed")
        if theirs != self._fixed:
            names = [
                name for name, value in self._fixed.items() if not isinstance(theirs, dict) or theirs.get(name) != value
            ]
            return f"another environment: {', '.join(names)}"
        return ""

    def _fork(self, connection: socket.socket, request: dict[str, Any], descriptors: list[int]) -> Work | None:
        self._used_at = time.monotonic()
        self._count += 1
        try:
            pid = os.fork()
        except OSError as problem:
            _answer(connection, {"no": str(problem)})
            connection.close()
            return None
        if pid:
            connection.setblocking(False)
            self._forks[pid] = _Fork(pid, connection, request["kind"] == "keep")
            self._selector.register(connection, selectors.EVENT_READ, self._forks[pid])
            return None
        self._leave()
        try:
            work = _work(request)
            *streams, self.report = descriptors
            # The core and what belongs to it get theirs by their spec.
            (becoming.stand_apart if request["kind"] == "keep" else becoming.become)(request, streams)
            if request["kind"] == "cli" and not wanted.is_on():
                raise ValueError("the workspace wants no pool")
        except BaseException as problem:  # noqa: BLE001  # nothing of the template may go on here
            _answer(connection, {"no": str(problem)})
            os._exit(0)
        _answer(connection, {"pid": os.getpid()})
        connection.close()
        if not _is_confirmed(self.report):
            os._exit(0)
        return work

    def _leave(self) -> None:
        """A fork keeps nothing of the template's open."""
        self._selector.close()
        for each in self._forks.values():
            each.connection.close()
        self._listener.close()
        self._held.close()
        signal.set_wakeup_fd(-1)
        for number in (self._wake, self._write):
            os.close(number)

    def _abandon(self, fork: _Fork) -> None:
        """Whoever asked for it has ended: so does it, as a process whose place it took would have."""
        self._selector.unregister(fork.connection)
        fork.connection.close()
        if fork.pid in self._forks and not fork.is_apart:
            processes.signal_process(fork.pid, signal.SIGKILL)

    def _collect(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if fork := self._forks.pop(pid, None):
                    self._used_at = time.monotonic()
                    if fork.connection.fileno() >= 0:
                        self._selector.unregister(fork.connection)
                        _answer(fork.connection, {"code": os.waitstatus_to_exitcode(status)})
                        fork.connection.close()

    def _end(self) -> None:
        """Take no more requests; another template may begin."""
        if not self._is_ending:
            self._is_ending = True
            self._selector.unregister(self._listener)
            Path(self._listener.getsockname()).unlink(missing_ok=True)
            self._listener.close()
            self._held.close()


def _received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, descriptors, _, _ = socket.recv_fds(connection, 8, 4, socket.MSG_CMSG_CLOEXEC)
    try:
        peer = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        size = int.from_bytes(head, "big")
        if len(head) < 8 or size > _LARGEST or peer[1] != os.getuid():
            raise ValueError("it is none")
        data = bytearray()
        while len(data) < size:
            if not (piece := connection.recv(min(1 << 16, size - len(data)))):
                raise ValueError("it ended early")
            data += piece
        return dict(json.loads(data)), list(descriptors)
    except BaseException:
        for each in descriptors:
            os.close(each)
        raise


def _answer(connection: socket.socket, facts: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(facts).encode() + b"\n")


def _is_confirmed(report: int) -> bool:
    """Whether who has asked for this fork has not given it up meanwhile, and gone another way."""
    with contextlib.suppress(OSError):
        return os.read(report, len(asking.CONFIRMED)) == asking.CONFIRMED
    return False


def _work(request: dict[str, Any]) -> Work:
    """What a fork of that kind does. ValueError when there is none of that name."""
    arguments = list(request["argv"])
    if request["kind"] == "keep":
        from ..host.__main__ import keep_ahead
        from .kernel import Seed

        return lambda: keep_ahead(Seed)
    if request["kind"] == "kernel":
        from . import kernel

        return lambda: kernel.run(arguments[3:], debugger=True)
    if request["kind"] == "cli":
        cli = importlib.import_module("aiinfra_lab.cli")  # by name: it stands on top of the core
        return lambda: cli.main(arguments[1:])
    raise ValueError(f"no kind of process: {request['kind']}")


def imported(preload: str) -> tuple[str, ...]:
    """The packages that are imported: those of a setting, else the usual ones that are installed."""
    return tuple(preload.replace(",", " ").split()) or USUAL


def load(preload: str) -> None:
    """Import them, and do what is the same in all forks. What cannot be imported is left out, and `debugpy`, with which
    a kernel takes longer."""
    debugger = sys.modules.get("debugpy")
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    with _failures("ipykernel.debugger"):
        importlib.import_module("ipykernel.debugger")
    del sys.modules["debugpy"]
    if debugger is not None:
        sys.modules["debugpy"] = debugger
    for name in (*ahead.MODULES, *imported(preload)):
        with _failures(name):
            importlib.import_module(name)
    for step in ahead.STEPS:
        with _failures(step.__name__):
            step()


@contextlib.contextmanager
def _failures(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as problem:
        _log.info("%s is not installed: %s", name, problem)
    except Exception:  # noqa: BLE001  # whatever it does when it is imported
        _log.exception("%s cannot be imported", name)


def threads() -> int:
    """How many there are, those of libraries too; without those of jemalloc, which come and go and which a fork of it
    starts anew."""
    names = [_name(each) for each in Path("/proc/self/task").iterdir()]
    return sum(not name.startswith("jemalloc") for name in names)


def _name(thread: Path) -> str:
    with contextlib.suppress(OSError):
        return (thread / "comm").read_text("utf-8", "replace")
    return "jemalloc"  # it has just ended


def is_healthy() -> bool:
    """Whether a fork can compute, seen by one that does."""
    child = os.fork()
    if child == 0:
        try:
            _compute()
        except BaseException:  # noqa: BLE001
            _log.exception("the trial fork failed")
            os._exit(1)
        os._exit(0)
    until = time.monotonic() + _TRIAL_S
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(0.01)
    processes.signal_process(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _log.error("the trial fork did not come to its end")
    return False


def _compute() -> None:
    if numpy := sys.modules.get("numpy"):
        numpy.ones((64, 64)) @ numpy.ones((64, 64))
    if torch := sys.modules.get("torch"):
        weights = torch.ones(64, 64, requires_grad=True)
        (weights @ torch.ones(64, 64)).sum().backward()
    if pandas := sys.modules.get("pandas"):
        pandas.DataFrame({"a": [1, 1], "b": [2, 3]}).groupby("a").sum()


def main(preload: str = "") -> None:
    """Be the pool of this user and interpreter, unless there is one."""
    handler = logs.configure()
    if sys.path[0] == "":
        del sys.path[0]
    place = Path(match.folder())
    if not match.is_private(str(place)) or (held := files.take_lock(place / asking.HOLD)) is None:
        return
    processes.take_name(processes.POOL)
    fixed_env = dict(os.environ)
    config.opt_out()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    installed = match.installed(preload)
    load(preload)
    os.environ.clear()
    os.environ.update(fixed_env)
    gc.collect()
    gc.freeze()
    pages.collapse()
    if not is_healthy():
        (place / asking.PROBLEM).write_text("its trial fork did not compute\n")
        return
    (place / asking.PROBLEM).unlink(missing_ok=True)
    path = place / asking.SOCKET
    path.unlink(missing_ok=True)  # of one that was killed: nobody else holds the lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with files_owner_only():
        listener.bind(str(path))
    listener.listen(128)
    template = Template(listener, preload, installed, held)
    work = template.serve()
    if work is not None:
        logs.take_back(handler)
        becoming.run(work, template.report)


@contextlib.contextmanager
def files_owner_only() -> Iterator[None]:
    """The socket is for this user only; its folder is so already."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
