"""Sessions in pods of a cluster: they keep the contracts, and end by themselves; refusals say how to mend them."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab import gpu, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Denied, Failed, LabError, Missing, Unavailable, UsageProblem
from aiinfra_lab.gpu import kubernetes
from aiinfra_lab.gpu.base import NoCapacity, Offer
from aiinfra_lab.gpu.kubernetes import KubernetesMachines
from aiinfra_lab.gpu.renting import Instance, LaunchSpec
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract, RentedMachinesContract
from tests.conftest import stop_jobs, until
from tests.fakes.kube import Kube, needs_kube
from tests.kernels.test_keeper import kill_keeper

pytestmark = needs_kube

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
IMAGE = "registry.example/lab:1"


@pytest.fixture
def kube(workspace, tmp_path, monkeypatch) -> Iterator[Kube]:
    """A cluster with a node for processors and one with two L4, which this user's kubectl reaches."""
    with Kube(tmp_path / "kube") as cluster:
        cluster.add_node("plain", {})
        cluster.add_node("l4", {GPU: 2}, {PRODUCT: "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}, f"{GPU}:NoSchedule")
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "kubectl"))
        configure(workspace)
        yield cluster
        cluster.heal()
        stop_jobs(workspace)  # keepers wait until the cluster says that their pods are gone


def configure(workspace: Path, **values: object) -> None:
    lines: dict[str, object] = {"image": IMAGE, "usd_per_hour": "L4 0.8, cpu 0.1", **values}
    written = [f"kubernetes_{key} = {json.dumps(value)}" for key, value in lines.items() if value != ""]
    (workspace / "aiinfra.toml").write_text("\n".join(["[gpu]", *written]))


@pytest.fixture
def machines(kube) -> KubernetesMachines:
    return KubernetesMachines(settings())


def spec_of(machines: KubernetesMachines, offer: Offer, token: str = "one-1", for_s: float = 3600.0) -> LaunchSpec:
    folder = settings().home / "machines" / token
    folder.mkdir(parents=True, exist_ok=True)
    return LaunchSpec("one", machines.owner(), token, offer, time.time() + for_s, folder)


def cheapest(machines: KubernetesMachines, wanted: str = "cpu") -> Offer:
    return next(offer for offer in machines.offers(wanted) if offer.fits(wanted))


def one(machines: KubernetesMachines, token: str = "one-1") -> Instance:
    [found] = machines.instances(token)
    return found


def becomes(machines: KubernetesMachines, state: str, token: str = "one-1") -> Instance:
    until(lambda: one(machines, token).state == state)
    return one(machines, token)


def run(code: str, name: str = "pod") -> str:
    outputs: list[kernels.Output] = []
    kernels.execute(f"gpu:{name}", code, outputs.append)
    return "".join(output["content"].get("text", "") for output in outputs)


def is_replaced() -> bool:
    """Whether the session's second kernel is ready."""
    state = KeptKernel.of("gpu:pod").state()
    return (state.phase, state.incarnation) == ("ready", 2)


@pytest.mark.slow  # a pod for each of some twenty tests, and deadlines that are waited for
class TestKubernetes(MachinesContract, KernelHostContract, RentedMachinesContract):
    lead_s = 12.0


def test_a_session_there_is_a_kernel_here(kube):
    session = gpu.start("pod", on="kubernetes", gpu="L4", for_="1h")
    assert (session.state, session.on, session.kernel) == ("running", "kubernetes", "aiinfra-pod")
    assert run("import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])") == "l4-gpu-0\n"
    assert gpu.stop("pod").state == "ended (stopped)"
    until(lambda: kube.pods() == [])


def test_the_creating_call_carries_whose_it_is_and_when_it_ends(kube, machines):
    machines.launch(spec_of(machines, cheapest(machines, "L4"), for_s=7200))
    [call] = kube.made("create pods")
    metadata, spec = call.body["metadata"], call.body["spec"]
    assert metadata["name"] == "one-1"
    assert metadata["labels"]["aiinfra-lab/owner"] == machines.owner()
    assert metadata["annotations"]["aiinfra-lab/session"] == "one"
    assert spec["activeDeadlineSeconds"] == 24 * 3600
    assert spec["restartPolicy"] == "Never"
    assert float(spec["containers"][0]["command"][4]) == pytest.approx(7200, abs=5)
    assert spec["containers"][0]["resources"]["limits"] == {GPU: "1"}
    assert spec["nodeSelector"] == {PRODUCT: "NVIDIA-L4"}
    assert spec["tolerations"] == [{"key": GPU, "operator": "Exists"}]
    assert spec["automountServiceAccountToken"] is False


def test_asking_twice_gives_one_pod(kube, machines):
    spec = spec_of(machines, cheapest(machines))
    assert machines.launch(spec) == machines.launch(spec) == "lab/default/one-1"
    assert len(kube.pods()) == 1


def test_a_pod_whose_creation_was_not_heard_of_is_found_again(kube, machines):
    spec = spec_of(machines, cheapest(machines))
    kube.fail("create pods", "cut", when="after")
    with pytest.raises(Unavailable):
        machines.launch(spec)
    assert machines.launch(spec) == "lab/default/one-1"
    assert len(kube.pods()) == 1


def test_a_name_that_somebody_else_has_is_not_taken_for_ours(kube, machines, tmp_path):
    spec = spec_of(machines, cheapest(machines))
    machines.launch(spec)
    with pytest.raises(Conflict, match="already exists"):
        machines.launch(dataclasses.replace(spec, owner="somebody-else", folder=tmp_path))


def test_what_is_listed_is_ours_wherever_kubectl_points_now(kube, machines, workspace):
    cheap = cheapest(machines)
    machines.launch(spec_of(machines, cheap))
    machines.launch(dataclasses.replace(spec_of(machines, cheap, "two-1"), owner="other"))
    assert [each.token for each in machines.instances()] == ["one-1"]
    found = becomes(machines, "running")
    assert (found.session, found.usd_per_hour, found.id) == ("one", 0.1, "lab/default/one-1")
    assert found.expires_at == pytest.approx(time.time() + 3600, abs=60)


def test_a_session_stays_where_it_was_begun(kube, workspace, monkeypatch):
    gpu.start("pod", on="kubernetes")
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(namespace="team")))
    assert gpu.show("pod").state == "running"
    assert len(list(KubernetesMachines(settings()).instances())) == 1
    assert gpu.stop("pod").state == "ended (stopped)"


def test_ends_are_asked_for_once_and_again(kube, machines):
    machines.launch(spec_of(machines, cheapest(machines)))
    becomes(machines, "running")
    machines.end("lab/default/one-1")
    until(lambda: not machines.instances("one-1"))
    machines.end("lab/default/one-1")
    machines.move_end("lab/default/one-1", time.time() + 60)


def test_a_pod_without_a_session_ends_by_itself(kube, machines, monkeypatch):
    monkeypatch.setattr(kubernetes, "_BEGIN_S", 1.0)
    machines.launch(spec_of(machines, cheapest(machines)))
    assert becomes(machines, "gone").why == "its session is over"
    assert not machines.instances()


def test_its_deadline_ends_it_without_anybody(kube, machines):
    machines.launch(spec_of(machines, cheapest(machines), for_s=1.0))
    begun = time.monotonic()
    becomes(machines, "gone")
    assert time.monotonic() - begun < 20


def test_the_cluster_ends_it_when_its_first_process_does_not(kube, machines, workspace):
    configure(workspace, longest="3s", template=template(workspace, terminationGracePeriodSeconds=1))
    machines = KubernetesMachines(settings())
    machines.launch(spec_of(machines, cheapest(machines), for_s=3.0))
    becomes(machines, "running")
    # Its first process may come first: both keep the same deadline.
    ended = (becomes(machines, "gone").why, kube.pod("one-1")["status"].get("reason"))
    assert ended in [("deadline", "DeadlineExceeded"), ("its session is over", None)]


def test_an_end_beyond_what_the_cluster_keeps_is_refused(kube, machines):
    machines.launch(spec_of(machines, cheapest(machines)))
    becomes(machines, "running")
    machines.move_end("lab/default/one-1", time.time() + 7200)
    assert one(machines).expires_at == pytest.approx(time.time() + 7200, abs=60)
    with pytest.raises(UsageProblem, match=r"its pod ends in .* which cannot be moved") as problem:
        machines.move_end("lab/default/one-1", time.time() + 48 * 3600)
    assert "kubernetes_longest" in problem.value.fix


def template(workspace: Path, container: object = None, **spec: object) -> str:
    """A template of the user's own, below the workspace."""
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"team": "ml"}}}
    named = [{"name": "session", **container}] if isinstance(container, dict) else []
    text = json.dumps({**body, "spec": {**spec, **({"containers": named} if named else {})}})
    (workspace / "pod.yaml").write_text(text)
    return "pod.yaml"


def test_a_template_says_what_else_a_pod_has(kube, workspace):
    own = {"resources": {"requests": {"cpu": "3"}, "limits": {"memory": "4Gi"}}, "env": [{"name": "A", "value": "b"}]}
    named = template(workspace, own, nodeSelector={"pool": "ml"}, tolerations=[{"key": "pool", "operator": "Exists"}])
    configure(workspace, template=named)
    kube.add_node("pool", {GPU: 1}, {PRODUCT: "NVIDIA-L4", "pool": "ml"}, "pool=ml:NoSchedule", f"{GPU}:NoSchedule")
    machines = KubernetesMachines(settings())
    assert {str(offer.note) for offer in machines.offers()} == {"on a node"}
    machines.launch(spec_of(machines, cheapest(machines, "L4")))
    becomes(machines, "running")
    pod = kube.pod("one-1")
    assert pod["spec"]["nodeName"] == "pool"
    assert pod["metadata"]["labels"]["team"] == "ml"
    container = pod["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"memory": "4Gi", GPU: "1"}
    assert container["resources"]["requests"] == {"cpu": "3", "memory": "2Gi", GPU: "1"}
    assert container["env"] == [{"name": "A", "value": "b"}]


def test_a_template_that_is_no_pod_says_so(kube, workspace):
    (workspace / "pod.yaml").write_text("kind: Nothing")
    configure(workspace, template="pod.yaml")
    with pytest.raises(Failed, match=r"pod.yaml cannot be read"):
        KubernetesMachines(settings()).offers()


def test_it_says_what_a_session_waits_for(kube, machines):
    offer = cheapest(machines, "2x L4")
    machines.launch(spec_of(machines, offer))
    becomes(machines, "running")
    machines.launch(spec_of(machines, offer, "two-1"))
    found = becomes(machines, "pending", "two-1")
    assert machines.progress(found) == (
        f"0/2 nodes are available: 1 Insufficient {GPU}, 1 node(s) didn't match Pod's node affinity/selector"
    )
    with pytest.raises(Unavailable, match=f"Insufficient {GPU}"):
        machines.place_on(found, Path())


def test_an_image_that_is_not_there_ends_the_start(kube, workspace):
    configure(workspace, image="registry.example/none:1")
    with pytest.raises(LabError, match=r"its image registry.example/none:1 cannot be pulled: .*not found"):
        gpu.start("pod", on="kubernetes")
    assert "kubernetes_image" in KeptKernel.of("gpu:pod").state().fix
    until(lambda: kube.pods() == [])


def test_a_python_that_is_not_in_the_image_says_so(kube, workspace):
    configure(workspace, python="python9")
    with pytest.raises(LabError, match="python9"):
        gpu.start("pod", on="kubernetes")


def test_a_quota_means_no_room_and_names_it(kube, machines):
    kube.quota("few", {f"requests.{GPU}": 0})
    with pytest.raises(NoCapacity, match=f"exceeded quota: few, requested: requests.{GPU}=1") as problem:
        machines.launch(spec_of(machines, cheapest(machines, "L4")))
    assert "kubectl describe quota" in problem.value.fix


def test_a_user_who_may_not_is_told_what_is_needed(kube, machines, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(kube.user("bob", "list pods", namespace="default")))
    spec = spec_of(machines, Offer("cpu", 0.1, device="lab default cpu"))
    with pytest.raises(Denied, match='User "bob" cannot create resource "pods"') as problem:
        machines.launch(spec)
    assert "role that may create" in problem.value.fix
    kube.forget_user("bob")
    with pytest.raises(Denied, match="provide credentials") as problem:
        machines.launch(spec)
    assert "log in again" in problem.value.fix


def test_a_user_who_may_not_see_nodes_has_what_the_settings_name(kube, workspace, monkeypatch):
    needs = ("create pods", "get pods", "list pods", "delete pods", "patch pods", "get pods/exec")
    monkeypatch.setenv("KUBECONFIG", str(kube.user("bob", *needs, namespace="default")))
    with pytest.raises(Unavailable, match="may not list the nodes of lab") as problem:
        KubernetesMachines(settings()).offers()
    assert "kubernetes_accelerators" in problem.value.fix
    configure(workspace, accelerators=f"cpu, L4 {PRODUCT}=NVIDIA-L4")
    machines = KubernetesMachines(settings())
    assert [(each.gpu, each.count) for each in machines.offers()] == [
        ("cpu", 1),
        *(("L4", number) for number in (1, 2, 4, 8)),
    ]
    assert gpu.start("pod", on="kubernetes", gpu="2x L4").state == "running"
    assert kube.pods()[0]["spec"]["containers"][0]["resources"]["limits"] == {GPU: "2"}
    assert gpu.stop("pod").state == "ended (stopped)"


def test_without_a_cluster_it_says_how_one_is_named(workspace, monkeypatch, tmp_path):
    configure(workspace)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    machines = KubernetesMachines(settings())
    with pytest.raises(Missing, match="current-context") as problem:
        machines.offers()
    assert "kubernetes_context" in problem.value.fix
    configure(workspace, context="none")
    with pytest.raises(Missing, match="none"):
        KubernetesMachines(settings()).offers()
    configure(workspace, image="")
    assert KubernetesMachines(settings()).instances() == []


def test_without_kubectl_it_says_so(kube, machines, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Missing, match="there is no kubectl"):
        machines.offers()


def test_without_an_image_it_says_how_one_is_named(kube, workspace):
    configure(workspace, image="")
    with pytest.raises(UsageProblem, match="no image for sessions on Kubernetes") as problem:
        gpu.start("pod", on="kubernetes")
    assert "kubernetes_image" in problem.value.fix


def test_a_cluster_that_does_not_answer_makes_nothing_gone(kube, machines):
    machines.launch(spec_of(machines, cheapest(machines)))
    for error in (503, "cut"):
        kube.fail("list pods", error, times=100)  # a client tries again by itself
        with pytest.raises(Unavailable):
            machines.instances("one-1")
        kube.heal()
    assert one(machines).state in ("pending", "running")


@pytest.mark.slow
@pytest.mark.parametrize("disrupt", [Kube.preempt, Kube.drain])
def test_a_session_that_is_preempted_goes_on_in_another_pod_with_its_names(kube, workspace, disrupt):
    configure(workspace, template=template(workspace, terminationGracePeriodSeconds=40))
    gpu.start("pod", on="kubernetes")
    run("import numpy as np, threading\nx = np.ones(3_000_000)\ndef twice(a): return 2 * a")
    run("lock = threading.Lock()")
    [first] = kube.pods()
    disrupt(kube, first["metadata"]["name"])
    until(lambda: "will be taken away at" in gpu.show("pod").card().text())
    run("y = twice(x)")
    until(is_replaced)
    line, shown = run("print(twice(x).sum(), y[-1])").splitlines()
    assert line.endswith("; 5 of 6 names are back; `lock` could not be saved (_thread.lock)]")
    assert shown == "6000000.0 2.0"
    assert gpu.stop("pod").state == "ended (stopped)"
    until(lambda: kube.pods() == [])


@pytest.mark.slow
def test_a_session_whose_pod_is_evicted_goes_on_in_another(kube):
    gpu.start("pod", on="kubernetes")
    [first] = kube.pods()
    kube.evict(first["metadata"]["name"])
    until(is_replaced)
    assert run("print(6 * 7)").endswith("]\n42\n")


@pytest.mark.slow
def test_a_session_whose_pod_somebody_deleted_ends(kube):
    gpu.start("pod", on="kubernetes")
    [pod] = kube.pods()
    KubernetesMachines(settings()).end(f"lab/default/{pod['metadata']['name']}")
    until(lambda: gpu.show("pod").state.startswith("ended"))
    assert kube.pods() == []


@pytest.mark.slow
def test_a_deadline_is_kept_while_the_cluster_does_not_answer(kube):
    gpu.start("pod", on="kubernetes", for_="15s")
    [pod] = kube.pods()
    for operation in ("list pods", "get pods", "delete pods", "get pods/exec"):
        kube.fail(operation, 503, times=10_000)
    until(lambda: not any("ipykernel" in line for line in kube.processes(pod["metadata"]["name"])))
    kube.heal()
    until(lambda: gpu.show("pod").state == "ended (deadline)")
    until(lambda: kube.pods() == [])


def test_spot_machines_are_offered_and_taken_only_when_they_were_asked_for(kube, workspace):
    spot = {PRODUCT: "NVIDIA-L4", "cloud.google.com/gke-spot": "true"}
    kube.add_node("spot", {GPU: 2}, spot, f"{GPU}:NoSchedule", "cloud.google.com/gke-spot=true:NoSchedule")
    kube.add_node("loose", {GPU: 2}, spot, f"{GPU}:NoSchedule")
    machines = KubernetesMachines(settings())
    offers = [offer for offer in machines.offers() if offer.fits("2x L4")]
    assert [(offer.spot, offer.note) for offer in offers] == [(False, "on a node"), (True, "on 2 nodes")]
    for number, offer in enumerate(offers):
        machines.launch(spec_of(machines, offer, f"one-{number}"))
    machines.launch(spec_of(machines, offers[0], "one-2"))
    assert [kube.pod(f"one-{number}")["spec"].get("nodeName", "") for number in range(3)] in (
        ["l4", "spot", ""],
        ["l4", "loose", ""],
    )


def test_a_slice_of_a_gpu_is_asked_for_by_its_name(kube, machines):
    resources = {"nvidia.com/mig-1g.10gb": 7}
    kube.add_node("mig", resources, {PRODUCT: "NVIDIA-A100-SXM4-80GB"}, f"{GPU}:NoSchedule")
    offer = cheapest(machines, "A100-80GB 1g.10gb")
    assert (offer.gpu, offer.memory_gib, offer.count) == ("A100-SXM4-80GB-1g.10gb", 10, 1)
    machines.launch(spec_of(machines, offer))
    becomes(machines, "running")
    assert kube.pod("one-1")["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/mig-1g.10gb": "1"}


def test_a_part_of_a_gpu_costs_its_part(kube, workspace):
    kube.add_node("mig", {"nvidia.com/mig-1g.10gb": 1}, {PRODUCT: "NVIDIA-A100-SXM4-80GB"}, f"{GPU}:NoSchedule")
    shared = {PRODUCT: "NVIDIA-L4-SHARED", "nvidia.com/gpu.replicas": "4"}
    kube.add_node("shared", {GPU: 4}, shared, f"{GPU}:NoSchedule")
    configure(workspace, usd_per_hour="L4 0.8, A100 3.5")
    offers = {offer.gpu: offer for offer in KubernetesMachines(settings()).offers() if offer.count in (0.25, 1)}
    assert offers["A100-SXM4-80GB-1g.10gb"].usd_per_hour == 0.5
    configure(workspace, usd_per_hour=3.5)
    offers = {offer.gpu: offer for offer in KubernetesMachines(settings()).offers() if offer.count in (0.25, 1)}
    assert (offers["A100-SXM4-80GB-1g.10gb"].usd_per_hour, offers["cpu"].usd_per_hour) == (0.5, 0)
    quarter = next(offer for offer in KubernetesMachines(settings()).offers() if offer.fits("1/4 L4"))
    assert (quarter.count, quarter.usd_per_hour, quarter.note) == (
        0.25,
        0.875,
        "on a node; shares its memory with others",
    )


def test_what_runs_is_not_offered_again(kube, machines):
    assert cheapest(machines, "2x L4").usd_per_hour == 1.6
    machines.launch(spec_of(machines, cheapest(machines, "L4")))
    assert [offer.count for offer in machines.offers() if offer.gpu == "L4"] == [1]


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["create pods", "list pods", "get pods/exec", "delete pods"])
@pytest.mark.parametrize(("error", "when"), [(503, "before"), ("cut", "after")])
def test_nothing_is_left_by_a_call_that_fails(kube, operation, error, when):
    kube.fail(operation, error, when, times=2, skip=1 if operation == "list pods" else 0)  # that of offers goes first
    with contextlib.suppress(LabError):
        gpu.start("pod", on="kubernetes")
    with contextlib.suppress(LabError):
        gpu.stop("pod")
    until(lambda: kube.pods() == [])
    until(lambda: gpu.show("pod").state.startswith("ended"))
    assert len({call.body["metadata"]["name"] for call in kube.made("create pods")}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_keeper_that_is_killed_while_it_creates_leaves_one_pod(kube, when):
    kube.fail("create pods", lambda: kill_keeper("pod"), when)
    assert gpu.start("pod", on="kubernetes").state == "running"
    assert len(kube.pods()) == 1
    assert gpu.stop("pod").state == "ended (stopped)"
    assert kube.pods() == []


def test_a_pod_that_nobody_keeps_is_found_and_ended(kube, machines):
    machines.launch(spec_of(machines, cheapest(machines)))
    machines.launch(dataclasses.replace(spec_of(machines, cheapest(machines), "two-1"), owner="other"))
    becomes(machines, "running")
    with pytest.raises(Failed, match="kubernetes lab/default/one-1: no record of this workspace tells of it"):
        gpu.check()
    assert gpu.stop(orphans=True).ended == 1
    assert [pod["metadata"]["name"] for pod in kube.pods()] == ["two-1"]
