"""The process that forks: it has imported, and must never compute. One torch matmul in it, and every child hangs.

So: third-party packages and our own source, nothing of a project; a trial fork that computes before anybody is served;
as many threads as after the imports, or it ends; another one in its place when the installed packages change.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .. import config, files, logs
from ..host import processes
from . import ahead, asking, forks, kernel, match, pages
from .forks import Fork, ForkRequest
from .refill import Refill

USUAL = ("numpy", "pandas", "torch", "mlflow", "matplotlib", "pyarrow", "sklearn")
IDLE_S = 600.0
_TRIAL_S = 5.0
_LOOK_S = 0.1  # between two looks at the installed packages
_log = logging.getLogger("aiinfra_lab.pool.template")


class Template:
    """Serves until it is idle, ended, or no longer what a new process would be. preload: see `imported`. held: the
    lock of the pool, which it gives away when it takes no more requests. written: see `forks.fork`. leave: called in
    each fork"""

    def __init__(
        self,
        listener: socket.socket,
        preload: str,
        installed: str,
        held: IO[bytes],
        written: Sequence[pages.Range] = (),
        leave: Callable[[], object] = lambda: None,
    ) -> None:
        self._listener, self._preload, self._installed, self._held = listener, preload, installed, held
        self._written, self._leave_more = written, leave
        self._fixed = match.fixed(os.environ)
        self._threads = threads()
        self._forks: dict[int, Fork] = {}
        self._waiting: dict[str, Fork] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._write = write
        self._is_ending = False
        self._used_at, self._looked_at, self._count = time.monotonic(), -_LOOK_S, 0
        self._refill = Refill()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def serve(self) -> None:
        """Fork at each request, until the end."""
        while not (self._is_ending and not self._forks and not self._waiting):
            for key, _ in self._selector.select(self._most_s()):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fd == self._wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake, 4096)
                else:
                    self._abandon(key.data)
            self._collect()
            if not self._is_ending and time.monotonic() >= self._refill.due_at:
                self._fork_ahead()
            if not self._forks and time.monotonic() - self._used_at > IDLE_S:
                self._end()

    def _most_s(self) -> float:
        """How long it may wait for what comes."""
        is_due = not self._is_ending and len(self._waiting) < len(forks.AHEAD)
        return max(0.0, self._refill.due_at - time.monotonic()) if is_due else IDLE_S / 10

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(forks.REQUEST_S)
        try:
            request = ForkRequest.received(connection)
        except (OSError, ValueError, TypeError) as problem:
            _log.warning("a request was not understood: %s", problem)
            request = None
        if request is None:
            connection.close()
            return
        kind = request.facts.get("kind")
        if kind in ("show", "end"):
            forks.answer(connection, self._facts())
            connection.close()
            if kind == "end":
                self._end()
        elif why := self._refusal(request.facts) or self._forked_for(request, connection):
            _log.warning("nothing is forked: %s", why)
            forks.answer(connection, {"no": why})
            connection.close()
        request.close()

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

    def _forked_for(self, request: ForkRequest, connection: socket.socket) -> str:
        """Have a fork begin with it, one that waits or another one. Why there is none; empty where there is."""

        def leave() -> None:
            self._leave()
            request.close()
            connection.close()

        self._used_at = time.monotonic()
        self._refill.take_request(request.asker, self._used_at)
        kind = str(request.facts.get("kind"))
        fork = self._waiting.pop(kind, None)
        try:
            if fork is None or not fork.begin(request, connection):
                fork = forks.fork(kind, leave, self._written)
                if not fork.begin(request, connection):
                    return "a fork was killed"
        except OSError as problem:
            return str(problem)
        except KeyError:
            return f"no kind of process: {kind}"
        self._count += 1
        self._forks[fork.pid] = fork
        self._selector.register(connection, selectors.EVENT_READ, fork)
        return ""

    def _fork_ahead(self) -> None:
        for kind in forks.AHEAD:
            if kind not in self._waiting:
                try:
                    self._waiting[kind] = forks.fork(kind, self._leave, self._written)
                except OSError as problem:
                    _log.warning("none waits: %s", problem)
                    self._refill.take_failure(time.monotonic())

    def _leave(self) -> None:
        """A fork keeps nothing of the template's open."""
        self._selector.close()
        for each in (*self._forks.values(), *self._waiting.values()):
            each.leave()
        self._listener.close()
        self._held.close()
        signal.set_wakeup_fd(-1)
        for number in (self._wake, self._write):
            os.close(number)
        self._leave_more()

    def _abandon(self, fork: Fork) -> None:
        """Whoever asked for it has ended: so does it, as a process whose place it took would have."""
        self._forget(fork)
        if fork.pid in self._forks and not fork.is_apart:
            fork.end()

    def _forget(self, fork: Fork) -> None:
        if fork.connection is not None:
            self._selector.unregister(fork.connection)
            fork.connection.close()
            fork.connection = None

    def _collect(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if fork := self._forks.pop(pid, None):
                    self._used_at = time.monotonic()
                    self._refill.take_end(self._used_at)
                    if fork.connection is not None:
                        forks.answer(fork.connection, {"code": os.waitstatus_to_exitcode(status)})
                    self._forget(fork)
                for kind in [kind for kind, each in self._waiting.items() if each.pid == pid]:
                    self._waiting.pop(kind).leave()
                    self._refill.take_failure(time.monotonic())

    def _end(self) -> None:
        """Take no more requests; another template may begin."""
        if not self._is_ending:
            self._is_ending = True
            self._selector.unregister(self._listener)
            Path(self._listener.getsockname()).unlink(missing_ok=True)
            self._listener.close()
            self._held.close()
            for each in self._waiting.values():
                each.leave()


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
    for left in (path, place / asking.WRITTEN):  # of one before: nobody else holds the lock
        left.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with files_owner_only():
        listener.bind(str(path))
    listener.listen(128)
    written = pages.written_by(kernel.try_to_begin)
    Template(listener, preload, installed, held, written, lambda: logs.take_back(handler)).serve()


@contextlib.contextmanager
def files_owner_only() -> Iterator[None]:
    """The socket is for this user only; its folder is so already."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
