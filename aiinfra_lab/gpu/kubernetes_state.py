"""What a pod says of itself, as a machine: what it waits for, how long it lives, and how it ended."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from .kubernetes_calls import Cluster
from .renting import Instance

CONTAINER = "session"
OWNER, TOKEN = "aiinfra-lab/owner", "aiinfra-lab/token"
SESSION, EXPIRES, PRICE = "aiinfra-lab/session", "aiinfra-lab/expires", "aiinfra-lab/usd-per-hour"
_TAKEN = ("Evicted", "Preempting", "Terminated", "NodeShutdown", "NodeLost", "Shutdown")
_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
# After its grace, a pod that was taken away is still listed where its node does not answer.
_UNHEARD_S = 30.0
# What no further attempt mends, as container runtimes say it.
_IN_VAIN = re.compile(
    r"not found|manifest unknown|denied|unauthorized|invalid reference|InvalidImageName", re.IGNORECASE
)


def instance(pod: Mapping[str, Any], cluster: Cluster) -> Instance:
    """A pod as a machine."""
    metadata, notes = pod["metadata"], pod["metadata"].get("annotations", {})
    deleted_at = _epoch(metadata.get("deletionTimestamp"))
    is_taken = _disruption(pod) != "" or pod["status"].get("reason") in _TAKEN
    state, phase = "pending", pod["status"].get("phase", "Pending")
    if phase in ("Succeeded", "Failed") or (is_taken and deleted_at and time.time() > deleted_at + _UNHEARD_S):
        state = "gone"
    elif deleted_at is not None and not is_taken:
        state = "ending"
    elif phase == "Running" and _is_running(pod):
        state = "running"
    ends = [at for at in (_epoch(notes.get(EXPIRES)), ends_at(pod)) if at is not None]
    return Instance(
        id=cluster.id_of(metadata["name"]),
        session=notes.get(SESSION, ""),
        token=metadata.get("labels", {}).get(TOKEN, ""),
        state=state,  # type: ignore[arg-type]
        address=metadata["name"],
        why=_why_gone(pod) if phase in ("Succeeded", "Failed") else _disruption(pod) or _why_pending(pod),
        is_taken=is_taken,
        notice_at=deleted_at,
        created_at=_epoch(metadata.get("creationTimestamp")),
        expires_at=min(ends, default=None),
        usd_per_hour=float(notes[PRICE]) if PRICE in notes else None,
    )


def ends_at(pod: Mapping[str, Any]) -> float | None:
    """When the cluster ends it; None before it has begun."""
    started_at = _epoch(pod["status"].get("startTime"))
    return None if started_at is None else started_at + pod["spec"].get("activeDeadlineSeconds", math.inf)


def _state_of_container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses: Iterable[Mapping[str, Any]] = pod["status"].get("containerStatuses", [])
    return next((each.get("state", {}) for each in statuses if each["name"] == CONTAINER), {})


def _is_running(pod: Mapping[str, Any]) -> bool:
    return "running" in _state_of_container(pod)


def _disruption(pod: Mapping[str, Any]) -> str:
    """Why the cluster takes it away; empty when it does not."""
    found = [each for each in pod["status"].get("conditions", []) if each["type"] == "DisruptionTarget"]
    return next((each.get("message") or each.get("reason", "") for each in found if each["status"] == "True"), "")


def unpullable(pod: Instance) -> bool:
    """Whether it waits for an image that it will never have."""
    return pod.state == "pending" and pod.why.startswith("its image ") and bool(_IN_VAIN.search(pod.why))


def _why_pending(pod: Mapping[str, Any]) -> str:
    waiting = _state_of_container(pod).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULLS:
        return f"its image {_container_of(pod)['image']} cannot be pulled: {message or reason}"
    if reason == "ContainerCreating":
        return "pulls its image, or waits for its volumes"
    if reason:
        return f"{reason}: {message}" if message else reason
    for each in pod["status"].get("conditions", []):
        if each["type"] == "PodScheduled" and each["status"] == "False":
            # What could be preempted follows, for which nobody has asked.
            return str(each.get("message", each.get("reason", ""))).partition(" preemption:")[0].rstrip(".")
    return ""


def _why_gone(pod: Mapping[str, Any]) -> str:
    status, terminated = pod["status"], _state_of_container(pod).get("terminated", {})
    if status.get("reason") == "DeadlineExceeded":
        return "deadline"
    if reason := status.get("reason") or "":
        return f"{reason}: {status['message'].strip(' .')}" if status.get("message") else reason
    if terminated.get("reason") == "OOMKilled":
        return "its container needed more memory than its limit"
    if status["phase"] == "Succeeded":
        return "its session is over"
    code, message = terminated.get("exitCode", "?"), terminated.get("message", "")
    return f"its container ended with exit code {code}{f': {message}' if message else ''}"


def _container_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((each for each in pod["spec"]["containers"] if each["name"] == CONTAINER), {"image": "?"})


def _epoch(stamp: str | None) -> float | None:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() if stamp else None


def stamp(at: float) -> str:
    """A time as Kubernetes writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
