import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiinfra_lab import gpu, jobs, kernels
from aiinfra_lab.cli import main
from aiinfra_lab.completion import complete
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Denied, Failed, NotFound, Unavailable, UsageProblem
from aiinfra_lab.gpu import sessions
from aiinfra_lab.gpu.record import Limits, SessionRecord
from aiinfra_lab.store import open_store
from tests.conftest import PATIENCE_S, until


@pytest.fixture
def paid(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine costs a dollar a second."""
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "3600")


def test_a_session_says_what_it_is(workspace):
    session = gpu.start("trainer", for_="2h", budget=5)
    assert str(session) == "gpu:trainer"
    assert (session.state, session.gpu, session.on, session.kernel) == ("running", "cpu", "local", "aiinfra-trainer")
    assert session.deadline_at == pytest.approx(session.started_at + 7200, abs=PATIENCE_S)
    assert gpu.show("gpu:trainer").ends.startswith("in 1 h 59 min, when its time is over")


def test_what_was_asked_for_is_refused_before_anything_is_made(workspace):
    for wrong in ({"gpu": "A10G"}, {"on": "moon"}, {"for_": "banana"}, {"budget": "-1"}):
        with pytest.raises((Unavailable, NotFound, UsageProblem)):
            gpu.start("trainer", **wrong)
    with pytest.raises(UsageProblem, match="cannot be a name"):
        gpu.start("../trainer")
    assert open_store().changed() == []


def test_what_is_not_there_says_what_is_and_who_would_have_it(workspace):
    with pytest.raises(Unavailable, match="local has no A10G; it has cpu") as problem:
        gpu.start("trainer", gpu="A10G")
    assert "aws g5.xlarge has it for about 1.01 USD an hour" in problem.value.fix


def test_its_time_ends_it(workspace):
    gpu.start("short")
    session = gpu.start("short", for_="2s")  # counted from now, however long the start took
    until(lambda: gpu.show("short").state == "ended (deadline)")
    assert session.deadline_at <= gpu.show("short").ended_at < session.deadline_at + PATIENCE_S


def test_its_budget_ends_it(paid):
    begun = gpu.start("dear", for_="2h", budget=7200)
    budget = round(time.time() - begun.started_at + 3)
    session = gpu.start("dear", budget=budget)
    assert session.deadline_at == pytest.approx(session.started_at + budget)
    until(lambda: gpu.show("dear").state == "ended (budget)")
    assert budget <= gpu.show("dear").spent_usd < budget + PATIENCE_S


def test_a_budget_of_nothing_buys_nothing(paid):
    with pytest.raises(Denied, match="cpu costs more in its first minute") as problem:
        gpu.start("dear", budget=0)
    assert problem.value.fix == "ask with a budget of 60.00"
    assert open_store().changed() == []


def test_a_budget_on_a_free_machine_says_that_it_ends_nothing(workspace):
    session = gpu.start("trainer", budget=5)
    assert session.deadline_at is None
    assert "neither a time nor, at this price, a budget ends it" in session.card().text()


def test_spot_is_a_preference(workspace):
    assert gpu.start("trainer", spot=True).notes == (
        "local has no spot machine for it, so it cannot be taken away and costs the usual price",
    )


def test_starting_a_live_name_moves_its_end_and_keeps_its_state(workspace):
    gpu.start("trainer")
    kernels.execute("gpu:trainer", "x = 1", print)
    before_at = gpu.start("trainer", for_="4s").deadline_at
    gpu.start("trainer", for_="1h")
    time.sleep(max(0.0, before_at + 1 - time.time()))
    assert kernels.execute("gpu:trainer", "x", print)["status"] == "ok"
    assert len(jobs.ls("gpu:trainer")) == 1


def test_what_limits_a_session_can_be_taken_off(paid):
    before = gpu.start("trainer", for_="2h", budget=7200, idle="1h")
    session = gpu.start("trainer", budget="none")
    assert (session.budget_usd, session.idle_s, session.ends_by) == (None, 3600.0, "deadline")
    assert session.deadline_at == pytest.approx(before.started_at + 7200, abs=PATIENCE_S)
    assert main(["gpu", "start", "trainer", "--for", "none", "--idle", "None"]) == 0
    session = gpu.show("trainer")
    assert (session.state, session.deadline_at, session.budget_usd, session.idle_s) == ("running", None, None, None)
    assert jobs.poll(sessions.get("trainer").body.handle).deadline_at is None


def test_a_session_may_be_started_with_no_limit_by_that_word(workspace):
    session = gpu.start("trainer", for_="none", budget="none", idle="none")
    assert (session.deadline_at, session.budget_usd, session.idle_s, session.notes) == (None, None, None, ())
    assert "none" in complete("gpu", "start trainer --for ")
    with pytest.raises(UsageProblem, match="'nonee'"):
        gpu.start("trainer", for_="nonee")


def test_a_live_session_does_not_change_its_machine(workspace):
    gpu.start("trainer")
    # It is kept from whoever asks for what is not to be had: ending it would be for nothing.
    with pytest.raises(NotFound, match="there is no accelerator 'A10O'"):
        gpu.start("trainer", gpu="A10O")
    with pytest.raises(Unavailable, match="local has no A10G"):
        gpu.start("trainer", gpu="A10G")
    with pytest.raises(NotFound, match="moon"):
        gpu.start("trainer", on="moon")
    assert gpu.show("trainer").state == "running"


def test_two_starts_of_one_name_at_once_make_one_session(workspace):
    command = [sys.executable, "-m", "aiinfra_lab.cli", "gpu", "start", "trainer"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.wait(PATIENCE_S) for one in both] == [0, 0]
    assert all("● running" in one.stdout.read() for one in both)
    assert len(jobs.ls("gpu:trainer")) == 1


def test_stop_ends_it_and_may_be_repeated(workspace):
    gpu.start("trainer")
    first, second = gpu.stop("trainer"), gpu.stop("trainer")
    assert first.state == second.state == "ended (stopped)"
    assert first.ended_at == second.ended_at
    assert jobs.ls(live=True) == []


def test_a_stopped_name_starts_again_with_a_new_namespace_and_keeps_what_it_cost(workspace):
    gpu.start("trainer")
    kernels.execute("gpu:trainer", "x = 1", print)
    gpu.stop("trainer")
    gpu.start("trainer")
    assert kernels.execute("gpu:trainer", "x", print)["ename"] == "NameError"
    assert len(open_store().get(SessionRecord, "trainer").body.earlier_spans) == 1


def test_what_nobody_knows_cannot_be_stopped(workspace):
    gpu.start("trainer")
    with pytest.raises(NotFound) as problem:
        gpu.stop("trainr")
    assert problem.value.fix == "did you mean trainer?"


def test_each_start_and_stop_is_one_event(workspace):
    gpu.start("trainer")
    gpu.stop("trainer")
    told = [(logged.event.verb, logged.event.subject, logged.event.outputs) for logged in open_store().events()]
    assert told == [("gpu start", "gpu:trainer", ("gpu:trainer",)), ("gpu stop", "gpu:trainer", ())]


def test_sessions_are_listed_the_last_started_first(workspace):
    gpu.start("a")
    gpu.start("b")
    gpu.stop("b")
    gpu.start("b")
    assert [str(session) for session in gpu.ls()] == ["gpu:b", "gpu:a"]


def test_a_start_that_crashed_after_its_intent_is_taken_up_again(workspace):
    sessions.intend("trainer", "local", gpu.Offer("cpu", 0.0), time.time() - 120, Limits())
    assert gpu.show("trainer").state == "ended (it was given up before there was a machine)"
    assert gpu.start("trainer").state == "running"


def test_a_start_that_waits_for_one_that_crashed_goes_on_by_itself(workspace, monkeypatch):
    monkeypatch.setattr(sessions, "INTENT_S", 1.0)
    sessions.intend("trainer", "local", gpu.Offer("cpu", 0.0), time.time(), Limits())
    assert gpu.start("trainer").state == "running"


def test_a_machine_whose_start_crashed_before_it_was_written_down_is_a_session_all_the_same(workspace):
    from aiinfra_lab.gpu.local import LocalMachines

    sessions.intend("trainer", "local", gpu.Offer("cpu", 0.0), time.time(), Limits())
    handle = LocalMachines(settings()).create(gpu.Plan("trainer", gpu.Offer("cpu", 0.0), None))
    until(lambda: gpu.show("trainer").state == "running")
    assert sessions.find("trainer").body.handle == handle


def test_a_job_whose_start_crashed_before_it_was_begun_is_begun_by_whoever_looks(workspace, monkeypatch):
    from aiinfra_lab.gpu.local import LocalMachines

    sessions.intend("trainer", "local", gpu.Offer("cpu", 0.0), time.time() - 120, Limits())
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "launch_or_withdraw", lambda _: None)
        LocalMachines(settings()).create(gpu.Plan("trainer", gpu.Offer("cpu", 0.0), None))
    until(lambda: gpu.show("trainer").state == "running")


def test_a_machine_whose_start_crashed_before_it_was_written_down_is_found_and_stopped(workspace):
    from aiinfra_lab.gpu.local import LocalMachines

    record = sessions.intend("trainer", "local", gpu.Offer("cpu", 0.0), time.time(), Limits())
    LocalMachines(settings()).create(gpu.Plan("trainer", gpu.Offer("cpu", 0.0), None))
    assert record.body.handle is None
    gpu.stop("trainer")
    until(lambda: jobs.ls("gpu:trainer", live=True) == [])
    assert gpu.show("trainer").state.startswith("ended")


def test_a_stop_that_the_store_does_not_take_is_seen_by_whoever_looks(workspace, monkeypatch):
    def refuse(*_: object) -> None:
        raise Unavailable("the disk is full", "free space on it")

    job = jobs.prepare("gpu:trainer", ["true"])
    open_store().commit([job])
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "launch", lambda: None)
        patch.setattr(type(open_store()), "commit", refuse)
        jobs.cancel(job.name)
    assert jobs.poll(job.name).stop_requested_at is not None


def test_ctrl_c_leaves_the_session_alive_and_says_how_to_find_it(workspace):
    command = [sys.executable, "-m", "aiinfra_lab.cli", "gpu", "start", "trainer"]
    waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: jobs.ls("gpu:trainer"))
    waiting.send_signal(signal.SIGINT)
    assert "`aiinfra gpu stop trainer`" in waiting.communicate(timeout=PATIENCE_S)[1]
    until(lambda: gpu.show("trainer").state == "running")


def test_the_command_line_has_the_same_words(workspace, capsys):
    assert main(["gpu", "start", "trainer", "--gpu", "cpu", "--for", "1h", "--json"]) == 0
    assert '"state": "running"' in capsys.readouterr().out
    assert main(["gpu", "start", "trainer", "--gpu", "A10G"]) == Unavailable.exit_code
    assert "use --gpu cpu" in capsys.readouterr().err


def test_a_session_of_a_workspace_that_goes_away_ends(workspace, tmp_path):
    gpu.start("trainer")
    kernel = kernels.KeptKernel.of("gpu:trainer").state().kernel_pid
    (workspace / ".aiinfra").rename(tmp_path / "elsewhere")
    until(lambda: not Path(f"/proc/{kernel}").exists())
    (tmp_path / "elsewhere").rename(workspace / ".aiinfra")


def test_an_unknown_provider_in_a_record_is_an_error_with_a_name(workspace):
    record = sessions.intend("x", "local", gpu.Offer("cpu", 0.0), time.time(), Limits())
    open_store().commit([record.with_(provider="moon", handle="h")])
    with pytest.raises(NotFound, match="no provider 'moon'"):
        gpu.show("x")


def test_a_session_that_is_stopped_while_it_starts_leaves_no_machine(workspace, monkeypatch):
    from aiinfra_lab.gpu.local import LocalMachines

    create = LocalMachines.create
    monkeypatch.setattr(LocalMachines, "create", lambda self, plan: (gpu.stop("trainer"), create(self, plan))[1])
    with pytest.raises(Failed, match="stopped while it started"):
        gpu.start("trainer")
    until(lambda: jobs.ls("gpu:trainer", live=True) == [])


def test_a_session_that_nobody_uses_ends_and_says_so(workspace):
    gpu.start("trainer", idle="4s")
    shown = gpu.show("trainer")
    assert shown.idle_s == 4.0
    assert "It ends when nobody has used it for 4.0 s." in shown.card().text()
    assert "ends after 4.0 s without use" in shown.card().text()
    until(lambda: gpu.show("trainer").state == "ended (idle)")
    assert "Ended because nobody had used it for 4.0 s." in gpu.show("trainer").card().text()


def test_a_session_that_works_is_not_idle_and_gets_another_time_meanwhile(workspace):
    gpu.start("trainer", idle="4s")
    kernels.execute("gpu:trainer", "import time; time.sleep(9)")
    assert gpu.show("trainer").state == "running"
    gpu.start("trainer", idle="1h")
    time.sleep(7)
    assert gpu.show("trainer").state == "running"
    assert "none for" in gpu.show("trainer").card().text()
