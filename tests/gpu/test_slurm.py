"""Sessions on a real Slurm: jobs are asked for, found again, and hold their kernels; and what goes wrong says how."""

import contextlib
import itertools
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab import gpu, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Denied, Failed, Missing, Unavailable, UsageProblem
from aiinfra_lab.gpu import slurm_client
from aiinfra_lab.gpu.base import NoCapacity, Offer
from aiinfra_lab.gpu.renting import Instance, LaunchSpec
from aiinfra_lab.gpu.slurm import SlurmMachines, request
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract, RentedMachinesContract
from tests.conftest import until
from tests.kernels.far import Far
from tests.kernels.test_keeper import kill_keeper
from tests.slurm import SlurmCluster, needs_slurm, slurm_cluster
from tests.sshd import SshHost

__all__ = ["slurm_cluster"]
pytestmark = needs_slurm
_NUMBERS = itertools.count()


class One:
    """A session's job on the cluster, asked for by a token of its own."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.token = workspace, f"one-{next(_NUMBERS)}"
        self.configure()

    def configure(self, **more: str) -> None:
        lines = ["[gpu]", *(f'{name} = "{value}"' for name, value in {"slurm_python": sys.executable, **more}.items())]
        (self.workspace / "aiinfra.toml").write_text("\n".join(lines))
        make_home_id(settings().home)
        self.machines = SlurmMachines(settings())

    def spec(self, device: str = "gpu/gpu:a100:1", for_s: float = 600.0) -> LaunchSpec:
        offer = Offer("A100", 0.0, device=device)
        owner = make_home_id(settings().home)
        return LaunchSpec("trainer", owner, self.token, offer, time.time() + for_s, self.workspace)

    def launch(self, device: str = "gpu/gpu:a100:1", for_s: float = 600.0) -> str:
        return self.machines.launch(self.spec(device, for_s))

    def found(self) -> Instance:
        [found] = self.machines.instances(self.token)
        return found

    def becomes(self, state: str) -> Instance:
        until(lambda: self.found().state == state)
        return self.found()

    def begin(self, **spec: object) -> Far:
        """The kernel of the running job."""
        place = self.machines.place_on(self.becomes("running"), self.workspace)
        values = {"argv": list(place.argv), "cwd": place.cwd, "env": {}, "rented": place.rented, **spec}
        return Far(place.reach, Path(place.folder), self.workspace / "link", **values)


@pytest.fixture
def cluster(slurm_cluster, tmp_path, monkeypatch) -> Iterator[SlurmCluster]:
    """A cluster without jobs; its user's home is of the test."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_cluster.conf))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield slurm_cluster
    slurm_cluster.clear()


@pytest.fixture
def login(cluster, tmp_path) -> Iterator[SshHost]:
    """A machine that is reached by ssh alone, and has Slurm's commands."""
    host = SshHost(1, tmp_path / "far")
    (conf := host.folder / "slurm").mkdir()
    cluster.write(conf / "slurm.conf", host.gateway)
    host.run("mount", "--bind", str(conf), "/etc/slurm")
    yield host
    host.set_link("up")
    host.remove()


@pytest.fixture
def one(cluster, workspace) -> One:
    return One(workspace)


def printed(far: Far, code: str) -> str:
    before = len(far.printed)
    far.execute(f"{code}\nprint('done')")
    far.until(lambda: far.printed.endswith("done\n"))
    return far.printed[before : -len("done\n")]


def test_a_job_is_one_session_until_it_is_gone(one):
    number = one.launch()
    assert one.becomes("running").id == number
    assert [(each.id, each.session, each.token) for each in one.machines.instances()] == [
        (number, "trainer", one.token)
    ]
    one.machines.end(number)
    assert one.becomes("gone").why == "cancelled"
    assert one.machines.instances() == []
    one.machines.end(number)
    one.machines.end("99999")


def test_asked_again_with_the_token_it_is_the_same_job_also_in_the_queue_and_gone(one):
    other = One(one.workspace)
    other.launch("big/gpu:h100:1")
    number = one.launch("big/gpu:h100:1")
    assert one.found().state == "pending"
    assert one.launch("big/gpu:h100:1") == number
    one.machines.end(number)
    one.becomes("gone")
    assert one.launch("big/gpu:h100:1") == number


def test_a_kernel_lives_in_the_job_and_the_job_ends_with_it(one, tmp_path):
    one.launch()
    far = one.begin()
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['SLURMD_NODENAME'], os.getcwd())"
    assert printed(far, code) == f"0 n1 {tmp_path}\n"
    far.end()
    assert one.becomes("gone").why == "its script has ended"


def test_a_slice_is_its_own_device(one):
    one.launch("gpu/gpu:1g.10gb:2")
    far = one.begin()
    assert (
        printed(far, "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['SLURMD_NODENAME'])")
        == "0,1 n2\n"
    )


def test_a_connection_that_breaks_loses_nothing(one):
    one.launch()
    far = one.begin()
    far.execute("import time\nfor n in range(60):\n    print(f'line {n}', flush=True); time.sleep(0.05)")
    far.until(lambda: len(far.lines()) > 5)
    far.attach_again()
    far.until(lambda: len(far.lines()) >= 60)
    assert far.lines() == list(range(60))


def test_what_it_printed_last_is_there_when_the_job_has_gone(one):
    number = one.launch()
    far = one.begin()
    far.execute(
        "import time\nfor n in range(20):\n    print(f'line {n}', flush=True); time.sleep(0.05)\ntime.sleep(60)"
    )
    far.until(lambda: len(far.lines()) > 2)
    far.link.close()
    time.sleep(2)
    one.machines.end(number)
    one.becomes("gone")
    far.attach_again()
    far.until(lambda: far.link.is_over or far.state.phase == "ended")
    assert far.lines() == list(range(20))


def test_nobody_else_can_read_its_folder_and_no_command_shows_the_key(one, tmp_path):
    one.launch()
    far = one.begin()
    folder = tmp_path / ".cache/aiinfra-lab/sessions" / one.token
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert far.key.encode() not in entry.read_bytes()
        except OSError:
            continue
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in folder.rglob("*") if path.is_file())


def test_a_session_there_is_a_kernel_here(one):
    session = gpu.start("trainer", gpu="A100", on="slurm", for_="10m")
    assert (session.state, session.on, session.gpu) == ("running", "slurm", "A100")
    outputs: list[kernels.Output] = []
    kernels.execute("gpu:trainer", "import os; print(os.environ['SLURMD_NODENAME'])", outputs.append)
    assert [output["content"]["text"] for output in outputs] == ["n1\n"]
    assert gpu.stop("trainer").state == "ended (stopped)"
    assert one.machines.instances() == []


def test_a_keeper_that_was_killed_finds_its_kernel_in_the_job_again(one):
    gpu.start("trainer", on="slurm", for_="10m")
    [before] = one.machines.instances()
    kernels.execute("gpu:trainer", "x = 41", [].append)
    kill_keeper("trainer")
    until(lambda: not kernels.KeptKernel.of("gpu:trainer").is_alive())
    until(lambda: gpu.show("trainer").state == "running")
    outputs: list[kernels.Output] = []
    kernels.execute("gpu:trainer", "print(x + 1)", outputs.append)
    assert [output["content"]["text"] for output in outputs] == ["42\n"]
    assert [each.id for each in one.machines.instances()] == [before.id]
    gpu.stop("trainer")


@pytest.mark.slow
def test_a_login_node_does_it_all_over_ssh(one, login):
    one.configure(slurm_login="far", ssh_config=str(login.config), slurm_folder=str(login.folder / "sessions"))
    one.launch()
    far = one.begin()
    assert printed(far, "import os; print(os.environ['SLURMD_NODENAME'])") == "n1\n"
    login.set_link("down")
    far.execute("import time\nfor n in range(60):\n    print(f'line {n}', flush=True); time.sleep(0.1)")
    far.serve(1)
    with pytest.raises(Unavailable, match="far cannot be reached"):
        one.machines.instances()
    login.set_link("up")
    far.until(lambda: len(far.lines()) >= 60)
    assert far.lines() == list(range(60))
    far.end()
    one.becomes("gone")


def test_a_kernel_can_be_reached_by_ssh_to_its_node(one, login):
    login.config.write_text(login.config.read_text().replace("Host far", "Host n1"))
    # The home over ssh is another one than that of the test's jobs.
    one.configure(slurm_attach="ssh", ssh_config=str(login.config), slurm_folder=str(login.folder / "sessions"))
    one.launch()
    far = one.begin()
    assert printed(far, "import os; print(os.environ['SLURMD_NODENAME'])") == "n1\n"
    far.end()
    one.becomes("gone")


def test_offers_are_what_each_partition_has_and_what_is_free(one):
    one.launch("gpu/gpu:a100:1")
    one.becomes("running")
    found = {offer.device: offer for offer in one.machines.offers()}
    assert set(found) == {
        *("gpu/", "gpu/gpu:a100:1", "gpu/gpu:a100:2", "gpu/gpu:1g.10gb:1", "gpu/gpu:1g.10gb:2", "gpu/gpu:1g.10gb:3"),
        *("big/", "big/gpu:h100:1", "scavenge/", "scavenge/gpu:h100:1"),
        *("short/", "short/gpu:a100:1", "short/gpu:a100:2"),
    }
    one_a100 = found["gpu/gpu:a100:1"]
    assert (one_a100.gpu, one_a100.count, one_a100.type, one_a100.where) == ("A100", 1.0, "gpu:a100:1", "gpu")
    assert one_a100.note == "1 of 2 free"
    assert found["gpu/gpu:a100:2"].note == "0 of 2 free: it waits in the queue"
    assert found["short/gpu:a100:1"].note == "1 of 2 free; 1 min at most"
    assert found["scavenge/gpu:h100:1"].spot
    assert not found["big/gpu:h100:1"].spot


def test_a_partition_for_other_accounts_offers_nothing_until_it_is_named(one):
    assert "closed" not in {offer.where for offer in one.machines.offers()}
    one.configure(slurm_account="physics")
    assert "closed" in {offer.where for offer in one.machines.offers()}
    one.configure(slurm_partition="closed")
    assert {offer.where for offer in one.machines.offers()} == {"closed"}


def test_offers_are_as_many_as_are_asked_for_and_cost_as_much(one):
    one.configure(slurm_usd_per_hour="2.0", slurm_partition="gpu")
    two = [offer for offer in one.machines.offers("2x A100") if offer.fits("2x A100")]
    assert [(offer.device, offer.usd_per_hour) for offer in two] == [("gpu/gpu:a100:2", 4.0)]


def test_a_slice_of_a_gpu_that_the_cluster_does_not_name_goes_by_what_is_asked_for(one):
    [slice_] = [offer for offer in one.machines.offers("A100 1g.10gb") if offer.fits("A100 1g.10gb")]
    assert (slice_.gpu, slice_.device) == ("A100-1g.10gb", "gpu/gpu:1g.10gb:1")
    assert slice_.note == "3 of 3 free; the cluster does not say that it is of A100"
    one.configure(slurm_gpu="H100")
    assert "H100-1g.10gb" in [offer.gpu for offer in one.machines.offers()]


def test_a_node_that_is_down_offers_nothing(one, cluster):
    cluster.run("scontrol", "update", "nodename=n3", "state=down", "reason=test")
    assert "H100" not in [offer.gpu for offer in one.machines.offers()]


@pytest.mark.parametrize(
    ("device", "settings_", "kind", "words", "fix"),
    [
        ("nope/gpu:a100:1", {}, UsageProblem, "Invalid partition name", "slurm_partition"),
        ("closed/gpu:a100:1", {}, Denied, "Invalid account", "slurm_account"),
        ("gpu/gpu:a100:3", {}, NoCapacity, "node configuration is not available", "%gpu ls"),
        ("gpu/gpu:b200:1", {}, NoCapacity, "node configuration is not available", "%gpu ls"),
        ("short/gpu:a100:1", {}, NoCapacity, "time limit is invalid", "--for"),
        ("gpu/gpu:a100:1", {"slurm_options": "--no-such"}, UsageProblem, "unrecognized option", "slurm_options"),
        ("gpu/gpu:a100:1", {"slurm_options": "--mem=9999999"}, NoCapacity, "Memory|node config", "%gpu ls"),
    ],
)
def test_what_slurm_refuses_says_what_helps_and_leaves_nothing(one, device, settings_, kind, words, fix):
    one.configure(**settings_)
    with pytest.raises(kind, match=words) as problem:
        one.launch(device)
    assert type(problem.value) is kind
    assert fix in problem.value.fix
    assert one.machines.instances() == []
    assert one.machines.instances(one.token) == []


def test_a_partition_that_the_settings_misspell_has_a_suggestion(one):
    one.configure(slurm_partition="gpus")
    with pytest.raises(UsageProblem, match="no node of the partition gpus") as problem:
        one.machines.offers()
    assert "did you mean gpu?" in problem.value.fix


def test_a_machine_without_slurm_says_how_a_login_node_is_named(one, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="there is no sinfo on this machine") as problem:
        one.machines.offers()
    assert "slurm_login" in problem.value.fix


def test_slurm_without_a_cluster_is_missing_too(one, tmp_path, monkeypatch):
    refuses(tmp_path / "bin", "sinfo", "sinfo: fatal: Could not establish a configuration source", monkeypatch)
    with pytest.raises(Missing, match="sinfo on this machine knows no cluster: Could not establish") as problem:
        one.machines.offers()
    assert "SLURM_CONF" in problem.value.fix


@pytest.mark.slow
def test_nothing_is_gone_while_the_controller_is_away(one, cluster):
    number = one.launch()
    one.becomes("running")
    cluster.stop_controller()
    try:
        for ask in (one.machines.instances, one.found, lambda: one.machines.end(number), one.machines.offers):
            with pytest.raises(Unavailable, match="controller"):
                ask()
        with pytest.raises(Unavailable):
            one.launch()
    finally:
        cluster.start_controller()
    until(cluster.is_up)
    assert (one.found().id, one.found().state) == (number, "running")
    assert one.launch() == number


def test_what_waits_says_for_what(one, cluster):
    other = One(one.workspace)
    other.launch("big/gpu:h100:1")
    other.becomes("running")
    number = one.launch("big/gpu:h100:1")
    until(lambda: "Resources" in one.found().why)
    assert one.machines.progress(one.found()).startswith("in the queue: Resources (what it needs is in use)")
    with pytest.raises(Unavailable, match="does not run: in the queue: Resources"):
        one.machines.place_on(one.found(), one.workspace)
    cluster.run("scontrol", "hold", number)
    until(lambda: "JobHeld" in one.found().why)
    assert "held" in one.found().why


def test_a_node_that_fails_takes_its_job_away(one, cluster):
    one.launch()
    one.becomes("running")
    cluster.run("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    gone = one.becomes("gone")
    assert (gone.why, gone.is_taken) == ("its node failed", True)


@pytest.mark.slow
def test_a_job_that_another_one_takes_the_place_of_hears_of_it_and_is_taken(one, tmp_path):
    one.launch("scavenge/gpu:h100:1")
    far = one.begin()
    other = One(one.workspace)
    other.launch("big/gpu:h100:1")
    notice = tmp_path / ".cache/aiinfra-lab/sessions" / one.token / "notice"
    until(notice.exists)
    assert abs(float(notice.read_text()) - time.time()) < 180
    assert one.found().notice_at is not None
    assert printed(far, "import os; print(open(os.environ['AIINFRA_NOTICE']).read())").strip() == notice.read_text()
    gone = one.becomes("gone")
    assert (gone.why, gone.is_taken) == ("preempted: another job took its place", True)


@pytest.mark.slow
def test_a_session_whose_job_was_preempted_gets_another_one(one):
    gpu.start("trainer", gpu="H100", spot=True, on="slurm", for_="10m")
    [first] = one.machines.instances()
    other = One(one.workspace)
    number = other.launch("big/gpu:h100:1")
    until(lambda: other.found().state == "running")
    kernel = kernels.KeptKernel.of("gpu:trainer")
    until(lambda: "in the queue: Resources (what it needs is in use)" in [step.what for step in kernel.state().steps])
    other.machines.end(number)
    until(lambda: gpu.show("trainer").state == "running")
    [second] = one.machines.instances()
    assert second.id != first.id
    kernels.execute("gpu:trainer", "1", [].append)
    gpu.stop("trainer")
    assert one.machines.instances() == []


def test_check_finds_jobs_that_nobody_keeps_and_ends_them(one):
    number = one.launch()
    with pytest.raises(Failed, match=f"slurm {number}: no record of this workspace tells of it"):
        gpu.check()
    assert gpu.stop(orphans=True).orphans == ()
    assert one.becomes("gone").why == "cancelled"


_FAULTS = {
    "before": "echo '{name}: error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
    "after": "{real} \"$@\"; echo '{name}: error: Socket timed out on send/recv operation' >&2; exit 1",
}


@pytest.mark.parametrize("when", _FAULTS)
@pytest.mark.parametrize("name", ["squeue", "sbatch", "scancel"])
def test_a_command_that_fails_leaves_nothing_after_one_look_for_orphans(
    one, cluster, tmp_path, monkeypatch, name, when
):
    decoy = cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60")
    (folder := tmp_path / "bin").mkdir()
    script = _FAULTS[when].format(name=name, real=shutil.which(name))
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    with monkeypatch.context() as faulty, contextlib.suppress(Unavailable):
        faulty.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        one.machines.end(one.launch())
    gpu.stop(orphans=True)
    assert one.machines.instances() == []
    assert cluster.run("squeue", "-h", "-o", "%T", "-j", decoy) in ("PENDING", "RUNNING")


@pytest.mark.slow  # Slurm counts minutes
def test_a_job_whose_time_is_over_says_so(one):
    one.configure(slurm_options="--time=1")
    one.launch()
    far = one.begin()
    until(lambda: one.found().state == "gone", most_s=150)
    assert one.found().why == "its time in Slurm is over"
    assert not one.found().is_taken
    far.until(lambda: far.state.phase == "ended")
    assert far.state.why == "its machine ends"


def test_an_end_is_moved_to_later_where_slurm_lets_it_be(one, cluster, tmp_path, monkeypatch):
    number = one.launch(for_s=600)
    one.becomes("running")
    one.machines.move_end(number, time.time() + 60)
    assert abs(one.found().expires_at - time.time() - 600) < 90
    one.machines.move_end(number, time.time() + 3600)
    assert abs(one.found().expires_at - time.time() - 3600) < 90
    # What it says to who is no operator.
    refuses(tmp_path / "bin", "scontrol", f"slurm_update error: Access/permission denied for job {number}", monkeypatch)
    with pytest.raises(Denied, match=f"Slurm ends job {number} at ..:.. all the same") as problem:
        one.machines.move_end(number, time.time() + 7200)
    assert "TimeLimit=" in problem.value.fix


@pytest.mark.parametrize("ahead_s", [7200.0, -7200.0])
def test_an_end_is_as_far_away_whatever_the_clock_here_shows(one, monkeypatch, ahead_s):
    right = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + ahead_s)
        number = one.launch(for_s=600)
        one.becomes("running")
        assert abs(one.found().expires_at - right() - 600) < 90
        one.machines.move_end(number, time.time() + 3600)
    assert abs(one.found().expires_at - time.time() - 3600) < 90


def refuses(folder: Path, name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_job_that_the_controller_forgot_is_what_the_accounting_has(one, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for printed_, why in (
        ("77|TIMEOUT", "its time in Slurm is over"),
        ("77|CANCELLED by 0", "cancelled"),
        ("77|RUNNING", "Slurm has lost it"),
    ):
        (folder / "sacct").write_text(f"#!/bin/sh\necho '{printed_}'\n")
        (folder / "sacct").chmod(0o755)
        assert (one.found().id, one.found().state, one.found().why) == ("77", "gone", why)
    refuses(folder, "sacct", "Slurm accounting storage is disabled", monkeypatch)
    assert one.machines.instances(one.token) == []


def test_a_python_that_is_not_there_is_named(one):
    one.configure(slurm_python="no-python")
    one.launch()
    assert one.becomes("gone").why == "there is no no-python on n1: set `slurm_python` below `[gpu]`"


def test_a_python_without_ipykernel_says_what_is_missing(one, tmp_path):
    (tmp_path / "bare").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tmp_path / "bare").chmod(0o755)
    one.configure(slurm_python=str(tmp_path / "bare"))
    one.launch()
    with pytest.raises(Failed, match="cannot keep a kernel: ModuleNotFoundError: No module named 'zmq'") as problem:
        one.begin()
    assert "-m pip install ipykernel" in problem.value.fix


def test_a_job_whose_owner_does_not_come_ends_itself(one):
    one.launch(for_s=1)
    assert one.becomes("gone").why == "nobody brought it a kernel in time"


def test_a_rule_of_the_cluster_is_quoted(one, tmp_path, monkeypatch):
    words = (
        "sbatch: error: Say which project it is for.",
        "sbatch: error: Batch job submission failed: Unspecified error",
    )
    refuses(tmp_path / "bin", "sbatch", "\n".join(words), monkeypatch)
    with pytest.raises(Failed, match=r"Slurm refuses gpu:a100:1 in gpu: Say which project it is for\."):
        one.launch()


def test_a_request_whose_answer_is_lost_is_not_repeated(one, cluster, tmp_path, monkeypatch):
    real = shutil.which("sbatch")
    (folder := tmp_path / "bin").mkdir()
    (folder / "sbatch").write_text(f'#!/bin/sh\n{real} "$@"\nsleep 30\n')
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setattr(slurm_client, "ANSWER_S", 3.0)
    with monkeypatch.context() as lost:
        lost.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        with pytest.raises(Unavailable, match="does not answer within 3 s"):
            one.launch()
    assert one.launch() == one.found().id


def test_of_two_jobs_of_one_request_one_never_begins_and_is_ended(one, cluster, tmp_path):
    (tmp_path / "job.sh").write_text(request(one.spec(), settings()).text)
    first, second = (cluster.run("sbatch", "--parsable", str(tmp_path / "job.sh")) for _ in range(2))
    until(lambda: cluster.run("squeue", "-h", "-o", "%T %r", "-j", second) == "PENDING Dependency")
    assert one.launch() == first
    until(lambda: {each.id: each.state for each in one.machines.instances(one.token)}[second] == "gone")
    assert [each.id for each in one.machines.instances()] == [first]


def test_a_setup_line_runs_before_the_kernel_and_before_each_step(one):
    one.configure(slurm_setup="export FROM_SETUP=yes")
    one.launch()
    assert printed(one.begin(), "import os; print(os.environ['FROM_SETUP'])") == "yes\n"


def test_a_job_gets_nothing_of_what_a_notebook_has_in_its_environment(one, monkeypatch):
    monkeypatch.setenv("A_PASSWORD", "secret")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1")
    number = one.launch()
    code = "import os; print(os.environ.get('A_PASSWORD'), os.environ['SLURM_JOB_ID'])"
    assert printed(one.begin(), code) == f"None {number}\n"


def test_somebody_elses_job_is_never_ended(one, cluster):
    number = cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 60")
    one.machines.end(number)
    assert cluster.run("squeue", "-h", "-o", "%T", "-j", number) in ("PENDING", "RUNNING")
    assert one.machines.instances() == []


def test_a_job_whose_comment_the_cluster_has_changed_is_known_by_its_token(one, cluster):
    number = one.launch()
    cluster.run("scontrol", "update", f"JobId={number}", "Comment=billed")
    other = One(one.workspace)
    other.token = one.token
    assert other.found().id == number
    assert other.launch() == number
    other.machines.end(number)
    assert other.becomes("gone").why == "cancelled"


def test_the_request_is_one_script_that_slurm_takes(one, cluster, tmp_path):
    made = request(one.spec(for_s=90.0), settings(), now=time.time())
    assert "--time=2" in made.options
    (tmp_path / "job.sh").write_text(made.text)
    number = cluster.run("sbatch", "--parsable", str(tmp_path / "job.sh"))
    assert one.found().id == number
    assert one.becomes("running").session == "trainer"


@pytest.mark.slow  # a job for each of some thirty tests, and deadlines that are waited for
class TestSlurm(MachinesContract, KernelHostContract, RentedMachinesContract):
    lead_s = 10.0

    @pytest.fixture
    def machines(self, one) -> SlurmMachines:
        return one.machines
