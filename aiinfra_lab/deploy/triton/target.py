"""Triton Inference Server on this machine, behind a front that keeps the contract of an endpoint.

What is to be served is applied to it: its process reads no record, and whoever observes it writes what it reports.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ...config import Settings
from ...errors import UsageProblem
from ...jobs.record import folder_of
from ...train.environments import required, shown
from .. import client
from ..base import Claim, PredictedRow, Report, Role, Serving, State
from ..record import DesiredState
from ..server import predictions_log
from ..supervised import Supervised, free_port, job, poll, start_process
from ..versions import artifact, recorded
from . import environment, state
from .repository import free_shared, token_of
from .state import Applied, AppliedVersion, Observed


class Triton(Supervised):
    """See `Target`."""

    def __init__(self, where: Settings) -> None:
        super().__init__(where)
        self._where = where

    def claim(self, name: str, port: int | None) -> Claim:
        installed = environment.find(environment.place(self._where))  # before anything is committed
        chosen, log_dir = free_port(name, port), str(self.home / "deploy" / name / "log")
        module = "aiinfra_lab.deploy.triton"
        records = job(name, [sys.executable, "-m", module, name, str(chosen), log_dir, str(installed.folder)])
        return Claim(records[0].name, records, chosen, log_dir)

    def apply(self, claim: str, desired: DesiredState) -> None:
        for uri in desired.models:
            if needs := required(artifact(uri)):
                what = f"Triton runs every network by its own packages, and {uri} needs {shown(needs)}"
                raise UsageProblem(what, "serve it by our own server: `--on local`")
        new = Applied(desired, {uri: AppliedVersion(str(artifact(uri)), recorded(uri)) for uri in desired.models})
        if state.read(Applied, folder_of(claim)) != new:
            state.write(new, folder_of(claim))
        start_process(claim)

    def observe(self, claims: Sequence[str]) -> Mapping[str, State]:
        seen = super().observe(claims)
        for claim, found in seen.items():
            if not found.is_live:
                free_shared(token_of(claim))  # whoever was killed together with its front has left it
        return {claim: _with_address(claim, found) for claim, found in seen.items()}

    def serving(self, claim: str) -> Serving:
        if (before := _live(claim)) is None:
            return Serving()
        url, generation = client.served(before.url, claim)
        # Read again: a problem is written before the next generation is served, so that none is missed.
        now = _live(claim) or before
        return Serving(url, generation, now.problem, now.problem_generation)

    def stop(self, claim: str, timeout_s: float) -> None:
        super().stop(claim, timeout_s)
        if timeout_s:
            free_shared(token_of(claim))

    # ---- capabilities ----

    def other_roles(self) -> Collection[Role]:
        return "candidate", "shadow"

    def report(self, claim: str) -> Report | None:
        live = _live(claim)
        return client.report(live.url, claim) if live else None

    def predictions(self, claim: str, log_dir: str, rows: int) -> Sequence[PredictedRow]:
        if live := _live(claim):
            client.flush(live.url)
        return predictions_log.newest(Path(log_dir), rows)


def _live(claim: str) -> Observed | None:
    """What a claim that lives on this machine wrote last."""
    found = poll(claim)
    is_asked = found is not None and found.live and found.is_here
    return (state.read(Observed, folder_of(claim)) or Observed()) if is_asked else None


def _with_address(claim: str, found: State) -> State:
    """With where its Triton is, for whoever wants to ask that directly."""
    if found.word != "running" or not (observed := _live(claim)) or not observed.triton_url:
        return found
    detail = "; ".join(filter(None, (found.detail, f"Triton at {observed.triton_url}")))
    return dataclasses.replace(found, detail=detail)
