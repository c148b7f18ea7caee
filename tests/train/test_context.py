import pytest
import torch

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.train import checkpoint
from aiinfra_lab.train import context as context_module
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
    assert checkpoint.progress(tmp_path / checkpoint.FILE) == (3, 0)


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


def learned(run, until=None, times=3):
    """The weights after so many epochs of shuffled batches with dropout; until: raised after that step in all."""
    torch.manual_seed(run.seed)
    model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Dropout(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    taken = []
    for epoch in range(run.resume(model, optimizer), times):
        for rows in run.steps(torch.randperm(10).float().split(2)):
            loss = (model(rows[:, None]) - rows[:, None]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss.item())
            taken.append(rows.tolist())
            if len(taken) == until:
                raise Stopped
        run.checkpoint(model, optimizer, epoch=epoch)
    return taken, [point.value for point in run.history.points], model


@pytest.mark.parametrize("until", [1, 3, 7, 9, 14])
def test_once_the_machine_is_to_be_taken_each_step_is_kept(context, tmp_path, monkeypatch, until):
    monkeypatch.setenv("AIINFRA_NOTICE", str(tmp_path / "notice"))
    monkeypatch.setattr(context_module.time, "monotonic", iter(range(10_000)).__next__)  # each takes as long
    batches, losses, model = learned(context())
    (tmp_path / checkpoint.FILE).unlink()
    (tmp_path / "notice").write_text("0")
    with pytest.raises(Stopped):
        learned(context(), until)
    found = checkpoint.progress(tmp_path / checkpoint.FILE)
    kept = (found.epoch + 1) * 5 + found.step if found else 0
    assert kept == until - 1  # the step in whose middle it ended is the one that is lost
    resumed = checkpoint.load(tmp_path / checkpoint.FILE) if found else None
    after, after_losses, again = learned(context(resumed=resumed))
    assert (after, after_losses[-len(after) :]) == (batches[kept:], losses[kept:])
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_without_a_notice_no_step_is_kept(context, tmp_path, monkeypatch):
    monkeypatch.setenv("AIINFRA_NOTICE", str(tmp_path / "notice"))
    with pytest.raises(Stopped):
        learned(context(), until=4)
    assert checkpoint.progress(tmp_path / checkpoint.FILE) is None


def test_what_a_checkpoint_keeps_besides_is_named_at_the_steps_too(context):
    run, model = context(), torch.nn.Linear(1, 1)
    run.checkpoint(model, epoch=0, scheduler={})
    with pytest.raises(UsageProblem, match="keeps scheduler too") as problem:
        list(run.steps([1]))
    assert problem.value.fix == "name it here, e.g. `run.steps(batches, scheduler=scheduler.state_dict)`"
    assert list(run.steps([1], scheduler=dict)) == [1]


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
