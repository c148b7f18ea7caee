"""A notebook that is executed in the kernel of a session: that lives on, and begins anew for it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import AsyncKernelManager

from ...errors import Unavailable
from ...kernels import KeptKernel
from ...kernels.client import send_control
from ...kernels.provisioner import SessionProvisioner


@dataclass(frozen=True)
class AttachedKernel:
    """The kernel of a session, while a notebook has it. env: variables that are others there. sees_files: whether it
    sees the files of this machine."""

    kernel: KeptKernel
    env: Mapping[str, str] = field(default_factory=dict)
    sees_files: bool = True


Attach = Callable[[], AbstractContextManager[AttachedKernel]]
"""Has a session, which may take until one is free. LabError where there is none, or nobody wants it any more."""


class SessionKernelManager(AsyncKernelManager):
    """Attaches to a session's kernel instead of starting one. kept: that kernel; a subclass names it"""

    kept: KeptKernel
    _incarnation = 0

    async def begin(self) -> None:
        """Have a kernel that has run nothing yet."""
        await self.restart_kernel(now=True)
        self._incarnation = self.kept.state().incarnation

    def signal_all(self, number: int) -> bool:
        """An interrupt; or, by SIGKILL, the end of the kernel, after which the session has another one. False where the
        kernel cannot be reached."""
        try:
            if number == signal.SIGKILL:
                send_control(self.kept, "shutdown_request", restart=True)
            else:
                send_control(self.kept, "interrupt_request")
        except Unavailable:
            return False
        return True

    async def _async_pre_start_kernel(self, **kwargs: Any) -> Any:
        if self.provisioner is None:
            names = {"uri": str(self.kept.uri), "workspace": str(self.kept.workspace)}
            self.provisioner = SessionProvisioner(
                kernel_id=self.kernel_id or "", kernel_spec=self.kernel_spec, parent=self, **names
            )
        return await super()._async_pre_start_kernel(**kwargs)

    async def _async_is_alive(self) -> bool:
        """Whether it is the kernel that the notebook began in: a session has another one in a moment."""
        state = self.kept.state()
        is_same = self._incarnation in (0, state.incarnation) and not state.crashed >= self._incarnation > 0
        return is_same and await super()._async_is_alive()

    is_alive = _async_is_alive


def manager_of(attached: AttachedKernel) -> type[SessionKernelManager]:
    """The kernel manager that attaches to it."""

    class Manager(SessionKernelManager):
        kept = attached.kernel

    return Manager


def variables_code(variables: Mapping[str, str]) -> str:
    """The code by which these variables are set there; `~` at the beginning is the home there."""
    text = f"import os\nos.environ.update((k, os.path.expanduser(v)) for k, v in {json.dumps(dict(variables))}.items())"
    return f"exec({text!r}, {{}})"
