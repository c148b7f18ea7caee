"""`lab-warm`: a kernel of JupyterLab, papermill or nbval out of the pool; else it is spawned as always."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from ..host import processes
from ..modes import users_umask
from . import asking, wanted

# What of `subprocess.Popen` a fork can have, and what of jupyter_client is nothing to a process.
_TAKEN_OVER = {"cwd", "env", "stderr", "stdin", "stdout", "umask"}
_OF_JUPYTER = {"extra_arguments", "independent", "kernel_id"}


class WarmProvisioner(LocalProvisioner):
    """See `jupyter_client.provisioning`."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        found = self._forked(cmd, kwargs)
        if found is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid, self.pgid = found, found.pid, found.pid  # type: ignore[assignment]
        self.cwd = kwargs.get("cwd") or Path.cwd()  # for what a page asks of paths
        return self.connection_info

    def _forked(self, cmd: list[str], options: Mapping[str, Any]) -> WarmProcess | None:
        if not asking.is_this_python(cmd) or not _can_be_forked(options) or not wanted.pool():
            return None
        umask = options.get("umask", -1)
        null = os.open(os.devnull, os.O_RDWR)
        try:
            found = asking.fork(
                "kernel",
                cmd,
                # Its parent is the pool: it ends with its owner by the connection, not by looking at its parent.
                env={**(options.get("env") or os.environ), "JPY_PARENT_PID": "0"},
                cwd=str(options.get("cwd") or Path.cwd()),
                umask=users_umask() if umask < 0 else umask,
                descriptors=_streams(options, null),
            )
        finally:
            os.close(null)
        return None if found is None else WarmProcess(found)


def _can_be_forked(options: Mapping[str, Any]) -> bool:
    """Whether a fork can have all of it. It has no pipe to who asks, and ends with that."""
    is_known = options.keys() <= _TAKEN_OVER | _OF_JUPYTER
    has_pipe = subprocess.PIPE in (options.get(name) for name in ("stdin", "stdout", "stderr"))
    return is_known and not has_pipe and not options.get("independent")


def _streams(options: Mapping[str, Any], null: int) -> tuple[int, int, int]:
    """The descriptors of its standard streams, as `subprocess.Popen` reads these options."""
    out = _stream(options.get("stdout"), 1, null)
    err = options.get("stderr")
    return (
        _stream(options.get("stdin"), null, null),
        out,
        out if err == subprocess.STDOUT else _stream(err, 2, null),
    )


def _stream(asked: Any, usual: int, null: int) -> int:
    if asked is None:
        return usual
    if asked == subprocess.DEVNULL:
        return null
    return asked if isinstance(asked, int) else int(asked.fileno())


class WarmProcess:
    """A forked kernel, as `subprocess.Popen` has one."""

    stdin = stdout = stderr = None

    def __init__(self, forked: asking.Forked) -> None:
        self._forked, self.pid = forked, forked.pid

    @property
    def returncode(self) -> int | None:
        """See `subprocess`."""
        return self._forked.returncode

    def poll(self) -> int | None:
        """See `subprocess`."""
        return self._forked.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        """See `subprocess`."""
        return self._forked.wait(timeout)

    def send_signal(self, number: int) -> None:
        """See `subprocess`."""
        self._signal(number)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            processes.signal_process(self.pid, number)

    def terminate(self) -> None:
        """See `subprocess`."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """See `subprocess`."""
        self._signal(signal.SIGKILL)
