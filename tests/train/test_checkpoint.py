import random

import numpy as np
import pytest
import torch

from aiinfra_lab.errors import Damaged, UsageProblem
from aiinfra_lab.train import checkpoint


def test_nested_state_comes_back_as_it_was(tmp_path):
    state = {"model": {"w": torch.arange(6.0).reshape(2, 3)}, "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}], 3: None}
    checkpoint.save(tmp_path / "c", state, epoch=4)
    found = checkpoint.load(tmp_path / "c")
    assert torch.equal(found["model"].pop("w"), state["model"].pop("w"))
    assert found == state


def test_an_optimizers_state_goes_on_as_if_nothing_had_happened(tmp_path):
    def steps(model, optimizer, count):
        for _ in range(count):
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
        return model.weight.detach().clone()

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    steps(model, optimizer, 3)
    state = {"m": model.state_dict(), "o": optimizer.state_dict()}
    checkpoint.save(tmp_path / "c", state, epoch=0)
    model.zero_grad()
    straight = steps(model, optimizer, 2)
    found, again = checkpoint.load(tmp_path / "c"), torch.nn.Linear(3, 1)
    other = torch.optim.AdamW(again.parameters(), amsgrad=True)
    again.load_state_dict(found["m"])
    other.load_state_dict(found["o"])
    assert torch.equal(steps(again, other, 2), straight)


def test_weights_that_share_memory_are_kept_both(tmp_path):
    one = torch.ones(2)
    checkpoint.save(tmp_path / "c", {"a": one, "b": one[:1]}, epoch=0)
    assert checkpoint.load(tmp_path / "c")["b"].tolist() == [1.0]


def test_the_epoch_is_read_without_the_weights(tmp_path):
    checkpoint.save(tmp_path / "c", {}, epoch=7)
    assert checkpoint.progress(tmp_path / "c") == (7, 0)
    assert checkpoint.progress(tmp_path / "none") is None


def test_what_cannot_be_kept_is_named_and_leaves_the_last_checkpoint(tmp_path):
    checkpoint.save(tmp_path / "c", {}, epoch=1)
    with pytest.raises(UsageProblem, match=r"cannot hold extra.0, a function"):
        checkpoint.save(tmp_path / "c", {"extra": [lambda: 0]}, epoch=2)
    assert checkpoint.progress(tmp_path / "c") == (1, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("content", [b"", b"garbage that is long enough", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    assert checkpoint.progress(tmp_path / "c") is None
    with pytest.raises(Damaged, match=r"without --resume"):
        checkpoint.load(tmp_path / "c")


def test_random_generators_go_on_where_they_stood(tmp_path):
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    checkpoint.seed_all(1)
    draw()
    checkpoint.save(tmp_path / "c", checkpoint.random_state(), epoch=0)
    first = draw()
    checkpoint.set_random_state(checkpoint.load(tmp_path / "c"))
    assert draw() == first


def test_one_seed_gives_the_same_numbers():
    checkpoint.seed_all(3)
    first = random.random(), float(np.random.rand()), float(torch.rand(1))
    checkpoint.seed_all(3)
    assert (random.random(), float(np.random.rand()), float(torch.rand(1))) == first
