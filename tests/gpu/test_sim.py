"""Sessions on machines that are rented, by the cloud that is one in a clock alone: its kernels are real."""

import pytest

from aiinfra_lab import gpu, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.gpu.record import MachineRecord
from aiinfra_lab.gpu.sim import SimMachines
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract


@pytest.fixture
def machines(workspace) -> SimMachines:
    return SimMachines(settings())


@pytest.mark.slow  # a machine for each of some twenty tests, and deadlines that are waited for
class TestSim(MachinesContract, KernelHostContract):
    lead_s = 8.0


def run(code: str, name: str = "far") -> str:
    outputs: list[kernels.Output] = []
    kernels.execute(f"gpu:{name}", code, outputs.append)
    return "".join(output["content"].get("text", "") for output in outputs)


def rented() -> list[MachineRecord]:
    return [record.body for record in open_store().list(MachineRecord)]


def test_a_session_rents_a_machine_and_gives_it_back(machines):
    session = gpu.start("far", gpu="A10G", on="sim", for_="1h")
    assert (session.state, session.gpu, session.hourly_usd, session.kernel) == ("running", "A10G", 1.01, "aiinfra-far")
    assert run("print(6 * 7)") == "42\n"
    [machine] = machines.instances()
    assert machine.state == "running"
    assert gpu.stop("far").state == "ended (stopped)"
    assert machines.instances() == []
    [record] = rented()
    assert (record.instance, record.ended_by, record.is_open) == (machine.id, "stopped", False)
