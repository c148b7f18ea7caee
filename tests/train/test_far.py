"""Training in a kernel that is given nothing of the workspace; here it is one of this machine."""

import os
import signal
import threading
from pathlib import Path

import pytest

from aiinfra_lab import gpu, jobs, train
from aiinfra_lab.errors import Failed, Interrupted, Missing
from aiinfra_lab.gpu.local import LocalMachines
from aiinfra_lab.jobs import process
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.train import far_package, history, record
from tests.conftest import until

from .conftest import flights
from .test_run import LOOP


@pytest.fixture
def session(rows, monkeypatch):
    monkeypatch.setattr(LocalMachines, "has_our_files", False)
    yield gpu.start("trainer").uri
    gpu.stop("trainer")


def left(session: str) -> list[Path]:
    """What a run has left on the machine of the kernel."""
    kernel = KeptKernel.of(session)
    return [path for name in ("exchange", "train") for path in (kernel.folder / name).rglob("*")]


def losses(run: train.Run) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in history.read(run.path / history.FILE) if point.name == "loss"]


def test_it_is_recorded_here_and_an_error_has_its_lines(rows, session, capsys):
    code = "import os\nprint('pid', os.getpid())\nfor step in range(3):\n    run.log(loss=0.5 - step / 10)"
    run = train.run("delay", rows=rows, code=code, on=session)
    assert (run.state, run.on, losses(run)) == ("done", session, [(0, 0.5), (1, 0.4), (2, 0.3)])
    assert train.log(run).lines == (f"pid {KeptKernel.of(session).state().kernel_pid}",)
    assert "pid" in capsys.readouterr().out
    with pytest.raises(Failed, match=r"train:delay@2 failed in line 2, `1 / 0`: ZeroDivisionError") as problem:
        train.run("delay", rows=rows, code="run.log(loss=1)\n1 / 0", on=session)
    assert any('"<train:delay@2>", line 2' in line for line in problem.value._render_traceback_())
    assert (train.show("delay@2").state, losses(train.show("delay@2"))) == ("failed", [(0, 1.0)])
    until(lambda: left(session) == [])


def test_data_as_it_is_goes_there_too(rows, session):
    code = "table = run.tensors()\nrun.log(rows=len(run.rows.df()), width=table.numbers.shape[1])"
    run = train.run("plain", rows=flights(50), label=["late"], columns=["temp", "hour"], code=code, on=session)
    assert run.metrics == {"rows": 50, "width": 2}


def test_what_it_cannot_train_without_is_said_before_there_is_a_run(rows, session, monkeypatch):
    name = "no-such-package"
    monkeypatch.setattr(far_package, "NEEDED", (*far_package.NEEDED, name))
    with pytest.raises(
        Missing, match=rf"gpu:trainer cannot train: {name} is not installed there\n.*%pip install {name}"
    ):
        train.run("delay", rows=rows, code="1", on=session)
    assert record.runs("delay") == []


def test_it_goes_on_without_the_notebook_and_its_killed_follower_and_hears_the_stop(rows, session):
    """Checkpoints arrive while it goes on, and the run after it goes on from the last one."""

    def interrupt():
        until(lambda: record.runs("delay") and train.show("delay").checkpoint is not None)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    code = LOOP.format(then="time.sleep(0.1)")
    with pytest.raises(Interrupted, match=r"train:delay@1 goes on in gpu:trainer\n.*%train log delay@1.*%train stop"):
        train.run("delay", rows=rows, code=code, params={"epochs": 10_000}, on=session)
    for pid in process.tree(0, 0.0, jobs.find("train:delay@1").id):
        os.kill(pid, signal.SIGKILL)
    at = len(losses(train.show("delay")))
    until(lambda: len(losses(train.show("delay"))) > at + 5)
    assert train.show("delay").state == "running"
    train.stop("delay")
    until(lambda: train.show("delay").state == "stopped")
    stopped = train.show("delay")
    assert [step for step, _ in losses(stopped)] == [*range(len(losses(stopped)))]
    resumed = train.run(
        "delay", rows=rows, code=code, params={"epochs": stopped.checkpoint + 3}, resume=True, on=session
    )
    assert (resumed.state, resumed.checkpoint) == ("done", stopped.checkpoint + 2)
    assert losses(resumed)[0][0] == stopped.checkpoint + 1
    until(lambda: left(session) == [])


def test_a_kernel_that_crashes_leaves_a_killed_run_that_says_why(rows, session):
    code = "run.log(loss=1)\nimport os, signal, time\ntime.sleep(1)\nos.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(Failed, match="in the middle of the code"):
        train.run("delay", rows=rows, code=code, on=session)
    assert (train.show("delay").state, train.show("delay").metrics) == ("killed", {"loss": 1.0})
    assert len(record.runs("delay")) == 1
