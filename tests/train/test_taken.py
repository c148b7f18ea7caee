"""Training on a machine that its provider takes away: it goes on with the next one, and learns the same."""

import threading

import pytest

from aiinfra_lab import gpu, kernels, train
from aiinfra_lab.errors import Failed
from aiinfra_lab.gpu import sim_faults
from aiinfra_lab.gpu.sim import SimMachines
from aiinfra_lab.train import history, record
from aiinfra_lab.train.results import Run
from tests.conftest import until

from .conftest import CODE

SLOW = CODE.replace("    run.checkpoint(", "    import time; time.sleep(params_pause)\n    run.checkpoint(").replace(
    "params_pause", "run.params.pause"
)


@pytest.fixture
def session(rows):
    yield gpu.start("far", on="sim", spot=True, for_="1h").uri
    gpu.stop("far")


def losses(*runs: Run) -> dict[int, float]:
    """The loss of each step, over all of these; a step of several is that of the last."""
    points = [point for run in runs for point in history.read(run.path / history.FILE)]
    return {point.step: point.value for point in points if point.name == "loss"}


@pytest.mark.slow  # torch is imported by three kernels
@pytest.mark.parametrize("has_our_files", [True, False])
def test_it_goes_on_from_its_checkpoint_with_the_same_losses(rows, session, capsys, monkeypatch, has_our_files):
    monkeypatch.setattr(SimMachines, "has_our_files", has_our_files)
    undisturbed = train.run("delay", rows=rows, code=SLOW, params={"epochs": 6, "pause": 0.0}, on=session)

    def take() -> None:
        until(lambda: len(record.runs("delay")) == 2 and train.show("delay@2").checkpoint is not None)
        sim_faults.take("far")

    taking = threading.Thread(target=take)
    taking.start()
    run = train.run("delay", rows=rows, code=SLOW, params={"epochs": 6, "pause": 0.7}, on=session)
    taking.join()
    assert (run.uri, run.state) == ("train:delay@3", "done")
    assert "train:delay@3 goes on from its checkpoint after epoch" in capsys.readouterr().err
    assert losses(train.show("delay@2"), run) == losses(undisturbed)
    assert run.metrics["auc"] == undisturbed.metrics["auc"]


STEPS = CODE.replace(
    "in torch.randperm(len(learn.y)).split(64):", "in run.steps(torch.randperm(len(learn.y)).split(64)):"
).replace(
    "        run.log(loss=loss)\n", "        run.log(loss=loss)\n        import time; time.sleep(run.params.pause)\n"
)


@pytest.mark.slow  # torch is imported by three kernels
@pytest.mark.parametrize("has_our_files", [True, False])
def test_after_a_notice_it_goes_on_with_the_next_step(rows, session, capsys, monkeypatch, has_our_files):
    monkeypatch.setattr(SimMachines, "has_our_files", has_our_files)
    undisturbed = train.run("delay", rows=rows, code=STEPS, params={"epochs": 3, "pause": 0.0}, on=session)

    def take() -> None:
        until(lambda: len(record.runs("delay")) == 2 and losses(train.show("delay@2")))
        sim_faults.take("far", 3.0)

    taking = threading.Thread(target=take)
    taking.start()
    run = train.run("delay", rows=rows, code=STEPS, params={"epochs": 3, "pause": 0.7}, on=session)
    taking.join()
    assert (run.uri, run.state) == ("train:delay@3", "done")
    assert "goes on from its checkpoint after step" in capsys.readouterr().err
    taken = train.show("delay@2")
    assert losses(taken, run) == losses(undisturbed)
    assert run.metrics["auc"] == undisturbed.metrics["auc"]
    assert len(losses(taken)) + len(losses(run)) - len(losses(undisturbed)) <= 1  # so many were learned twice


def test_a_kernel_that_crashes_is_no_machine_that_was_taken(rows, session):
    with pytest.raises(Failed) as problem:
        train.run("delay", rows=rows, code="import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", on=session)
    assert not isinstance(problem.value, kernels.MachineLost)
    assert len(record.runs("delay")) == 1
