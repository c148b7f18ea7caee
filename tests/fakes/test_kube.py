"""The fake cluster, as kubectl sees it: it refuses what a real one refuses, and its pods live and end as real ones."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import until

from .kube import Kube, needs_kube
from .kube_objects import quantity, selects

pytestmark = needs_kube

GPU = "nvidia.com/gpu"


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[Kube]:
    with Kube(tmp_path / "kube") as cluster:
        cluster.add_node("n1", {GPU: 2}, {"product": "L4"}, f"{GPU}:NoSchedule")
        yield cluster


def pod(name: str = "p1", *command: str, gpus: int = 1, **spec: Any) -> dict[str, Any]:
    resources = {"limits": {GPU: gpus}} if gpus else {}
    container = {"name": "main", "image": "registry.example/lab:1", "command": command or ("sleep", "60")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "lab"}},
        "spec": {
            "restartPolicy": "Never",
            "tolerations": [{"key": GPU, "operator": "Exists"}],
            "containers": [{**container, "resources": resources}],
            **spec,
        },
    }


class Kubectl:
    def __init__(self, config: Path) -> None:
        # Its cache of what there is must not be that of another test's cluster.
        self.env = {**os.environ, "KUBECONFIG": str(config), "HOME": str(config.parent)}

    def __call__(self, *words: str, stdin: object = None, fails: bool = False) -> str:
        """What it prints; on standard error where it is to fail."""
        text = stdin if isinstance(stdin, str) else json.dumps(stdin)
        done = subprocess.run(
            ["kubectl", *words], env=self.env, capture_output=True, text=True, input=text, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def create(self, body: object, **how: Any) -> str:
        return self("create", "-f", "-", stdin=body, **how)


@pytest.fixture
def kubectl(kube: Kube) -> Kubectl:
    return Kubectl(kube.kubeconfig())


def is_running(kube: Kube, name: str = "p1") -> Callable[[], bool]:
    return lambda: kube.pod(name)["status"]["phase"] == "Running"


def reason(kube: Kube, name: str = "p1") -> str:
    """Why its container waits."""
    [status] = kube.pod(name)["status"].get("containerStatuses", [{}])
    return status.get("state", {}).get("waiting", {}).get("reason", "")


def test_a_pod_runs_its_command_and_is_over(kube, kubectl):
    assert kubectl.create(pod("p1", "sh", "-c", "echo $NVIDIA_VISIBLE_DEVICES")) == "pod/p1 created\n"
    until(lambda: kube.pod("p1")["status"]["phase"] == "Succeeded")
    assert kubectl("logs", "p1") == "n1-gpu-0\n"
    kubectl.create(pod("p2", "sh", "-c", "exit 3"))
    until(lambda: kube.pod("p2")["status"]["phase"] == "Failed")
    assert kube.pod("p2")["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_it_lists_by_labels_and_fields_and_watches(kube, kubectl):
    kubectl.create(pod())
    kubectl("wait", "--for=condition=Ready", "pod/p1", "--timeout=30s")
    assert kubectl("get", "pods", "-l", "app in (lab, other)", "-o", "name") == "pod/p1\n"
    assert kubectl("get", "pods", "-l", "app!=lab", "-o", "name") == ""
    assert kubectl("get", "pods", "--field-selector", "status.phase!=Running", "-o", "name") == ""
    assert kubectl("get", "nodes,pods", "-A", "-o", "name") == "node/n1\npod/p1\n"
    assert kubectl("delete", "pod", "p1", "--grace-period=1") == 'pod "p1" deleted\n'
    assert kube.pods() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"tolerate": []}}, r"BadRequest.*strict decoding error: unknown field \"spec.tolerate\""),
        ({"spec": {"activeDeadlineSeconds": "5"}}, "cannot unmarshal string into .*activeDeadlineSeconds"),
        ({"spec": {"activeDeadlineSeconds": 0}}, "activeDeadlineSeconds: Invalid value: 0: must be between"),
        ({"spec": {"restartPolicy": "never"}}, 'restartPolicy: Unsupported value: "never"'),
        ({"spec": {"restartPolicy": "Always"}}, "this fake does not know"),
        ({"spec": {"containers": []}}, "spec.containers: Required value"),
        ({"metadata": {"name": "P_1"}}, 'metadata.name: Invalid value: "P_1"'),
        ({"metadata": {"name": "p1", "labels": {"app": "a b"}}}, "metadata.labels: Invalid value"),
        ({"metadata": {"name": "p1", "namespace": "team"}}, "namespace"),
    ],
)
def test_a_pod_that_is_wrong_is_refused(kube, kubectl, change, message):
    body = pod()
    for section, changes in change.items():
        body[section] = {**body[section], **changes}
    text = kubectl("create", "-n", "default", "-f", "-", stdin=body, fails=True)
    assert re.search(message, text), text
    assert kube.pods() == []


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"limits": {"gpu": 1}}, "must be a standard resource type or fully qualified"),
        ({"limits": {GPU: "0.5"}}, "must be an integer"),
        ({"limits": {"memory": "4 GB"}}, "quantities must match"),
        ({"requests": {GPU: 1}}, "Limit must be set for non overcommitable resources"),
        ({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}, "must be less than or equal to cpu limit of 1"),
    ],
)
def test_resources_that_are_wrong_are_refused(kubectl, resources, message):
    body = pod()
    body["spec"]["containers"][0]["resources"] = resources
    assert message in kubectl.create(body, fails=True)


def test_a_name_is_given_once_and_namespaces_must_exist(kubectl):
    kubectl.create(pod())
    assert 'Error from server (AlreadyExists): error when creating "STDIN": pods "p1" already exists' in kubectl.create(
        pod(), fails=True
    )
    assert 'namespaces "none" not found' in kubectl("create", "-n", "none", "-f", "-", stdin=pod(), fails=True)
    assert 'pods "p2" not found' in kubectl("get", "pod", "p2", fails=True)


def test_what_nobody_has_room_for_waits_and_says_why(kube, kubectl):
    kubectl.create(pod("p1", gpus=2))
    kubectl.create(pod("p2"))
    kubectl.create(pod("p3", gpus=0, nodeSelector={"product": "A100"}))
    kubectl.create({**pod("p4"), "spec": {**pod()["spec"], "tolerations": []}})

    def why(name: str) -> str:
        return next(each["message"] for each in kube.pod(name)["status"]["conditions"] if each["status"] == "False")

    assert why("p2").startswith(f"0/1 nodes are available: 1 Insufficient {GPU}. preemption: 0/1 nodes are available")
    assert "1 node(s) didn't match Pod's node affinity/selector" in why("p3")
    assert f"1 node(s) had untolerated taint {{{GPU}: }}" in why("p4")
    kubectl("delete", "pod", "p1", "--grace-period=1")
    until(is_running(kube, "p2"))


def test_a_quota_and_a_rule_are_kept(kube, kubectl):
    kube.quota("few", {f"requests.{GPU}": 1})
    kubectl.create(pod())
    message = f"exceeded quota: few, requested: requests.{GPU}=1, used: requests.{GPU}=1, limited: requests.{GPU}=1"
    assert f'pods "p2" is forbidden: {message}' in kubectl.create(pod("p2"), fails=True)
    bob = Kubectl(kube.user("bob", "create pods", "get pods", namespace="team"))
    bob.create(pod())
    listed = 'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "team"'
    assert listed in bob("get", "pods", fails=True)
    assert "at the cluster scope" in bob("get", "nodes", fails=True)
    kube.forget_user("bob")
    assert "You must be logged in to the server" in bob("get", "pod", "p1", fails=True)


def test_an_image_that_is_not_there_is_tried_again(kube, kubectl):
    kube.images("other:1", pull_s=0.2)
    kubectl.create(pod())
    until(lambda: reason(kube) == "ContainerCreating")
    until(lambda: reason(kube) == "ErrImagePull")
    until(lambda: reason(kube) == "ImagePullBackOff")
    kube.images("other:1", "registry.example/lab:1")
    until(is_running(kube))


def test_the_deadline_counts_from_its_start_and_moves_down_only(kube, kubectl):
    kubectl.create(pod(activeDeadlineSeconds=60, terminationGracePeriodSeconds=1))
    until(is_running(kube))
    assert "must be less than or equal" in kubectl(
        "patch", "pod", "p1", "-p", '{"spec":{"activeDeadlineSeconds":61}}', fails=True
    )
    kubectl("patch", "pod", "p1", "-p", '{"spec":{"activeDeadlineSeconds":1}}')
    until(lambda: kube.pod("p1")["status"]["phase"] == "Failed")
    assert kube.pod("p1")["status"]["reason"] == "DeadlineExceeded"


ASKED = "import signal,sys,time; signal.signal(15, lambda *_: print('asked', flush=True)); print('up', flush=True)\n"


def test_an_end_is_asked_for_and_forced_after_its_grace(kube, kubectl):
    kubectl.create(pod("p1", "python3", "-c", f"{ASKED}while True: time.sleep(1)", terminationGracePeriodSeconds=2))
    until(is_running(kube))
    until(lambda: kubectl("logs", "p1") == "up\n")
    kube.preempt("p1")
    begun = time.monotonic()
    found = kube.pod("p1")
    assert found["metadata"]["deletionTimestamp"]
    assert [each["reason"] for each in found["status"]["conditions"] if each["type"] == "DisruptionTarget"] == [
        "PreemptionByScheduler"
    ]
    until(lambda: kubectl("logs", "p1") == "up\nasked\n")
    until(lambda: kube.pods() == [])
    assert time.monotonic() - begun >= 1.5


def test_a_first_process_that_asks_for_no_signal_gets_none(kube, kubectl):
    kubectl.create(pod())
    until(is_running(kube))
    begun = time.monotonic()
    kubectl("delete", "pod", "p1", "--grace-period=2")
    assert time.monotonic() - begun >= 1.5


def test_who_is_evicted_stays_as_failed_and_who_lost_its_node_is_gone(kube, kubectl):
    for name in ("p1", "p2"):
        kubectl.create(pod(name))
        until(is_running(kube, name))
    kube.evict("p1")
    until(lambda: kube.pod("p1")["status"]["phase"] == "Failed")
    assert kube.pod("p1")["status"]["reason"] == "Evicted"
    kube.lose_node("n1")
    assert kube.pods() == []
    assert kubectl("get", "nodes", "-o", "name") == ""


def test_a_command_in_a_pod_has_its_inputs_and_outputs(kube, kubectl):
    kubectl.create(pod())
    until(is_running(kube))
    data = "0123456789abcdef" * (1 << 18)
    assert kubectl("exec", "-i", "p1", "--", "cat", stdin=data) == data
    assert kubectl("exec", "p1", "--", "pwd").startswith(str(kube._folder))
    said = kubectl("exec", "-i", "p1", "--", "sh", "-c", "wc -c; echo bad >&2; exit 69", stdin="12345", fails=True)
    assert said == "bad\ncommand terminated with exit code 69\n"
    missing = kubectl("exec", "p1", "-c", "other", "--", "true", fails=True)
    assert "container other is not valid for pod p1" in missing


def test_a_command_whose_connection_breaks_reads_an_end(kube, kubectl):
    kubectl.create(pod())
    until(is_running(kube))
    words = ["kubectl", "exec", "-i", "p1", "--", "sh", "-c", "echo up; cat; echo over > ended; sleep 60"]
    with subprocess.Popen(words, env=kubectl.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.kill()
    until(lambda: kubectl("exec", "p1", "--", "sh", "-c", "cat ended 2>&-; true") == "over\n")
    assert "sleep 60" in "\n".join(kube.processes("p1"))


def test_faults_come_before_or_after_a_call_took_effect(kube, kubectl):
    kube.fail("create pods", 503)
    assert "unable to handle the request" in kubectl.create(pod(), fails=True)
    assert kube.pods() == []
    kube.fail("create pods", "cut", when="after")
    kubectl.create(pod(), fails=True)
    assert [each["metadata"]["name"] for each in kube.pods()] == ["p1"]


def test_quantities_and_selectors():
    assert [quantity(text) for text in ("1", "500m", "4Gi", "2k", "1e3", "0.5")] == [1, 0.5, 4 * 2**30, 2000, 1000, 0.5]
    with pytest.raises(ValueError, match="must match"):
        quantity("4 GB")
    assert selects("a=b,c!=d,e", {"a": "b", "e": ""})
    assert not selects("a notin (b, c)", {"a": "b"})
    assert not selects("!a", {"a": "b"})


def test_a_node_that_is_shut_down_in_order_ends_its_pods(kube, kubectl):
    kubectl.create(pod(terminationGracePeriodSeconds=1))
    until(is_running(kube))
    kube.shut_node("n1")
    until(lambda: kube.pod("p1")["status"]["phase"] == "Failed")
    assert kube.pod("p1")["status"]["reason"] == "Terminated"
    kubectl.create(pod("p2"))
    assert "1 node(s) were unschedulable" in kube.pod("p2")["status"]["conditions"][0]["message"]
