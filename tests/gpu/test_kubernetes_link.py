"""The way from here to a pod: kubectl runs in a network of its own, so that its link to the cluster can be cut."""

import os
import shutil
import sys
import time
from collections.abc import Iterator

import pytest

from aiinfra_lab import gpu, kernels
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.kernels import CommandReach, KeptKernel
from tests.conftest import stop_jobs, until
from tests.fakes.kube import Kube, needs_kube
from tests.gpu.test_kubernetes import configure
from tests.hosts import Host, needs_hosts
from tests.kernels.test_keeper import kill_keeper

pytestmark = [needs_kube, needs_hosts, pytest.mark.slow]  # links that are cut, and what is waited for then


@pytest.fixture
def laptop(tmp_path) -> Iterator[Host]:
    host = Host(1, tmp_path / "laptop")
    yield host
    host.remove()


@pytest.fixture
def kube(laptop, workspace, tmp_path, monkeypatch) -> Iterator[Kube]:
    """A cluster that is reached from the laptop's network alone."""
    with Kube(tmp_path / "kube", laptop.gateway) as cluster:
        cluster.add_node("plain", {})
        (programs := tmp_path / "bin").mkdir()
        (programs / "kubectl").write_text(
            f'#!/bin/sh\nexec ip netns exec {laptop.name} {shutil.which("kubectl")} "$@"\n'
        )
        (programs / "kubectl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin")
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubectl"))
        configure(workspace)
        yield cluster
        laptop.set_link("up")
        stop_jobs(workspace)


def test_a_cut_link_is_said_and_loses_nothing(kube, laptop, capsys):
    gpu.start("pod", on="kubernetes")
    [before] = kube.pods()
    with kernels.client._client(KeptKernel.of("gpu:pod")) as other:
        other.execute("import time\nfor n in range(80):\n    print(f'line {n}', flush=True); time.sleep(0.1)")
        time.sleep(1)
        laptop.set_link("down")
        until(lambda: "host has not been reached since" in gpu.show("pod").card().text())
        assert gpu.show("pod").state == "running"
    laptop.set_link("up")
    gpu.get("pod")
    until(lambda: not gpu.show("pod").notes)
    assert capsys.readouterr().out == "".join(f"line {n}\n" for n in range(80))
    assert [pod["metadata"]["uid"] for pod in kube.pods()] == [before["metadata"]["uid"]]


def test_a_keeper_that_was_killed_finds_its_pod_again(kube):
    gpu.start("pod", on="kubernetes")
    pid = KeptKernel.of("gpu:pod").state().kernel_pid
    kill_keeper("pod")
    until(lambda: not KeptKernel.of("gpu:pod").is_alive())
    until(lambda: gpu.show("pod").state == "running")
    assert KeptKernel.of("gpu:pod").state().kernel_pid == pid
    assert len(kube.made("create pods")) == 1


def test_a_command_in_a_pod_says_why_it_ended_and_not_only_that(kube):
    gpu.start("pod", on="kubernetes")
    [pod] = kube.pods()
    words = ["kubectl", "exec", "-i", pod["metadata"]["name"], "--"]
    reach = CommandReach(words, "~/none", shell=False, python=sys.executable)
    with pytest.raises(Unavailable, match="no-such-python"):
        CommandReach(words, "~/none", shell=False, python="no-such-python").connect()
    stream = reach.connect()
    assert os.read(stream.reads, 100) == b""
    stream.close()
    assert stream.problem() == "there is no core"
    assert stream.is_last()
