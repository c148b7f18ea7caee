import pytest
import torch

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.train import checkpoint
from aiinfra_lab.train.code import Stopped


def test_logging_tells_whoever_listens(context):
    told = []
    run = context(logged=told.extend)
    run.log(loss=1, auc=0.5)
    run.log(step=7, loss=2)
    assert [(point.name, point.step) for point in told] == [("loss", 0), ("auc", 0), ("loss", 7)]


def test_a_wish_to_stop_ends_the_code_at_its_next_log(context, tmp_path):
    run = context(stop_requested=lambda: True)
    with pytest.raises(Stopped):
        run.log(loss=1)
    assert run.history.points[-1].value == 1


def test_a_wish_to_stop_is_met_after_the_checkpoint(context, tmp_path):
    with pytest.raises(Stopped):
        context(stop_requested=lambda: True).checkpoint(torch.nn.Linear(1, 1), epoch=3)
    assert checkpoint.epoch(tmp_path / checkpoint.FILE) == 3


def test_resume_puts_everything_back(context, tmp_path):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    context().checkpoint(model, optimizer, epoch=4, note="more")
    drawn = torch.rand(1)
    run, again = context(resumed=checkpoint.load(tmp_path / checkpoint.FILE)), torch.nn.Linear(2, 1)
    assert run.resume(again, torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9)) == 5
    assert torch.equal(again.weight, model.weight)
    assert torch.equal(torch.rand(1), drawn)
    assert run.resumed["note"] == "more"


def test_without_a_checkpoint_it_starts_at_the_beginning(context):
    run = context()
    assert run.resumed is None
    assert run.resume(torch.nn.Linear(1, 1)) == 0


def test_a_checkpoint_of_another_network_is_refused(context, tmp_path):
    context().checkpoint(torch.nn.Linear(2, 1), epoch=0)
    run = context(resumed=checkpoint.load(tmp_path / checkpoint.FILE))
    with pytest.raises(UsageProblem, match="the checkpoint is of another network"):
        run.resume(torch.nn.Linear(3, 1))


def test_a_name_that_the_checkpoint_uses_itself_is_refused(context):
    with pytest.raises(UsageProblem, match="keeps 'random' already"):
        context().checkpoint(torch.nn.Linear(1, 1), epoch=0, random=1)
