"""Machines that nobody keeps are found and ended, and nothing else is touched."""

import shutil
import time
from pathlib import Path

import pytest

from aiinfra_lab import gpu, jobs, recipe
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, Unavailable, UsageProblem
from aiinfra_lab.gpu import Offer
from aiinfra_lab.gpu.record import MachineRecord
from aiinfra_lab.gpu.renting import LaunchSpec
from aiinfra_lab.gpu.sim import SimMachines
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.store import Record, open_store
from tests.conftest import until

ROOT = Path(__file__).parents[2]
OFFER = Offer("cpu", 0.04, device="sim.cpu/sim-1a")


@pytest.fixture
def machines(workspace) -> SimMachines:
    return SimMachines(settings())


def launch(machines: SimMachines, token: str, owner: str = "") -> str:
    """A machine that no keeper is behind."""
    folder = Path.cwd() / token
    folder.mkdir()
    owner = owner or make_home_id(settings().home)
    return machines.launch(LaunchSpec("lost", owner, token, OFFER, time.time() + 3600, folder))


def intend(machines: SimMachines, token: str, **fields) -> None:
    body = {"session": "lost", "job": "gpu-lost-0", "provider": "sim", "gpu": "cpu", "usd_per_hour": 0.04}
    open_store().commit([Record.new(token, MachineRecord(**body, requested_at=time.time(), **fields))])


def test_without_any_there_is_nothing(workspace):
    assert gpu.check().card().text().splitlines()[0].endswith("✓ nothing is left over")


def test_a_machine_that_is_kept_is_no_orphan(machines):
    gpu.start("far", on="sim", for_="1h")
    found = gpu.check()
    assert (found.ok, found.kept) == (True, 1)
    assert gpu.stop(orphans=True).ended == 0
    assert gpu.show("far").state == "running"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (None, "no record of this workspace tells of it"),
        ({}, "its keeper is not known here"),
        ({"ended_at": 1.0, "ended_by": "deadline"}, "it was taken for gone: deadline"),
    ],
)
def test_a_machine_that_nobody_keeps_is_found_and_ended(machines, fields, why):
    number = launch(machines, "gpu-lost-0-0")
    if fields is not None:
        intend(machines, "gpu-lost-0-0", **fields)
    assert gpu.check(report=True).orphans == (("sim", number, "lost", why),)
    with pytest.raises(Failed, match=why) as problem:
        gpu.check()
    assert problem.value.fix == "`%gpu stop --orphans` ends what nobody keeps"
    assert gpu.stop(orphans=True).ended == 1
    assert machines.instances() == []
    assert gpu.check().ok


def test_a_machine_of_another_workspace_is_not_touched(machines):
    launch(machines, "gpu-other-0-0", owner="somebody-else")
    assert gpu.check().kept == 0
    assert gpu.stop(orphans=True).ended == 0
    [other] = machines.cloud.machines()
    assert other.asked_at is None
    machines.cloud.end(other.id)


def test_a_machine_that_is_gone_is_written_down(machines):
    intend(machines, "gpu-lost-0-0", instance="sim-0")
    assert gpu.check().ok
    [record] = open_store().list(MachineRecord)
    assert record.body.ended_by == "it was gone when somebody looked"


def test_a_session_that_was_stopped_while_nobody_was_there_is_none(machines, workspace):
    gpu.start("far", on="sim", for_="1h")
    gpu.stop("far")
    assert gpu.check().ok
    until(lambda: not jobs.ls(live=True))


def test_a_provider_that_cannot_be_asked_is_said(machines, monkeypatch):
    intend(machines, "gpu-lost-0-0", ended_at=1.0)

    def away(*_: object) -> None:
        raise Unavailable("the cloud does not answer", "try again")

    monkeypatch.setattr(SimMachines, "instances", away)
    with pytest.raises(Failed, match="sim cannot be asked: the cloud does not answer"):
        gpu.check()


@pytest.mark.parametrize("arguments", [{}, {"name": "far", "orphans": True}])
def test_a_stop_says_what_it_is_for(workspace, arguments):
    with pytest.raises(UsageProblem, match="name a session, or say --orphans"):
        gpu.stop(**arguments)


def test_the_recipe_ends_what_is_left_over(machines, workspace):
    for name in ("recipes/reap.toml", "notebooks/20-reap.ipynb"):
        (workspace / name).parent.mkdir()
        shutil.copy(ROOT / name, workspace / name)
    launch(machines, "gpu-lost-0-0")
    with pytest.raises(Failed, match="no record of this workspace tells of it"):
        recipe.run("reap", param={"end": "false"})
    assert recipe.run("reap", force=True).state == "done"
    assert machines.instances() == []
