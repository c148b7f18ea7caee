"""The manifest of a session's pod is what is sent, and a cluster takes it."""

import json
import shlex
import subprocess
import time

import pytest
import yaml

from aiinfra_lab import gpu
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.gpu.exports import FORMS
from aiinfra_lab.gpu.exports.spec import spec_of
from aiinfra_lab.gpu.kubernetes import KubernetesMachines
from aiinfra_lab.gpu.starting import SessionRequest
from tests.fakes.kube import Kube, needs_kube

pytestmark = needs_kube


@pytest.fixture
def kube(workspace, tmp_path, monkeypatch):
    """A cluster with a node with two L4."""
    with Kube(tmp_path / "kube") as cluster:
        labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}
        cluster.add_node("l4", {"nvidia.com/gpu": 2}, labels, "nvidia.com/gpu:NoSchedule")
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubectl"))
        (workspace / "aiinfra.toml").write_text('[gpu]\nkubernetes_image = "registry.example/lab:1"\n')
        yield cluster


def test_the_manifest_is_the_pod_that_a_launch_creates(kube, workspace, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # both count the seconds until the deadline
    request = SessionRequest("trainer", "L4", False, 3600.0, None, None)
    spec, provider = spec_of(request, ["kubernetes"])
    given = yaml.safe_load(FORMS["kubernetes"].render(spec, provider, settings()).text)
    KubernetesMachines(settings()).launch(spec)
    command = ["kubectl", "get", "pod", spec.token, "-o", "json"]
    live = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for key in ("labels", "annotations", "name"):
        assert given["metadata"][key].items() <= live["metadata"][key].items() if key != "name" else True
    assert given["metadata"]["name"] == live["metadata"]["name"] == spec.token
    differs = {name for name, value in given["spec"].items() if not _within(value, live["spec"][name])}
    assert differs == set()
    assert given["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_a_cluster_takes_what_is_written(kube, tmp_path):
    done = gpu.export("trainer", to="kubernetes", gpu="L4", for_="1h", into=tmp_path / "out")
    folder = (tmp_path / "out" / done.file).parent
    checked = subprocess.run(shlex.split(done.use), cwd=folder, capture_output=True, text=True, check=False)
    assert (checked.returncode, "created (server dry run)" in checked.stdout) == (0, True), checked.stderr
    assert kube_pods() == []


def kube_pods() -> list[str]:
    command = ["kubectl", "get", "pods", "-A", "-o", "name"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_what_the_cluster_lacks_is_no_manifest(kube):
    with pytest.raises(Unavailable, match="kubernetes has no H100"):
        gpu.export("trainer", to="kubernetes", gpu="H100")


def _within(given: object, live: object) -> bool:
    """Whether a cluster has kept what it was given; it adds what it was not."""
    if isinstance(given, dict) and isinstance(live, dict):
        return all(name in live and _within(value, live[name]) for name, value in given.items())
    if isinstance(given, list) and isinstance(live, list):
        return len(given) <= len(live) and all(any(_within(one, other) for other in live) for one in given)
    return given == live
