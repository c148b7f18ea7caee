"""Slurm's own commands, run here or on a login node over ssh, and what they print.

What they print differs between versions, and their JSON most of all: so the fields are named, and split by a separator
of our own. Tried with Slurm 22.05; the fields are those of 20.11 and later.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import Missing, Unavailable
from .ssh import ssh_command

ANSWER_S = 45.0  # the commands themselves give up on a controller that is away, most after about 10 s
_SEPARATOR = "|"
# What one needs of this process's environment. Not all of it: a job would get it, with what a notebook has in it, and
# that of a job which this runs in (SLURM_JOB_ID, …) would be taken for the new one's.
_KEPT = {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "KRB5CCNAME"}
_ALSO_KEPT = {"SLURM_CONF", "SLURM_CLUSTERS", "SSH_AUTH_SOCK", "XDG_CACHE_HOME"}
_TIMES = {"SLURM_TIME_FORMAT": "%s"}  # epoch seconds, whatever the cluster's time zone
# How a job has ended → why, and whether it was taken away.
ENDS = {
    "BOOT_FAIL": ("its node did not boot", True),
    "CANCELLED": ("cancelled", False),
    "COMPLETED": ("its script has ended", False),
    "DEADLINE": ("it could not have begun in time", False),
    "FAILED": ("its script failed", False),
    "NODE_FAIL": ("its node failed", True),
    "OUT_OF_MEMORY": ("out of memory", False),
    "PREEMPTED": ("preempted: another job took its place", True),
    "REVOKED": ("taken by another cluster", True),
    "TIMEOUT": ("its time in Slurm is over", False),
}
_NAME_LOGIN = 'name a login node of the cluster: `slurm_login = "HOST"` below `[gpu]` in aiinfra.toml'
_JOB_FIELDS = "%i|%j|%T|%B|%V|%S|%e|%l|%L|%r|%k"


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A job as the controller lists it. state: Slurm's word; node: where its script runs, empty before it does.

    begins_at: when it began, or is expected to. limit_s: its time limit, None without one, and left_s what is left of
    it. reason: why it waits
    """

    id: str
    name: str
    state: str
    node: str
    asked_at: float | None
    begins_at: float | None
    ends_at: float | None
    limit_s: float | None
    left_s: float | None
    reason: str
    comment: str

    @property
    def is_over(self) -> bool:
        return self.state in ENDS


class SlurmClient:
    """login: the host to run them on, by its name in the ssh configuration; empty for this machine."""

    def __init__(self, login: str = "", ssh_config: str = "") -> None:
        self.login, self._config = login, ssh_config
        self._ssh = [*ssh_command(ssh_config), login] if login else []

    @property
    def where(self) -> str:
        return self.login or "this machine"

    def command(self, *words: str) -> list[str]:
        """What runs a command there, all but for its own arguments: ssh gives them to a shell."""
        return [*self._ssh, *words]

    def to_node(self, node: str) -> list[str]:
        """ssh to a node, by way of the login node."""
        return [*ssh_command(self._config, {"ProxyJump": self.login} if self.login else None), node]

    def environment(self) -> dict[str, str] | None:
        """Of such a command; None for that of this process, which ssh does not pass on."""
        if self.login:
            return None
        return {name: value for name, value in os.environ.items() if name in _KEPT | _ALSO_KEPT}

    def run(
        self, *words: str, text: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What a command there answers, be it that it fails. Missing when it is not there, Unavailable when its machine
        is not reached, or it does not come back: then nobody knows what it has done."""
        argv = ["env", *(f"{name}={value}" for name, value in {**_TIMES, **(env or {})}.items()), *words]
        if not self.login and shutil.which(words[0]) is None:
            raise self._missing(words[0])
        command = [*self._ssh, shlex.join(argv)] if self.login else argv
        try:
            done = subprocess.run(
                command,
                input=text,
                env=self.environment(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=ANSWER_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"`{words[0]}` on {self.where} does not answer within {ANSWER_S:.0f} s", "try again"
            ) from None
        except FileNotFoundError:
            raise Missing("there is no ssh", "install the OpenSSH client, e.g. `apt install openssh-client`") from None
        if self.login and done.returncode == 255:
            raise Unavailable(f"{self.login} cannot be reached: {problem_of(done)}", f"try `ssh {self.login}`")
        if done.returncode == 127:
            raise self._missing(words[0])
        if done.returncode and "fatal: " in done.stderr and "configuration" in done.stderr:
            what = f"{words[0]} on {self.where} knows no cluster: {problem_of(done)}"
            raise Missing(what, f"set SLURM_CONF to the cluster's slurm.conf, or {_NAME_LOGIN}")
        return done

    def ask(self, *words: str) -> str:
        """What a command prints. Unavailable when it fails: its controller is away, or it has not this command."""
        done = self.run(*words)
        if done.returncode:
            raise unavailable(done, words[0])
        return done.stdout

    def jobs(self, *filters: str) -> list[SlurmJob]:
        """This user's jobs that the controller remembers, those that have ended a short while ago too."""
        printed = self.ask("squeue", "--me", "--noheader", "--states=all", f"--format={_JOB_FIELDS}", *filters)
        fields = [line.split(_SEPARATOR, 10) for line in printed.splitlines()]
        return [_job(each) for each in fields if len(each) == 11]

    def job(self, number: str) -> SlurmJob | None:
        """One of them; None when the controller knows none of that number."""
        done = self.run("squeue", "--me", "--noheader", "--states=all", f"--format={_JOB_FIELDS}", f"--jobs={number}")
        if done.returncode and is_unknown_job(done):
            return None
        if done.returncode:
            raise unavailable(done, "squeue")
        fields = [line.split(_SEPARATOR, 10) for line in done.stdout.splitlines()]
        return next((_job(each) for each in fields if len(each) == 11), None)

    def exit_code(self, number: str) -> int | None:
        """Of a job's script, as long as the controller remembers it."""
        done = self.run("scontrol", "--oneliner", "show", "job", number)
        found = re.search(r"\bExitCode=(\d+):", done.stdout)
        return int(found[1]) if found and done.returncode == 0 else None

    def accounted(self, name: str) -> tuple[str, str] | None:
        """Number and state of the last job of that name, by the accounting; None where there is none."""
        words = ("--noheader", "-P", "--allocations", "--starttime=now-30days", "--format=JobIDRaw,State")
        try:
            done = self.run("sacct", *words, f"--name={name}")
        except Missing:
            return None
        rows = [line.split(_SEPARATOR) for line in done.stdout.splitlines()] if done.returncode == 0 else []
        found = [(row[0], row[1]) for row in rows if len(row) == 2]
        return found[-1] if found else None

    def _missing(self, program: str) -> Missing:
        fix = _NAME_LOGIN
        if self.login:
            fix = (
                f"see that `ssh {self.login} {program} --version` works: it has to be on PATH there without a terminal"
            )
        return Missing(f"there is no {program} on {self.where}", fix)


def problem_of(done: subprocess.CompletedProcess[str]) -> str:
    """What a command complains about last, without its own name."""
    lines = [line for line in done.stderr.strip().splitlines() if line.strip() and not line.startswith("Try ")]
    return re.sub(r"^\w+: (error: |fatal: )?", "", lines[-1]).strip() if lines else f"exit code {done.returncode}"


def unavailable(done: subprocess.CompletedProcess[str], program: str) -> Unavailable:
    fix = "nothing is taken for gone; try again, or ask whether the controller is up: `scontrol ping`"
    return Unavailable(f"{program} fails: {problem_of(done)}", fix)


def is_unknown_job(done: subprocess.CompletedProcess[str]) -> bool:
    return "Invalid job id" in done.stderr


def _job(fields: Sequence[str]) -> SlurmJob:
    number, name, state, node, asked, begins, ends, limit, left, reason, comment = fields
    return SlurmJob(
        id=number,
        name=name,
        state=state,
        node="" if node in ("n/a", "(null)", "None") else node,
        asked_at=_time(asked),
        begins_at=_time(begins),
        ends_at=_time(ends),
        limit_s=duration_s(limit),
        left_s=duration_s(left),
        reason="" if reason == "None" else reason,
        comment="" if comment == "(null)" else comment,
    )


def _time(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def duration_s(text: str) -> float | None:
    """Slurm's `days-hours:minutes:seconds`, of which the front may be missing; None for no limit.

    >>> duration_s("1-02:00:00"), duration_s("1:30"), duration_s("UNLIMITED")
    (93600.0, 90.0, None)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
