"""A Kubernetes cluster on loopback: an API server for kubectl, a scheduler, and a kubelet that runs pods for real.

As strict as a real one for what it knows: discovery, pods (create with strict validation and defaults, get, list with
label and field selectors, watch, patch, delete with its grace, exec over websockets, logs), nodes, resource quotas,
users with rules, TLS. Pods wait until a node has room and labels and taints agree; they run their command, end at their
deadline, are evicted, preempted and taken along with their node.

What it does not know it refuses with 501: pods with several containers or a restart policy other than Never, other
kinds of objects. SPDY, priorities of the scheduler, and networks and volumes of pods are not there; an image is a name
that can be pulled or not, and this machine's files are what is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
from tornado import httpserver, httputil, iostream, web

from . import kube_config, kube_discovery
from .kube_exec import Exec
from .kube_nodes import Container, Kubelet, set_condition, stamp, why_not
from .kube_objects import (
    OVER,
    ApiError,
    Object,
    exceeded,
    forbidden_pod,
    not_found,
    patched,
    read_pod,
    selects,
    selects_fields,
    unknown_to_this_fake,
)

NAMESPACES = ("default", "team")
# A caller that still waits after this is not one that has a time-out.
SILENCE_S = 60.0
_KINDS = {"pods": "Pod", "nodes": "Node", "resourcequotas": "ResourceQuota"}
_PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")

needs_kube = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("kubectl", "unshare", "nsenter", "openssl"))),
    reason="needs root and namespaces for containers, kubectl and openssl",
)

T = TypeVar("T")
When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was allowed. operation: verb and resource, e.g. `create pods` or `get pods/exec`."""

    user: str
    operation: str
    namespace: str
    name: str
    query: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class _Fault:
    operation: str
    when: When
    error: int | Literal["silence", "cut"] | Callable[[], object]
    left: int
    skip: int


@dataclass(slots=True)
class _User:
    name: str
    token: str
    allowed: frozenset[str]
    namespace: str | None = None


@dataclass(slots=True)
class _Events:
    """What watchers hear: the object as it was left by each change, by resource."""

    seen: list[tuple[int, str, str, Object]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, version: int, kind: str, resource: str, found: Object) -> None:
        self.seen.append((version, kind, resource, deepcopy(found)))
        self.more.set()
        self.more = asyncio.Event()


class Kube:
    """The cluster, between `with` and its end. folder: for its certificate, kubeconfigs and containers."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.calls: list[Call] = []
        self._folder, self._address = folder, address
        self._objects: dict[str, dict[tuple[str, str], Object]] = {resource: {} for resource in _KINDS}
        self._users = [_User("admin", uuid.uuid4().hex, frozenset({"*"}))]
        self._faults: list[_Fault] = []
        self._version = 1000
        folder.mkdir(parents=True, exist_ok=True)
        kube_config.make_certificate(folder, address)

    def __enter__(self) -> Kube:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ---- what a test does to it ----

    @property
    def url(self) -> str:
        return f"https://{self._address}:{self._port}"

    def kubeconfig(self, user: str = "admin", namespace: str = "default") -> Path:
        """The configuration of a user, with one context `lab`."""
        token = next(each.token for each in self._users if each.name == user)
        return kube_config.write(self._folder, self.url, user, token, namespace)

    def user(self, name: str, *allowed: str, namespace: str | None = None) -> Path:
        """The configuration of a new user who may do that, e.g. `create pods`, in one namespace or everywhere."""
        self._users.append(_User(name, uuid.uuid4().hex, frozenset(allowed), namespace))
        return self.kubeconfig(name, namespace or "default")

    def forget_user(self, name: str) -> None:
        """Its token is not valid any more."""
        self._users = [each for each in self._users if each.name != name]

    def add_node(
        self, name: str, resources: Mapping[str, object], labels: Mapping[str, str] | None = None, *taints: str
    ) -> None:
        """taints: each `KEY[=VALUE]:EFFECT`. Beside its resources a node has 8 processors and 32 GiB."""
        has = {"cpu": "8", "memory": "32Gi", "pods": "110", **{key: str(value) for key, value in resources.items()}}
        split = [(key.partition("="), effect) for key, _, effect in (taint.rpartition(":") for taint in taints)]
        listed = [{"key": key, "value": value, "effect": effect} for (key, _, value), effect in split]
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
            "spec": {"taints": listed} if listed else {},
            "status": {
                "capacity": has,
                "allocatable": has,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }
        self._call(lambda: self._put("nodes", node))

    def cordon(self, name: str) -> None:
        self._call(lambda: self._put("nodes", _with(self._get("nodes", "", name), "spec", unschedulable=True)))

    def quota(self, name: str, hard: Mapping[str, object], namespace: str = "default") -> None:
        """What all pods of a namespace may have together."""
        spec = {"hard": {key: str(value) for key, value in hard.items()}}
        metadata = {"name": name, "namespace": namespace}
        body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
        self._call(lambda: self._put("resourcequotas", body))

    def images(self, *names: str, pull_s: float = 0.0) -> None:
        """The images that can be pulled, and how long that takes."""
        self._kubelet.images, self._kubelet.pull_s = set(names), pull_s

    def pods(self, namespace: str | None = None) -> list[Object]:
        return self._call(
            lambda: [deepcopy(pod) for (where, _), pod in self._objects["pods"].items() if namespace in (None, where)]
        )

    def pod(self, name: str, namespace: str = "default") -> Object:
        return self._call(lambda: deepcopy(self._get("pods", namespace, name)))

    def processes(self, name: str) -> list[str]:
        """The command lines of all processes in a pod's container."""
        first = self._run(self._container("default", name).first_pid())
        enter = ["nsenter", "-t", first, "--mount", "--pid", "ps", "-eo", "args="]
        table = subprocess.run(enter, capture_output=True, text=True, check=True)
        return table.stdout.splitlines()

    def evict(self, name: str, message: str = "The node was low on resource: memory. ") -> None:
        """By its kubelet, since the node lacks something: it fails, and stays as an object."""
        self._call(lambda: self._disrupt(name, "TerminationByKubelet", message, "Evicted"))

    def preempt(self, name: str) -> None:
        """By the scheduler, for a pod of a higher priority: it is deleted with its grace."""
        message = "default-scheduler: preempting to accommodate a higher priority pod"
        self._call(lambda: self._disrupt(name, "PreemptionByScheduler", message))

    def drain(self, name: str) -> None:
        """By the eviction API, as `kubectl drain` and a cluster's autoscaler do: it is deleted with its grace."""
        message = "Eviction API: evicting"
        self._call(lambda: self._disrupt(name, "EvictionByEvictionAPI", message))

    def shut_node(self, name: str) -> None:
        """A node that is shut down in order, as a spot machine after its notice: its pods end with their grace."""

        def shut() -> None:
            self._put("nodes", _with(self._get("nodes", "", name), "spec", unschedulable=True))
            for pod in self._on(name):
                message = "Pod was terminated in response to imminent node shutdown."
                self._disrupt(pod["metadata"]["name"], "TerminationByKubelet", message, "Terminated")

        self._call(shut)

    def lose_node(self, name: str) -> None:
        """A node that is gone without a word, and its object with it: its pods are collected as garbage."""

        def lose() -> None:
            self._remove("nodes", self._get("nodes", "", name))
            for pod in self._on(name):
                if container := self._kubelet.containers.get(pod["metadata"]["uid"]):
                    container.kill()
                self._remove("pods", pod)

        self._call(lose)

    def fail(
        self,
        operation: str,
        error: int | Literal["silence", "cut"] | Callable[[], object],
        when: When = "before",
        times: int = 1,
        skip: int = 0,
    ) -> None:
        """Have calls of an operation fail, before or after they took effect: with that code, without an answer, with a
        connection that is cut, or after whatever a test does at that point."""
        self._faults.append(_Fault(operation, when, error, times, skip))

    def heal(self) -> None:
        """No call fails any more."""
        self._faults.clear()

    def made(self, operation: str) -> list[Call]:
        """The calls of an operation."""
        return [call for call in self.calls if call.operation == operation]

    # ---- what its clients ask ----

    async def ask(self, request: httputil.HTTPServerRequest, answer: web.RequestHandler) -> None:
        """Answer one request; ApiError when there is no object to answer with."""
        user = self._user(request)
        if (found := kube_discovery.answer(request.path)) is not None:
            answer.write(found)
            return
        call = self._read(request, user)
        self.calls.append(call)
        await self._fault(call, "before", answer)
        if call.operation.startswith("watch"):
            await self._watch(call, answer)
            return
        result, code = self._do(call, request)
        await self._fault(call, "after", answer)
        answer.set_status(code)
        answer.write(result)

    async def ask_exec(self, request: httputil.HTTPServerRequest, namespace: str, name: str) -> Container:
        """The container that a command shall run in."""
        call = self._read(request, self._user(request))
        self.calls.append(call)
        await self._fault(call, "before", None)
        self._get("pods", namespace, name)
        container = self._container(namespace, name)
        if call.query.get("container", container.name) != container.name:
            raise ApiError(400, "BadRequest", f"container {call.query['container']} is not valid for pod {name}")
        return container

    def _user(self, request: httputil.HTTPServerRequest) -> _User:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        for user in self._users:
            if user.token == token:
                return user
        raise ApiError(401, "Unauthorized", "Unauthorized")

    def _read(self, request: httputil.HTTPServerRequest, user: _User) -> Call:
        """What is asked for, by somebody who may."""
        words = request.path.strip("/").split("/")[2:]  # behind api/v1
        namespace = words[1] if words[:1] == ["namespaces"] and len(words) > 2 else ""
        words = words[2:] if namespace else words
        resource, name, sub, *_ = [*words, "", "", ""]
        sub = f"/{sub}" if sub else ""
        query = {key: values[-1].decode() for key, values in request.query_arguments.items()}
        if not request.path.startswith("/api/v1/") or resource not in _KINDS:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        is_watch = query.get("watch") in ("true", "1")
        verbs = {
            "POST": "create",
            "PATCH": "patch",
            "DELETE": "delete" if name else "deletecollection",
            "PUT": "update",
        }
        asking = "watch" if is_watch else "get" if name else "list"
        verb = asking if request.method == "GET" else verbs[str(request.method)]
        operation = f"{verb} {resource}{sub}"
        in_scope = user.namespace is None or user.namespace == namespace
        if not (in_scope and ("*" in user.allowed or operation in user.allowed)):
            where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            named = f'{resource} "{name}"' if name else resource
            what = f'cannot {verb} resource "{resource}{sub}" in API group "" {where}'
            details = {"name": name, "kind": resource} if name else {"kind": resource}
            raise ApiError(403, "Forbidden", f'{named} is forbidden: User "{user.name}" {what}', **details)
        if namespace and namespace not in NAMESPACES:
            raise not_found("namespaces", namespace)
        body = json.loads(request.body) if request.body else None
        return Call(user.name, operation, namespace, name, query, body)

    def _do(self, call: Call, request: httputil.HTTPServerRequest) -> tuple[Object | bytes, int]:
        verb, _, resource = call.operation.partition(" ")
        match verb:
            case "list":
                return self._listed(resource, call), 200
            case "get" if resource == "pods/log":
                return self._kubelet.log(self._get("pods", call.namespace, call.name)), 200
            case "get" if resource in _KINDS:
                return self._get(resource, call.namespace, call.name), 200
            case "create" if resource == "pods":
                return self._create(call), 201
            case "patch" if resource == "pods" and request.headers.get("Content-Type") in _PATCHES:
                pod = self._get("pods", call.namespace, call.name)
                pod.update(patched(pod, call.body))
                self._changed(pod)
                return pod, 200
            case "delete" if resource == "pods":
                return self._delete(call), 200
        raise unknown_to_this_fake(call.operation)

    def _listed(self, resource: str, call: Call) -> Object:
        chosen = [
            found
            for (namespace, _), found in self._objects[resource].items()
            if call.namespace in ("", namespace) and self._is_chosen(found, call)
        ]
        metadata = {"resourceVersion": str(self._version)}
        return {"kind": f"{_KINDS[resource]}List", "apiVersion": "v1", "metadata": metadata, "items": chosen}

    def _is_chosen(self, found: Object, call: Call) -> bool:
        labels = found["metadata"].get("labels", {})
        by_label = selects(call.query.get("labelSelector", ""), labels)
        return by_label and selects_fields(call.query.get("fieldSelector", ""), found)

    def _create(self, call: Call) -> Object:
        pod = read_pod(call.body, call.namespace, strict=call.query.get("fieldValidation") == "Strict")
        name = pod["metadata"]["name"]
        if (call.namespace, name) in self._objects["pods"]:
            raise ApiError(409, "AlreadyExists", f'pods "{name}" already exists', name=name, kind="pods")
        counted = [each for each in self._in(call.namespace, "pods") if each["status"]["phase"] not in OVER]
        for quota in self._in(call.namespace, "resourcequotas"):
            if why := exceeded(quota, counted, pod):
                raise forbidden_pod(name, why)
        if call.query.get("dryRun"):
            return pod
        self._put("pods", pod)
        self._schedule()
        return pod

    def _delete(self, call: Call) -> Object:
        pod = self._get("pods", call.namespace, call.name)
        options = {**call.query, **(call.body or {})}
        wanted = options.get("gracePeriodSeconds")
        expected = (options.get("preconditions") or {}).get("uid")
        if expected and expected != pod["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "the UID in the precondition does not match the UID in record")
        self._end(pod, pod["spec"]["terminationGracePeriodSeconds"] if wanted is None else float(wanted))
        return deepcopy(pod)

    async def _watch(self, call: Call, answer: web.RequestHandler) -> None:
        resource = call.operation.partition(" ")[2]
        since = int(call.query.get("resourceVersion") or 0)
        until = time.monotonic() + float(call.query.get("timeoutSeconds", 1800))
        answer.set_header("Content-Type", "application/json")
        await answer.flush()  # a client waits for the head before anything has happened
        if not since:
            for found in self._listed(resource, call)["items"]:
                await self._tell(answer, "ADDED", found)
            since = self._version
        while time.monotonic() < until:
            more = self._events.more
            news = [event for event in self._events.seen if event[0] > since]
            for version, kind, which, found in news:
                since = version
                if which == resource and self._is_watched(found, call):
                    await self._tell(answer, kind, found)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(more.wait(), max(0.0, min(1.0, until - time.monotonic())))

    def _is_watched(self, found: Object, call: Call) -> bool:
        metadata = found["metadata"]
        is_here = call.namespace in ("", metadata.get("namespace", "")) and call.name in ("", metadata["name"])
        return is_here and self._is_chosen(found, call)

    async def _tell(self, answer: web.RequestHandler, kind: str, found: Object) -> None:
        answer.write(json.dumps({"type": kind, "object": found}) + "\n")
        try:
            await answer.flush()
        except iostream.StreamClosedError:  # whoever watched has seen enough
            raise ConnectionAbortedError from None

    async def _fault(self, call: Call, when: When, answer: web.RequestHandler | None) -> None:
        for fault in self._faults:
            if (fault.operation, fault.when) != (call.operation, when) or not fault.left:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.left -= 1
            if fault.error == "silence":
                await asyncio.sleep(SILENCE_S)
            elif fault.error == "cut" and answer is not None:
                answer.detach().close()
                raise ConnectionAbortedError
            elif isinstance(fault.error, int):
                reason = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}[fault.error]
                raise ApiError(fault.error, reason, "the server is currently unable to handle the request")
            elif callable(fault.error):
                await asyncio.to_thread(fault.error)

    # ---- what happens in it ----

    def _get(self, resource: str, namespace: str, name: str) -> Object:
        try:
            return self._objects[resource][namespace, name]
        except KeyError:
            raise not_found(resource, name) from None

    def _in(self, namespace: str, resource: str) -> list[Object]:
        return [found for (where, _), found in self._objects[resource].items() if where == namespace]

    def _on(self, node: str) -> list[Object]:
        return [pod for pod in self._objects["pods"].values() if pod["spec"].get("nodeName") == node]

    def _container(self, namespace: str, name: str) -> Container:
        pod = self._objects["pods"].get((namespace, name))
        container = self._kubelet.containers.get(pod["metadata"]["uid"]) if pod else None
        if container is None:
            raise ApiError(500, "InternalError", f"error upgrading connection: container not found in pod {name}")
        return container

    def _put(self, resource: str, found: Object) -> None:
        """Write an object, new or changed."""
        metadata = found["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", stamp())
        key = metadata.get("namespace", ""), metadata["name"]
        kind = "MODIFIED" if key in self._objects[resource] else "ADDED"
        self._objects[resource][key] = found
        self._write_down(kind, resource, found)
        if resource == "nodes":
            self._schedule()

    def _changed(self, pod: Object) -> None:
        # A pod that was removed by force goes on for a moment.
        key = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if self._objects["pods"].get(key) is pod:
            self._write_down("MODIFIED", "pods", pod)
        if pod["status"]["phase"] in OVER:
            self._schedule()

    def _remove(self, resource: str, found: Object) -> None:
        key = found["metadata"].get("namespace", ""), found["metadata"]["name"]
        if self._objects[resource].get(key) is found:
            del self._objects[resource][key]
            self._write_down("DELETED", resource, found)
            self._schedule()

    def _write_down(self, kind: str, resource: str, found: Object) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        self._events.add(self._version, kind, resource, found)

    def _schedule(self) -> None:
        """Give each pod that waits a node, if one has room."""
        nodes, pods = list(self._objects["nodes"].values()), list(self._objects["pods"].values())
        for pod in pods:
            if pod["spec"].get("nodeName") or pod["status"]["phase"] in OVER:
                continue
            node, why = why_not(pod, nodes, pods)
            if node is not None:
                pod["spec"]["nodeName"] = node["metadata"]["name"]
                set_condition(pod, "PodScheduled", "True")
                self._kubelet.take(pod, node)
            elif why != next((each.get("message") for each in pod["status"].get("conditions", [])), ""):
                set_condition(pod, "PodScheduled", "False", "Unschedulable", why)
            else:
                continue
            self._changed(pod)

    def _end(self, pod: Object, grace_s: float) -> None:
        """Delete a pod: at once where no process has to end."""
        if pod["status"]["phase"] in OVER or not pod["spec"].get("nodeName") or grace_s <= 0:
            self._remove("pods", pod)
            self._kubelet.end(pod, grace_s=0.0)
            return
        metadata, until = pod["metadata"], stamp(time.time() + grace_s)
        if until < metadata.get("deletionTimestamp", "9"):
            metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"] = until, int(grace_s)
            self._changed(pod)
            self._kubelet.end(pod, grace_s=grace_s)

    def _disrupt(self, name: str, reason: str, message: str, fails: str = "") -> None:
        found = [pod for (_, each), pod in self._objects["pods"].items() if each == name]
        for pod in found:
            set_condition(pod, "DisruptionTarget", "True", reason, message)
            self._changed(pod)
            if fails:
                self._kubelet.end(pod, fails, message, 0.0 if fails == "Evicted" else None)
            else:
                self._end(pod, pod["spec"]["terminationGracePeriodSeconds"])

    async def _start(self) -> None:
        self._events = _Events()
        self._kubelet = Kubelet(self._folder / "containers", self._changed, lambda pod: self._remove("pods", pod))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "ca.pem", self._folder / "key.pem")
        routes = [
            (r"/api/v1/namespaces/([^/]+)/pods/([^/]+)/exec", Exec, {"cluster": self}),
            (r".*", _Rest, {"cluster": self}),
        ]
        application = web.Application(routes, log_function=lambda _: None)
        self._server = httpserver.HTTPServer(application, ssl_options=context)
        listener = socket.create_server((self._address, 0))
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self._server.add_socket(listener)

    async def _stop(self) -> None:
        self._server.stop()
        await self._kubelet.close()
        await self._server.close_all_connections()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SILENCE_S)

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._run(call())


class _Rest(web.RequestHandler):
    def initialize(self, cluster: Kube) -> None:
        self._cluster = cluster

    async def _ask(self) -> None:
        try:
            await self._cluster.ask(self.request, self)
        except ApiError as problem:
            self.set_status(problem.code)
            self.write(problem.status)
        except ConnectionAbortedError:
            return
        self.finish()

    get = post = put = patch = delete = _ask


def _with(found: Object, section: str, **changes: object) -> Object:
    found[section] = {**found[section], **changes}
    return found
