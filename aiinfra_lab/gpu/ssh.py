"""Machines of one's own behind ssh: those that `ssh_hosts` below `[gpu]` names, as the user's configuration has them.

The OpenSSH client does it, with the user's configuration, jump hosts and agent, and it checks host keys as it always
does. Nothing of ours has to be there: a Python with ipykernel, which `ssh_python` names, is enough. A session's kernel
lives on while this machine sleeps or is away; its deadline is kept there.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from ..config import Settings
from ..errors import Missing, Unavailable, UsageProblem
from ..kernels import CommandReach, KeptKernel, MachineSource, Place, Standing, end_core, kernel_argv
from . import driver
from .base import Offer
from .keeping import KeepingMachines

CONNECT_S = 10
_ASK_S = 30.0
_ALONE_S = 7 * 86400.0  # for a kernel without a deadline whose owner never comes back
_FOLDER = "~/.cache/aiinfra-lab/sessions"
# Before the user's own. Nothing may ask, and a connection without a sign of life is known to be cut within 6 s. A
# master of the user's is used where there is one; one that began here would keep open the pipes that its end shows by.
_OPTIONS = {
    "BatchMode": "yes",
    "ControlMaster": "no",
    "ConnectTimeout": str(CONNECT_S),
    "ServerAliveInterval": "2",
    "ServerAliveCountMax": "3",
}


class SshMachines(KeepingMachines):
    """See `KeepingMachines`. A device is the host's name, and behind a `/` the accelerator's own id."""

    name = "ssh"
    has_our_files = False

    def __init__(self, where: Settings) -> None:
        named = where.get("gpu.ssh_hosts", "")
        self._hosts = [part.strip() for part in named.split(",") if part.strip()]
        self._python = where.get("gpu.ssh_python", "python3")
        self._price = where.get("gpu.ssh_usd_per_hour", 0.0)
        self._config = where.get("gpu.ssh_config", "")

    def offers(self) -> Sequence[Offer]:
        if not self._hosts:
            raise UsageProblem(
                "no machine behind ssh is named", 'write `ssh_hosts = "lab1, lab2"` below `[gpu]` in aiinfra.toml'
            )
        if shutil.which("ssh") is None:
            raise Missing("there is no ssh", "install the OpenSSH client, e.g. `apt install openssh-client`")
        taken = self.taken()
        with ThreadPoolExecutor(len(self._hosts)) as pool:
            answers = list(pool.map(self._listed, self._hosts))
        if all(isinstance(answer, Unavailable) for answer in answers):
            raise next(answer for answer in answers if isinstance(answer, Unavailable))
        reached = zip(self._hosts, answers, strict=True)
        return [offer for host, answer in reached if isinstance(answer, str) for offer in self._of(host, answer, taken)]

    def source(self, kernel: KeptKernel, offer: Offer, handle: str) -> MachineSource:
        return Standing(self._place(offer.device, handle))

    def _place(self, device: str, handle: str) -> Place:
        host, _, accelerator = device.partition("/")
        folder = f"{_FOLDER}/{handle}"
        return Place(
            reach=CommandReach([*self._ssh(), host], folder, python=self._python),
            folder=folder,
            argv=kernel_argv(self._python),
            cwd="~",
            env={"CUDA_VISIBLE_DEVICES": accelerator},
            alone_s=_ALONE_S,
        )

    def may_live(self, kernel: KeptKernel) -> bool:
        return kernel.state().phase in ("starting", "ready")

    def end_alone(self, kernel: KeptKernel, offer: Offer, handle: str) -> None:
        before = kernel.state()
        why = end_core(self._place(offer.device, handle).reach, within_s=CONNECT_S) or "stopped"
        # Meanwhile another process may have done the same, and begun the next kernel of that name.
        if kernel.state() == before:
            kernel.write_state(msgspec.structs.replace(before, phase="ended", why=why, at=time.time(), kernel_pid=0))

    def _of(self, host: str, listed: str, taken: Mapping[str, str]) -> Iterator[Offer]:
        yield Offer("cpu", self._price, device=host)
        for found in driver.accelerators(listed):
            device = f"{host}/{found.uuid}"
            yield Offer(found.name, self._price, found.memory_gib, device, taken_by=taken.get(device, ""))

    def _listed(self, host: str) -> str | Unavailable:
        """What the driver of a host says, or why the host cannot be asked."""
        command = [*self._ssh(), host, f"command -v nvidia-smi >/dev/null || exit 0; {shlex.join(driver.QUERY)}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_ASK_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Unavailable(f"{host} does not answer within {_ASK_S:.0f} s", f"try `ssh {host}`")
        if done.returncode == 0:
            return done.stdout
        lines = done.stderr.strip().splitlines()
        return Unavailable(f"{host} cannot be reached: {lines[-1] if lines else done.returncode}", f"try `ssh {host}`")

    def _ssh(self) -> list[str]:
        return ssh_command(self._config)


def ssh_command(config: str = "", options: Mapping[str, str] | None = None) -> list[str]:
    """The OpenSSH client, up to the host's name. config: a file in place of the user's own; options: before those in
    it, and besides those that every connection of ours has."""
    words = [word for name, value in {**_OPTIONS, **(options or {})}.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", *(["-F", config] if config else []), *words]
