import importlib
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest

from aiinfra_lab import data, drift, features, models, train
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.drift import served
from aiinfra_lab.drift.verdict import judge, overall
from aiinfra_lab.errors import Failed, Inconclusive, NotFound, UsageProblem
from aiinfra_lab.show import shown
from aiinfra_lab.store import open_store
from tests import records
from tests.drift.conftest import frame

FAR = Path(__file__).parents[1] / "fakes" / "far_target"

KINDS = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Embedding(4, 16)
        self.two = torch.nn.Embedding(4, 16)
        self.line = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))

    def forward(self, numbers, codes):
        both = torch.cat([self.one(codes[:, 0]), self.two(codes[:, 1])], 1)
        return torch.sigmoid(self.line(both)).squeeze(1) + 0 * numbers.sum(1)

run.tensors()
run.log(auc=0.9)
run.save(Net())
"""


def kinds(seed: int, rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    at = pd.date_range("2026-01-01", periods=rows, freq="min", tz="UTC")
    truth, colour = rng.random(rows) < 0.5, rng.choice(["red", "green"], size=rows)
    return pd.DataFrame({"at": at, "truth": truth, "colour": colour, "y": (rng.random(rows) < 0.5).astype("int8")})


def log(folder, model, rows, one_by_one=False):
    inputs = rows.to_dict("records")
    scores = [float(model.predict([row])[0]) for row in inputs] if one_by_one else model.predict(rows)
    lines = [
        json.dumps(
            {
                "at": time.time(),
                "request_id": "r",
                "row_id": str(at),
                "model": model.uri,
                "canary": False,
                "latency_ms": 1.0,
                "inputs": row,
                "outputs": {"score": float(score)},
            }
        )
        for at, (row, score) in enumerate(zip(inputs, scores, strict=True))
    ]
    (folder / f"{time.time_ns()}.jsonl").write_text("\n".join(lines) + "\n")


def test_a_truth_value_is_the_same_in_the_log_and_in_the_data(module_workspace):
    data.add("k", kinds(1))
    features.add("kf", data="data:k", timestamp="at", label="y", code='columns = ["truth", "colour"]')
    model = models.add("k", run=train.run("k", rows=features.get("kf", rows="data:k").uri, code=KINDS).uri)
    folder = module_workspace / "klog"
    folder.mkdir()
    records.endpoint("k", champion=model.uri, log_dir=str(folder), started_at=time.time())
    log(folder, model, kinds(2)[["truth", "colour"]], one_by_one=True)
    found = drift.check("k", against="data:k@1", report=True)
    assert {one.column: one.kind for one in found.columns} == {
        "truth": "category",
        "colour": "category",
        "score": "number",
    }
    assert found.drifted == ()
    data.add("later", kinds(3))
    assert drift.check("k", against="data:k@1", rows="data:later@1", report=True).drifted == ()


def test_a_model_of_plain_data_is_held_against_data_as_it_is(module_workspace):
    data.add("plain", kinds(1))
    run = train.run("plain", rows="data:plain", label="y", columns=["truth", "colour"], code=KINDS)
    model = models.add("plain", run=run.uri)
    folder = module_workspace / "plainlog"
    folder.mkdir()
    records.endpoint("plain", champion=model.uri, log_dir=str(folder), started_at=time.time())
    log(folder, model, kinds(2)[["truth", "colour"]], one_by_one=True)
    assert drift.check("plain", against="data:plain@1", report=True).drifted == ()
    with pytest.raises(UsageProblem, match=r"no column 'truth'.*\n.*give data, e\.g\. data:plain@1, that has"):
        drift.check("plain", against=kinds(2).drop(columns="truth"), report=True)


def test_rows_that_were_asked_again_count_once(endpoint):
    for _ in range(3):
        endpoint(frame(4, 200))
    assert drift.check(endpoint.name, against="data:t@1", report=True).rows_now == 200


def test_what_was_logged_before_the_endpoint_was_last_started_does_not_count(endpoint):
    started_at = open_store().get(EndpointRecord, endpoint.name).body.started_at
    endpoint(frame(3, moved=1.0), at=started_at - 60)
    endpoint(frame(4, 200))
    found = drift.check(endpoint.name, against="data:t@1", report=True)
    assert (found.state, found.rows_now, found.since_at) == ("no drift", 200, started_at)
    assert f"200 rows since {shown('x_at', started_at)}" in found.card().text()
    everything = drift.check(endpoint.name, against="data:t@1", since="365d", report=True)
    assert (everything.state, everything.rows_now) == ("drift", 800)


@pytest.fixture
def cloud(monkeypatch):
    """Another package's targets; gives its endpoints by their claims."""
    monkeypatch.syspath_prepend(FAR)
    importlib.invalidate_caches()
    module = importlib.import_module("far_target")
    monkeypatch.setattr(module, "CLOUD", {})
    return module.CLOUD


def test_an_endpoint_whose_target_keeps_no_log_is_judged_by_given_rows(model, cloud):
    records.endpoint("far", champion=model.uri, on="far")
    with pytest.raises(NotFound, match="far keeps no log of what deploy:far predicted") as problem:
        drift.check("far", against="data:t@1", report=True)
    assert "--rows" in problem.value.fix
    data.add("afterwards", frame(2))
    assert drift.check("far", against="data:t@1", rows="data:afterwards@1", report=True).state == "no drift"


def test_a_log_that_lies_elsewhere_is_asked_of_its_target(model, cloud, endpoint):
    endpoint(frame(3, moved=1.0))
    lines = [json.loads(line) for path in endpoint.log.glob("*") for line in path.read_text().splitlines()]
    torn = {"at": time.time(), "model": model.uri, "outputs": {"score": 0.5}}
    cloud["claim-1"] = SimpleNamespace(rows=[*lines, torn])
    records.endpoint("counting", champion=model.uri, on="far_counting", job="claim-1")
    found = drift.check("counting", against="data:t@1", report=True)
    assert (found.state, found.rows_now) == ("drift", 600)


@pytest.mark.parametrize(
    ("since", "asked"), [(None, [served.ROWS_AT_FIRST]), ("365d", [served.ROWS_AT_FIRST, served.MOST_ROWS])]
)
def test_a_target_is_asked_for_more_only_where_the_sample_goes_further_back(model, cloud, monkeypatch, since, asked):
    now, found = time.time(), []
    line = {"model": model.uri, "row_id": "0", "inputs": {"x": 1.0, "colour": "red"}, "outputs": {"score": 0.5}}
    log = [{**line, "at": now - number} for number in range(served.ROWS_AT_FIRST + 100)]

    def predictions(_self, _claim, _log_dir, rows):
        found.append(rows)
        return log[:rows]

    monkeypatch.setattr(importlib.import_module("far_target").FarCounting, "predictions", predictions)
    name = f"long{len(asked)}"
    records.endpoint(name, champion=model.uri, on="far_counting", started_at=now - 100)
    drift.check(name, against="data:t@1", since=since, report=True)
    assert found == asked


def test_a_log_with_too_few_rows_says_since_when_and_how_to_take_more(endpoint):
    with pytest.raises(Inconclusive, match=r"0 rows are too few.*; judged since [-0-9 ]*\d\d:\d\d") as problem:
        drift.check(endpoint.name, against="data:t@1")
    assert f"`%deploy run {endpoint.name} --rows data:" in problem.value.fix
    assert (
        f"`%drift check {endpoint.name} --against {drift.show(endpoint.name).against} --since 365d`"
        in problem.value.fix
    )


def test_numbers_in_32_bits_are_no_drift():
    rng, values = np.random.default_rng(0), np.array([0.1, 0.2, 0.3, 0.7])
    reference = pl.DataFrame({"x": rng.choice(values, 600).astype("float32")})
    current = pl.DataFrame({"x": rng.choice(values, 600)})
    assert overall(judge(reference, current, 0.05)) == "no drift"


def test_what_could_not_be_compared_is_no_pass():
    reference = pl.DataFrame({"key": [f"a{n}" for n in range(500)]})
    current = pl.DataFrame({"key": [f"b{n}" for n in range(500)]})
    (change,) = judge(reference, current, 0.05)
    assert (change.p, change.drifted, overall([change])) == (None, False, "cannot tell")


@pytest.mark.parametrize("columns", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_whole_check_without_a_change_is_drift_no_more_often_than_stated(columns):
    from scipy import stats

    rng, checks, alpha = np.random.default_rng(9), 200, 0.05

    def table(rows: int) -> pl.DataFrame:
        share = 1 / np.arange(1, 51)
        numbers = {f"n{at}": rng.normal(size=rows) for at in range(-(-columns // 2))}
        texts = {f"c{at}": rng.choice(50, size=rows, p=share / share.sum()).astype(str) for at in range(columns // 2)}
        return pl.DataFrame({**numbers, **texts})

    alarms = sum(overall(judge(table(300), table(200), alpha)) == "drift" for _ in range(checks))
    assert alarms <= stats.binom.ppf(0.999, checks, alpha)


def test_the_endpoint_may_be_named_by_its_uri(endpoint):
    endpoint(frame(2, 10))
    with pytest.raises(Failed, match=rf"cannot tell whether deploy:{endpoint.name} drifted"):
        drift.check(f"deploy:{endpoint.name}", against="data:t@1")
    assert len(drift.ls(f"deploy:{endpoint.name}")) == len(drift.log(f"deploy:{endpoint.name}")) == 1
    with pytest.raises(UsageProblem):
        drift.show(f"{endpoint.name}@champion")
