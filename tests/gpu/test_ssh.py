"""Sessions on a machine with a real sshd: it keeps both contracts, and a cut link, a sleeping laptop and a bad host."""

import sys
import time
from collections.abc import Iterator

import pytest

from aiinfra_lab import gpu, jobs, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.errors import LabError, Unavailable, UsageProblem
from aiinfra_lab.gpu import starting
from aiinfra_lab.gpu.ssh import SshMachines
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract
from tests.conftest import end_supervisor, stop_jobs, until
from tests.kernels.test_keeper import kill_keeper
from tests.sshd import SshHost, needs_sshd

pytestmark = needs_sshd


@pytest.fixture
def far(workspace, tmp_path) -> Iterator[SshHost]:
    """A machine that the settings name; its user's home is of the test."""
    host = SshHost(1, tmp_path / "far")
    lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{host.config}"', f'ssh_python = "{sys.executable}"']
    (workspace / "aiinfra.toml").write_text("\n".join(lines))
    yield host
    host.set_link("up")
    stop_jobs(workspace)  # its keepers end what they keep there, while it is there
    host.remove()


@pytest.fixture
def machines(far) -> SshMachines:
    return SshMachines(settings())


@pytest.mark.slow  # a machine for each of some twenty tests, and deadlines that are waited for
class TestSsh(MachinesContract, KernelHostContract):
    lead_s = 8.0


def run(code: str, name: str = "far") -> str:
    outputs: list[kernels.Output] = []
    kernels.execute(f"gpu:{name}", code, outputs.append)
    return "".join(output["content"].get("text", "") for output in outputs)


def test_a_session_there_is_a_kernel_here(far):
    session = gpu.start("far", on="ssh", for_="1h")
    assert (session.state, session.on, session.kernel) == ("running", "ssh", "aiinfra-far")
    assert run("import socket; print(socket.gethostname())") == "host-1\n"
    assert gpu.stop("far").state == "ended (stopped)"
    assert "ipykernel" not in far.run("ps", "-eo", "args")


def test_a_cut_link_is_said_and_loses_nothing(far, capsys):
    gpu.start("far", on="ssh")
    with kernels.client._client(KeptKernel.of("gpu:far")) as other:
        other.execute("import time\nfor n in range(80):\n    print(f'line {n}', flush=True); time.sleep(0.1)")
        time.sleep(1)
        far.set_link("down")
        until(lambda: "host has not been reached since" in gpu.show("far").card().text())
        assert gpu.show("far").state == "running"
    far.set_link("up")
    far.move()
    gpu.get("far")
    until(lambda: not gpu.show("far").notes)
    assert capsys.readouterr().out == "".join(f"line {n}\n" for n in range(80))


def test_a_keeper_that_was_killed_finds_its_kernel_there_again(far):
    gpu.start("far", on="ssh")
    run("x = 41")
    pid = KeptKernel.of("gpu:far").state().kernel_pid
    kill_keeper("far")
    until(lambda: not KeptKernel.of("gpu:far").is_alive())
    until(lambda: gpu.show("far").state == "running")
    assert run("print(x + 1)") == "42\n"
    assert KeptKernel.of("gpu:far").state().kernel_pid == pid


def test_its_deadline_holds_while_nobody_reaches_it(far):
    gpu.start("far", on="ssh", for_="15s")
    far.set_link("down")
    until(lambda: "ipykernel" not in far.run("ps", "-eo", "args"))
    far.set_link("up")
    until(lambda: gpu.show("far").state == "ended (deadline)")


def test_an_end_that_its_keeper_did_not_live_to_see_is_found_by_whoever_looks(far, workspace):
    gpu.start("far", on="ssh")
    far.set_link("down")
    end_supervisor(workspace)
    kill_keeper("far")
    [job] = jobs.ls("gpu:far")
    jobs.cancel(job.id)
    assert gpu.show("far").state == "stopping"
    far.set_link("up")
    until(lambda: gpu.show("far").state == "ended (stopped)")
    assert "ipykernel" not in far.run("ps", "-eo", "args")


def test_the_processor_there_is_offered_where_there_is_no_driver(far, machines):
    assert [(offer.gpu, offer.device, offer.usd_per_hour) for offer in machines.offers()] == [("cpu", "far", 0.0)]


def test_a_host_that_is_not_reached_says_why(far, workspace):
    far.set_link("down")
    with pytest.raises(Unavailable, match=r"far cannot be reached: .*timed out") as problem:
        gpu.start("far", on="ssh")
    assert problem.value.fix == "try `ssh far`"


def test_a_host_whose_key_has_changed_is_refused(far):
    lines = (far.folder / "known_hosts").read_text().split()
    other = (far.folder / "id.pub").read_text().split()[1]
    (far.folder / "known_hosts").write_text(f"{lines[0]} {lines[1]} {other}\n")
    with pytest.raises(LabError, match="Host key verification failed"):
        gpu.start("far", on="ssh")


def test_without_hosts_it_says_how_they_are_named(workspace):
    with pytest.raises(UsageProblem, match="no machine behind ssh is named"):
        gpu.start("far", on="ssh")


def test_a_python_that_is_not_there_leaves_no_session(far, workspace):
    text = (workspace / "aiinfra.toml").read_text()
    (workspace / "aiinfra.toml").write_text(text.replace(sys.executable, "no-python"))
    with pytest.raises(LabError, match="no-python"):
        gpu.start("far", on="ssh")
    assert gpu.show("far").state.startswith("ended")


def test_a_stop_reaches_a_kernel_there_whose_keeper_was_killed(far, workspace):
    gpu.start("far", on="ssh")
    end_supervisor(workspace)
    kill_keeper("far")
    assert gpu.stop("far").state.startswith("ended")
    until(lambda: "ipykernel" not in far.run("ps", "-eo", "args"))


def test_a_stop_that_does_not_reach_its_host_is_no_end(far, monkeypatch):
    monkeypatch.setitem(starting.PATIENCE_S, "ended", 8.0)
    gpu.start("far", on="ssh")
    far.set_link("down")
    with pytest.raises(Unavailable, match="is not ended after"):
        gpu.stop("far")
    assert gpu.show("far").state == "stopping"
    far.set_link("up")
    assert gpu.stop("far").state.startswith("ended")
    assert "ipykernel" not in far.run("ps", "-eo", "args")
