"""An endpoint's record and log, and the model behind it, made by the nouns themselves on a small table."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import data, drift, features, models, train
from tests import records

TEXT_REPORT = Path(__file__).parents[1] / "fakes" / "text_report"
VIEWS = 'columns = ["x", "colour"]'
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def forward(self, numbers, codes):
        return torch.sigmoid(self.line(numbers)).squeeze(1) + 0 * codes.sum(1)

run.tensors()
run.log(auc=0.9)
run.save(Net())
"""


def frame(seed: int, rows: int = 600, *, moved: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(rows) < 0.02, np.nan, rng.normal(size=rows) + moved)
    colour = rng.choice(["red", "green", "blue"], size=rows)
    at = pd.date_range("2026-01-01", periods=rows, freq="min", tz="UTC")
    return pd.DataFrame({"at": at, "x": x, "colour": colour, "y": (rng.random(rows) < 0.5).astype("int8")})


@pytest.fixture(scope="module")
def model(module_workspace: Path) -> models.Model:
    """models:m@1 over the columns x and colour, learned from data:t@1."""
    table = data.add("t", frame(1))
    features.add("f", data=table.uri, timestamp="at", label="y", code=VIEWS)
    rows = features.get("f", rows=table.uri)
    return models.add("m", run=train.run("m", rows=rows.uri, code=NET).uri)


@pytest.fixture
def endpoint(model: models.Model, module_workspace: Path, request: pytest.FixtureRequest) -> Served:
    """An endpoint of the test's own, with an empty log."""
    name = f"e{abs(hash(request.node.name))}"
    log = module_workspace / name
    log.mkdir()
    records.endpoint(name, champion=model.uri, log_dir=str(log), started_at=time.time() - 7200)
    return Served(name, log, model)


@pytest.fixture
def verdict(endpoint: Served) -> drift.DriftReport:
    """A verdict on an endpoint whose log is as its model knows the world."""
    endpoint(frame(4))
    return drift.check(endpoint.name, against="data:t@1", report=True)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's package with a report."""
    monkeypatch.syspath_prepend(TEXT_REPORT)
    importlib.invalidate_caches()


class Served:
    """`endpoint(frame)` writes the frame to the log as rows that the model answered."""

    def __init__(self, name: str, log: Path, model: models.Model) -> None:
        self.name, self.log, self.model = name, log, model

    def __call__(self, rows: pd.DataFrame, at: float | None = None, by: str = "") -> None:
        rows = rows[["x", "colour"]]
        lines = []
        for number, (row, score) in enumerate(zip(rows.to_dict("records"), self.model.predict(rows), strict=True)):
            inputs = {name: None if pd.isna(value) else value for name, value in row.items()}
            line = {"at": at or time.time(), "request_id": f"r{number}", "row_id": str(number)}
            line |= {"model": by or self.model.uri, "canary": False, "latency_ms": 1.0}
            lines.append(json.dumps({**line, "inputs": inputs, "outputs": {"score": float(score)}}))
        path = self.log / f"{time.time_ns() // 1000}.jsonl"
        path.write_text("\n".join(lines) + "\n")
