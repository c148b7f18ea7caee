"""Machines of another package that give kernels: no job, no record of ours, and a folder of its own for what it keeps.

Each machine is `python -m kernel_cloud`, which keeps one kernel and reads its deadline from a file. That is the way for
whoever tunnels to a far machine: hold the kernel's lock here, and put sockets where clients look for them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import NotFound
from aiinfra_lab.gpu import Offer, Plan, Status
from aiinfra_lab.kernels import KeptKernel, KernelState, Lease, keeper, renew

_processes: dict[str, subprocess.Popen[bytes]] = {}


class Machines:
    """See `Machines` and `KernelHost` for the contracts. A handle is the session's name and a number."""

    def __init__(self, where: Settings) -> None:
        self._workspace, self._folder = where.workspace, where.workspace / "kernel-cloud"

    def offers(self) -> Sequence[Offer]:
        return [Offer("cpu", 0.1)]

    def create(self, plan: Plan) -> str:
        for handle, name in self.list_owned().items():
            if name == plan.name:
                return handle
        handle = f"{plan.name}-{len(list(self._folder.glob('*')))}"
        (self._folder / handle).mkdir(parents=True)
        (self._folder / handle / "name").write_text(plan.name)
        self.renew(handle, plan.deadline_at)
        _processes[handle] = subprocess.Popen([sys.executable, __file__, str(self._folder / handle)])
        return handle

    def status(self, handle: str) -> Status:
        process, ended = _processes.get(handle), self._folder / handle / "ended"
        if process is None:
            return Status("ended", "it was never here")
        if process.poll() is not None:
            return Status("ended", ended.read_text() if ended.exists() else "its keeper failed")
        return Status("ready" if self.kernel(handle).state().phase == "ready" else "starting")

    def renew(self, handle: str, deadline_at: float | None) -> None:
        if (self._folder / handle).is_dir():
            (self._folder / handle / "deadline").write_text(json.dumps(deadline_at))
            renew(_kernel(self._folder / handle))

    def terminate(self, handle: str) -> None:
        if handle in _processes:
            _processes[handle].terminate()

    def list_owned(self) -> Mapping[str, str]:
        found = {path.parent.name: path.read_text() for path in self._folder.glob("*/name")}
        return {handle: name for handle, name in found.items() if self.status(handle).state != "ended"}

    def kernel(self, handle: str) -> KeptKernel:
        if handle not in _processes:
            raise NotFound(f"there is no machine {handle}", "`%gpu ls` lists what there is")
        return _kernel(self._folder / handle)


class FileOwner:
    """See `kernels.Owner` for the contract."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def display_name(self) -> str:
        return self._folder.name

    def lease(self) -> Lease:
        return Lease(json.loads((self._folder / "deadline").read_text()))

    def ended(self, state: KernelState) -> None:
        (self._folder / "ended").write_text(state.why)


def _kernel(folder: Path) -> KeptKernel:
    return KeptKernel.of(f"gpu:{(folder / 'name').read_text()}", folder.parents[1])


if __name__ == "__main__":
    time.sleep(0.1)  # a machine of a cloud is not there at once
    sys.exit(keeper.run(_kernel(Path(sys.argv[1])), FileOwner(Path(sys.argv[1]))))
