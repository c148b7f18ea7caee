"""Training in the kernel of a gpu session."""

import os
import signal
import threading
from pathlib import Path

import pytest

from aiinfra_lab import gpu, kernels, train
from aiinfra_lab.errors import Failed, Interrupted, NotFound
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train import record, remote, worker
from aiinfra_lab.train.record import TrainingRun
from tests.conftest import PATIENCE_S, until

from .test_run import LOOP, tracked

# Says that it has begun, is busy for a while, and leaves the moment of its end in a file.
BUSY = """import pathlib, time
print('now')
time.sleep(3)
pathlib.Path({file!r}).write_text(str(time.time()))"""


@pytest.fixture
def session(rows):
    yield gpu.start("trainer").uri
    gpu.stop("trainer")


def started(name: str) -> None:
    """Wait until its first checkpoint is there."""
    until(lambda: record.runs(name) and train.show(name).checkpoint is not None)


def test_the_code_runs_over_there_and_is_recorded_here(rows, session, capsys):
    code = "import os\nprint('pid', os.getpid())\nrun.log(loss=0.5)"
    run = train.run("delay", rows=rows, code=code, on=session)
    assert (run.state, run.on, run.metrics, tracked(run).tags["lab.on"]) == ("done", session, {"loss": 0.5}, session)
    assert train.log(run).lines == (f"pid {kernels.KeptKernel.of(session).state().kernel_pid}",)
    assert "pid" in capsys.readouterr().out
    # The same session, since starting one takes seconds: an error over there is raised here with its lines.
    with pytest.raises(Failed, match=r"train:delay@2 failed in line 1, `1 / 0`: ZeroDivisionError") as problem:
        train.run("delay", rows=rows, code="1 / 0", on=session)
    assert any('"<train:delay@2>", line 1' in line for line in problem.value._render_traceback_())


def test_of_a_pool_the_next_free_session_is_taken(rows):
    gpu.start("sweep", max_=1)
    run = train.run("delay", rows=rows, code="run.log(loss=0.5)", on="gpu:sweep")
    assert (run.state, run.on) == ("done", "gpu:sweep-1")
    assert gpu.show("sweep").busy == 0
    gpu.stop("sweep")


def test_the_time_of_a_run_begins_when_the_busy_session_turns_to_it(rows, session):
    begun, ended_at = threading.Event(), Path("ended_at").resolve()
    work = BUSY.format(file=str(ended_at))
    busy = threading.Thread(target=kernels.execute, args=(session, work, lambda output: begun.set()))
    busy.start()
    assert begun.wait(PATIENCE_S)
    run = train.run("delay", rows=rows, code="run.log(loss=1)", on=session)
    busy.join()
    assert run.started_at >= float(ended_at.read_text())


def test_a_session_that_does_not_live_names_the_command_that_starts_it(rows):
    with pytest.raises(NotFound, match=r"no living session gpu:nobody\n.*`%gpu start nobody`"):
        train.run("delay", rows=rows, code="1", on="gpu:nobody")


def test_a_run_that_was_given_up_while_it_waited_does_not_begin(workspace):
    run = record.plan("t", TrainingRun(state="starting", code="raise SystemExit"), ())
    record.change(run.name, state="killed", ended_at=1.0)
    with pytest.raises(Failed, match="before it began"):
        worker.execute(run.uri)
    assert open_store().get(TrainingRun, run.name).body.state == "killed"


def test_a_run_that_left_no_word_names_the_command_that_shows_it(workspace):
    open_store().commit([Record.new("delay@1", TrainingRun(state="running"))])
    with pytest.raises(Failed, match=r"is killed: its kernel ended in the middle of it\n.*`%train log delay@1`"):
        remote._raise_its_end("train:delay@1", "")


def test_ctrl_c_leaves_it_going_and_stop_reaches_it(rows, session):
    def interrupt():
        started("delay")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    code = LOOP.format(then="time.sleep(0.05)")
    with pytest.raises(Interrupted, match=r"train:delay@1 goes on in gpu:trainer\n.*%train log delay@1.*%train stop"):
        train.run("delay", rows=rows, code=code, params={"epochs": 10_000}, on=session)
    assert train.show("delay").state == "running"
    train.stop("delay")
    until(lambda: train.show("delay").state == "stopped")


@pytest.mark.slow
def test_a_session_that_ends_in_the_middle_leaves_a_killed_run_that_is_resumed_here(rows, session):
    def end():
        started("delay")
        gpu.stop("trainer")

    threading.Thread(target=end).start()
    with pytest.raises(Failed, match=r"fix: .*`%%train run delay --resume …`"):
        train.run("delay", rows=rows, code=LOOP.format(then="time.sleep(0.2)"), params={"epochs": 100}, on=session)
    assert train.show("delay").state == "killed"
    kept = train.show("delay").checkpoint
    resumed = train.run("delay", rows=rows, code=LOOP.format(then=""), params={"epochs": kept + 3}, resume=True)
    assert (resumed.state, resumed.checkpoint) == ("done", kept + 2)


def test_what_the_users_code_makes_there_has_the_users_umask(rows):
    before = os.umask(0o027)
    try:
        on = gpu.start("opener").uri
    finally:
        os.umask(before)
    train.run("delay", rows=rows, code="import pathlib\npathlib.Path('made').touch()\nrun.log(loss=1)", on=on)
    gpu.stop("opener")
    assert Path("made").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in record.folder("delay@1").iterdir() if path.stat().st_mode & 0o077] == []
