"""What a cluster's nodes have to offer: accelerators by the names that clusters give them, less what pods have taken.

A device's text says all that a pod needs to get it: the amount of a resource, and the labels of the nodes that have it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from ..cost import accelerators
from ..errors import UsageProblem

Object = Mapping[str, Any]

NVIDIA, AMD, TPU, NEURON = "nvidia.com/gpu", "amd.com/gpu", "google.com/tpu", "aws.amazon.com/neuron"
MIG = "nvidia.com/mig-"
_SHARED = "nvidia.com/gpu.shared"
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"
# Which labels of a node name its accelerator, the best first. The user's own, by a setting, goes before them.
_NAMED_BY = {
    NVIDIA: (
        "nvidia.com/gpu.product",
        "cloud.google.com/gke-accelerator",
        "karpenter.k8s.aws/instance-gpu-name",
        "eks.amazonaws.com/instance-gpu-name",
        "accelerator",
    ),
    AMD: ("amd.com/gpu.product-name", "accelerator"),
    TPU: ("cloud.google.com/gke-tpu-accelerator",),
    NEURON: (_INSTANCE_TYPE,),
}
_TPUS = {"v5-lite": "TPU-v5e", "v5p": "TPU-v5p", "v6e": "TPU-v6e"}
_NEURONS = {"trn1": "Trainium", "trn1n": "Trainium", "trn2": "Trainium2", "inf2": "Inferentia2"}
_BRANDS = re.compile(r"^(NVIDIA|Tesla|GeForce|AMD|Instinct)[-_ ]", re.IGNORECASE)
# How clusters mark nodes that may be taken away at any time.
SPOT = {
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
_BINARY = "KMGTPE"
_MOST = 8  # accelerators of a node of which nothing else is known


class Device(NamedTuple):
    """What a pod asks for. units: of the resource, 0 where it asks for no accelerator. labels: of its node."""

    resource: str = ""
    units: int = 0
    labels: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        pairs = [(self.resource, str(self.units))] if self.units else []
        return ",".join(f"{key}={value}" for key, value in (*pairs, *self.labels)) or "cpu"

    @classmethod
    def parse(cls, text: str) -> Device:
        """The device of that text."""
        pairs = [tuple(pair.split("=", 1)) for pair in text.split(",") if "=" in pair]
        [*resources] = [(key, value) for key, value in pairs if is_resource(key)]
        labels = tuple((key, value) for key, value in pairs if not is_resource(key))
        return cls(resources[0][0], int(resources[0][1]), labels) if resources else cls(labels=labels)

    @property
    def is_spot(self) -> bool:
        return any(SPOT.get(key) == value for key, value in self.labels)


@dataclass(frozen=True, slots=True)
class Free:
    """What a node could give now. count: how many accelerators that is, less than 1 for a share of one."""

    gpu: str
    device: Device
    count: float
    memory_gib: float | None


def free(nodes: Sequence[Object], pods: Sequence[Object], wanted: Object, label: str = "") -> dict[Free, int]:
    """What could be had, each with the number of nodes that have it.

    wanted: the pod as it will be without a device, which must fit besides. label: of the user's own, that names it
    """
    used: dict[str, Counter[str]] = defaultdict(Counter)
    for pod in pods:
        if pod["status"].get("phase") not in ("Succeeded", "Failed"):
            used[pod["spec"].get("nodeName", "")].update(requests(pod["spec"]))
    found: Counter[Free] = Counter()
    for node in nodes:
        if _takes(node, wanted["spec"]):
            taken = used[node["metadata"]["name"]]
            left = {name: amount(text) - taken[name] for name, text in node["status"].get("allocatable", {}).items()}
            if all(left.get(name, 0) >= needs for name, needs in requests(wanted["spec"]).items()):
                found.update(_of(node, left, label))
    return dict(found)


def named(text: str) -> Iterator[tuple[str, Device]]:
    """What a setting says that a cluster has: `L4, A100-80GB nvidia.com/gpu=8`, and labels of nodes the same way.

    Of each so many as a node has, or may have; a TPU's host is given whole.
    """
    for part in filter(None, (part.strip() for part in text.split(","))):
        words = part.split()
        name = "-".join(word for word in words if "=" not in word)
        try:
            device = Device.parse(",".join(word for word in words if "=" in word))
        except ValueError:
            fix = 'write it like `kubernetes_accelerators = "L4, A100-80GB nvidia.com/gpu=8"`'
            raise UsageProblem(f"{part!r} is no accelerator of a cluster", fix) from None
        most = device if device.units or name == "cpu" else Device(_resource_of(name), _MOST, device.labels)
        numbers = [most.units] if most.resource in ("", TPU) else _doubled(most.units)
        yield from ((name, most._replace(units=number)) for number in numbers)


def is_resource(key: str) -> bool:
    """Whether that is something to be counted, and no label."""
    return key in (*_NAMED_BY, _SHARED) or key.startswith(MIG)


def amount(text: object) -> Fraction:
    """A quantity as Kubernetes writes it: 2, 500m, 4Gi, 1e3."""
    found = re.fullmatch(r"([0-9.]+)(m|k|[MGTPE]i?|Ki|[eE]\d+)?", str(text))
    if not found:
        return Fraction(0)
    number, suffix = Fraction(found[1].rstrip(".") or 0), found[2] or ""
    if suffix == "m":
        return number / 1000
    if re.fullmatch(r"[eE]\d+", suffix):
        return number * Fraction(10) ** int(suffix[1:])
    step = Fraction(1024 if suffix.endswith("i") else 1000)
    return number * step ** (_BINARY.index(suffix[0].upper()) + 1 if suffix else 0)


def requests(spec: Object) -> Counter[str]:
    """What a pod takes of its node."""
    found: Counter[str] = Counter()
    for container in spec.get("containers", []):
        resources = container.get("resources", {})
        for name, text in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
            found[name] += amount(text)  # type: ignore[assignment]
    return found


def _takes(node: Object, spec: Object) -> bool:
    """Whether a node takes such a pod at all."""
    is_ready = any(
        each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", [])
    )
    if not is_ready or node["spec"].get("unschedulable"):
        return False
    labels = node["metadata"].get("labels", {})
    if any(labels.get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
        return False
    # A session tolerates what keeps others off its accelerator.
    others = [
        taint for taint in node["spec"].get("taints", []) if not (is_resource(taint["key"]) or taint["key"] in SPOT)
    ]
    hard = [taint for taint in others if taint["effect"] != "PreferNoSchedule"]
    return all(any(_tolerates(each, taint) for each in spec.get("tolerations", [])) for taint in hard)


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    is_any = toleration.get("operator") == "Exists"
    if not toleration.get("key"):
        return is_any
    same_value = toleration.get("value", "") == taint.get("value", "")
    return bool(toleration["key"] == taint["key"]) and (is_any or same_value)


def _of(node: Object, left: Mapping[str, Fraction], label: str) -> Iterator[Free]:
    """What a node can give, of which so much is left."""
    labels = node["metadata"].get("labels", {})
    spot = tuple((key, value) for key, value in SPOT.items() if labels.get(key) == value)
    if not any(is_resource(taint["key"]) for taint in node["spec"].get("taints", [])):
        yield Free("cpu", Device(labels=spot), 1.0, None)
    for resource, units in left.items():
        if not is_resource(resource) or units < 1:
            continue
        kind = NVIDIA if resource.startswith(MIG) or resource == _SHARED else resource
        key = next((key for key in (label, *_NAMED_BY[kind]) if labels.get(key)), "")
        name, replicas = _name(kind, labels.get(key, "")), int(labels.get("nvidia.com/gpu.replicas", "1") or 1)
        chosen: tuple[tuple[str, str], ...] = ((key, labels[key]),) if key else ()
        if topology := labels.get("cloud.google.com/gke-tpu-topology"):
            chosen += (("cloud.google.com/gke-tpu-topology", topology),)
        if resource.startswith(MIG):
            name, replicas = f"{name}-{resource.removeprefix(MIG).replace('.me', '+me')}", 1
        for number in _amounts(int(units), node, resource, replicas):
            device = Device(resource, number, chosen + spot)
            yield Free(name, device, round(number / replicas, 3), _memory(name, labels))


def _amounts(units: int, node: Object, resource: str, replicas: int) -> Iterator[int]:
    """How many may be asked for, of so many: a TPU's host is given whole, and of a shared GPU one share."""
    if resource == TPU:
        whole = int(amount(node["status"]["allocatable"][resource]))
        yield from [whole] if units == whole else []
        return
    yield from _doubled(1 if replicas > 1 else units)


def _doubled(most: int) -> Iterator[int]:
    """1, 2, 4 and so on, and the most."""
    number = 1
    while number < most:
        yield number
        number *= 2
    yield most


def _name(kind: str, said: str) -> str:
    """The accelerator's short name, of what a label says."""
    if kind == TPU:
        return next((name for part, name in _TPUS.items() if part in said), said)
    if kind == NEURON:
        return _NEURONS.get(said.partition(".")[0], said)
    short = said.removesuffix("-SHARED").replace("-MIG-", "-").replace("_", "-")
    while _BRANDS.match(short):
        short = _BRANDS.sub("", short)
    return (short.upper() if short.islower() else short) or "gpu"


def _memory(name: str, labels: Mapping[str, str]) -> float | None:
    """GiB of one: what the driver has told, else what is known of it."""
    profile, known = accelerators.profile_of(name), accelerators.spec(name)
    mib = labels.get("nvidia.com/gpu.memory", "")
    if not profile and mib.isdecimal():
        return round(int(mib) / 1024, 1)
    slice_ = known.profile(profile) if known and profile else None
    return slice_.memory_gib if slice_ else known.memory_gib if known and not profile else None


def _resource_of(name: str) -> str:
    """What an accelerator of that name is counted as."""
    if profile := accelerators.profile_of(name):
        return f"{MIG}{profile.replace('+me', '.me')}"
    known = accelerators.spec(name)
    return {"Google": TPU, "AWS": NEURON, "AMD": AMD}.get(known.vendor if known else "", NVIDIA)
