"""A small table with a pattern to learn, and a network for it."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab.train.context import Context

FEATURES = ("carrier", "origin", "temp", "hour")


def flights(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Late flights: carrier A, late hours and the cold make them likelier. One in twenty has no temperature."""
    draw = np.random.default_rng(seed)
    carrier, origin = draw.choice(list("ABCDE"), count), draw.choice(["JFK", "LGA"], count)
    temp, hour = draw.normal(10, 5, count), draw.integers(5, 23, count)
    odds = -1 + 0.2 * (hour - 12) + 1.5 * (carrier == "A") - 0.1 * temp
    late = (draw.random(count) < 1 / (1 + np.exp(-odds))).astype("int8")
    temp[draw.random(count) < 0.05] = np.nan
    times = pd.date_range("2013-01-01", periods=count, freq="h", tz="UTC")
    known = {"carrier": carrier, "origin": origin, "temp": temp, "hour": hour}
    return pd.DataFrame({"flight_id": range(count), "sched_dep": times, **known, "late": late})


@dataclass
class SmallRows:
    """What a network is trained on, as far as `run` looks at it."""

    frame: pd.DataFrame = field(default_factory=flights)
    columns: tuple[str, ...] = FEATURES
    label: str = "late"
    timestamp: str = "sched_dep"
    optional: tuple[str, ...] = ()
    uri: str = "features:delay@1#0123456789ab"
    features_uri: str = "features:delay@1"

    def df(self) -> pd.DataFrame:
        return self.frame


NETWORK = """
import torch
from torch import nn

class Delay(nn.Module):
    def __init__(self, numbers, sizes):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, 4) for size in sizes)
        self.layers = nn.Sequential(nn.Linear(numbers + 4 * len(sizes), 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, numbers, codes):
        known = [embed(codes[:, at]) for at, embed in enumerate(self.embeddings)]
        return torch.sigmoid(self.layers(torch.cat([numbers, *known], dim=1))).squeeze(1)
"""

CODE = (
    NETWORK
    + """
learn, held = run.split(holdout=0.25)
model = Delay(len(run.columns.numbers), run.columns.sizes)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(run.resume(model, optimizer), run.params.epochs):
    for rows in torch.randperm(len(learn.y)).split(64):
        loss = nn.functional.binary_cross_entropy(model(learn.numbers[rows], learn.codes[rows]), learn.y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(loss=loss)
    with torch.no_grad():
        score = model(held.numbers, held.codes)
    late, early = score[held.y == 1], score[held.y == 0]
    run.log(auc=(late[:, None] > early).float().mean())
    run.checkpoint(model, optimizer, epoch=epoch)
run.save(model)
"""
)


@pytest.fixture
def context(tmp_path: Path):
    """Makes the object `run`."""

    def make(**changes) -> Context:
        options = {"params": {}, "seed": 0, "open_rows": SmallRows, "stop_requested": lambda: False}
        return Context("train:delay@1", tmp_path, **{**options, **changes})

    return make


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database as MLflow makes it on first use."""
    from aiinfra_lab.train.mlflow import client, tracking_uri

    home = tmp_path_factory.mktemp("mlflow")
    (home / "aiinfra.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", str(home))
        with client() as mlflow:
            mlflow.search_experiments()
        return Path(tracking_uri().removeprefix("sqlite:///"))


@pytest.fixture
def rows(workspace: Path, empty_mlflow: Path) -> str:
    """The table as feature rows in the test's workspace."""
    return made_rows(workspace, empty_mlflow)


def made_rows(workspace: Path, empty_mlflow: Path) -> str:
    """The table as feature rows in a workspace, by the verbs that people use."""
    from aiinfra_lab import data, features

    (workspace / ".aiinfra" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_mlflow, workspace / ".aiinfra" / "mlflow")
    flown = data.add("flights", flights())
    cell = f"columns = {list(FEATURES)}\n"
    features.add("delay", data=flown, timestamp="sched_dep", label="late", id_="flight_id", code=cell)
    return features.get("delay", rows=flown).uri


LEDGER = Path(__file__).parents[1] / "fakes" / "ledger"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The package `ledger` is installed, its server runs, and the settings choose it for runs and for models."""
    monkeypatch.syspath_prepend(LEDGER)
    with importlib.import_module("ledger").serving() as url:
        for name, value in (("LEDGER_URL", url), ("TRACKER", "ledger")):
            monkeypatch.setenv(f"AIINFRA_TRAIN_{name}", value)
        monkeypatch.setenv("AIINFRA_MODELS_REGISTRY", "ledger")
        yield url
