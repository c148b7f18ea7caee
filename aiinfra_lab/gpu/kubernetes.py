"""Pods of a Kubernetes cluster: `kubectl` creates, lists and deletes them, and its `exec` carries a session's stream.

A pod is named by its attempt's token, so that asking twice gives one. It ends itself, see `kubernetes_pod`; beyond that
its `activeDeadlineSeconds` is kept by the cluster, and since that can never be raised it is the longest that a session
may be renewed for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..config import Settings
from ..cost import accelerators
from ..errors import Conflict, Failed, LabError, NotFound, Unavailable, UsageProblem
from ..jobs.home import make_home_id
from ..kernels import CommandReach, Place
from ..units import parse_duration, parse_usd, show_duration
from . import kubernetes_nodes, kubernetes_pod
from .base import Offer
from .kubernetes_calls import Cluster, current, read_manifest
from .kubernetes_nodes import Device, Free
from .kubernetes_state import CONTAINER, EXPIRES, OWNER, PRICE, SESSION, TOKEN, ends_at, instance, stamp, unpullable
from .renting import Instance, LaunchSpec, RentingMachines, open_machines

_MANAGED = {"app.kubernetes.io/managed-by": "aiinfra-lab"}
# A session is not to be moved because its node is nearly empty.
_STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
_FOLDER = "~/.cache/aiinfra-lab/sessions"
_LONGEST = "24h"
_BEGIN_S = 900.0
_GRACE_S = 120
_END_GRACE_S = 5


class KubernetesMachines(RentingMachines):
    """See `RentingMachines`. A device is the context, the namespace and what a pod asks for, and an instance's id its
    context, namespace and name: what is current for kubectl may be another one when it is looked for."""

    name = "kubernetes"
    listed_s = 5.0
    """A cluster lists what it has at once, but a creating call may be under way whose process was killed."""

    def __init__(self, where: Settings) -> None:
        super().__init__(where)
        self._where = where
        self._context = where.get("gpu.kubernetes_context", "")
        self._namespace = where.get("gpu.kubernetes_namespace", "")
        self._python = where.get("gpu.kubernetes_python", "python3")
        self._prices = _prices(where.get("gpu.kubernetes_usd_per_hour", ""))
        self._last: dict[str, Instance] = {}

    def offers(self, wanted: str = "") -> Sequence[Offer]:
        cluster = current(self._context, self._namespace)
        _image(self._where)
        with ThreadPoolExecutor(2) as pool:
            # Of all namespaces, since they share the nodes. What is over takes nothing.
            over = "--field-selector=status.phase!=Succeeded,status.phase!=Failed"
            nodes, pods = pool.submit(cluster.list, "nodes"), pool.submit(_pods_of_all, cluster, over)
            listed, problem = nodes.result()
            running = pods.result()
        found = kubernetes_nodes.free(
            listed, running, _without_device(self._where), self._where.get("gpu.kubernetes_accelerator_label", "")
        )
        offers = [self._offer(cluster, free, f"on {_counted(number)}") for free, number in found.items()]
        seen = {(offer.gpu, offer.count) for offer in offers}
        named = _named(self._where.get("gpu.kubernetes_accelerators", ""))
        waiting = [free for free in named if (free.gpu, free.count) not in seen]
        offers += [self._offer(cluster, free, "waits until a node has it") for free in waiting]
        if not offers and problem:
            what = f"you may not list the nodes of {cluster.context}, and no setting names what they have"
            raise Unavailable(what, 'write e.g. `kubernetes_accelerators = "cpu, L4, A100-80GB"` below `[gpu]`')
        return sorted(offers, key=lambda offer: (offer.usd_per_hour, offer.count, offer.note.startswith("waits")))

    def launch(self, spec: LaunchSpec) -> str:
        cluster, _ = _split_device(spec.offer.device)
        # The name of a pod that is gone is free again, and a token gives no second machine.
        made = spec.folder / f"{spec.token}.made"
        if not made.exists():
            try:
                cluster.run("create", "-f", "-", "-o", "name", stdin=json.dumps(request(spec, self._where)))
            except Conflict:
                [found], _ = cluster.list("pod", spec.token)
                if found["metadata"].get("labels", {}).get(OWNER) != spec.owner:
                    raise
            with contextlib.suppress(OSError):  # a full disk here is no reason to lose what runs there
                made.touch()
        return cluster.id_of(spec.token)

    def instances(self, token: str = "") -> Sequence[Instance]:
        selector = f"{OWNER}={self.owner()}" + (f",{TOKEN}={token}" if token else "")
        clusters = self._clusters(token)
        with ThreadPoolExecutor(max(1, len(clusters))) as pool:
            asked = [(cluster, pool.submit(cluster.list, "pods", "-l", selector)) for cluster in clusters]
            found = [instance(pod, cluster) for cluster, answer in asked for pod in _allowed(answer.result())]
        if not token:
            return [each for each in found if each.state != "gone"]
        # A pod that is preempted is deleted with what it says: it is remembered from when it was about to go.
        self._last.update((token, each) for each in found)
        last = self._last.get(token)
        if found or last is None or not last.is_taken:
            return found
        return [dataclasses.replace(last, state="gone")]

    def end(self, instance_id: str) -> None:
        cluster, pod = _split_id(instance_id)
        words = ("delete", "pod", pod, "--ignore-not-found", "--wait=false", f"--grace-period={_END_GRACE_S}")
        cluster.run(*words)

    def move_end(self, instance_id: str, deadline_at: float) -> None:
        cluster, name = _split_id(instance_id)
        try:
            [pod], _ = cluster.list("pod", name)
            last_at = ends_at(pod)
            if last_at is not None and deadline_at > last_at:
                raise UsageProblem(
                    f"its pod ends in {show_duration(max(0.0, last_at - time.time()))}, which cannot be moved",
                    "give it less time; `kubernetes_longest` below `[gpu]` sets it for the next one",
                )
            cluster.run("annotate", "pod", name, "--overwrite", f"{EXPIRES}={stamp(deadline_at)}")
        except NotFound:
            pass

    def place_on(self, instance: Instance, folder: Path) -> Place:
        if instance.state != "running":
            raise Unavailable(self.progress(instance), "wait")
        cluster, pod = _split_id(instance.id)
        there = f"{_folder(self._where)}/{instance.token}"
        return Place(
            reach=CommandReach(
                cluster.command("exec", "-i", pod, "-c", CONTAINER, "--"),
                there,
                shell=False,
                python=self._python,
                attempts=2,
            ),
            folder=there,
            argv=(self._python, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            cwd="~",
            env={},
            alone_s=None,
            name=pod,
            whole=True,
            rented=True,
            at_lease=("sh", "-c", f'echo "$0" > {there}/lease'),
        )

    def progress(self, instance: Instance) -> str:
        if unpullable(instance):
            cluster, pod = _split_id(instance.id)
            more = " ".join(cluster.command("describe", "pod", pod))
            raise Failed(instance.why, f"correct `kubernetes_image` below `[gpu]`; `{more}` says more")
        return instance.why or f"waits for its pod, which is {instance.state}"

    def owner(self) -> str:
        """This workspace's id, which its pods carry."""
        return make_home_id(self._where.home)

    def _clusters(self, token: str) -> Sequence[Cluster]:
        """Where the pod of a token is, or where any of this workspace may be: the places of those that were asked for,
        and that of the settings."""
        known = {record.name: _split_device(record.body.device)[0] for record in open_machines(self.name)}
        if token in known:
            return [known[token]]
        seen = set(known.values())
        if self._where.get("gpu.kubernetes_image", ""):  # else nobody here has ever asked for one
            try:
                seen.add(current(self._context, self._namespace))
            except LabError:
                if not seen:
                    raise
        return sorted(seen, key=lambda cluster: (cluster.context, cluster.namespace))

    def _offer(self, cluster: Cluster, free: Free, note: str) -> Offer:
        price = self._price(free.gpu)
        return Offer(
            gpu=free.gpu,
            usd_per_hour=round(price * free.count, 6),
            memory_gib=free.memory_gib,
            device=f"{cluster.context} {cluster.namespace} {free.device}",
            spot=free.device.is_spot,
            type=free.device.resource,
            where=cluster.context,
            count=free.count,
            note=f"{note}; shares its memory with others" if free.count < 1 else note,
        )

    def _price(self, gpu: str) -> float:
        """What an hour of one costs: a slice that no setting names its part of a whole one."""
        for name, usd in self._prices:
            if name and accelerators.fits(name, gpu):
                return usd
        profile, known = accelerators.profile_of(gpu), accelerators.spec(gpu)
        if known and (slice_ := known.profile(profile)):
            whole = re.sub(rf"-{re.escape(profile)}$", "", gpu, flags=re.IGNORECASE)
            return self._price(whole) / slice_.instances
        return 0.0 if gpu == "cpu" else next((usd for name, usd in self._prices if not name), 0.0)


def request(spec: LaunchSpec, where: Settings) -> dict[str, Any]:
    """The pod that is created for a session; `gpu export` renders the same."""
    _, device = _split_device(spec.offer.device)
    left_s = max(1, math.ceil(spec.deadline_at - time.time()))
    deadline = [str(left_s), f"{spec.deadline_at:.0f}"]  # it may wait for a node until then, or its clock be wrong
    longest_s = parse_duration(where.get("gpu.kubernetes_longest", _LONGEST))
    pod = _without_device(where)
    grace_s = pod["spec"].setdefault("terminationGracePeriodSeconds", _GRACE_S)
    container = _container(pod)
    python = where.get("gpu.kubernetes_python", "python3")
    first = [f"{_folder(where)}/{spec.token}", *deadline, f"{_BEGIN_S:.0f}", str(grace_s)]
    container |= {"command": [python, "-c", inspect.getsource(kubernetes_pod), *first], "args": []}
    if device.units:
        resources = container.setdefault("resources", {})
        resources["limits"] = {**resources.get("limits", {}), device.resource: str(device.units)}
    labels = {**_MANAGED, OWNER: spec.owner, TOKEN: spec.token}
    notes = {**_STAYS, SESSION: spec.session, EXPIRES: stamp(spec.deadline_at), PRICE: f"{spec.offer.usd_per_hour}"}
    ours = {
        "metadata": {"name": spec.token, "labels": labels, "annotations": notes},
        "spec": {
            "restartPolicy": "Never",
            # The core keeps the deadline, which may be moved; this cannot be raised, so it is the last there is.
            "activeDeadlineSeconds": max(left_s, math.ceil(longest_s)),
            "nodeSelector": dict(device.labels),
            "tolerations": [*pod["spec"].get("tolerations", []), *_tolerations(device)],
            **({} if device.is_spot else {"affinity": _not_on_spot(pod)}),
        },
    }
    return _merged(pod, ours)


def _without_device(where: Settings) -> dict[str, Any]:
    """A session's pod before it is known what for: the user's template, and what ours has in any case."""
    named = where.get("gpu.kubernetes_template", "")
    template = read_manifest(str(where.project / named)) if named else {}
    container = {"name": CONTAINER, "image": _image(where), "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}
    ours = {
        "apiVersion": "v1",
        "kind": "Pod",
        # A session needs no account of the cluster; who wants one names it in the template.
        "spec": {"automountServiceAccountToken": False, "enableServiceLinks": False, "containers": [container]},
    }
    theirs = template.get("spec", {}).get("containers", [])
    merged = _merged(ours, template)
    merged["spec"]["containers"] = [
        _merged(container, next((each for each in theirs if each["name"] == CONTAINER), {})),
        *(each for each in theirs if each["name"] != CONTAINER),
    ]
    return merged


def _container(pod: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def _image(where: Settings) -> str:
    if image := where.get("gpu.kubernetes_image", ""):
        return image
    fix = 'write `kubernetes_image = "IMAGE"` below `[gpu]`: any that has a Python with ipykernel and what you import'
    raise UsageProblem("no image for sessions on Kubernetes is named", fix)


def _folder(where: Settings) -> str:
    return where.get("gpu.kubernetes_folder", _FOLDER)


def _tolerations(device: Device) -> Iterator[dict[str, str]]:
    """The taints by which clusters keep others off such nodes."""
    keys = [device.resource] if device.units else []
    if device.resource.startswith(kubernetes_nodes.MIG):
        keys = [kubernetes_nodes.NVIDIA]
    keys += [key for key, value in device.labels if kubernetes_nodes.SPOT.get(key) == value]
    for key in keys:
        yield {"key": key, "operator": "Exists"}


def _not_on_spot(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Keep off nodes that may be taken away, besides what a template says."""
    rules = [{"key": key, "operator": "NotIn", "values": [value]} for key, value in kubernetes_nodes.SPOT.items()]
    affinity: dict[str, Any] = pod["spec"].get("affinity", {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    theirs = affinity.get("nodeAffinity", {}).get(required, {}).get("nodeSelectorTerms", [{}])
    terms = [{**term, "matchExpressions": [*term.get("matchExpressions", []), *rules]} for term in theirs]
    return {"nodeAffinity": {**affinity.get("nodeAffinity", {}), required: {"nodeSelectorTerms": terms}}}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two objects, of which the second counts where both say something."""
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _pods_of_all(cluster: Cluster, *words: str) -> Sequence[dict[str, Any]]:
    """The pods of all namespaces, or of ours where others are not ours to see."""
    found, problem = cluster.list("pods", "--all-namespaces", *words)
    return cluster.list("pods", *words)[0] if problem and not found else found


def _allowed(answer: tuple[Sequence[dict[str, Any]], str]) -> Sequence[dict[str, Any]]:
    found, problem = answer
    if problem:
        raise Cluster("", "").problem(problem, ("get", "pods"))
    return found


def _named(text: str) -> Iterator[Free]:
    """What a setting says that the cluster has."""
    for name, device in kubernetes_nodes.named(text):
        known = accelerators.spec(name)
        memory_gib = accelerators.Alternative(name).memory_gib(name, 1.0) if known else None
        yield Free(name, device, max(device.units, 1), memory_gib)


def _prices(text: str) -> Sequence[tuple[str, float]]:
    """What an hour of an accelerator costs, of a setting `2.5` or `L4 0.8, A100 3.2, cpu 0.1`."""
    found = []
    for part in filter(None, (part.strip() for part in str(text).split(","))):
        name, _, usd = part.rpartition(" ")
        found.append((name.strip(), parse_usd(usd)))
    return found


def _counted(nodes: int) -> str:
    return "a node" if nodes == 1 else f"{nodes} nodes"


def _split_device(text: str) -> tuple[Cluster, Device]:
    context, namespace, device = ["", "", *text.rsplit(" ", 2)][-3:]
    return Cluster(context, namespace), Device.parse(device)


def cluster_of(offer: Offer) -> Cluster:
    """Where an offer's pod would be."""
    return _split_device(offer.device)[0]


def _split_id(instance_id: str) -> tuple[Cluster, str]:
    context, namespace, pod = ["", "", *instance_id.rsplit("/", 2)][-3:]
    return Cluster(context, namespace), pod
