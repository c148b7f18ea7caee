"""The shipped suites refuse providers that are wrong: each of these breaks one sentence of its contract."""

from itertools import count

import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.deploy.desired_state import ServeRequest
from aiinfra_lab.gpu import Plan
from aiinfra_lab.testing.artifacts import ROW
from aiinfra_lab.testing.deploy import DeployTargetContract, change, served
from aiinfra_lab.testing.gpu import MachinesContract
from tests.fakes import cloud


@pytest.fixture
def rented(monkeypatch, workspace):
    """The cloud, without a machine."""
    monkeypatch.setattr(cloud, "machines", {})


class OfNobody(cloud.Cloud):
    """Lists the machines of every workspace as its own."""

    def list_owned(self):
        return {handle: each.name for handle, each in cloud.machines.items() if each.ended_at is None}


class Reusing(cloud.Cloud):
    """Gives a name the machine that it once had, whatever has become of it."""

    def create(self, plan: Plan) -> str:
        self._ask()
        earlier = [handle for handle, each in cloud.machines.items() if each.name == plan.name]
        return earlier[-1] if earlier else super().create(plan)


class Dead(cloud.Cloud):
    """Gives out machines that have ended already, under new names."""

    def create(self, plan: Plan) -> str:
        handle = super().create(plan)
        self.terminate(handle)
        return handle


class Suite(MachinesContract):
    lead_s = 0.1


@pytest.mark.parametrize("wrong", [Reusing, Dead])
@pytest.mark.parametrize("end", ["has_ended", "came_to_its_deadline"])
def test_machines_that_have_ended_may_not_be_given_out(rented, wrong, end):
    machines = wrong(settings())
    test = getattr(Suite(), f"test_a_name_whose_machine_{end}_gets_another_one")
    with pytest.raises(AssertionError):
        test(machines, machines.offers()[0])
    cloud.machines.clear()
    test(cloud.Cloud(settings()), machines.offers()[0])


def test_machines_of_another_workspace_may_not_be_owned(rented, tmp_path):
    def check(kind, folder):
        folder.mkdir()
        machines = kind(settings())
        Suite().test_what_another_workspace_has_is_not_owned(kind, machines, machines.offers()[0], folder)

    check(cloud.Cloud, tmp_path / "right")
    with pytest.raises(AssertionError):
        check(OfNobody, tmp_path / "wrong")


def test_a_target_may_not_ignore_the_key(far, started, monkeypatch):
    request, target = ServeRequest("models:delay@2", 0.5), far.FarCounting(settings())
    record = change(started, target, request)
    url = served(target, record.body.job, record.body.generation).url
    numbers, right = count(), far.Service.choose
    monkeypatch.setattr(far.Service, "choose", lambda self, key: right(self, next(numbers)))
    with pytest.raises(AssertionError):
        DeployTargetContract().test_a_key_gets_the_same_version_again_and_again(lambda: url, ROW)
