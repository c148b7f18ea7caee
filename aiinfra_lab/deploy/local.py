"""Our server on this machine: one supervised process for each endpoint, on the loopback address."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from ..store import open_store
from ..uris import Uri
from . import client
from .base import Claim, PredictedRow, Report, Role, Serving
from .record import DesiredState, EndpointRecord
from .server import predictions_log
from .supervised import Supervised, free_port, is_here, job, poll, start_process


class Local(Supervised):
    """See `Target`. The process of a claim follows the endpoint's record by itself."""

    def claim(self, name: str, port: int | None) -> Claim:
        chosen = free_port(name, port)
        records = job(name, [sys.executable, "-m", "aiinfra_lab.deploy.server", name])
        return Claim(records[0].name, records, chosen, str(self.home / "deploy" / name / "log"))

    def apply(self, claim: str, desired: DesiredState) -> None:
        start_process(claim)  # the job was committed with the record, and its process reads the desired state there

    def serving(self, claim: str) -> Serving:
        url, generation = _asked(claim)
        # Read again: a problem is written before the next generation is served, so that none is missed.
        record = _record(claim) or EndpointRecord()
        return Serving(url, generation, record.problem or "", record.problem_generation or 0)

    # ---- capabilities ----

    def other_roles(self) -> Collection[Role]:
        return "candidate", "shadow"

    def report(self, claim: str) -> Report | None:
        record = _record(claim)
        return client.report(record.url, claim) if record and is_here(claim) else None

    def predictions(self, claim: str, log_dir: str, rows: int) -> Sequence[PredictedRow]:
        if (record := _record(claim)) and is_here(claim):
            client.flush(record.url)
        return predictions_log.newest(Path(log_dir), rows)


def _asked(claim: str) -> tuple[str, int]:
    """Where it can be asked, and the generation that it serves; of one elsewhere what it wrote last."""
    record = _record(claim)
    if record is None:
        return "", 0
    if not is_here(claim):
        return "", record.served_generation
    return client.served(record.url, claim)


def _record(claim: str) -> EndpointRecord | None:
    """The endpoint's record while the claim is its own and lives."""
    found = poll(claim)
    if found is None or not found.live:
        return None
    record = open_store().get(EndpointRecord, Uri.parse(found.subject).name)
    # A later start of the same name has a claim of its own, and this one's process ends by itself.
    return record.body if record and record.body.job == claim else None
