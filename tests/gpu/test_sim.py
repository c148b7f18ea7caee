"""Sessions on machines that are rented, by the cloud that is one in a clock alone: its kernels are real."""

import contextlib
import re
import time
from threading import Thread

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import get_kernel_spec

from aiinfra_lab import gpu, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.errors import LabError
from aiinfra_lab.gpu import Offer, Plan, sim_faults, starting
from aiinfra_lab.gpu.record import MachineRecord
from aiinfra_lab.gpu.sim import SimMachines
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract, RentedMachinesContract
from tests.conftest import end_supervisor, until
from tests.kernels.test_keeper import kill_keeper


@pytest.fixture
def machines(workspace) -> SimMachines:
    return SimMachines(settings())


@pytest.mark.slow  # a machine for each of some twenty tests, and deadlines that are waited for
class TestSim(MachinesContract, KernelHostContract, RentedMachinesContract):
    lead_s = 8.0


def run(code: str, name: str = "far") -> str:
    outputs: list[kernels.Output] = []
    kernels.execute(f"gpu:{name}", code, outputs.append)
    return "".join(output["content"].get("text", "") for output in outputs)


# What the first cell on another machine says when nothing announced the end of the one before.
EMPTY = re.compile(
    r"\[gpu:far is on another machine since \d\d:\d\d \(its spot machine was taken\); "
    r"its kernel begins empty\]\nFalse\n"
)


def rented() -> list[MachineRecord]:
    return [record.body for record in open_store().list(MachineRecord)]


def test_a_session_rents_a_machine_and_gives_it_back(machines):
    session = gpu.start("far", gpu="A10G", on="sim", for_="1h")
    assert (session.state, session.gpu, session.hourly_usd, session.kernel) == ("running", "A10G", 1.01, "aiinfra-far")
    assert run("print(6 * 7)") == "42\n"
    [machine] = machines.instances()
    assert machine.state == "running"
    assert gpu.stop("far").state == "ended (stopped)"
    assert machines.instances() == []
    [record] = rented()
    assert (record.instance, record.ended_by, record.is_open) == (machine.id, "stopped", False)


def test_a_machine_without_an_end_gets_one(machines):
    card = gpu.start("far", on="sim").card().text()
    assert "it lives 12 h, unless `--for` says otherwise" in card


def test_one_whose_limits_are_taken_off_lives_as_long_as_a_machine_may(machines):
    session = gpu.start("far", on="sim", for_="10m", budget=5)
    session = gpu.start("far", for_="none")
    assert (session.ends_by, session.budget_usd) == ("budget", 5.0)
    session = gpu.start("far", budget="none", idle="none")
    assert session.deadline_at == pytest.approx(session.started_at + machines.longest_s)
    assert session.notes[1].startswith("none is rented without an end: it lives 11 h 59 min more")
    [record] = rented()
    assert record.deadline_at == pytest.approx(session.deadline_at)


def test_a_killed_keeper_finds_its_machine_again(machines):
    gpu.start("far", on="sim", for_="1h")
    run("x = 41")
    kill_keeper("far")
    until(lambda: not KeptKernel.of("gpu:far").is_alive())
    until(lambda: gpu.show("far").state == "running")
    assert run("print(x + 1)") == "42\n"
    assert len(rented()) == 1


def test_a_machine_that_is_taken_is_replaced(machines):
    session = gpu.start("far", gpu="L4", on="sim", spot=True, for_="1h")
    assert session.spot
    run("x = 41")
    [machine] = machines.instances()
    machines.cloud.change(machine.id, taken_at=time.time())
    until(lambda: len(rented()) == 2)
    until(lambda: gpu.show("far").state == "running")
    assert EMPTY.fullmatch(run("print('x' in globals())"))
    first, second = sorted(rented(), key=lambda each: each.requested_at)
    assert (first.ended_by, second.is_open) == ("its spot machine was taken", True)
    assert gpu.show("far").spent_usd == pytest.approx(sum(each.spent_usd(time.time()) for each in rented()), abs=1e-3)


def test_a_machine_that_somebody_ended_is_not_replaced(machines):
    gpu.start("far", on="sim", for_="1h")
    machines.end(machines.instances()[0].id)
    until(lambda: gpu.show("far").state == "ended (its machine is gone: stopped)")
    assert machines.instances() == []


def test_a_machine_ends_itself_at_its_deadline_though_its_keeper_is_gone(machines, workspace):
    gpu.start("far", on="sim", for_="25s")
    end_supervisor(workspace)
    kill_keeper("far")
    until(lambda: not machines.instances())
    until(lambda: gpu.show("far").state == "ended (deadline)")


def test_what_is_asked_while_it_boots_waits_for_it(machines, workspace):
    (workspace / "aiinfra.toml").write_text('[gpu]\nsim_boot = "6s"\n')
    begun = Thread(target=gpu.start, args=("far",), kwargs={"on": "sim", "for_": "1h"})
    begun.start()
    kernel = KeptKernel.of("gpu:far")
    until(lambda: kernel.state().steps)
    assert get_kernel_spec("aiinfra-far").display_name == "far · sim.cpu · 0.04 USD/h"
    client = BlockingKernelClient()
    client.load_connection_info(kernel.connection_info())
    client.start_channels()
    client.wait_for_ready(timeout=4)
    assert kernel.state().phase == "starting"
    printed = []
    reply = client.execute_interactive("print(6 * 7)", timeout=30, output_hook=printed.append)
    client.stop_channels()
    begun.join()
    assert reply["content"]["status"] == "ok"
    assert [each["content"]["text"] for each in printed if each["msg_type"] == "stream"] == ["42\n"]
    assert [step.what for step in kernel.state().steps][:2] == ["asks sim for sim.cpu/sim-1a", "boots"]


def test_who_waits_for_a_machine_is_told_each_step(machines, workspace):
    (workspace / "aiinfra.toml").write_text('[gpu]\nsim_boot = "6s"\n')
    told: list[str] = []
    starting.bring_up(starting.SessionRequest("far", None, False, 3600.0, None, "sim"), told.append)
    steps = list(dict.fromkeys(told))
    # It looks now and then, and may have missed a step that was soon over.
    assert next(step for step in steps if step != "asks sim for sim.cpu/sim-1a") == "boots"


def test_what_ends_before_its_machine_has_booted_says_what_ended_it(machines, workspace):
    (workspace / "aiinfra.toml").write_text('[gpu]\nsim_boot = "60s"\n')
    with pytest.raises(LabError, match="gpu:far did not become ready: its time was over before") as problem:
        gpu.start("far", gpu="T4", on="sim", spot=True, for_="2s")
    assert problem.value.fix == "give it longer: `%gpu start far --gpu T4 --spot --on sim --for 1h`"
    assert gpu.show("far").state == "ended (deadline)"


def test_a_stop_while_it_boots_leaves_no_machine(machines, workspace):
    (workspace / "aiinfra.toml").write_text('[gpu]\nsim_boot = "30s"\n')
    begun = Thread(target=suppressed, args=(gpu.start, "far"), kwargs={"on": "sim", "for_": "1h"})
    begun.start()
    until(machines.instances)
    assert gpu.stop("far").state == "ended (stopped)"
    begun.join()
    assert machines.instances() == []


def test_a_full_zone_is_passed_over_and_no_room_at_all_says_what_was_tried(machines, workspace, tmp_path):
    (workspace / "aiinfra.toml").write_text("[gpu]\nsim_room = 1\n")
    for number in range(3):
        gpu.start(f"far{number}", gpu="T4", on="sim", for_="1h")
    with pytest.raises(LabError, match="sim has no T4"):
        gpu.start("far", gpu="T4", on="sim", for_="1h")


def test_a_zone_that_filled_up_meanwhile_is_no_end(machines, workspace, monkeypatch):
    (workspace / "aiinfra.toml").write_text("[gpu]\nsim_room = 1\n")
    gpu.start("other", gpu="T4", on="sim", for_="1h")
    offer = Offer("T4", 0.53, device="sim.t4/sim-1a")  # as it was a moment ago
    handle = SimMachines(settings()).create(Plan("far", offer, None))
    until(lambda: machines.status(handle).state == "ready")
    assert sorted(each.ended_by for each in rented() if each.session == "far") == ["", "sim-1a has no room for sim.t4"]


def test_no_room_anywhere_says_what_was_tried_and_what_is_nearest(machines, workspace):
    (workspace / "aiinfra.toml").write_text("[gpu]\nsim_room = 1\n")
    for number in range(3):
        gpu.start(f"far{number}", gpu="A10G", on="sim", for_="1h")
    offer = Offer("A10G", 1.01, device="sim.a10g/sim-1a")  # as it was a moment ago
    handle = SimMachines(settings()).create(Plan("far", offer, None))
    until(lambda: machines.status(handle).state == "ended")
    found = machines.status(handle)
    assert "sim has no room for A10G: tried sim.a10g/sim-1a (sim-1a has no room for sim.a10g)" in found.why
    assert "--gpu L4: sim sim.l4" in found.fix


def suppressed(verb, *args, **kwargs) -> None:
    with contextlib.suppress(LabError):
        verb(*args, **kwargs)


def test_a_cut_network_loses_nothing(machines, capsys):
    gpu.start("far", on="sim", for_="1h")
    sim_faults.cut("far", 2)
    printed = run("import time\nfor n in range(20):\n    print('line', n, flush=True); time.sleep(0.1)")
    assert printed == "".join(f"line {n}\n" for n in range(20))


def test_code_that_is_sent_after_a_machine_is_gone_runs_on_the_next(machines):
    gpu.start("far", gpu="L4", on="sim", spot=True, for_="1h")
    run("x = 41")
    sim_faults.take("far")
    assert EMPTY.fullmatch(run("print('x' in globals())"))
    assert len(rented()) == 2


def test_code_that_a_machine_took_along_is_not_run_again(machines, tmp_path):
    gpu.start("far", gpu="L4", on="sim", spot=True, for_="1h")
    code = f"import time; open({str(tmp_path / 'ran')!r}, 'a').write('x'); time.sleep(60)"
    failed: list[LabError] = []
    running = Thread(target=lambda: failed.extend(caught(kernels.execute, "gpu:far", code)))
    running.start()
    until((tmp_path / "ran").exists)
    sim_faults.take("far")
    running.join(60)
    assert "in the middle of the code" in failed[0].what
    first, last = run("print(6 * 7)").splitlines()
    assert "its kernel begins empty" in first
    assert last == "42"
    assert (tmp_path / "ran").read_text() == "x"


def caught(verb, *args) -> list[LabError]:
    try:
        verb(*args)
    except LabError as problem:
        return [problem]
    return []


def test_a_budget_that_is_given_later_counts_what_was_paid(machines):
    gpu.start("far", gpu="L4", on="sim", for_="2h")
    spent = gpu.show("far").spent_usd
    before = time.time()
    session = gpu.start("far", budget=0.4)  # half an hour of it
    assert session.deadline_at == pytest.approx(before + (0.4 - spent) / 0.80 * 3600, abs=5)
    [record] = open_store().list(MachineRecord)
    assert record.body.deadline_at == pytest.approx(session.deadline_at, abs=5)


def test_a_notice_is_said_in_the_cell_that_runs_and_on_the_card(machines):
    gpu.start("far", gpu="L4", on="sim", spot=True, for_="1h")
    taking = Thread(target=sim_faults.take, args=("far", 12.0))
    taking.start()
    printed: list[str] = []
    with contextlib.suppress(kernels.MachineLost):
        show = lambda output: printed.append(output["content"].get("text", ""))  # noqa: E731
        kernels.execute("gpu:far", "import time\nfor n in range(300): time.sleep(0.1)", show)
    taking.join()
    assert "gpu:far: its machine will be taken away at" in "".join(printed)
