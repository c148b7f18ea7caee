"""Machines of another package that give kernels: they keep both contracts, and code can be sent to them."""

import importlib
from pathlib import Path

import pytest

from aiinfra_lab import gpu, kernels, providers
from aiinfra_lab.config import settings
from aiinfra_lab.gpu import sessions
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract

PACKAGE = Path(__file__).parents[1] / "fakes" / "kernel_cloud"


@pytest.fixture
def installed(workspace, monkeypatch):
    """The package is installed; what it started is ended afterwards."""
    monkeypatch.syspath_prepend(PACKAGE)
    importlib.invalidate_caches()
    module = importlib.import_module("kernel_cloud")
    yield module
    for process in module._processes.values():
        process.terminate()
        process.wait()
    module._processes.clear()


class TestKernelCloud(MachinesContract, KernelHostContract):
    lead_s = 2.0

    @pytest.fixture
    def machines(self, installed):
        return installed.Machines(settings())


def test_code_is_sent_to_its_sessions(installed, workspace):
    assert isinstance(providers.make("gpu.machines", "kernels"), gpu.KernelHost)
    started = gpu.start("far", on="kernels")
    assert started.kernel
    outputs: list[kernels.Output] = []
    kernels.execute(sessions.kernel_of("gpu:far"), "print(6 * 7)", outputs.append)
    assert outputs[0]["content"]["text"] == "42\n"
    assert gpu.stop("far").state == "ended (stopped)"


def test_a_kernel_that_cannot_be_asked_hides_no_session(installed, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("no tunnel")

    gpu.start("far", on="kernels")
    monkeypatch.setattr(installed.Machines, "kernel", fail)
    monkeypatch.setattr(installed.Machines, "status", lambda *_: gpu.Status("ready"))
    [found] = gpu.ls()
    assert (found.state, found.kernel) == ("running", "")
    assert "failed in kernel: RuntimeError: no tunnel" in found.card().text()
