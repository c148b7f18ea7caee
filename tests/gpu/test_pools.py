"""Pools of sessions with real kernels: they come with the work and go with it, and nothing is left of them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from aiinfra_lab import cli, gpu, jobs, kernels, nouns
from aiinfra_lab.completion import complete
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Failed, Interrupted, NotFound, Unavailable, UsageProblem
from aiinfra_lab.gpu import Pool, Session, pools, sessions
from aiinfra_lab.gpu.pool_queue import PoolQueue
from aiinfra_lab.gpu.pool_record import PoolRecord, folder_of
from aiinfra_lab.gpu.record import MachineRecord, SessionRecord
from aiinfra_lab.kernels.errand import send_off
from aiinfra_lab.store import open_store
from tests.conftest import press_ctrl_c_in, until
from tests.records import session as session_record

PATIENCE_S = 180.0


def show(name: str = "sweep") -> Pool:
    found = gpu.show(name)
    assert isinstance(found, Pool)
    return found


def becomes(what, otherwise: str = "it did not happen") -> None:
    until(what, otherwise, PATIENCE_S)


def sent(code: str, outputs=()) -> Future:
    """A cell that is sent to the pool beside what goes on."""
    return send_off(lambda: gpu.run("sweep", code, outputs=outputs))


def job() -> jobs.Job:
    return jobs.poll(open_store().get(PoolRecord, "sweep").body.job)


def kill_job() -> None:
    """The pool's job, and no session's."""
    for pid in _pids("aiinfra_lab.gpu.pool_job"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _pids(module: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            home = os.environ["AIINFRA_WORKSPACE"].encode()
            if module.encode() in (entry / "cmdline").read_bytes() and home in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def living() -> list[str]:
    return [record.name for record in open_store().list(SessionRecord, is_open=True)]


# ---- with the work, and without ----


def test_sessions_come_with_the_work_and_go_with_it(workspace):
    started = gpu.start("sweep", max_=2, queue=2, idle="5s")
    assert isinstance(started, Pool)
    assert (started.state, started.size, started.target) == ("running", 0, 0)
    cells = [sent(f"import time; time.sleep(1); out = {number} ** 2", "out") for number in range(4)]
    becomes(lambda: show().size == 2)
    assert show().target == 2
    done = [cell.result(PATIENCE_S) for cell in cells]
    assert [run["out"] for run in done] == [0, 1, 4, 9]
    assert {run.uri for run in done} == {"gpu:sweep-1", "gpu:sweep-2"}
    becomes(lambda: show().size == 0)
    assert living() == []
    assert sent("out = 1", "out").result(PATIENCE_S).uri == "gpu:sweep-1"  # from zero again
    stopped = gpu.stop("sweep")
    assert (stopped.state, stopped.size, living()) == ("ended (stopped)", 0, [])
    assert job().state == "done"


def test_a_list_has_the_pool_and_its_sessions_below(workspace):
    gpu.start("sweep", min_=1, max_=3)
    becomes(lambda: show().ready == 1)
    gpu.start("zz")
    items = gpu.ls()
    assert [item.uri for item in items] == ["gpu:zz", "gpu:sweep", "gpu:sweep-1"]
    assert [row[2] for row in items.table().rows] == ["cpu on local", "1 of 3 × cpu on local", "cpu on local"]
    assert len(items.df()) == 3
    card = show().card().text()
    assert "There are to be 1" in card
    assert "gpu:sweep-1" in card


def test_what_waits_is_served_in_its_order_and_is_shown(workspace):
    gpu.start("sweep", max_=1, queue=8)
    order: list[str] = []
    release = threading.Event()

    def work(name: str) -> None:
        with pools.member("sweep") as got:
            assert got == "sweep-1"
            order.append(name)
            if name == "first":
                release.wait(PATIENCE_S)

    threads = []
    for place, name in enumerate(["first", "second", "third"]):
        threads.append(threading.Thread(target=work, args=(name,)))
        threads[-1].start()
        becomes(lambda place=place: len(PoolQueue(folder_of("sweep")).clients()) > place)
    becomes(lambda: order == ["first"])
    becomes(lambda: show().busy == 1)
    seen = show()
    assert (len(seen.waiting), seen.members[0].work) == (2, f"process {os.getpid()}")
    assert "The queue: 2 wait" in seen.card().text()
    release.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == ["first", "second", "third"]


def test_one_that_has_ended_is_started_again_as_it_was(workspace):
    gpu.start("sweep", gpu="L4", max_=3, on="sim", spot=True)
    assert "fewer after 5 min without need" in show().card().text()
    assert gpu.stop("sweep").state == "ended (stopped)"
    assert show().card().next == ["Next: `%gpu start sweep --gpu L4 --spot --on sim --max 3` starts it again"]


def test_any_other_session_is_given_back_as_it_is(workspace):
    with pools.member("gpu:trainer") as name:
        assert name == "trainer"


def test_one_that_somebody_works_in_is_not_ended(workspace):
    gpu.start("sweep", max_=1, idle="4s")
    sent("pass").result(PATIENCE_S)
    kernel = sessions.kernel_of("sweep-1")
    own = send_off(lambda: kernels.execute(kernel, "import time; time.sleep(12)", lambda _: None))
    becomes(lambda: any(each.work for each in show().members))
    until_at = time.time() + 8
    while time.time() < until_at:
        assert show().members[0].state == "running"
        time.sleep(0.5)
    own.result(PATIENCE_S)
    becomes(lambda: show().size == 0)


# ---- rented ones ----


def test_the_pool_as_a_whole_keeps_to_its_budget_and_its_time(workspace):
    gpu.start("sweep", gpu="L4", min_=2, max_=4, on="sim", budget="1", for_="2h")
    becomes(lambda: show().ready == 2)
    found = [sessions.get(name).body for name in ("sweep-1", "sweep-2")]
    assert sum(body.budget_usd for body in found) <= 1.0
    until_at = open_store().get(PoolRecord, "sweep").body.until_at
    becomes(lambda: all(abs(sessions.get(name).body.until_at - until_at) < 1 for name in ("sweep-1", "sweep-2")))
    for body in found:
        assert body.deadline_at <= body.started_at + body.budget_usd / 0.8 * 3600 + 1
    machines = [record.body for record in open_store().list(MachineRecord, is_open=True)]
    gpu.start("sweep", budget="0.2")  # less than was given out
    becomes(lambda: sum(sessions.get(name).body.budget_usd for name in ("sweep-1", "sweep-2")) <= 0.2)
    becomes(
        lambda: all(
            record.body.deadline_at < body.deadline_at
            for record, body in zip(open_store().list(MachineRecord, is_open=True), machines, strict=True)
        )
    )
    assert gpu.check(report=True).kept == 2
    [budget] = nouns.find("gpu").budgets()  # of the pool, and of none of its sessions
    assert (budget.uri, budget.budget_usd, 0 < budget.spent_usd < 0.2) == ("gpu:sweep", 0.2, True)
    gpu.stop("sweep")
    assert gpu.check().kept == 0
    assert show().spent_usd <= 0.2


@pytest.mark.slow
def test_a_budget_that_is_spent_ends_the_pool(workspace):
    gpu.start("sweep", gpu="L4", max_=1, on="sim", budget="0.0141")  # a minute and two seconds of one
    with pytest.raises((Failed, NotFound, Unavailable)):
        gpu.run("sweep", "import time; time.sleep(600)")
    with contextlib.suppress(NotFound):
        gpu.run("sweep", "pass")
    becomes(lambda: show().state == "ended (budget)")
    assert show().spent_usd <= 0.0141
    assert gpu.check().kept == 0


def test_one_that_is_lost_is_replaced(workspace):
    gpu.start("sweep", min_=1, on="sim")
    becomes(lambda: show().ready == 1)
    first = sessions.get("sweep-1").body
    gpu.stop("sweep-1")
    becomes(lambda: show().ready == 1)
    assert sessions.get("sweep-1").body.started_at > first.started_at


def test_where_there_is_no_room_it_is_tried_again(workspace):
    (workspace / "aiinfra.toml").write_text("[gpu]\nsim_room = 0\n")
    gpu.start("sweep", gpu="L4", min_=1, on="sim")
    becomes(lambda: show().retry_at)
    seen = show()
    assert "L4" in seen.problem
    assert "tried again" in seen.card().text()
    assert seen.size == 0
    (workspace / "aiinfra.toml").write_text("[gpu]\nsim_room = 4\n")
    becomes(lambda: show().ready == 1)
    becomes(lambda: show().problem == "")


@pytest.mark.slow
def test_its_time_ends_it_with_all_of_its_sessions(workspace):
    gpu.start("sweep", min_=1, on="sim", for_="65s")
    becomes(lambda: show().ready == 1)
    until(lambda: show().state == "ended (deadline)", "it goes on", PATIENCE_S)
    assert gpu.check().kept == 0


# ---- changes ----


def test_a_pool_that_lives_is_changed(workspace):
    gpu.start("sweep", min_=2, max_=2)
    becomes(lambda: show().ready == 2)
    changed = gpu.start("sweep", min_=1, max_=4, idle="3s")
    assert (changed.min, changed.max, changed.queue) == (1, 4, 1)
    assert "set anew" in changed.card().text()
    becomes(lambda: show().size == 1)
    assert gpu.start("sweep", min_=0, max_=1).max == 1
    becomes(lambda: show().size == 0)


def test_the_limits_of_a_pool_can_be_taken_off_and_its_sessions_end_all_the_same(workspace):
    gpu.start("sweep", gpu="L4", min_=1, max_=1, on="sim", budget="1", for_="1h", idle="1h")
    becomes(lambda: show().ready == 1)
    changed = gpu.start("sweep", budget="none", for_="none", idle="none")
    assert (changed.budget_usd, changed.deadline_at, changed.idle_s) == (None, None, None)
    becomes(lambda: sessions.get("sweep-1").body.budget_usd is None)
    body = sessions.get("sweep-1").body
    assert (body.deadline_by, body.deadline_at is not None) == ("deadline", True)


def test_what_it_is_made_of_is_not_changed(workspace):
    gpu.start("sweep", max_=1)
    with pytest.raises(Conflict, match="lives with cpu on local"):
        gpu.start("sweep", gpu="L4", on="sim")


# ---- what is killed ----


def test_a_job_that_is_killed_finds_its_sessions(workspace):
    gpu.start("sweep", min_=2, max_=3, on="sim")
    kill_job()  # in the middle of its starts
    becomes(lambda: show().ready == 2)
    before = {name: sessions.get(name).body.handle for name in ("sweep-1", "sweep-2")}
    first = job().pid
    kill_job()
    becomes(lambda: job().pid not in (0, first))
    time.sleep(3)
    becomes(lambda: show().ready == 2)
    assert {name: sessions.get(name).body.handle for name in ("sweep-1", "sweep-2")} == before
    assert gpu.check(report=True).kept == 2
    gpu.stop("sweep")
    assert living() == []
    assert gpu.check().kept == 0


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.3, 0.6, 0.9, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0])
def test_a_job_that_is_killed_at_any_moment_leaves_no_machine(workspace, after_s):
    gpu.start("sweep", max_=2, on="sim", idle="2s")
    cells = [sent(f"out = {number}", "out") for number in range(2)]
    time.sleep(after_s)
    kill_job()
    assert [cell.result(PATIENCE_S)["out"] for cell in cells] == [0, 1]
    kill_job()
    becomes(lambda: show().size == 0)
    kill_job()
    gpu.stop("sweep")
    assert living() == []
    assert gpu.check().kept == 0
    assert _pids("aiinfra_lab.gpu.owner") == []


def test_a_client_that_dies_leaves_the_queue(workspace):
    gpu.start("sweep", max_=1)
    code = "import time\nfrom aiinfra_lab.gpu import pools\nwith pools.member('sweep') as name: time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code]) as client:
        becomes(lambda: show().busy == 1)
        mine = sent("out = 1", "out")
        becomes(lambda: len(show().waiting) == 1)
        client.kill()
    assert mine.result(PATIENCE_S)["out"] == 1


def test_ctrl_c_leaves_the_queue(workspace):
    (workspace / "aiinfra.toml").write_text("[gpu]\nsim_room = 0\n")
    gpu.start("sweep", max_=1, on="sim")
    press_ctrl_c_in(pools._turn)
    with pytest.raises(Interrupted, match="you stopped waiting for a session of gpu:sweep"):
        gpu.run("sweep", "pass")
    assert PoolQueue(folder_of("sweep")).clients() == []


def test_who_waits_hears_that_the_pool_was_stopped(workspace):
    (workspace / "aiinfra.toml").write_text("[gpu]\nsim_room = 0\n")
    gpu.start("sweep", max_=1, on="sim")
    cell = sent("pass")
    becomes(lambda: len(show().waiting) == 1)
    gpu.stop("sweep")
    with pytest.raises(NotFound, match="has ended"):
        cell.result(PATIENCE_S)


# ---- bad input ----


@pytest.mark.parametrize(
    ("flags", "kind", "what"),
    [
        ({"min_": 3, "max_": 2}, UsageProblem, "a pool of 3 to 2"),
        ({"max_": 0}, UsageProblem, "a pool of 0 to 0"),
        ({"min_": -1}, UsageProblem, "a pool of -1 to 1"),
        ({"queue": 0}, UsageProblem, "0 is no load"),
        ({"max_": 2, "gpu": "L4", "on": "sim", "budget": "0.01"}, UsageProblem, "first minute of one session"),
        ({"max_": 2, "gpu": "L44", "on": "sim"}, NotFound, "there is no accelerator 'L44'"),
        ({"max_": 2, "gpu": "H100"}, Unavailable, "local has no H100"),
        ({"max_": 2, "on": "nowhere"}, NotFound, "nowhere"),
    ],
)
def test_what_cannot_be_a_pool_leaves_nothing(workspace, flags, kind, what):
    with pytest.raises(kind, match=what) as problem:
        gpu.start("sweep", **flags)
    assert problem.value.fix
    assert open_store().get(PoolRecord, "sweep") is None
    assert jobs.ls() == []


@pytest.mark.parametrize("name", ["sweep", "sweep-3"])
def test_a_name_that_a_session_has_is_no_pools(workspace, monkeypatch, name):
    session_record(name, provider="sim", started_at=time.time())
    with pytest.raises(Conflict, match=f"while gpu:{name} lives") as problem:
        gpu.start("sweep", max_=2)
    assert f"`%gpu stop {name}`" in problem.value.fix


def meanwhile(monkeypatch, where, name: str, start) -> None:
    """Have that be started once, when it was looked for and nothing is written yet."""
    wrapped, todo = getattr(where, name), [start]

    def looked(*args, **options):
        if todo:
            todo.pop()()
        return wrapped(*args, **options)

    monkeypatch.setattr(where, name, looked)


def test_of_a_session_and_a_pool_of_one_name_at_one_moment_the_first_is(workspace, monkeypatch):
    meanwhile(monkeypatch, pools, "_check_machine", lambda: gpu.start("sweep"))
    with pytest.raises(Conflict, match="gpu:sweep was started by somebody else"):
        gpu.start("sweep", max_=2)
    assert isinstance(gpu.show("sweep"), Session)
    assert [each.name for each in (settings().home / "jobs").iterdir()] == [each.id for each in jobs.ls()]
    gpu.stop("sweep")
    meanwhile(monkeypatch, sessions, "_shown_as", lambda: gpu.start("sweep", max_=2))
    with pytest.raises(Conflict, match="gpu:sweep was started by somebody else"):
        gpu.start("sweep")
    assert show().state == "running"
    assert living() == []


def test_names_of_a_pool_and_of_its_sessions_are_no_other_sessions(workspace):
    gpu.start("sweep", max_=2)
    assert "sweep" in complete("gpu", "show s")
    with pytest.raises(Conflict, match="is a name of the sessions of gpu:sweep"):
        gpu.start("sweep-1", for_="2h")
    assert isinstance(gpu.start("sweep", for_="2h"), Pool)
    gpu.stop("sweep")
    assert gpu.start("sweep").state == "running"  # a session, once the pool is over
    assert not isinstance(gpu.show("sweep"), Pool)


def test_the_flags_are_those_of_the_line(workspace, capsys):
    assert cli.main(["gpu", "start", "sweep", "--min", "0", "--max", "8", "--queue", "2"]) == 0
    assert "0 to 8, one for 2 of the queue" in capsys.readouterr().out
