"""Sequences of unequal length beside their mask, and an embedding, from training to an endpoint and to drift."""

import numpy as np
import polars as pl
import pytest
import torch

from aiinfra_lab import data, deploy, drift, models, train
from aiinfra_lab.files import until

CODE = """
import numpy as np, torch
df = run.rows.df()


class Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(4 + 3, 1)

    def forward(self, steps, steps_mask, embedding):
        there = steps_mask.unsqueeze(2)
        mean = (steps * there).sum(1) / there.sum(1).clamp(min=1)
        return self.last(torch.cat([mean, embedding], dim=1)).squeeze(1)


rows = [torch.tensor(np.stack([np.asarray(step) for step in each]), dtype=torch.float32) for each in df["steps"]]
steps = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(each)) for each in rows], batch_first=True)
embedding = torch.tensor(np.stack(df["embedding"]), dtype=torch.float32)
y = torch.tensor(df["y"], dtype=torch.float32)
network = Mean()
optimizer = torch.optim.Adam(network.parameters(), 0.05)
for epoch in range(60):
    loss = torch.nn.functional.mse_loss(network(steps, mask, embedding), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
run.log(loss=loss)
inputs = {"steps": steps[:8], "steps_mask": mask[:8], "embedding": embedding[:8]}
run.save(network, inputs=inputs, outputs=["y"], task="regression")
"""


def table(seed: int, shift: float = 0.0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    steps = [draw.normal(size=(draw.integers(1, 9), 4)) for _ in range(600)]
    embedding = draw.normal(shift, 1, (600, 3))
    y = [each.mean(0).sum() + place.sum() for each, place in zip(steps, embedding, strict=True)]
    return pl.DataFrame({"steps": [each.tolist() for each in steps], "embedding": embedding.tolist(), "y": y})


@pytest.fixture(scope="module")
def model(module_workspace):
    data.add("walks", table(0))
    data.add("later", table(1))
    data.add("moved", table(2, shift=1.0))
    return models.add("walks", run=train.run("walks", rows="data:walks", code=CODE).uri)


@pytest.fixture(scope="module")
def endpoint(model):
    models.check(model)
    deploy.start("walks", model=model.uri)
    until(lambda: deploy.show("walks").champion == model.uri, TimeoutError("it never serves"), within_s=60)
    yield deploy.show("walks")
    deploy.stop("walks")


def by_hand(model, row: dict) -> float:
    """What the trained weights give for one row alone, without any filling up."""
    from safetensors.torch import load_file

    weights = load_file(model.path / "weights.safetensors")
    given = torch.tensor([*np.mean(row["steps"], axis=0), *row["embedding"]], dtype=torch.float32)
    return float(given @ weights["last.weight"][0] + weights["last.bias"][0])


def test_what_an_endpoint_answers_is_what_the_network_gives_of_each_row_alone(model, endpoint):
    rows = table(1).select("steps", "embedding").head(40).to_dicts()
    assert len({len(row["steps"]) for row in rows}) > 4
    answers = [*endpoint.predict(rows)]
    assert answers == pytest.approx([by_hand(model, row) for row in rows], abs=1e-5)
    assert answers == pytest.approx(models.run(model, rows="data:later").df()["y"].to_list()[:40], abs=1e-5)


def test_they_are_watched_for_drift(model, endpoint):
    quiet = drift.check("walks", against="data:walks@1", rows="data:later@1", report=True)
    assert (quiet.state, quiet.projected) == ("no drift", ("steps", "embedding"))
    loud = drift.check("walks", against="data:walks@1", rows="data:moved@1", report=True)
    assert {"embedding", "y"} <= {*loud.drifted}
    assert "steps" not in loud.drifted
