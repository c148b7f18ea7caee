"""Sessions in pods of a cluster: they keep the contracts, and end by themselves; refusals say how to mend them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab import gpu, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.gpu.base import Offer
from aiinfra_lab.gpu.kubernetes import KubernetesMachines
from aiinfra_lab.gpu.renting import Instance, LaunchSpec
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract
from tests.conftest import until
from tests.fakes.kube import Kube, needs_kube

pytestmark = needs_kube

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
IMAGE = "registry.example/lab:1"


@pytest.fixture
def kube(workspace, tmp_path, monkeypatch) -> Iterator[Kube]:
    """A cluster with a node for processors and one with two L4, which this user's kubectl reaches."""
    with Kube(tmp_path / "kube") as cluster:
        cluster.add_node("plain", {})
        cluster.add_node("l4", {GPU: 2}, {PRODUCT: "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}, f"{GPU}:NoSchedule")
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubectl"))
        configure(workspace)
        yield cluster


def configure(workspace: Path, **values: object) -> None:
    lines = {"image": IMAGE, "usd_per_hour": "L4 0.8, cpu 0.1", **values}
    written = [f"kubernetes_{key} = {json.dumps(value)}" for key, value in lines.items() if value != ""]
    (workspace / "aiinfra.toml").write_text("\n".join(["[gpu]", *written]))


@pytest.fixture
def machines(kube) -> KubernetesMachines:
    return KubernetesMachines(settings())


def spec_of(machines: KubernetesMachines, offer: Offer, token: str = "one-1", for_s: float = 3600.0) -> LaunchSpec:
    return LaunchSpec("one", machines.owner(), token, offer, time.time() + for_s, Path())


def cheapest(machines: KubernetesMachines, wanted: str = "cpu") -> Offer:
    return next(offer for offer in machines.offers(wanted) if offer.fits(wanted))


def one(machines: KubernetesMachines, token: str = "one-1") -> Instance:
    [found] = machines.instances(token)
    return found


def becomes(machines: KubernetesMachines, state: str, token: str = "one-1") -> Instance:
    until(lambda: one(machines, token).state == state)
    return one(machines, token)


def run(code: str, name: str = "pod") -> str:
    outputs: list[kernels.Output] = []
    kernels.execute(f"gpu:{name}", code, outputs.append)
    return "".join(output["content"].get("text", "") for output in outputs)


@pytest.mark.slow  # a pod for each of some twenty tests, and deadlines that are waited for
class TestKubernetes(MachinesContract, KernelHostContract):
    lead_s = 12.0


def test_a_session_there_is_a_kernel_here(kube):
    session = gpu.start("pod", on="kubernetes", gpu="L4", for_="1h")
    assert (session.state, session.on, session.kernel) == ("running", "kubernetes", "aiinfra-pod")
    assert run("import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])") == "l4-gpu-0\n"
    assert gpu.stop("pod").state == "ended (stopped)"
    until(lambda: kube.pods() == [])


def test_the_creating_call_carries_whose_it_is_and_when_it_ends(kube, machines):
    machines.launch(spec_of(machines, cheapest(machines, "L4"), for_s=7200))
    [call] = kube.made("create pods")
    metadata, spec = call.body["metadata"], call.body["spec"]
    assert metadata["name"] == "one-1"
    assert metadata["labels"]["aiinfra-lab/owner"] == machines.owner()
    assert metadata["annotations"]["aiinfra-lab/session"] == "one"
    assert spec["activeDeadlineSeconds"] == 24 * 3600
    assert spec["restartPolicy"] == "Never"
    assert float(spec["containers"][0]["command"][4]) == pytest.approx(7200, abs=5)
    assert spec["containers"][0]["resources"]["limits"] == {GPU: "1"}
    assert spec["nodeSelector"] == {PRODUCT: "NVIDIA-L4"}
    assert spec["tolerations"] == [{"key": GPU, "operator": "Exists"}]
    assert spec["automountServiceAccountToken"] is False
