"""The recipe `retrain`: what a month ends with, and what is written down of it. Its own notebooks run as they are."""

import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from aiinfra_lab import data, deploy, features, models, recipe, train
from aiinfra_lab.errors import Failed
from tests.train.conftest import empty_mlflow

__all__ = ["empty_mlflow"]

ROOT = Path(__file__).parents[2]

# The last two steps of the recipe, which take a run that the test made.
RECIPE = """
[parameters]
run = "train:delay@1"
flights = "data:flights@1"
[steps.challenger]
notebook = "21-challenger.ipynb"
parameters = { run = "${params.run}" }
out = { model = "models:delay" }
[steps.rollout]
notebook = "22-rollout.ipynb"
parameters = { flights = "${params.flights}", features = "features:delay" }
in = { model = "challenger.model" }
out = { endpoint = "deploy:delay", decisions = "data:retraining" }
"""
# A network that is as good as its weights are near those of the world below, 1 and 1; negative ones are its contrary.
CODE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor([run.params.x, run.params.z]))

    def forward(self, numbers, codes):
        return torch.sigmoid((numbers * self.weights).sum(1))

run.split(0.4)
run.log(auc=0.8)
run.save(Net(), task="classification", labels=["in time", "late"])
"""


def flights(*months: int) -> pd.DataFrame:
    """1,500 of each month, as many a day."""
    tables = []
    for month in months:
        draw = np.random.default_rng(month)
        x, z = draw.normal(size=(2, 1500))
        at = pd.date_range(f"2013-{month:02d}-01", periods=1500, freq="20min", tz="UTC").as_unit("us")
        late = (draw.random(1500) < 1 / (1 + np.exp(-2 * (x + z)))).astype(int)
        number = month * 10_000 + np.arange(1500)
        tables.append(pd.DataFrame({"flight_id": number, "year": 2013, "month": month, "sched_dep": at, "x": x, "z": z,
                                    "late": late}))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def month(workspace, empty_mlflow):
    """A month arrives: a run learns from all up to it, and the recipe decides."""
    (workspace / ".aiinfra" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_mlflow, workspace / ".aiinfra" / "mlflow")
    for name in ("21-challenger", "22-rollout"):
        (workspace / "notebooks").mkdir(exist_ok=True)
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", workspace / "notebooks")
    (workspace / "recipes").mkdir()
    (workspace / "recipes" / "retrain.toml").write_text(RECIPE)

    def arrives(number: int, x: float, z: float) -> recipe.RecipeRun:
        rows = data.add("flights", flights(*range(3, number + 1)))
        features.add(
            "delay", data=rows, timestamp="sched_dep", label="late", id_="flight_id", code='columns = ["x", "z"]'
        )
        run = train.run("delay", rows=features.get("delay", rows=rows), code=CODE, params={"x": str(x), "z": str(z)})
        return recipe.run("retrain", param={"run": run.uri, "flights": rows.uri})

    return arrives


def decisions() -> list[tuple[str, str, str, str]]:
    table = data.get("retraining").df()
    names = ["month", "decision", "champion", "challenger"]
    return [tuple(row) for row in table[names].itertuples(index=False)]


def champion() -> tuple[str, str | None]:
    """Of the endpoint, and by the alias."""
    return models.show("delay@champion").uri, deploy.show("delay").champion


@pytest.mark.slow  # three months; the next test has one that is promoted
def test_a_worse_challenger_is_not_deployed_and_a_better_one_of_the_same_month_takes_its_row(month):
    assert month(3, 1.0, 0.5).state == "done"
    assert decisions() == [("2013-03", "promoted", "", "models:delay@1")]
    worse = month(4, 1.0, -1.0)
    assert worse.state == "done"
    assert decisions()[1:] == [("2013-04", "no better", "models:delay@1", "models:delay@2")]
    assert champion() == ("models:delay@1", "models:delay@1")
    assert [one.model for one in deploy.show("delay").versions] == ["models:delay@1"]
    assert month(4, 1.0, 1.0).state == "done"
    assert decisions()[1:] == [("2013-04", "promoted", "models:delay@1", "models:delay@3")]
    assert champion() == ("models:delay@3", "models:delay@3")
    # It was measured before anything had learned from that month, and what served then is what was never retrained.
    row = data.get("retraining").df().iloc[1]
    assert row.low > 0
    assert row.served_measured == row.baseline_measured
    assert row.flights == 1500
    # What was decided is not decided anew when an earlier month is run once more.
    decided = data.get("retraining").uri
    assert recipe.run("retrain", param={"run": "train:delay@1", "flights": "data:flights@1"}).state == "done"
    assert data.get("retraining").uri == decided
    assert champion() == ("models:delay@3", "models:delay@3")


@pytest.mark.parametrize("at", ["after", pytest.param("before", marks=pytest.mark.slow)])
def test_a_run_that_is_killed_while_it_tries_leaves_a_row_that_the_next_closes(month, workspace, at):
    month(3, 1.0, 0.5)
    notebook = workspace / "notebooks" / "22-rollout.ipynb"
    whole, promote = notebook.read_text(), 'deploy.promote(\\"delay\\")'
    assert promote in whole
    kill = "__import__('os').kill(__import__('os').getpid(), 9)"
    notebook.write_text(whole.replace(promote, f"{promote}; {kill}" if at == "after" else f"{kill}; {promote}"))
    with pytest.raises(Failed):
        month(4, 1.0, 1.0)
    assert decisions()[1:] == [("2013-04", "being tried", "models:delay@1", "models:delay@2")]
    assert champion()[0] == ("models:delay@2" if at == "after" else "models:delay@1")
    tried = data.get("retraining").df().iloc[1]
    notebook.write_text(whole)
    assert recipe.run("retrain", param={"run": "train:delay@2", "flights": "data:flights@2"}).state == "done"
    assert decisions()[1:] == [("2013-04", "promoted", "models:delay@1", "models:delay@2")]
    assert champion() == ("models:delay@2", "models:delay@2")
    row = data.get("retraining").df().iloc[1]
    assert (row.low, row.served_measured) == (tried.low, tried.served_measured)
    assert row.low > 0


@pytest.mark.slow  # one month more of the same
def test_what_chance_explains_is_not_better(month):
    month(3, 1.0, 0.99)
    month(4, 1.0, 1.0)
    assert decisions()[1:] == [("2013-04", "cannot tell", "models:delay@1", "models:delay@2")]
    assert champion() == ("models:delay@1", "models:delay@1")


@pytest.mark.parametrize(
    ("month", "window", "meant"),
    [
        ("2013-04", 3, "2013-02..2013-04"),
        ("2013-05-01", 3, "2013-02..2013-04"),  # as the schedule gives it: the month that is over
        ("2013-01-01", 1, "2012-12..2012-12"),
        ("2013-01..03", 0, "2013-01..03"),
    ],
)
def test_a_window_ends_with_the_month_that_has_arrived(month, window, meant):
    cells = nbformat.read(ROOT / "notebooks" / "02-data.ipynb", 4).cells
    given = {"months": month, "window": window}
    exec(next(cell.source for cell in cells if "if window" in cell.source), given)
    assert given["months"] == meant


def test_the_recipe_is_sound_and_its_workflow_has_the_steps_of_a_pipeline(monkeypatch, workspace):
    monkeypatch.setenv("AIINFRA_PROJECT", str(ROOT))
    monkeypatch.chdir(ROOT)
    assert recipe.check("retrain").findings == ()
    recipe.export("retrain", to="github", into=workspace)
    jobs = yaml.safe_load((workspace / ".github/workflows/retrain.yml").read_text())["jobs"]
    assert [job["name"] for job in jobs.values()] == [
        "Code commit", "Automated training", "Validation tests, registry update", "Canary deployment", "Promotion",
    ]  # fmt: skip
    assert "-p month=" in str(jobs["train"])
