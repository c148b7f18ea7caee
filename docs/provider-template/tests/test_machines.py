"""The suite that every provider of machines passes, and what is this provider's alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiinfra_lab import gpu, providers
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Unavailable, UsageProblem
from aiinfra_lab.testing.gpu import MachinesContract, PacedMachinesContract
from aiinfra_lab.testing.workspace import workspace
from lab_template import machines as template


__all__ = ["workspace"]


@pytest.fixture
def machines(workspace: Path) -> template.Machines:
    return template.Machines(settings())


class TestMachines(MachinesContract, PacedMachinesContract):
    patience_s, lead_s = 10.0, 1.0


def test_it_enters_by_its_entry_point(workspace: Path) -> None:
    assert providers.load("gpu.machines", "template") is template.Machines


def test_workspaces_of_one_account_own_their_own_machines(workspace: Path, machines: template.Machines) -> None:
    (workspace / "other").mkdir()
    (workspace / "other" / "aiinfra.toml").touch()
    machines.create(gpu.Plan("t", machines.offers()[0], None))
    assert template.Machines(settings(workspace / "other")).list_owned() == {}


def test_a_price_bounds_what_is_offered(workspace: Path) -> None:
    (workspace / "aiinfra.toml").write_text("[gpu]\ntemplate_most_usd = 1")
    assert [offer.gpu for offer in template.Machines(settings()).offers()] == ["cpu"]


def test_a_price_that_allows_nothing_is_refused(workspace: Path) -> None:
    (workspace / "aiinfra.toml").write_text("[gpu]\ntemplate_most_usd = 0")
    with pytest.raises(UsageProblem):
        template.Machines(settings())


def test_a_session_starts_is_priced_and_ends(workspace: Path) -> None:
    session = gpu.start("t", gpu="A10G", on="template", for_="1h", budget=2)
    assert (session.state, session.on, session.hourly_usd) == ("running", "template", 1.1)
    assert [item.uri for item in gpu.ls().items] == ["gpu:t"]
    assert gpu.stop(session).state.startswith("ended")


def test_a_gpu_that_the_cloud_lacks_is_an_error_with_a_fix(workspace: Path) -> None:
    with pytest.raises(Unavailable) as problem:
        gpu.start("t", gpu="H100", on="template")
    assert "--gpu" in problem.value.fix
