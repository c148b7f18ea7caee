"""How Jupyter reaches a kept kernel: the entry `aiinfra` of the group `jupyter_client.kernel_provisioners`.

For Jupyter this is a kernel that it starts, stops and restarts by itself. Here starting attaches to the living kernel,
stopping detaches from it, and restarting asks the keeper for a fresh one. This is the only file that is a part of
jupyter_client, so it is imported by Jupyter alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Unicode

from ..errors import Failed
from ..files import is_locked, take_lock
from .client import gone, send_code, send_control
from .kept import CHANNELS, KeptKernel, KernelState
from .specs import sweep

RESTART_S = 30.0
WORK_IN_S = 0.5  # a kernel that is busy goes to the notebook's folder when it is done
_OWNER = "owner"


class SessionProvisioner(KernelProvisionerBase):
    """Attaches one of Jupyter's kernel managers to a kept kernel. Many may be attached at once, to one namespace."""

    uri = Unicode(help="the URI of what the kernel belongs to, e.g. gpu:trainer")
    workspace = Unicode(help="the workspace that it lives in")

    _attached = False
    _detaching = False  # from Jupyter's request to shut down until it attaches again
    _restart: Literal["", "requested", "due"] = ""  # due: the keeper has not been asked yet
    _incarnation = 0
    _links: Path | None = None
    _hold: IO[bytes] | None = None

    @property
    def kept(self) -> KeptKernel:
        """The kernel that this attaches to."""
        return KeptKernel.of(self.uri, Path(self.workspace))

    @property
    def has_process(self) -> bool:
        """Whether a kernel is attached."""
        return self._attached

    async def poll(self) -> int | None:
        """None as long as the kernel lives that Jupyter attached to: any number makes Jupyter restart it.

        A kernel that died has been started again by its host; Jupyter attaches to the new one, and tells its user.
        """
        if self._detaching:
            return 0
        kept, state = self.kept, self.kept.state()
        if state.crashed >= self._incarnation > 0:
            # Not before there is one to attach to: that may take a boot, and Jupyter gives up after five attempts.
            return 1 if state.incarnation > state.crashed or not kept.is_alive() else None
        self._incarnation = self._incarnation or state.incarnation  # it was opened before there was a kernel
        return None if kept.is_alive() else 1

    async def wait(self) -> int | None:
        """Returns at once: detaching takes no time."""
        self._attached = False
        return 0

    async def send_signal(self, signum: int) -> None:
        """An interrupt goes to the kernel as a message. The one that Jupyter sends before it shuts down does not:
        closing a notebook must not stop what runs in the kernel."""
        if signum == signal.SIGINT and not getattr(self.parent, "shutting_down", False) and self.kept.is_alive():
            send_control(self.kept, "interrupt_request")

    async def kill(self, restart: bool = False) -> None:  # Jupyter passes False also before restarts
        """Detach."""
        self._detaching = True

    async def terminate(self, restart: bool = False) -> None:
        """Detach."""
        self._detaching = True

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Jupyter has sent its `shutdown_request`, which the keeper's proxy has read in our sense."""
        self._detaching = True
        self._restart = "requested" if restart else ""

    async def cleanup(self, restart: bool = False) -> None:
        """Whether this was a restart is only certain here."""
        if restart:
            self._restart = self._restart or "due"
        elif self._links is not None:
            shutil.rmtree(self._links, ignore_errors=True)
            if self._hold is not None:
                self._hold.close()
            self._links = self._hold = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """There is no command: the keeper has started the kernel."""
        return {**kwargs, "cmd": []}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Attach. Unavailable when the kernel has ended, unless Jupyter restarts by itself what it found dead: then it
        shall find it dead again, and report that after its last attempt."""
        restart, self._restart = self._restart, ""
        if self.kept.is_alive():
            self.connection_info = self._connect()
            await self._await_restart(restart)
            # As a kernel that is started: papermill goes to the folder itself, and names none.
            await self._work_in(kwargs.get("cwd") or Path.cwd())
        else:
            sweep(self.kept)  # a keeper that was killed left its entry in the launcher, by which Jupyter came here
            if restart != "due":
                raise gone(self.kept)
        self._attached, self._detaching = True, False
        return self.connection_info

    async def _await_restart(self, restart: str) -> None:
        """Wait for the kernel that a restart brings; one that died has a successor, or will have one in a moment."""
        if self.kept.state().crashed >= self._incarnation > 0:
            await self._await_successor()
            restart = ""
        if restart == "due":
            send_control(self.kept, "shutdown_request", restart=True)
        until = time.monotonic() + RESTART_S
        while restart and self.kept.state().incarnation <= self._incarnation:
            if time.monotonic() > until or not self.kept.is_alive():
                fix = f"look at it with {self.kept.command('show')}"
                raise Failed(f"{self.uri} did not start its kernel again", fix)
            await asyncio.sleep(0.05)
        self._incarnation = self.kept.state().incarnation

    async def _await_successor(self) -> None:
        until = time.monotonic() + RESTART_S
        while (state := self.kept.state()).incarnation <= state.crashed and self.kept.is_alive():
            if time.monotonic() > until:  # one that takes minutes, on another machine: it is found dead till then
                return
            await asyncio.sleep(0.05)

    async def _work_in(self, folder: object) -> None:
        """Have the kernel work in the notebook's folder, as any kernel does; not under another open notebook."""
        if self._links is None:
            return
        others = [each for each in self._links.parent.iterdir() if each.is_dir() and each != self._links]
        if any(map(_is_held, others)):
            return
        # No name is left behind, and where the host has no such folder nothing happens.
        to = in_project(self.kept.state(), str(folder))
        code = f"(lambda os, to: os.path.isdir(to) and os.chdir(to))(__import__('os'), {to})"
        # By a thread of its own: a process that was forked has those of its loop no more, and would wait for them.
        with ThreadPoolExecutor(1) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, send_code, self.kept, code, WORK_IN_S)

    def _connect(self) -> KernelConnectionInfo:
        """The kernel's connection, through links of our own: Jupyter deletes the sockets of a kernel that it ends."""
        info = self.kept.connection_info()
        sockets = Path(info["ip"]).parent
        if self._links is None or not self._links.is_dir():
            # Inside the sockets' own folder: a keeper that ends takes the links of clients that were killed along.
            self._links = Path(tempfile.mkdtemp(dir=sockets, prefix=""))
            self._hold = take_lock(self._links / _OWNER)
        for port in CHANNELS.values():
            with contextlib.suppress(FileExistsError):
                (self._links / f"k-{port}").symlink_to(sockets / f"k-{port}")
        return {**info, "ip": str(self._links / "k"), "key": info["key"].encode()}  # type: ignore[typeddict-item]

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Detaching is not waited for."""
        return min(recommended, 1.0)


def in_project(state: KernelState, folder: str) -> str:
    """The expression for a folder of here as the kernel's host calls it: the same name, or that in its project."""
    if not state.project or not Path(folder).is_relative_to(state.project_here):
        return repr(folder)
    there = Path(folder).relative_to(state.project_here).as_posix()
    return f"__import__('os').path.expanduser({f'{state.project}/{there}'!r})"


def _is_held(links: Path) -> bool:
    """Whether these are the links of a client that lives."""
    return is_locked(links / _OWNER)
