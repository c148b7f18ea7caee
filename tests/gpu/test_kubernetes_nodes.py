"""What nodes have to offer, by the labels and resources that clusters really give them, less what pods have taken."""

from typing import Any

import pytest

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.gpu import kubernetes_nodes
from aiinfra_lab.gpu.kubernetes_nodes import Device

POD: dict[str, Any] = {"spec": {"containers": [{"resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]}}
GPU = kubernetes_nodes.NVIDIA
PRODUCT = "nvidia.com/gpu.product"


def node(name: str, resources: dict[str, str], labels: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    status = {"allocatable": {"cpu": "8", "memory": "32Gi", **resources}}
    conditions = [{"type": "Ready", "status": more.pop("ready", "True")}]
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": more,
        "status": {**status, "conditions": conditions},
    }


def taken(where: str, amount: str, resource: str = GPU, phase: str = "Running") -> dict[str, Any]:
    containers = [{"resources": {"limits": {resource: amount}}}]
    return {"spec": {"nodeName": where, "containers": containers}, "status": {"phase": phase}}


def free(*nodes: dict[str, Any], pods: tuple[dict[str, Any], ...] = (), **how: Any) -> list[tuple[str, float]]:
    """What there is besides processors: names and counts."""
    found = kubernetes_nodes.free(nodes, pods, how.pop("wanted", POD), **how)
    return [(each.gpu, each.count) for each in found if each.gpu != "cpu"]


@pytest.mark.parametrize(
    ("resources", "labels", "expected"),
    [
        ({GPU: "1"}, {PRODUCT: "NVIDIA-L4"}, ("L4", 1)),
        ({GPU: "1"}, {PRODUCT: "Tesla-T4"}, ("T4", 1)),
        ({GPU: "1"}, {PRODUCT: "NVIDIA-A100-SXM4-80GB"}, ("A100-SXM4-80GB", 1)),
        ({GPU: "1"}, {PRODUCT: "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"}, ("A100-SXM4-80GB-1g.10gb", 1)),
        ({GPU: "1"}, {PRODUCT: "NVIDIA-L4-SHARED", "nvidia.com/gpu.replicas": "4"}, ("L4", 0.25)),
        ({"nvidia.com/gpu.shared": "1"}, {PRODUCT: "NVIDIA-L4", "nvidia.com/gpu.replicas": "4"}, ("L4", 0.25)),
        ({"nvidia.com/mig-2g.20gb": "1"}, {PRODUCT: "NVIDIA-A100-SXM4-80GB"}, ("A100-SXM4-80GB-2g.20gb", 1)),
        ({"nvidia.com/mig-1g.10gb.me": "1"}, {PRODUCT: "NVIDIA-H100"}, ("H100-1g.10gb+me", 1)),
        ({GPU: "1"}, {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}, ("T4", 1)),
        ({GPU: "1"}, {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}, ("H100-80GB", 1)),
        ({GPU: "1"}, {"karpenter.k8s.aws/instance-gpu-name": "a10g"}, ("A10G", 1)),
        ({GPU: "1"}, {}, ("gpu", 1)),
        ({"amd.com/gpu": "1"}, {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}, ("MI300X-OAM", 1)),
        ({"google.com/tpu": "4"}, {"cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice"}, ("TPU-v5e", 4)),
        ({"aws.amazon.com/neuron": "1"}, {"node.kubernetes.io/instance-type": "trn1.2xlarge"}, ("Trainium", 1)),
        ({"aws.amazon.com/neuron": "1"}, {"node.kubernetes.io/instance-type": "inf2.xlarge"}, ("Inferentia2", 1)),
    ],
)
def test_an_accelerator_has_the_name_that_people_ask_for(resources, labels, expected):
    assert free(node("n", resources, labels)) == [expected]


def test_a_label_of_ones_own_comes_first():
    assert free(node("n", {GPU: "1"}, {PRODUCT: "NVIDIA-L4", "lab/gpu": "big"}), label="lab/gpu") == [("BIG", 1)]


def test_what_pods_have_is_not_free_and_what_is_over_has_nothing():
    four = node("n", {GPU: "4"}, {PRODUCT: "NVIDIA-L4"})
    assert free(four) == [("L4", 1), ("L4", 2), ("L4", 4)]
    assert free(four, pods=(taken("n", "1"), taken("other", "4"))) == [("L4", 1), ("L4", 2), ("L4", 3)]
    assert free(four, pods=(taken("n", "4", phase="Succeeded"),)) == [("L4", 1), ("L4", 2), ("L4", 4)]
    assert free(four, pods=(taken("n", "4", phase="Pending"),)) == []
    assert free(four, pods=(taken("n", "7500m", resource="cpu"),)) == []


def test_a_tpus_host_is_given_whole():
    labels = {"cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice", "cloud.google.com/gke-tpu-topology": "2x2"}
    host = node("n", {"google.com/tpu": "4"}, labels)
    [only] = (each for each in kubernetes_nodes.free([host], [], POD) if each.gpu != "cpu")
    assert str(only.device) == ",".join(["google.com/tpu=4", *(f"{key}={value}" for key, value in labels.items())])
    assert free(host, pods=(taken("n", "1", resource="google.com/tpu"),)) == []


def test_nodes_that_take_no_such_pod_are_left_out():
    one, label = {GPU: "1"}, {PRODUCT: "NVIDIA-L4"}
    assert free(node("n", one, label, unschedulable=True)) == []
    assert free(node("n", one, label, ready="Unknown")) == []
    tainted = node("n", one, label, taints=[{"key": "team", "value": "b", "effect": "NoSchedule"}])
    assert free(tainted) == []
    assert free(node("n", one, label, taints=[{"key": GPU, "effect": "NoSchedule"}])) == [("L4", 1)]
    assert free(node("n", one, label, taints=[{"key": "team", "effect": "PreferNoSchedule"}])) == [("L4", 1)]
    tolerant = {"spec": {**POD["spec"], "tolerations": [{"key": "team", "operator": "Equal", "value": "b"}]}}
    assert free(tainted, wanted=tolerant) == [("L4", 1)]
    assert free(node("n", one, label), wanted={"spec": {**POD["spec"], "nodeSelector": {"pool": "ml"}}}) == []


def test_processors_are_not_offered_where_others_are_kept_off():
    kept = node("n", {GPU: "1"}, {PRODUCT: "NVIDIA-L4"}, taints=[{"key": GPU, "effect": "NoSchedule"}])
    assert [each.gpu for each in kubernetes_nodes.free([kept], [], POD)] == ["L4"]


@pytest.mark.parametrize(
    "label",
    [
        {"cloud.google.com/gke-spot": "true"},
        {"eks.amazonaws.com/capacityType": "SPOT"},
        {"karpenter.sh/capacity-type": "spot"},
        {"kubernetes.azure.com/scalesetpriority": "spot"},
    ],
)
def test_nodes_that_may_be_taken_are_spot(label):
    found = kubernetes_nodes.free([node("n", {GPU: "1"}, {PRODUCT: "NVIDIA-L4", **label})], [], POD)
    assert all(each.device.is_spot and dict(each.device.labels).items() >= label.items() for each in found)
    assert not any(each.device.is_spot for each in kubernetes_nodes.free([node("n", {GPU: "1"})], [], POD))


def test_nodes_that_have_the_same_are_one_offer():
    three = [node(f"n{number}", {GPU: "1"}, {PRODUCT: "NVIDIA-L4"}) for number in range(3)]
    found = kubernetes_nodes.free(three, [], POD)
    assert {each.gpu: number for each, number in found.items()} == {"L4": 3, "cpu": 3}


def test_memory_is_the_drivers_or_what_is_known():
    def memory(labels: dict[str, str], resource: str = GPU) -> float | None:
        found = kubernetes_nodes.free([node("n", {resource: "1"}, labels)], [], POD)
        return next(each.memory_gib for each in found if each.gpu != "cpu")

    assert memory({PRODUCT: "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}) == 22.5
    assert memory({PRODUCT: "NVIDIA-L4"}) == 24
    assert memory({PRODUCT: "NVIDIA-H100", "nvidia.com/gpu.memory": "81559"}, "nvidia.com/mig-1g.10gb") == 10
    assert memory({PRODUCT: "NVIDIA-Next"}) is None


@pytest.mark.parametrize(
    "device",
    [
        Device(),
        Device(GPU, 2, ((PRODUCT, "NVIDIA-L4"),)),
        Device("nvidia.com/mig-1g.10gb", 1),
        Device(labels=(("cloud.google.com/gke-spot", "true"),)),
    ],
)
def test_a_device_is_read_as_it_was_written(device):
    assert Device.parse(str(device)) == device


def test_a_setting_names_what_no_node_shows():
    text = f"cpu, L4, A100-80GB 1g.10gb, TPU-v5e google.com/tpu=4 pool=tpu, Trainium {kubernetes_nodes.NEURON}=2"
    found: dict[str, list[str]] = {}
    for name, device in kubernetes_nodes.named(text):
        found.setdefault(name, []).append(str(device))
    assert found == {
        "cpu": ["cpu"],
        "L4": [f"{GPU}={number}" for number in (1, 2, 4, 8)],
        "A100-80GB-1g.10gb": [f"nvidia.com/mig-1g.10gb={number}" for number in (1, 2, 4, 8)],
        "TPU-v5e": ["google.com/tpu=4,pool=tpu"],
        "Trainium": ["aws.amazon.com/neuron=1", "aws.amazon.com/neuron=2"],
    }
    with pytest.raises(UsageProblem, match="is no accelerator of a cluster"):
        list(kubernetes_nodes.named("L4 nvidia.com/gpu=many"))
