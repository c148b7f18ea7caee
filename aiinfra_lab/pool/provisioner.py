"""`lab-warm`: a kernel of JupyterLab, papermill or nbval out of the pool; else it is spawned as always."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from ..host import processes
from ..modes import users_umask
from . import asking, wanted


class WarmProvisioner(LocalProvisioner):
    """See `jupyter_client.provisioning`."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        found = self._forked(cmd, kwargs)
        if found is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid, self.pgid = found, found.pid, found.pid  # type: ignore[assignment]
        return self.connection_info

    def _forked(self, cmd: list[str], options: dict[str, Any]) -> WarmProcess | None:
        if not asking.is_this_python(cmd) or not wanted.pool():
            return None
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            found = asking.fork(
                "kernel",
                cmd,
                # Its parent is the pool: it ends with its owner by the connection, not by looking at its parent.
                env={**options.get("env", os.environ), "JPY_PARENT_PID": "0"},
                cwd=str(options.get("cwd") or Path.cwd()),
                umask=users_umask(),
                descriptors=(null, 1, 2),
            )
        finally:
            os.close(null)
        return None if found is None else WarmProcess(found)


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
