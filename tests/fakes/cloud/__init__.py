"""A cloud that rents machines out: no process, no pid and no file of it is here, only what its API would answer.

Stricter than a real one in that a machine ends at its deadline to the moment, and that an unknown offer is refused.
"""

import importlib
import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.gpu import Offer, Plan, Status

OFFERS = (Offer("T4", 0.5), Offer("A10G", 1.0), Offer("A100-SXM4-80GB", 4.0))


@dataclass(frozen=True)
class Machine:
    """One machine as the cloud knows it."""

    workspace: str
    name: str
    deadline_at: float | None
    ended_at: float | None = None
    why: str = ""


machines: dict[str, Machine] = {}
_numbers = itertools.count(1)
reachable = [True]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a package of somebody else, whose files lie in that folder, for one test; without a machine."""
    info = folder / "cloud-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cloud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aiinfra_lab.providers]\ngpu.machines.cloud = tests.fakes.cloud:Cloud\n")
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    monkeypatch.setattr(sys.modules[__name__], "machines", {})
    monkeypatch.setattr(sys.modules[__name__], "reachable", [True])


class Cloud:
    """See `Machines` for the contract."""

    def __init__(self, where: Settings) -> None:
        self.workspace = str(where.workspace)

    def offers(self) -> Sequence[Offer]:
        self._ask()
        return OFFERS

    def create(self, plan: Plan) -> str:
        self._ask()
        assert plan.offer in OFFERS
        living = [handle for handle, name in self.list_owned().items() if name == plan.name]
        handle = living[0] if living else f"i-{next(_numbers):04x}"
        machines.setdefault(handle, Machine(self.workspace, plan.name, plan.deadline_at))
        return handle

    def status(self, handle: str) -> Status:
        self._ask()
        machine = machines.get(handle)
        if machine is None:
            return Status("ended", "it was never here")
        if machine.ended_at is not None:
            return Status("ended", machine.why, machine.ended_at)
        return Status("ready")

    def renew(self, handle: str, deadline_at: float | None) -> None:
        self._ask()
        if handle in machines:
            machines[handle] = replace(machines[handle], deadline_at=deadline_at)

    def terminate(self, handle: str) -> None:
        self._ask()
        if handle in machines and machines[handle].ended_at is None:
            machines[handle] = replace(machines[handle], ended_at=time.time(), why="stopped")

    def list_owned(self) -> Mapping[str, str]:
        self._ask()
        own = {handle: each for handle, each in machines.items() if each.workspace == self.workspace}
        return {handle: machine.name for handle, machine in own.items() if machine.ended_at is None}

    def _ask(self) -> None:
        if not reachable[0]:
            raise Unavailable("the cloud does not answer", "try again")
        for handle, machine in machines.items():
            if machine.ended_at is None and machine.deadline_at is not None and time.time() >= machine.deadline_at:
                machines[handle] = replace(machine, ended_at=machine.deadline_at, why="deadline")
