"""The command `aiinfra`: what a recipe's run needs has been imported by the pool already, if there is one.

Nothing is imported here that takes time. The fork is this process as far as anybody sees: its streams, environment,
folder and limits, its signals, its end.
"""

from __future__ import annotations

import os
import signal
import sys

from . import match

TYPE_CHECKING = False  # `typing` takes as long to import as all of this
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_NOUNS = ("recipe",)
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_HANDLED = {*_PASSED_ON, signal.SIGINT, signal.SIGTSTP, signal.SIGCONT}


def main() -> int:
    """Run one command in a fork of the pool, or here; returns the exit code."""
    if sys.argv[1:2] and sys.argv[1] in _NOUNS and os.environ.get(match.VARIABLE, "auto").lower() not in match.OFF:
        _by_pool(sys.argv)
    import importlib

    # By name: the core knows nothing of what stands on top of it, but that it is there.
    return int(importlib.import_module("aiinfra_lab.cli").main())


def _by_pool(argv: Sequence[str]) -> None:
    """End with its exit code; returns when there is no pool, or it cannot do that."""
    if not sys.platform.startswith("linux"):
        return
    from . import asking

    umask = os.umask(0o077)
    os.umask(umask)
    # From here to the answer a signal would find nobody: it waits.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        child = asking.fork("cli", argv, env=os.environ, cwd=os.getcwd(), umask=umask)
        if child is not None:
            _pass_signals_on(child)
    except FileNotFoundError:  # the folder is gone
        child = None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if child is None:
        return
    code = child.wait(alone=_warn) or 0
    if code < 0:  # it was ended by a signal, and so is this process
        _end_by(-code)
    os._exit(code)  # nothing is left to be done here, and Python's own end takes as long as the fork has


def _warn() -> None:
    sys.stderr.write("the warm pool was killed: this command goes on without it\n")


def _processes() -> Any:
    """The module that sends signals: imported late, since few commands are sent any; and whole, before the handler of
    another signal would find a part of it, as of Ctrl-C twice."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        from ..host import processes
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return processes


def _end_by(number: int) -> None:
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    _processes().signal_process(os.getpid(), number)


def _pass_signals_on(child: object) -> None:
    """What this process is sent is meant for its fork; Ctrl-C is for what that has started, too."""
    pid: int = child.pid  # type: ignore[attr-defined]

    def pass_on(number: int, _frame: object) -> None:
        if number in (signal.SIGINT, signal.SIGQUIT):
            _processes().signal_group(pid, number)
        else:
            _processes().signal_process(pid, number)

    def stop(_number: int, _frame: object) -> None:
        processes = _processes()
        processes.signal_group(pid, signal.SIGSTOP)
        processes.signal_process(os.getpid(), signal.SIGSTOP)
        processes.signal_group(pid, signal.SIGCONT)

    for number in (*_PASSED_ON, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, stop)


if __name__ == "__main__":
    sys.exit(main())
