"""How an owner reaches the host of its kernel when that is a job of Slurm's."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Unavailable
from ..kernels import CommandReach
from ..kernels.reach import ByteStream
from .slurm_client import SlurmClient

_HAND_OVER_S = 20  # for the job's script to listen, after a login shell has begun and Python has
# In a step: its streams go to the job's script, which runs the command; this ends with the command's exit code.
# Whatever starts in the step itself is killed with it.
_HAND_OVER = f"""import os, socket, sys, time
until = time.monotonic() + {_HAND_OVER_S}
while True:
    try:
        job = socket.socket(socket.AF_UNIX)
        job.connect(os.readlink(os.path.join(os.path.expanduser(sys.argv[1]), "door")))
        break
    except OSError as problem:
        if time.monotonic() > until: sys.exit("its script does not listen: %s" % problem)
        time.sleep(0.1)
socket.send_fds(job, ["\\0".join(sys.argv[2:]).encode()], [0, 1, 2])
code = job.recv(1)
sys.exit(code[0] if code else "its script does not start it")"""
# Unbuffered, or Slurm holds back whatever does not end in a line. It shares what the job has with the kernel.
_STEP = ("--overlap", "--mem=0", "--nodes=1", "--ntasks=1", "--cpu-bind=none", "--mpi=none", "--quiet", "--unbuffered")


class ShellReach(CommandReach):
    """See `CommandReach`. Its Python is found as the job's script finds it: by a login shell, after `slurm_setup`."""

    def __init__(
        self, command: Sequence[str], client: SlurmClient, folder: str, *, python: str, setup: str, is_by_shell: bool
    ) -> None:
        super().__init__(command, folder, shell=is_by_shell, python=python, env=client.environment(), attempts=2)
        self._setup = setup

    def _remote(self, *arguments: str) -> list[str]:
        argv = self._command_of(*arguments)
        if self._python.startswith("/") and not self._setup:
            return argv
        return ["bash", "-lc", f'{self._setup}\nexec "$@"', "-", *argv]

    def _command_of(self, *arguments: str) -> list[str]:
        return super()._remote(*arguments)


class JobReach(ShellReach):
    """A step of the job carries the bytes, or ssh to its node where that is given.

    What a job that is over has left is read where its folder is, on the machine that has Slurm's commands: with a home
    that all share, the kernel's last outputs are there.
    """

    def __init__(
        self, client: SlurmClient, job: str, folder: str, *, python: str, node: str = "", setup: str = ""
    ) -> None:
        command = client.to_node(node) if node else client.command("srun", f"--jobid={job}", *_STEP)
        is_by_shell = bool(node or client.login)
        super().__init__(command, client, folder, python=python, setup=setup, is_by_shell=is_by_shell)
        self._client, self._job = client, job
        self._left = ShellReach(
            client.command(), client, folder, python=python, setup=setup, is_by_shell=bool(client.login)
        )

    def connect(self, within_s: float | None = None) -> ByteStream:
        try:
            return super().connect(within_s)
        except Unavailable:
            if not self._is_over():
                raise
        return self._left.connect(within_s)

    def _is_over(self) -> bool:
        job = self._client.job(self._job)
        return job is None or job.is_over

    def _command_of(self, *arguments: str) -> list[str]:
        argv = super()._command_of(*arguments)
        return [self._python, "-c", _HAND_OVER, self._folder, *argv] if arguments[0] == "keep" else argv
