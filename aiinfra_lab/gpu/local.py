"""This machine: sessions are jobs whose kernel is kept, and its accelerators are those that `nvidia-smi` lists."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from .. import jobs, logs
from ..config import Settings
from ..cost import machine_usd_per_hour
from ..errors import NotFound
from ..kernels import KeptKernel, sweep
from ..store import open_store, update
from ..uris import Uri
from .base import Offer, Plan, Status
from .record import SessionRecord

_QUERY = ["nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]
_VENDOR_WORDS = {"nvidia", "tesla", "geforce", "quadro"}


class LocalMachines:
    """See `Machines` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def offers(self) -> Sequence[Offer]:
        price, taken = machine_usd_per_hour(), self._taken()
        cards = [
            Offer(_short(name), price, round(float(mib) / 1024, 1), uuid, taken_by=taken.get(uuid, ""))
            for uuid, name, mib in _cards()
        ]
        return [Offer("cpu", price), *cards]

    def create(self, plan: Plan) -> str:
        subject = f"gpu:{plan.name}"
        if living := jobs.ls(subject, live=True):
            jobs.launch()  # whoever made the job may have come no further
            return living[0].id
        argv = [sys.executable, "-m", "aiinfra_lab.gpu.keeper", plan.name]
        record = jobs.prepare(subject, argv, env=_environment(plan.offer))
        # With its deadline before there is a process: whoever crashes here leaves nothing that runs without end.
        open_store().commit([record.with_(deadline_at=plan.deadline_at)])
        jobs.launch()
        return record.name

    def status(self, handle: str) -> Status:
        try:
            job = jobs.poll(handle)
        except NotFound:
            return Status("ended", "it is not known here")
        kept = KeptKernel.of(job.subject)
        state = kept.state()
        if not job.live:
            return Status("ended", state.why if state.at > job.started_at and state.why else _how(job), job.ended_at)
        # A state older than the job was written by the keeper of an earlier start.
        if state.at < job.started_at or state.phase in ("none", "starting"):
            return Status("stopping" if job.stop_requested_at else "starting")
        # A keeper holds its lock for a moment after it wrote that the session has ended.
        ready = state.phase == "ready" and kept.alive() and not job.stop_requested_at
        return Status("ready" if ready else "stopping")

    def renew(self, handle: str, deadline_at: float | None) -> None:
        with contextlib.suppress(NotFound):
            update(open_store(), jobs.JobRecord, handle, lambda body: replace(body, deadline_at=deadline_at))

    def terminate(self, handle: str) -> None:
        with contextlib.suppress(NotFound):
            job = jobs.cancel(handle)
            if not job.live:
                # A keeper that was killed left its kernel's spec and sockets behind.
                sweep(KeptKernel.of(job.subject))

    def list_owned(self) -> Mapping[str, str]:
        live = jobs.ls(live=True)
        return {job.id: Uri.parse(job.subject).name for job in live if Uri.is_one(job.subject, "gpu")}

    def kernel(self, handle: str) -> KeptKernel:
        """See `KernelHost` for the contract."""
        return KeptKernel.of(jobs.poll(handle).subject)

    def _taken(self) -> dict[str, str]:
        """Which session has which device."""
        owned = self.list_owned().values()
        records = open_store().list(SessionRecord, is_open=True)
        # Both are asked: nobody may have written down yet that a session's machine is gone.
        return {record.body.device: record.name for record in records if record.name in owned}


def _cards() -> Iterator[list[str]]:
    """(uuid, name, MiB) of each accelerator; none when there is no driver."""
    try:
        listed = subprocess.run(_QUERY, capture_output=True, text=True, timeout=20, check=True).stdout
    except (FileNotFoundError, PermissionError, subprocess.SubprocessError):
        return
    yield from (row for row in csv.reader(listed.splitlines(), skipinitialspace=True) if len(row) == 3)


def _short(name: str) -> str:
    return "-".join(word for word in name.replace("-", " ").split() if word.lower() not in _VENDOR_WORDS)


def _environment(offer: Offer) -> dict[str, str]:
    """A session sees the accelerator that it asked for and no other. Jupyter's folder is that of who asks: its
    launcher is where the session shall appear."""
    from jupyter_core.paths import jupyter_data_dir

    return {"CUDA_VISIBLE_DEVICES": offer.device, "JUPYTER_DATA_DIR": jupyter_data_dir()}


def _how(job: jobs.Job) -> str:
    """How a job ended that left no word."""
    # 137 is 128 + SIGKILL, as the shell that wraps a job reports it.
    if job.state == "lost" or job.exit_code == 137:
        return "its keeper was killed"
    if job.state == "failed":
        problem = logs.last_problem(jobs.log(job.id, lines=3))
        return f"its keeper failed: {problem}" if problem else f"its keeper failed with exit code {job.exit_code}"
    return job.state
