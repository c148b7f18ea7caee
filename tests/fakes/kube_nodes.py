"""Nodes of a fake cluster: a scheduler's choice for a pod, and a kubelet that runs its command for real.

A container is a process of this machine in a process table and a folder of its own, with that folder as its home: what
it starts ends with its first process, which gets signals only if it asks for them, as in a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from .kube_objects import OVER, Object, quantity, requests

_APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_BIN = Path(sys.executable).parent
_SPREAD = ("NoSchedule", "NoExecute")


def stamp(at: float | None = None) -> str:
    return datetime.fromtimestamp(time.time() if at is None else at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def why_not(pod: Object, nodes: list[Object], pods: list[Object]) -> tuple[Object | None, str]:
    """The node for a pod, or why there is none in the words of the scheduler."""
    reasons: Counter[str] = Counter()
    for node in nodes:
        found = list(_obstacles(pod, node, pods))
        if not found:
            return node, ""
        reasons.update(found)
    listed = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
    vain = f"preemption: 0/{len(nodes)} nodes are available: {len(nodes)} Preemption is not helpful for scheduling."
    return None, f"0/{len(nodes)} nodes are available: {listed or 'no nodes available to schedule pods'}. {vain}"


def _obstacles(pod: Object, node: Object, pods: list[Object]) -> Iterator[str]:
    spec = pod["spec"]
    if node["spec"].get("unschedulable"):
        yield "node(s) were unschedulable"
        return
    for taint in node["spec"].get("taints", []):
        if taint["effect"] in _SPREAD and not any(_tolerates(each, taint) for each in spec["tolerations"]):
            yield f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
            return
    labels = node["metadata"]["labels"]
    is_selected = all(labels.get(key) == value for key, value in spec.get("nodeSelector", {}).items())
    if not is_selected or not node_affinity_matches(spec, labels):
        yield "node(s) didn't match Pod's node affinity/selector"
        return
    used: Counter[str] = Counter()
    for other in pods:
        if other["spec"].get("nodeName") == node["metadata"]["name"] and other["status"]["phase"] not in OVER:
            used.update(requests(other))
    has = node["status"]["allocatable"]
    for name, amount in requests(pod).items():
        if amount and used[name] + amount > quantity(has.get(name, 0)):
            yield f"Insufficient {name}"


def node_affinity_matches(spec: Object, labels: Object) -> bool:
    """Whether a node with those labels is one of those that the pod requires: any of the terms, each as a whole."""
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        bool(term["matchExpressions"]) and all(_matches(rule, labels) for rule in term["matchExpressions"])
        for term in required["nodeSelectorTerms"]
    )


def _matches(rule: Object, labels: Object) -> bool:
    is_one = labels.get(rule["key"]) in rule.get("values", [])
    by_operator = {"In": is_one, "NotIn": not is_one, "Exists": rule["key"] in labels}
    return {**by_operator, "DoesNotExist": rule["key"] not in labels}[rule["operator"]]


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect", "") not in ("", taint["effect"]):
        return False
    if not toleration.get("key"):
        return bool(toleration.get("operator") == "Exists")
    same = toleration["key"] == taint["key"]
    return same and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))


def set_condition(pod: Object, kind: str, status: str, reason: str = "", message: str = "") -> None:
    """Set one of the conditions of a pod."""
    kept = [each for each in pod["status"].get("conditions", []) if each["type"] != kind]
    new = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": stamp()}
    new |= {name: text for name, text in (("reason", reason), ("message", message)) if text}
    pod["status"]["conditions"] = [*kept, new]


class Container:
    """The process of a pod's one container, on a node. accelerators: what the node's device plugin gave it."""

    def __init__(self, pod: Object, folder: Path, accelerators: list[str]) -> None:
        self.folder = folder
        self.name = pod["spec"]["containers"][0]["name"]
        self.process: asyncio.subprocess.Process | None = None
        self.started_at = time.time()
        folder.mkdir(parents=True)
        spec = pod["spec"]["containers"][0]
        self._command = [*spec.get("command", ["sleep", "3600"]), *spec.get("args", [])]
        self.env = {
            "PATH": f"{_BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "HOSTNAME": pod["metadata"]["name"],
            "KUBERNETES_SERVICE_HOST": "10.96.0.1",
            **({"NVIDIA_VISIBLE_DEVICES": ",".join(accelerators)} if accelerators else {}),
            **{each["name"]: each.get("value", "") for each in spec.get("env", [])},
        }
        self.cwd = spec.get("workingDir") or str(folder)

    async def start(self) -> None:
        """FileNotFoundError when there is no such program in the image."""
        if shutil.which(self._command[0], path=self.env["PATH"]) is None:
            raise FileNotFoundError(self._command[0])
        log = (self.folder / ".log").open("wb")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                *_APART,
                *self._command,
                env=self.env,
                cwd=self.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def exec(self, command: list[str]) -> asyncio.subprocess.Process:
        """Another process in the container."""
        enter = ["nsenter", "-t", await self.first_pid(), "--mount", "--pid", f"--wd={self.cwd}", "--", *command]
        return await asyncio.create_subprocess_exec(
            *enter,
            env=self.env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    async def end(self, grace_s: float) -> None:
        """Ask its first process to end, and kill all of it when it has not after the grace."""
        assert self.process is not None
        if self.process.returncode is None and grace_s > 0:
            with contextlib.suppress(ProcessLookupError, OSError, IndexError):
                os.kill(int(await self.first_pid()), signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), grace_s)
        self.kill()
        await self.process.wait()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.process is not None and self.process.returncode is None:
                self.process.kill()  # of unshare, and --kill-child ends the rest

    async def first_pid(self) -> str:
        """The pid here of the first process there, once it is up."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for _ in range(1000):
            with contextlib.suppress(OSError):
                if found := children.read_text().split():
                    return found[0]
            if self.process.returncode is not None:
                break
            await asyncio.sleep(0.01)
        raise ProcessLookupError(self.name)


class Kubelet:
    """What runs the pods of all nodes. changed: to be called with a pod whose status it has changed; removed: with one
    that is to be taken away. images: those that can be pulled, which takes `pull_s`."""

    def __init__(self, folder: Path, changed: Callable[[Object], None], removed: Callable[[Object], None]) -> None:
        self.images = {"registry.example/lab:1"}
        self.pull_s = 0.0
        self.containers: dict[str, Container] = {}
        self._folder, self._changed, self._removed = folder, changed, removed
        self._grace: dict[str, asyncio.Event] = {}
        self._given: dict[str, tuple[str, list[str]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, tuple[str, str, float]] = {}

    def take(self, pod: Object, node: Object) -> None:
        """Begin with a pod that was bound to a node."""
        uid = pod["metadata"]["uid"]
        self._grace[uid] = asyncio.Event()
        self._tasks[uid] = asyncio.create_task(self._run(pod, node))

    def end(self, pod: Object, reason: str = "", message: str = "", grace_s: float | None = None) -> None:
        """Have a pod end: as failed for that reason, or without one since it was deleted."""
        uid = pod["metadata"]["uid"]
        grace_s = pod["spec"]["terminationGracePeriodSeconds"] if grace_s is None else grace_s
        if uid in self._grace and (uid not in self._ends or grace_s < self._ends[uid][2]):
            self._ends[uid] = (reason, message, grace_s)
            self._grace[uid].set()

    def log(self, pod: Object) -> bytes:
        """What its command has written, also when it has ended."""
        found = self._folder_of(pod) / ".log"
        return found.read_bytes() if found.exists() else b""

    async def close(self) -> None:
        for container in self.containers.values():
            container.kill()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for container in self.containers.values():
            if container.process is not None:
                await container.process.wait()

    async def _run(self, pod: Object, node: Object) -> None:
        """The life of a pod on its node."""
        uid, status, spec = pod["metadata"]["uid"], pod["status"], pod["spec"]
        name, image = spec["containers"][0]["name"], spec["containers"][0]["image"]
        base = {"name": name, "image": image, "imageID": "", "restartCount": 0, "lastState": {}}
        status |= {"startTime": stamp(), "hostIP": "192.0.2.1"}
        set_condition(pod, "Initialized", "True")
        container = Container(pod, self._folder_of(pod), self._devices(pod, node))
        started_at = time.time()

        def waits(reason: str, message: str = "") -> None:
            state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
            status["containerStatuses"] = [{**base, "ready": False, "started": False, "state": state}]
            set_condition(pod, "Ready", "False", "ContainersNotReady", f"containers with unready status: [{name}]")
            self._changed(pod)

        waits("ContainerCreating")
        ended = asyncio.create_task(self._asked_to_end(pod, started_at))
        try:
            if not await self._pull(image, waits, ended):
                return self._over(pod, base, None, container)
            try:
                await container.start()
            except FileNotFoundError as problem:
                what = f'exec: "{problem}": executable file not found in $PATH: unknown'
                self._ends.setdefault(uid, ("", "", 0.0))
                return self._over(pod, base, 127, container, f"failed to create containerd task: {what}")
            self.containers[uid] = container
            running = {"running": {"startedAt": stamp()}}
            status |= {"phase": "Running", "podIP": "10.244.0.2"}
            status["containerStatuses"] = [{**base, "ready": True, "started": True, "state": running}]
            for kind in ("Ready", "ContainersReady"):
                set_condition(pod, kind, "True")
            self._changed(pod)
            assert container.process is not None
            await asyncio.wait(
                [ended, over := asyncio.create_task(container.process.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            await self._stop(pod, container)
            await over
            code = container.process.returncode
            return self._over(pod, base, 128 - code if code is not None and code < 0 else code, container)
        finally:
            ended.cancel()
            container.kill()

    async def _stop(self, pod: Object, container: Container) -> None:
        """End its process if that was asked for; sooner when that is asked for meanwhile."""
        uid = pod["metadata"]["uid"]
        assert container.process is not None
        while container.process.returncode is None and uid in self._ends:
            _, _, grace_s = self._ends[uid]
            self._grace[uid].clear()
            ending = asyncio.create_task(container.end(grace_s))
            sooner = asyncio.create_task(self._grace[uid].wait())
            await asyncio.wait([ending, sooner], return_when=asyncio.FIRST_COMPLETED)
            for task in (ending, sooner):
                task.cancel()
            await asyncio.gather(ending, sooner, return_exceptions=True)

    async def _asked_to_end(self, pod: Object, started_at: float) -> None:
        """Until the pod was asked to end, or its deadline has come, which may be moved meanwhile."""
        uid, grace = pod["metadata"]["uid"], self._grace[pod["metadata"]["uid"]]
        while not grace.is_set():
            deadline = pod["spec"].get("activeDeadlineSeconds")
            if deadline is not None and time.time() >= started_at + deadline:
                message = "Pod was active on the node longer than the specified deadline"
                self._ends[uid] = ("DeadlineExceeded", message, pod["spec"]["terminationGracePeriodSeconds"])
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(grace.wait(), 0.05)

    async def _pull(self, image: str, waits: Callable[..., None], ended: asyncio.Task[None]) -> bool:
        """Whether the image is there; it is tried again until the pod ends."""
        await asyncio.wait([ended], timeout=self.pull_s)
        last = ""
        while image not in self.images and not ended.done():
            text = f'failed to pull and unpack image "{image}": failed to resolve reference: {image}: not found'
            reason = "ErrImagePull" if last != "ErrImagePull" else "ImagePullBackOff"
            waits(
                reason, text if reason == "ErrImagePull" else f'Back-off pulling image "{image}": ErrImagePull: {text}'
            )
            last = reason
            await asyncio.wait([ended], timeout=0.3)
        return not ended.done()

    def _over(self, pod: Object, base: Object, code: int | None, container: Container, message: str = "") -> None:
        uid, status = pod["metadata"]["uid"], pod["status"]
        reason, text, _ = self._ends.get(uid, ("", "", 0.0))
        self._given.pop(uid, None)
        why = "Completed" if code == 0 else "StartError" if message else "Error"
        at = {"startedAt": stamp(container.started_at), "finishedAt": stamp()}
        terminated = {"exitCode": 137 if code is None else code, "reason": why, **at}
        terminated |= {"message": message} if message else {}
        status["containerStatuses"] = [{**base, "ready": False, "started": False, "state": {"terminated": terminated}}]
        status["phase"] = "Succeeded" if code == 0 and not reason else "Failed"
        status |= {key: value for key, value in (("reason", reason), ("message", text)) if value}
        set_condition(pod, "Ready", "False", "PodFailed" if status["phase"] == "Failed" else "PodCompleted")
        self.containers.pop(uid, None)
        self._changed(pod)
        if pod["metadata"].get("deletionTimestamp"):
            self._removed(pod)

    def _folder_of(self, pod: Object) -> Path:
        metadata = pod["metadata"]
        return self._folder / f"{metadata['namespace']}-{metadata['name']}-{metadata['uid'][:8]}"

    def _devices(self, pod: Object, node: Object) -> list[str]:
        """What the device plugins give a pod: names of accelerators that nobody else there has."""
        found: list[str] = []
        name = node["metadata"]["name"]
        for resource, amount in requests(pod).items():
            if "/" in resource:
                every = [f"{name}-{resource.partition('/')[2]}-{n}" for n in range(int(quantity(_has(node, resource))))]
                taken = {each for where, given in self._given.values() if where == name for each in given}
                found += [each for each in every if each not in taken][: int(amount)]
        self._given[pod["metadata"]["uid"]] = (name, found)
        return found


def _has(node: Object, resource: str) -> str:
    return str(node["status"]["allocatable"].get(resource, "0"))
