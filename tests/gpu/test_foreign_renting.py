"""A provider of another package that rents machines: its sessions are like ours, whatever its client raises."""

import os
import time
from pathlib import Path

import pytest

from aiinfra_lab import cost, gpu, providers
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Unavailable, UsageProblem
from aiinfra_lab.gpu import LaunchSpec, RentingMachines
from aiinfra_lab.gpu.record import MachineRecord
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.gpu import RentedMachinesContract
from tests.conftest import until
from tests.packages import install

# The cloud in a clock, by the class of somebody else, whose service fails now and then.
RENTALS = """
from aiinfra_lab.gpu.sim import SimMachines


class Rentals(SimMachines):
    name = "rentals"

    def instances(self, token=""):
        if (self.cloud.folder / "away").exists():
            raise RuntimeError("503 of its service")
        return super().instances(token)
"""


@pytest.fixture
def rentals(workspace, tmp_path, monkeypatch) -> RentingMachines:
    (tmp_path / "packages").mkdir()
    install(tmp_path / "packages", monkeypatch, RENTALS, "gpu.machines.rentals = somebody:Rentals")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "packages"), os.environ.get("PYTHONPATH", "")]))
    made: RentingMachines = providers.make("gpu.machines", "rentals")
    return made


@pytest.fixture
def away(rentals) -> Path:
    """Where its service is away while there is such a file."""
    folder = Path(rentals.cloud.folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "away"


@pytest.mark.slow  # machines that boot and end
class TestRentals(RentedMachinesContract):
    @pytest.fixture
    def machines(self, rentals):
        return rentals


def test_what_it_raises_is_an_error_of_ours_also_to_our_own_code(rentals, away):
    assert isinstance(rentals, RentingMachines)
    rentals.instances()
    away.touch()
    with pytest.raises(Unavailable, match="failed in instances: RuntimeError: 503") as problem:
        rentals.instances()
    assert "somebody" in problem.value.fix


def test_its_orphans_are_found_and_ended(rentals, tmp_path):
    offer = rentals.offers()[0]
    rentals.launch(
        LaunchSpec("lost", make_home_id(settings().home), "gpu-lost-a-0", offer, time.time() + 600, tmp_path)
    )
    found = {(on, number) for on, number, *_ in gpu.check(report=True).orphans}
    assert {("rentals", each.id) for each in rentals.instances()} <= found
    assert gpu.stop(orphans=True).ok
    assert not rentals.instances()


def test_its_money_is_counted_once_and_it_lives_no_longer_than_ours(rentals):
    started = gpu.start("far", on="rentals")
    assert any("none is rented without an end" in note for note in started.notes)
    gpu.stop("far")
    gpu.start("other", on="sim", for_="1h")
    gpu.stop("other")
    assert cost.show("gpu:far").spent_usd == pytest.approx(gpu.show("far").spent_usd)


def test_a_service_that_fails_for_a_while_loses_no_machine(rentals, away):
    gpu.start("far", on="rentals", for_="1h")
    away.touch()
    time.sleep(3)
    with pytest.raises(Unavailable):
        rentals.instances()
    assert gpu.run("far", "x = 6 * 7", outputs="x")["x"] == 42
    away.unlink()
    gpu.stop("far")
    until(lambda: not rentals.instances())
    assert not open_store().list(MachineRecord, is_open=True)


def test_machines_whose_use_nobody_sees_are_in_no_pool(workspace, monkeypatch, tmp_path):
    moon = """
class Moon:
    def __init__(self, where): ...
    def offers(self): return []
    def create(self, plan): ...
    def status(self, handle): ...
    def renew(self, handle, deadline_at): ...
    def terminate(self, handle): ...
    def list_owned(self): return {}
"""
    install(tmp_path, monkeypatch, moon, "gpu.machines.moon = somebody:Moon")
    with pytest.raises(UsageProblem, match="moon has no machines for a pool"):
        gpu.start("sweep", on="moon", max_=2)
