"""A kernel out of a fork: `ipykernel` is imported already, and only has to begin."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..host import kernel_end
from . import asking, becoming, match, pages

# ipykernel explains to the terminal of whoever starts one without a parent how to connect to it; process 1 it does not
# watch.
_A_PARENT = 1


class Seed:
    """A process that was forked before the core has threads and sockets, and becomes the kernel that it then asks for.
    Who asks a second time gets a process that is spawned.

    written: the memory that a kernel writes to until its first cell is done, which it has of its own while it waits
    """

    def __init__(self, written: Sequence[pages.Range] = ()) -> None:
        self._order, taken = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._order.close()
            _wait(taken, written)
        taken.close()

    def __call__(self, argv: Sequence[str], **options: Any) -> SeedProcess | subprocess.Popen[bytes]:
        """As `subprocess.Popen`, with the options that a core gives."""
        if self._order.fileno() < 0 or not asking.is_this_python(argv):
            self.discard()
            return subprocess.Popen(argv, **options)
        wanted = {name: options[name] for name in ("env", "cwd", "umask")}
        wanted |= {"argv": argv, "adjustable": match.adjustable()}
        try:
            with self._order:
                # Where this process writes to is where it does: that was not known when it was forked.
                socket.send_fds(self._order, [b"."], [1, 2])
                self._order.sendall(json.dumps(wanted).encode())
        except OSError:  # it was killed
            os.waitpid(self.pid, 0)
            return subprocess.Popen(argv, **options)
        return SeedProcess(self.pid)

    def discard(self) -> None:
        """End what waits; nothing where it does not any more."""
        if self._order.fileno() >= 0:
            self._order.close()
            os.waitpid(self.pid, 0)


class SeedProcess:
    """What a core wants of a process that it has started."""

    is_prepared = True

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, as of `subprocess`; None while it lives."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody has collected it
                self._code = 1
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


def _wait(taken: socket.socket, written: Sequence[pages.Range]) -> None:
    """Wait for the order, and be that kernel; it does not return."""
    _close_all_but(taken.fileno())  # while it has what the core reads from, nobody sees that the core is gone
    becoming.part()  # there is time until then
    pages.own(written, until=taken)
    with contextlib.suppress(OSError):
        _, streams, _, _ = socket.recv_fds(taken, 1, 2)
        with taken.makefile("rb") as orders:
            text = orders.read()
        if text:  # else the core has ended, or wants another kernel
            for number, stream in zip((1, 2), streams, strict=True):
                os.dup2(stream, number)
            becoming.run(lambda: _begin(json.loads(text)))
    os._exit(0)


def _close_all_but(kept: int) -> None:
    """Of the descriptors behind the standard streams."""
    os.closerange(3, kept)
    os.closerange(kept + 1, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))


def _begin(wanted: Mapping[str, Any]) -> None:
    os.setsid()
    match.adjust(wanted["adjustable"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _close_all_but(2)
    if wanted["cwd"]:
        os.chdir(wanted["cwd"])
    if wanted["umask"] >= 0:
        os.umask(wanted["umask"])
    becoming.take(wanted["env"])
    run(wanted["argv"][3:], debugger=False)


def run(arguments: Sequence[str], *, debugger: bool) -> None:
    """Be a kernel until it ends. debugger: whether it can be debugged, which takes longer to begin."""
    import zmq
    from ipykernel import debugger as found
    from ipykernel.kernelapp import IPKernelApp

    if debugger:
        sys.argv = ["ipykernel_launcher", *arguments]
        _show_figures()
        if not found._is_debugpy_available:  # the pool has left it out
            del sys.modules["ipykernel.debugger"]
        IPKernelApp.launch_instance(sys.argv[1:], parent_handle=_A_PARENT)
        app: Any = IPKernelApp.instance()
    else:
        app = _initialized(arguments)
        # As the core has other kernels do by a request, see `host.kernel`.
        app.iopub_thread.schedule(lambda: app.iopub_thread.socket.setsockopt(zmq.SNDHWM, 0))
        app.start()
    kernel_end.end_control(app.control_thread)  # before the exit handlers, which end what publishes


def _initialized(arguments: Sequence[str]) -> Any:
    """The application of a kernel without a debugger, which has only to be started."""
    from ipykernel import debugger, ipkernel
    from ipykernel.kernelapp import IPKernelApp

    sys.argv = ["ipykernel_launcher", *arguments]
    _show_figures()
    debugger._is_debugpy_available = False
    # For the debugger it lists the files of all modules: two pages of memory for each of thousands, of every kernel.
    vars(ipkernel)["sys"] = _NoModules()
    app: Any = IPKernelApp.instance(parent_handle=_A_PARENT)
    app.initialize(sys.argv[1:])
    vars(ipkernel)["sys"] = sys
    return app


def try_to_begin() -> None:
    """Do what a kernel does until its first cell is done, for nobody: with no profile or startup file of anybody, whose
    code it would run."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("shell", "iopub", "stdin", "hb", "control")
        facts: dict[str, Any] = {f"{name}_port": number for number, name in enumerate(names, 1)}
        facts |= {"transport": "ipc", "ip": f"{folder}/k", "key": "", "signature_scheme": "hmac-sha256"}
        Path(folder, "kernel.json").write_text(json.dumps(facts))
        os.environ["IPYTHONDIR"] = folder
        os.environ.pop("PYTHONSTARTUP", None)
        _initialized(["-f", f"{folder}/kernel.json"]).shell.run_cell("1", silent=True)


def _show_figures() -> None:
    """Have matplotlib show figures in cells. It was imported before there was a kernel, whose backend it takes when it
    is imported; and the backend enters the shell when it is imported, if there is one."""
    if matplotlib := sys.modules.get("matplotlib"):
        sys.modules.pop("matplotlib_inline.backend_inline", None)
        if not os.environ.get("MPLBACKEND"):
            os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as ipykernel does
        pyplot = sys.modules.get("matplotlib.pyplot")
        if getattr(pyplot, "_backend_mod", None) is None:  # else a package that was imported has chosen one
            matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"]


class _NoModules:
    """`sys` without modules."""

    modules: Mapping[str, object] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)
