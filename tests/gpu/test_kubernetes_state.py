"""What a pod says of itself, in the words that people read."""

import time
from typing import Any

import pytest

from aiinfra_lab.gpu import kubernetes_state
from aiinfra_lab.gpu.kubernetes_calls import Cluster
from aiinfra_lab.gpu.renting import Instance


def instance(
    phase: str, state: dict[str, Any] | None = None, deleted_s: float | None = None, **status: Any
) -> Instance:
    """deleted_s: how long ago its grace was over"""
    metadata: dict[str, Any] = {"name": "one-1", "labels": {"aiinfra-lab/token": "one-1"}}
    if deleted_s is not None:
        metadata["deletionTimestamp"] = kubernetes_state.stamp(time.time() - deleted_s)
    statuses = [{"name": "session", "state": state}] if state else []
    spec = {"containers": [{"name": "session", "image": "lab:1"}]}
    said = {"phase": phase, "containerStatuses": statuses, **status}
    return kubernetes_state.instance({"metadata": metadata, "spec": spec, "status": said}, Cluster("c", "n"))


def taken(reason: str) -> list[dict[str, str]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": f"{reason}: it goes"}]


RUNS = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("found", "state", "why", "is_taken"),
    [
        (instance("Running", RUNS), "running", "", False),
        (instance("Running"), "pending", "", False),
        (instance("Pending", {"waiting": {"reason": "ContainerCreating"}}), "pending", "pulls its image, or", False),
        (instance("Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "a"'}}),
         "pending", 'CreateContainerConfigError: secret "a"', False),
        (instance("Running", RUNS, deleted_s=-100), "ending", "", False),
        (instance("Running", RUNS, deleted_s=-100, conditions=taken("PreemptionByScheduler")),
         "running", "PreemptionByScheduler: it goes", True),
        # Its node does not answer, so nobody says that it has ended.
        (instance("Running", RUNS, deleted_s=40, conditions=taken("DeletionByTaintManager")),
         "gone", "DeletionByTaintManager: it goes", True),
        (instance("Succeeded", {"terminated": {"exitCode": 0}}), "gone", "its session is over", False),
        (instance("Failed", {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
         "gone", "its container needed more memory than its limit", False),
        (instance("Failed", {"terminated": {"exitCode": 127, "message": "no python3"}}),
         "gone", "its container ended with exit code 127: no python3", False),
        (instance("Failed", reason="DeadlineExceeded", message="Pod was active"), "gone", "deadline", False),
        (instance("Failed", reason="Evicted", message="The node was low on resource: memory. "),
         "gone", "Evicted: The node was low on resource: memory", True),
        (instance("Failed", reason="Terminated", message="imminent node shutdown."), "gone", "Terminated: ", True),
    ],
)  # fmt: skip
def test_a_pod_is_a_machine(found, state, why, is_taken):
    assert (found.state, found.is_taken) == (state, is_taken)
    assert found.why.startswith(why)
    assert found.why or not why


@pytest.mark.parametrize(
    ("reason", "message", "is_hopeless"),
    [
        ("ErrImagePull", "failed to resolve reference: not found", True),
        ("ImagePullBackOff", "Back-off pulling image: manifest unknown", True),
        ("ErrImagePull", "pull access denied, repository does not exist or may require authorization", True),
        ("InvalidImageName", "", True),
        ("ErrImagePull", "dial tcp: i/o timeout", False),
        ("ContainerCreating", "", False),
    ],
)
def test_an_image_that_may_still_come_is_waited_for(reason, message, is_hopeless):
    found = instance("Pending", {"waiting": {"reason": reason, "message": message}})
    assert kubernetes_state.unpullable(found) == is_hopeless
