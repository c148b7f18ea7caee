"""A process that was just forked becomes the one that was asked for, and ends as it would end."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..host import processes
from . import match

Work = Callable[[], object]

OF_TERMINAL = (signal.SIGINT, signal.SIGHUP)
_CORES = len(os.sched_getaffinity(0))  # when libraries were imported, and so the number of their threads


def leave_template() -> None:
    """Be a process of its own, which nobody has asked for yet: it leads a session, and heeds no child of the pool."""
    os.setsid()
    processes.take_name(Path(sys.executable).name)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Take over environment, folder, umask, limits and standard streams. OSError or ValueError where one cannot be."""
    take_place(request)
    take_streams(descriptors)
    sys.argv = list(request["argv"])
    take(request["env"])


def take_place(request: Mapping[str, Any]) -> None:
    """Have limits, niceness, cores, folder and umask of who asks. OSError or ValueError where one cannot be."""
    match.adjust(request["adjustable"])
    os.chdir(request["cwd"])
    os.umask(request["umask"])


def take_streams(descriptors: Sequence[int]) -> None:
    """Have these as standard input, output and error."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)


def part() -> None:
    """Have random numbers of its own, and nothing to be done at the end that is the pool's."""
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False  # what was made before the fork
    _reseed()


def take(env: Mapping[str, str]) -> None:
    """Have the standard streams as they are now, and that environment."""
    _reopen()
    take_environment(env)


def take_environment(env: Mapping[str, str]) -> None:
    """Have these variables alone, and what libraries have read of them when they were imported."""
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    tempfile.tempdir = None
    given = next((int(env[name]) for name in match.THREADS if env.get(name, "").isdigit()), 0)
    count = given or len(os.sched_getaffinity(0))
    if given or count != _CORES:
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(count)
        _limit_blas(count)


def _limit_blas(threads: int) -> None:
    try:
        controller = importlib.import_module("threadpoolctl")  # it comes with scikit-learn
    except ImportError:
        return
    controller.threadpool_limits(threads)


def _reseed() -> None:
    """Random numbers of its own: those of `random` Python has done; the seed of `hash()` stays that of the pool."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()


def _reopen() -> None:
    """The standard streams of Python anew: what they are connected to decides how they are buffered."""
    for name, number, mode in (("stdin", 0, "rb"), ("stdout", 1, "wb"), ("stderr", 2, "wb")):
        old = getattr(sys, f"__{name}__")
        lines = number == 2 or (number == 1 and os.isatty(1))
        binary = open(number, mode, closefd=False)  # noqa: SIM115  # open as long as the process lives
        stream = io.TextIOWrapper(binary, old.encoding, old.errors, line_buffering=lines)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run(work: Work, report: int = -1) -> NoReturn:
    """Do the work, and end as Python ends: non-daemon threads, exit handlers, what is still to be written. Modules are
    not taken apart one by one, which with torch and mlflow takes a second.

    report: a descriptor that takes the exit code, for whoever waits for it
    """
    code, own = 0, os.getpid()
    try:
        found = work()
        code = found if isinstance(found, int) else 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if ended.code is not None and not isinstance(ended.code, int):
            print(ended.code, file=sys.__stderr__)
    except BaseException:  # noqa: BLE001  # as at the end of any program
        sys.excepthook(*sys.exc_info())
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for name in ("stdout", "__stdout__", "stderr", "__stderr__"):
            if stream := getattr(sys, name):
                stream.flush()
    except BaseException:  # noqa: BLE001
        code = code or 120  # as Python has it where its output cannot be written
    with contextlib.suppress(OSError):  # nobody listens any more
        if os.getpid() == own:  # no fork of it that has come here
            os.write(report, json.dumps({"code": code & 0xFF}).encode() + b"\n")
    os._exit(code & 0xFF)
