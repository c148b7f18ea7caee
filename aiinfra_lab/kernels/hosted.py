"""A kernel that lives as long as the process that runs a notebook, kept by a host core: the steps of pipelines.

However that process or the kernel ends, nothing is left of what the notebook has started. Only who runs notebooks
imports this: it is a part of jupyter_client.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import os
import queue
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any, cast

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from ..files import make_private_folder
from ..host.frames import MessageChannel
from ..host.spec import HostSpec, HostState, read_state
from ..jobs import process
from .bridge import KEEP_BYTES, Bridge
from .kept import CHANNELS
from .link import Link
from .reach import LocalReach
from .shim import Shim

_ALONE_S = 0.5
_TURN_S = 10.0
_LET_GO_S = 10.0  # for the host to hear that its kernel is let go of: it is at work, and on this machine
_ASK_S, _OUTPUT_S = 1.0, 0.2  # for an answer, and for what is published with it
_LOCAL = "local-provisioner"
_START = inspect.unwrap(AsyncKernelManager.start_kernel)
_SHUT_DOWN = inspect.unwrap(AsyncKernelManager.shutdown_kernel)


class HostedKernelManager(AsyncKernelManager):
    """Starts its kernel by a host core of this machine, unless the kernel's own spec names another way.

    folder: where the core and this process write down what passes between them; made, for this user only. held_key:
    that of the kernel that `hold` has left there, which is gone on with instead of starting one; held_received: the
    last of its messages that has come here. at_end: the command that is run when nothing of the kernel is left
    """

    folder: Path
    held_key: bytes = b""
    held_received: int = 0
    at_end: tuple[str, ...] = ()

    async def _async_start_kernel(self, **kwargs: Any) -> None:
        """See jupyter_client, which sleeps behind it so that its own tests see what is pending."""
        await _START(self, **kwargs)

    async def _async_shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        """The same."""
        await _SHUT_DOWN(self, now=now, restart=restart)

    start_kernel = _async_start_kernel
    shutdown_kernel = _async_shutdown_kernel

    def client(self, **kwargs: Any) -> HostedKernelClient:  # type: ignore[override]
        """See jupyter_client. Not by its `client_class`, which nbclient sets."""
        self.client_factory = HostedKernelClient
        return cast("HostedKernelClient", super().client(**kwargs))

    async def _async_wait(self, pollinterval: float = 0.1) -> None:
        """See jupyter_client, which looks ten times a second."""
        if isinstance(self.provisioner, HostedProvisioner):
            await self.provisioner.wait()
        else:
            await super()._async_wait(pollinterval)

    async def hold(self, seconds: float) -> bool:
        """Let go of the kernel, which lives so long for whoever goes on with it; False where that cannot be."""
        return isinstance(self.provisioner, HostedProvisioner) and await self.provisioner.hold(seconds)

    async def _async_pre_start_kernel(self, **kwargs: Any) -> Any:
        if self.held_key:
            self.session.key = self.held_key
        metadata = self.kernel_spec.metadata if self.kernel_spec is not None else {}
        named = metadata.get("kernel_provisioner", {}).get("provisioner_name", _LOCAL)
        if self.provisioner is None and named == _LOCAL:
            self.provisioner = HostedProvisioner(
                kernel_id=self.kernel_id or "", kernel_spec=self.kernel_spec, parent=self
            )
        return await super()._async_pre_start_kernel(**kwargs)

    def processes(self) -> list[int]:
        """The pids of the kernel and of all that its cells have started, as far as they live; without those of the host
        core, which keeps them."""
        if not isinstance(self.provisioner, HostedProvisioner) or not self.provisioner.has_process:
            return []
        return self.provisioner.processes()

    def signal_all(self, number: int) -> bool:
        """A signal to the kernel and to what its cells have started; False when there is none, or it is not ours."""
        if not isinstance(self.provisioner, HostedProvisioner) or not self.provisioner.has_process:
            return False
        self.provisioner.command(b"signal", str(int(number)).encode())
        return True


class HostedKernelClient(AsyncKernelClient):
    """Ready once the kernel has answered and its outputs arrive: no waiting for what may have been sent before, since
    nobody else is a client of this kernel. info: what it then has answered"""

    info: dict[str, Any] | None = None

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """See jupyter_client. RuntimeError when it is not ready in time, or dies."""
        until = time.monotonic() + (math.inf if timeout is None else timeout)
        reply = None
        while reply is None or not await self._is_published():
            if not await self._async_is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > until:
                raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")
            self.kernel_info()
            reply = await self._answered() or reply
        self._handle_kernel_info_reply(reply)
        self.info = reply

    async def _answered(self) -> dict[str, Any] | None:
        """The kernel's answer to the last question; None when it takes its time, and is to be asked again."""
        with contextlib.suppress(queue.Empty):
            while True:
                message: dict[str, Any] = await self.get_shell_msg(timeout=_ASK_S)
                if message["msg_type"] == "kernel_info_reply":
                    return message
        return None

    async def _is_published(self) -> bool:
        """Whether what the kernel publishes arrives, read up to the end of its answer."""
        with contextlib.suppress(queue.Empty):
            while True:
                message = await self.get_iopub_msg(timeout=_OUTPUT_S)
                if message["content"].get("execution_state") == "idle":
                    return True
        return False


class HostedProvisioner(KernelProvisionerBase):
    """See `jupyter_client.provisioning`. Its state is what the host core has reported last."""

    parent: HostedKernelManager
    _thread: threading.Thread | None = None
    _state = HostState()
    _sockets: Path | None = None
    _is_let_go = False
    _wake = -1  # open as long as the thread turns; under the lock, since its number is somebody else's after that

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lock = threading.Lock()
        self._commands: queue.SimpleQueue[tuple[bytes, ...]] = queue.SimpleQueue()
        self._over = asyncio.Event()  # once the thread turns no more

    @property
    def has_process(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def processes(self) -> list[int]:
        """See `HostedKernelManager.processes`."""
        import psutil  # only who looks at memory asks

        state = self._state
        try:
            core = psutil.Process(state.core_pid)
            own = {state.core_pid, core.ppid()}
            return [each.pid for each in psutil.Process(state.pid).children(recursive=True) if each.pid not in own]
        except psutil.Error:  # it has not begun, or has just ended
            return []

    async def hold(self, seconds: float) -> bool:
        """See `HostedKernelManager.hold`."""
        self.command(b"alone", str(seconds).encode())
        self._is_let_go = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), _LET_GO_S)
        return not self.has_process and self._state.phase != "ended"

    async def poll(self) -> int | None:
        return None if self.has_process else self._state.exit_code or 0

    async def wait(self) -> int | None:
        if self._thread is not None:
            while self._thread.is_alive():  # also where the loop that was to be told is closed
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), _TURN_S)
                if self._over.is_set():
                    self._thread.join()  # it has nothing left to do
        return self._state.exit_code

    async def send_signal(self, signum: int) -> None:
        self.command(b"signal", str(signum).encode())

    async def terminate(self, restart: bool = False) -> None:
        self.command(b"end", b"stopped")

    async def kill(self, restart: bool = False) -> None:
        self.command(b"signal", str(int(signal.SIGKILL)).encode())
        self.command(b"end", b"stopped")

    async def cleanup(self, restart: bool = False) -> None:
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        arguments = kwargs.pop("extra_arguments", [])
        command = self.parent.format_kernel_cmd(extra_arguments=arguments)
        own = str(self.parent.connection_file)
        return await super().pre_launch(cmd=[part.replace(own, "{connection_file}") for part in command], **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        folder: Path = self.parent.folder
        make_private_folder(folder)
        # Clients' sockets, whose paths must be short, beside the connection file that names them.
        self._sockets = Path(self.parent.connection_file).parent / "clients"
        self._sockets.mkdir(mode=0o700)
        key = self.parent.session.key.decode()
        reach = LocalReach(folder / "host", warm=True)
        spec = HostSpec(
            folder=str(folder / "host"),
            argv=cmd,
            cwd=str(kwargs.get("cwd") or Path.cwd()),
            env=dict(kwargs["env"]),
            key=key,
            umask=kwargs.get("umask", 0o077),
            alone_s=_ALONE_S,
            owner_pid=os.getpid(),
            spare=process.SUPERVISOR,
            restarts=False,
            at_end=list(self.parent.at_end),
        )
        if self.parent.held_key:
            self._state = read_state(folder / "host") or self._state
        else:
            await asyncio.to_thread(reach.begin, spec)
        self._begin(reach, folder, key)
        if self.parent.held_key:
            self.command(b"alone", str(_ALONE_S).encode())
        info = {"transport": "ipc", "ip": str(self._sockets / "k"), **CHANNELS, "key": key.encode()}
        self.connection_info = {**info, "signature_scheme": "hmac-sha256"}  # type: ignore[typeddict-item]
        return self.connection_info

    def command(self, *parts: bytes) -> None:
        """Have the host core do something; nothing once it has ended."""
        with self._lock:
            if self._wake >= 0:
                self._commands.put(parts)
                os.write(self._wake, b".")

    def _begin(self, reach: LocalReach, folder: Path, key: str) -> None:
        assert self._sockets is not None
        wakeup, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        shim = Shim(self._sockets, key, on_shutdown=b"end")
        link = Link(reach, folder, keep_bytes=KEEP_BYTES)
        link.received.skip_to(self.parent.held_received)
        bridge = Bridge(shim, link, wakeup)
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(bridge, wakeup, loop), daemon=True)
        self._thread.start()

    def _is_gone(self, link: Link) -> bool:
        """Whether the kernel is let go of, and its host has heard of it."""
        return self._is_let_go and self._commands.empty() and link.delivered >= link.sent.last

    def _run(self, bridge: Bridge, wakeup: int, loop: asyncio.AbstractEventLoop) -> None:
        """Turn the bridge until the kernel has ended, or is let go of."""
        try:
            while self._state.phase != "ended" and not bridge.link.is_over and not self._is_gone(bridge.link):
                for self._state in bridge.turn(_TURN_S):
                    pass
                with contextlib.suppress(queue.Empty):
                    while True:
                        bridge.link.send(MessageChannel.COMMAND, self._commands.get_nowait())
            for _ in bridge.serve():  # the host hears that its end was heard
                pass
        finally:
            try:
                bridge.close()
                with self._lock:
                    for each in (wakeup, self._wake):
                        os.close(each)
                    self._wake = -1
            finally:
                with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
                    loop.call_soon_threadsafe(self._over.set)
