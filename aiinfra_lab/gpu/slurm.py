"""A cluster's GPUs by Slurm: a session is a job, whose script holds the allocation and what its kernel runs in.

Slurm's own commands do it, here or on a login node over ssh, so partitions, accounts, limits and plugins count as they
always do. The kernel is reached by steps of the job (`srun --overlap`), or by ssh to its node. Tried with a real Slurm
22.05; accounting (`sacct`, quotas of accounts) only by what it prints.
"""

from __future__ import annotations

import math
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..config import Settings, settings
from ..errors import Denied, Failed, LabError, Unavailable, UsageProblem, did_you_mean
from ..jobs.home import home_id
from ..kernels import Place
from . import slurm_offers
from .base import NoCapacity, Offer
from .renting import Instance, LaunchSpec, RentingMachines
from .slurm_client import ENDS, SlurmClient, SlurmJob, is_unknown_job, problem_of, unavailable
from .slurm_reach import JobReach

FOLDER = "~/.cache/aiinfra-lab/sessions"
ALONE_S = 900.0  # for a job that has begun and whose owner does not come: its laptop may have slept in the queue
NOTICE_S = 120
_PROGRAM = Path(__file__).with_name("slurm_job.py")
_COMMENT = "aiinfra/"
_NO_PROGRAM, _NOBODY = 127, 75  # exit codes of the script: see `slurm_job`
_NEVER_BEGAN = "BadConstraints"  # Slurm keeps a record of a job that it has refused

_RUNNING = {"RUNNING", "SIGNALING", "STAGE_OUT", "RESIZING", "SUSPENDED", "STOPPED"}
# What a reason means for whoever waits; the others speak for themselves.
_REASONS = {
    "Priority": "others are before it",
    "Resources": "what it needs is in use",
    "PartitionTimeLimit": "it never begins: --for is longer than the partition allows",
    "PartitionDown": "the partition takes no jobs now",
    "PartitionConfig": "it never begins: the partition does not allow what it asks for",
    "BadConstraints": "it never begins: no node is as it asks",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held: `scontrol release` lets it go on",
    "DependencyNeverSatisfied": "it never begins",
    "InvalidAccount": "it never begins: set `slurm_account`",
    "InvalidQOS": "it never begins: set `slurm_qos`",
    "ReqNodeNotAvail": "its nodes are reserved, or down",
}

_SET = "below `[gpu]` in aiinfra.toml"
# What `sbatch` refuses with → what that is, and what helps. Nothing was created, but where that is not known.
_REFUSALS: tuple[tuple[str, type[LabError], str], ...] = (
    ("partition name", UsageProblem, f"set `slurm_partition` {_SET}; `sinfo --summarize` lists them"),
    ("Invalid account", Denied, f"set `slurm_account` {_SET}; `sacctmgr show associations user=$USER` lists yours"),
    ("Invalid qos", Denied, f"set `slurm_qos` {_SET}; `sacctmgr show associations user=$USER format=qos` lists yours"),
    ("time limit is invalid", NoCapacity, "ask for less: `--for 1h`; `sinfo` says what a partition allows"),
    ("node configuration is not available", NoCapacity, "`%gpu ls --offers --on slurm` lists what there is"),
    ("generic resource (gres)", NoCapacity, "`%gpu ls --offers --on slurm` lists what there is"),
    ("Memory required", NoCapacity, f"ask for less by `slurm_options` {_SET}"),
    ("More processors requested", NoCapacity, f"ask for less by `slurm_options` {_SET}"),
    ("partition not available", NoCapacity, f"set another `slurm_partition` {_SET}"),
    ("accounting/QOS policy", NoCapacity, "end another of your jobs, or ask for less; `squeue --me` lists them"),
    ("permi", Denied, f"set a `slurm_partition` or `slurm_account` {_SET} that you may use"),
    ("option", UsageProblem, f"set `slurm_options` {_SET} as `sbatch` takes it"),
)
# The request may have gone through.
_UNKNOWN = ("controller", "timed out", "Zero Bytes", "authentication", "temporarily", "communication")


@dataclass(frozen=True, slots=True)
class SlurmRequest:
    """The creating call: the options of `sbatch`, and the script that it gets over standard input."""

    options: Sequence[str]
    script: str

    @property
    def text(self) -> str:
        """The same as one script."""
        first, _, rest = self.script.partition("\n")
        return "\n".join([first, *(f"#SBATCH {option}" for option in self.options), rest])


def request(spec: LaunchSpec, where: Settings, now: float | None = None) -> SlurmRequest:
    """What `launch` asks for. now: from which the deadline is counted, in epoch seconds."""
    partition, _, gres = spec.offer.device.partition("/")
    left_s = spec.deadline_at - (time.time() if now is None else now)
    folder, python = f"{where.get('gpu.slurm_folder', FOLDER)}/{spec.token}", where.get("gpu.slurm_python", "python3")
    named = {"account": where.get("gpu.slurm_account", ""), "qos": where.get("gpu.slurm_qos", "")}
    options = [
        f"--job-name={spec.token}",
        f"--comment={_COMMENT}{spec.owner}/{spec.session}",
        f"--partition={partition}",
        *(f"--{name}={value}" for name, value in named.items() if value),
        *([f"--gres={gres}"] if gres else []),
        "--nodes=1",
        "--ntasks=1",
        # Slurm counts minutes, from when the job begins; the host core keeps the deadline to the second.
        f"--time={max(1, math.ceil(left_s / 60))}",
        f"--signal=B:USR1@{NOTICE_S}",
        "--no-requeue",
        # Should one request make two jobs, the second does not begin while the first one lives.
        "--dependency=singleton",
        "--output=/dev/null",
        *shlex.split(where.get("gpu.slurm_options", "")),
    ]
    setup = where.get("gpu.slurm_setup", "")
    words = ["-", folder, f"{spec.deadline_at:.0f}", f"{ALONE_S:.0f}"]
    lines = [
        "#!/bin/bash -l",
        "trap '' USR1",  # until the program hears it
        *([setup] if setup else []),
        f"exec {shlex.join([python, *words])} <<'END_OF_PROGRAM'",
        _PROGRAM.read_text(),
        "END_OF_PROGRAM",
    ]
    return SlurmRequest(options, "\n".join(lines) + "\n")


class SlurmMachines(RentingMachines):
    """See `RentingMachines`. A machine's id is the number of its job, a device `PARTITION/GRES`."""

    name = "slurm"

    def __init__(self, where: Settings) -> None:
        super().__init__(where)
        self._where = where
        self._client = SlurmClient(where.get("gpu.slurm_login", ""), where.get("gpu.ssh_config", ""))
        self._price = where.get("gpu.slurm_usd_per_hour", 0.0)
        self._found: set[str] = set()  # jobs that were found by their token
        self._waiting: dict[str, tuple[float, list[Instance]]] = {}  # by token: until when the last answer does

    def offers(self, wanted: str = "") -> Sequence[Offer]:
        found = slurm_offers.nodes(self._client)
        named = [name.strip() for name in self._where.get("gpu.slurm_partition", "").split(",") if name.strip()]
        has = {node.partition for node in found}
        if named and not has & set(named):
            what = f"no node of the partition {' or '.join(named)} takes jobs"
            raise UsageProblem(what, f"set another `slurm_partition` below `[gpu]`: {did_you_mean(named[0], has)}")
        if not found:
            raise Unavailable("no partition of the cluster takes jobs now", "look at them with `sinfo`")
        mine = named or self._open_partitions()
        called = self._where.get("gpu.slurm_gpu", "")
        used = [node for node in found if node.partition in mine]
        return slurm_offers.offers(used, wanted, named=called, usd_per_hour=self._price)

    def _open_partitions(self) -> list[str]:
        """Those that take jobs of the account and the quality of service that are set."""
        account, qos = self._where.get("gpu.slurm_account", ""), self._where.get("gpu.slurm_qos", "")
        return [name for name, limit in slurm_offers.limits(self._client).items() if limit.takes(account, qos)]

    def launch(self, spec: LaunchSpec) -> str:
        if known := self._jobs_of(spec.token, spec.owner):
            first, *others = sorted(known, key=lambda job: int(job.id))
            for other in others:  # of a request that was repeated although it had gone through
                self.end(other.id)
            return first.id
        asked = request(spec, self._where)
        done = self._client.run("sbatch", "--parsable", *asked.options, text=asked.script)
        number = done.stdout.strip().rpartition("\n")[2].partition(";")[0]
        if done.returncode == 0 and number.isdigit():
            return number
        raise _refusal(done, spec.offer)

    def instances(self, token: str = "") -> Sequence[Instance]:
        owner = home_id(settings().home)
        if not owner:  # nothing was ever begun from here
            return []
        if not token:
            mine = [job for job in self._client.jobs() if job.comment.startswith(f"{_COMMENT}{owner}/")]
            return [_instance(job) for job in mine if not job.is_over]
        if (known := self._waiting.get(token)) is not None and time.monotonic() < known[0]:
            return known[1]
        found = [self._with_exit(job) for job in self._jobs_of(token, owner)] or self._forgotten(token)
        self._waiting[token] = time.monotonic() + max(map(_patience_s, found), default=0.0), found
        return found

    def end(self, instance_id: str) -> None:
        self._waiting.clear()
        job = self._client.job(instance_id)
        # The number may be that of somebody else's job meanwhile: on another cluster, or one that was set up anew.
        if job is None or not (job.comment.startswith(_COMMENT) or job.id in self._found):
            return
        done = self._client.run("scancel", instance_id)
        if done.returncode and not is_unknown_job(done) and "already complet" not in done.stderr:
            raise unavailable(done, "scancel")

    def move_end(self, instance_id: str, deadline_at: float) -> None:
        """Only later: the host core keeps an earlier end, and Slurm would not let it be moved back."""
        job = self._client.job(instance_id)
        if job is None or job.limit_s is None or job.is_over:
            return
        # What it has run is known by the controller's clock, and what it is to run by the one here.
        left_s = job.limit_s if job.left_s is None else job.left_s
        now = time.time()
        minutes = math.ceil((job.limit_s - left_s + deadline_at - now) / 60)
        if minutes * 60 <= job.limit_s:
            return
        done = self._client.run("scontrol", "update", f"JobId={instance_id}", f"TimeLimit={minutes}")
        if done.returncode:
            at = time.strftime("%H:%M", time.localtime(now + left_s))
            what = f"Slurm ends job {instance_id} at {at} all the same: {problem_of(done)}"
            ask = f"ask an operator of the cluster: `scontrol update JobId={instance_id} TimeLimit={minutes}`"
            raise Denied(what, f"start another one for the time after that, or {ask}")

    def place_on(self, instance: Instance, folder: Path) -> Place:
        if instance.state != "running":
            raise Unavailable(f"job {instance.id} does not run: {self.progress(instance)}", "wait for it")
        python, setup = self._where.get("gpu.slurm_python", "python3"), self._where.get("gpu.slurm_setup", "")
        there = f"{self._where.get('gpu.slurm_folder', FOLDER)}/{instance.token}"
        node = instance.address if self._where.get("gpu.slurm_attach", "srun") == "ssh" else ""
        reach = JobReach(self._client, instance.id, there, node=node, python=python, setup=setup)
        return Place(
            reach=reach,
            folder=there,
            argv=(python, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            cwd="~",
            env={},
            alone_s=None,
            name=instance.id,
            rented=True,
        )

    def progress(self, instance: Instance) -> str:
        return instance.why or instance.state

    def _jobs_of(self, token: str, owner: str) -> list[SlurmJob]:
        """The jobs of a token. One whose comment the cluster has taken away goes by its name alone."""
        found = [job for job in self._client.jobs(f"--name={token}") if not _is_refused(job)]
        mine = [job for job in found if job.comment.startswith(f"{_COMMENT}{owner}/") or _COMMENT not in job.comment]
        self._found.update(job.id for job in mine)
        return mine

    def _with_exit(self, job: SlurmJob) -> Instance:
        found = _instance(job)
        if job.state != "FAILED":
            return found
        code = self._client.exit_code(job.id)
        if code == _NO_PROGRAM:
            python = self._where.get("gpu.slurm_python", "python3")
            return replace(found, why=f"there is no {python} on {job.node}: set `slurm_python` below `[gpu]`")
        if code == _NOBODY:
            return replace(found, why="nobody brought it a kernel in time")
        return replace(found, why=f"{found.why} with exit code {code}") if code else found

    def _forgotten(self, token: str) -> list[Instance]:
        """A job that the controller has forgotten, as the accounting has it; what it does not know either is gone."""
        found = self._client.accounted(token)
        if found is None:
            return []
        number, state = found
        why, is_taken = ENDS.get(state.split()[0], ("Slurm has lost it", True))
        return [Instance(number, "", token, "gone", why=why, is_taken=is_taken)]


def _patience_s(instance: Instance) -> float:
    """How long what is known of a job does: the controller is not asked every second about one that waits for hours."""
    if instance.state != "pending" or instance.created_at is None:
        return 0.0
    return min(30.0, max(0.0, time.time() - instance.created_at - 30.0) / 20)


def _is_refused(job: SlurmJob) -> bool:
    """Whether it is only the record of a request that was refused."""
    return job.state == "FAILED" and job.reason == _NEVER_BEGAN


def _refusal(done: subprocess.CompletedProcess[str], offer: Offer) -> LabError:
    problem = problem_of(done)
    if problem.endswith("Unspecified error"):  # a rule of the cluster's own, which has said more before that
        problem = "; ".join(line.rpartition("error: ")[2] for line in done.stderr.strip().splitlines()[:-1])
    partition, _, gres = offer.device.partition("/")
    what = f"Slurm refuses {gres or offer.gpu} in {partition}: {problem.rpartition('failed: ')[2]}"
    if any(part.lower() in problem.lower() for part in _UNKNOWN):
        return Unavailable(
            f"sbatch fails: {problem}", "try again, or ask whether the controller is up: `scontrol ping`"
        )
    for part, kind, fix in _REFUSALS:
        if part.lower() in problem.lower():
            return kind(what, fix)
    return Failed(what, "try it by hand: `sbatch --test-only`")


def _instance(job: SlurmJob) -> Instance:
    _, _, session = job.comment.removeprefix(_COMMENT).partition("/") if job.comment.startswith(_COMMENT) else ("",) * 3
    end = ENDS.get(job.state)
    return Instance(
        job.id,
        session,
        job.name,
        _state(job),
        address=job.node,
        why=end[0] if end else _waits_for(job),
        is_taken=end[1] if end else False,
        notice_at=_notice_at(job),
        created_at=job.asked_at,
        expires_at=None if end else job.ends_at,
    )


def _state(job: SlurmJob) -> Literal["pending", "running", "ending", "gone"]:
    if job.is_over:
        return "gone"
    if job.state == "COMPLETING":
        return "ending"
    return "running" if job.state in _RUNNING else "pending"


def _waits_for(job: SlurmJob) -> str:
    """Why it waits, in Slurm's word and in ours; empty when it does not."""
    if job.state in _RUNNING:
        return "suspended by Slurm" if job.state in ("SUSPENDED", "STOPPED") else ""
    if job.state != "PENDING":
        return job.state.lower()
    reason = job.reason.strip("()")
    means = _REASONS.get(reason.partition(",")[0], "")
    begins = time.strftime("%H:%M", time.localtime(job.begins_at)) if job.begins_at else ""
    parts = [f"{reason} ({means})" if means else reason, f"begins about {begins}" if begins else ""]
    return ": ".join(filter(None, ("in the queue", ", ".join(filter(None, parts)))))


def _notice_at(job: SlurmJob) -> float | None:
    """When it is taken away, once that is decided: its end then comes before its time is over."""
    if job.state not in _RUNNING or not (job.begins_at and job.ends_at and job.limit_s):
        return None
    return job.ends_at if job.ends_at < job.begins_at + job.limit_s - 1 else None
