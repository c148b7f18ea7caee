"""Two models on the same held out rows: the intervals, and what cannot be compared."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from aiinfra_lab import data, train
from aiinfra_lab.train import heldout, paired, record
from aiinfra_lab.train.paired import ComparedModel, GivenRows, Incomparable, PairedMetric, attempt, compare
from aiinfra_lab.train.saved_model import SavedModel
from aiinfra_lab.train.scoring import score
from aiinfra_lab.train.signature import Signature, Task, Tensor

FIXED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([run.params.weight]))

    def forward(self, numbers, codes):
        return {answer}

run.split(run.params.get("share", 0.25){more})
run.save(Net(), {task})
"""
NUMBER = {"answer": "numbers[:, 0] * self.weight", "more": ""}
REGRESSION = FIXED.format(**NUMBER, task="task='regression'")
BINARY = FIXED.format(
    answer="torch.sigmoid(numbers[:, 0] * self.weight)", more="", task="task='classification', labels=['no', 'yes']"
)


def table(count: int = 400, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=count)
    yes = draw.random(count) < 1 / (1 + np.exp(-2 * x))
    return pd.DataFrame(
        {"x": x, "y": x + draw.normal(0, 0.5, count), "yes": yes.astype(int), "who": np.arange(count) % 20}
    )


def learned(rows, weight: float, *, code: str = REGRESSION, label: str = "y", seed: int = 0) -> ComparedModel:
    run = train.run("m", rows=rows, label=label, columns=["x"], code=code, params={"weight": weight}, seed=seed)
    return model_of(run)


def model_of(run: train.Run) -> ComparedModel:
    body = train.find(run.uri).record.body
    return ComparedModel(run.uri, run.path / record.MODEL, body.started_at, body)


@pytest.fixture
def rows(workspace, empty_mlflow):
    return data.add("t", table())


def by_name(found) -> dict[str, PairedMetric]:
    return {one.name.removeprefix("holdout_"): one for one in found.metrics}


def test_the_interval_is_that_of_scipys_paired_bootstrap(rows):
    worse, better = learned(rows, 0.5), learned(rows, 1.0)
    found = compare(better, worse)
    one = by_name(found)["mae"]
    assert (found.rows, found.of, found.notes) == (100, 100, ())
    assert (one.theirs, one.ours) == (worse.run.metrics["holdout_mae"], better.run.metrics["holdout_mae"])
    kept = heldout.read(better.run.stored)
    mean, std = scale_of(better)
    x = (kept["x"] - mean) / std
    off = [abs(kept["y"].to_numpy() - x.to_numpy() * weight) for weight in (1.0, 0.5)]
    wanted = stats.bootstrap(
        off, lambda a, b, axis: a.mean(axis) - b.mean(axis), paired=True, method="percentile", rng=0, n_resamples=5_000
    ).confidence_interval
    assert (one.low, one.high) == pytest.approx((wanted.low, wanted.high), abs=0.1 * (wanted.high - wanted.low))
    assert one.verdict == "better"
    assert by_name(compare(worse, better))["mae"].verdict == "worse"


def scale_of(model: ComparedModel) -> tuple[float, float]:
    (column,) = SavedModel(model.folder).columns
    return column.mean, column.std


def test_the_same_model_twice_is_the_same_and_the_seed_is_fixed(rows):
    one, again = learned(rows, 0.5), learned(rows, 0.5)
    assert {each.verdict for each in compare(one, again).metrics} == {"same"}
    other = learned(rows, 0.6)
    assert compare(one, other) == compare(one, other)


def test_what_chance_explains_is_not_judged(rows):
    near, nearer = learned(rows, 0.9), learned(rows, 0.901)
    assert by_name(compare(nearer, near))["mae"].verdict == "cannot tell"


def test_a_classification_is_compared_by_all_its_metrics(rows):
    flat, steep = (learned(rows, weight, code=BINARY, label="yes") for weight in (0.1, 2.0))
    found = by_name(compare(steep, flat))
    assert [*found] == ["log_loss", "roc_auc", "accuracy", "brier"]
    assert found["log_loss"].verdict == found["brier"].verdict == "better"
    assert found["roc_auc"].verdict == "same"  # the order of the rows is that of x for both


def test_the_interval_covers_the_true_difference_as_often_as_is_stated():
    """Two models of which one is better by a known difference, 400 times: 95 % of intervals have it within."""
    signature = Signature((Tensor("x", "FP32", (-1,)),), (Tensor("score", "FP32", (-1,)),), Task("regression"))
    truly, covered = (1.0 - 1.2) * math.sqrt(2 / math.pi), 0  # the mean of |z| is the square root of 2 / pi
    for seed in range(400):
        draw = np.random.default_rng(seed)
        truth = pd.DataFrame({"y": draw.normal(size=200)})
        answers = [{"score": truth["y"] + draw.normal(0, spread, 200)} for spread in (1.0, 1.2)]
        ours, theirs = (score(signature, each, truth).metrics for each in answers)
        mae = [one for one in ours if one.name == "mae"]
        one = next(iter(paired._differences(mae, theirs, 200, None)))
        covered += one.low <= truly <= one.high
    assert 0.93 * 400 <= covered <= 0.97 * 400


@pytest.mark.parametrize(("days", "rows"), [(20, 2000), (60, 3000)])
def test_rows_of_one_day_that_are_alike_make_neither_of_two_equal_models_the_better_one(days, rows):
    """Errors of each model have a part that is a day's: rows drawn one by one took 62 of 100 for a difference."""
    signature = Signature((Tensor("x", "FP32", (-1,)),), (Tensor("score", "FP32", (-1,)),), Task("regression"))
    wrong, worth = 0, []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        day, truth = np.arange(rows) * days // rows, pd.DataFrame({"y": draw.normal(size=rows)})
        answers = [{"score": truth["y"] + draw.normal(0, 0.3, rows) + draw.normal(0, 0.3, days)[day]} for _ in range(2)]
        ours, theirs = (score(signature, each, truth).metrics for each in answers)
        mae = [one for one in ours if one.name == "mae"]
        one = next(iter(paired._differences(mae, theirs, rows, None)))
        wrong += one.verdict != "cannot tell"
        worth.append(one.worth)
    assert wrong <= 5  # of 30 at 5 %
    assert np.median(worth) < rows / 8


def test_of_ten_rows_an_interval_is_as_wide_as_students():
    signature = Signature((Tensor("x", "FP32", (-1,)),), (Tensor("score", "FP32", (-1,)),), Task("regression"))
    wrong = known = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        truth = pd.DataFrame({"y": draw.normal(size=10)})
        answers = [{"score": truth["y"] + draw.normal(0, 0.3, 10)} for _ in range(2)]
        ours, theirs = (score(signature, each, truth).metrics for each in answers)
        mae = [one for one in ours if one.name == "mae"]
        one = next(iter(paired._differences(mae, theirs, 10, None)))
        known += one.low is not None
        wrong += one.verdict != "cannot tell"
    assert known >= 75
    assert wrong <= 10  # of 100; 14 when they were as wide as the draws


def test_of_many_outputs_none_is_worse_by_chance_more_often_than_is_stated():
    """Two equally good models of ten outputs, 60 times."""
    names = [f"y{at}" for at in range(10)]
    outputs = tuple(Tensor(name, "FP32", (-1,)) for name in names)
    signature = Signature((Tensor("x", "FP32", (-1,)),), outputs, Task("regression"))
    wrong = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        truth = pd.DataFrame({name: draw.normal(size=200) for name in names})
        answers = [{name: truth[name] + draw.normal(size=200) for name in names} for _ in range(2)]
        ours, theirs = ([*score(signature, each, truth).metrics] for each in answers)
        mae = [one for one in ours if one.name.startswith("mae")]
        found = [*paired._differences(mae, theirs, 200, None)]
        assert len(found) == 11
        wrong += any(one.verdict in ("better", "worse") for one in found[1:])
    assert wrong <= 7  # of 60 at 5 %; 24 are without a correction


def test_the_correction_for_several_outputs_is_stated():
    assert "Bonferroni" not in paired.PairedComparison((), 100, 100).how
    many = paired.PairedComparison((), 100, 100, outputs=33).how
    assert "a paired bootstrap, 1,650 draws (seed 0). Those of single outputs are wider, for there are 33" in many


def test_rows_that_the_other_one_learned_from_are_left_out(rows):
    first, second = learned(rows, 0.5, seed=1), learned(rows, 1.0, seed=2)
    found = compare(second, first)
    assert 10 <= found.rows < 50
    assert found.notes == (f"{100 - found.rows} rows that {first.uri} learned from are left out.",)
    kept = heldout.read(second.run.stored)
    theirs = heldout.read(first.run.stored)
    assert found.rows == kept["x"].isin(theirs["x"]).sum()


@pytest.mark.parametrize("written", [pl.Date, pl.Boolean])
def test_learned_rows_are_left_out_whatever_else_is_in_the_table(workspace, empty_mlflow, written):
    more = pl.Series("more", np.arange(400) % 2).cast(pl.Int32).cast(written)
    rows = data.add("t", pl.DataFrame(table()).with_columns(more))
    found = compare(learned(rows, 1.0, seed=2), learned(rows, 0.5, seed=1))
    assert 10 <= found.rows < 50


def test_learned_rows_are_left_out_where_a_newer_version_has_its_numbers_in_32_bits(rows):
    first = learned(rows, 0.5, seed=1)
    again = data.add("t", pl.DataFrame(table()).with_columns(pl.col("x").cast(pl.Float32)))
    assert 10 <= compare(learned(again, 1.0, seed=2), first).rows < 50


def test_a_hold_out_that_the_other_one_knows_cannot_tell(rows):
    everything = FIXED.format(**NUMBER, task="task='regression'").replace('run.params.get("share", 0.25)', "0.01")
    known = learned(rows, 0.5, code=everything, seed=1)
    found = attempt(learned(rows, 1.0, seed=2), known)
    assert isinstance(found, Incomparable)
    assert f"{known.uri} learned from all but" in found.what
    assert not found.other_tasks


def test_newer_rows_are_those_that_both_are_asked_about(rows, workspace):
    old = learned(rows, 0.5)
    new = learned(data.add("t", table(200, seed=1)), 1.0)
    for found in (compare(new, old), compare(old, new)):
        assert (found.rows, found.notes) == (50, ())


def test_rows_of_one_group_are_drawn_together(rows):
    grouped = FIXED.format(answer=NUMBER["answer"], more=", group='who'", task="task='regression'")
    pair = [learned(rows, weight, code=grouped) for weight in (0.5, 1.0)]
    few = by_name(compare(*pair))["mae"]
    assert (few.low, few.verdict) == (None, "cannot tell")
    assert compare(*pair).notes == ("5 values of who are too few for an interval.",)
    more = [learned(rows, weight, code=grouped.replace("0.25", "0.6")) for weight in (0.5, 1.0)]
    assert by_name(compare(*more))["mae"].low is not None


def test_what_the_other_one_learned_from_may_be_unknown(rows):
    one, other = learned(rows, 1.0), learned(rows, 0.5)
    found = compare(one, other._replace(run=None, made_at=0.0))
    assert found.rows == 100
    assert "cannot be read: it may know some of these rows" in found.notes[0]


@pytest.mark.parametrize(
    ("code", "label", "what", "other_tasks"),
    [
        (BINARY, "yes", "their tasks differ: regression, and classification of no, yes", True),
        (REGRESSION, "yes", "their tasks differ: to predict y, and yes", True),
        (FIXED.format(**NUMBER, task=""), "y", "their tasks differ: regression, and custom", False),
    ],
)
def test_models_of_other_tasks_cannot_be_compared(rows, code, label, what, other_tasks):
    found = attempt(learned(rows, 1.0), learned(rows, 0.5, code=code, label=label))
    assert (found.what, found.other_tasks) == (what, other_tasks)


def test_a_model_of_other_columns_names_the_one_that_lacks(rows):
    other = train.run(
        "m", rows=data.add("u", table().rename(columns={"x": "z"})), label="y", columns=["z"], code=REGRESSION,
        params={"weight": 1.0},
    )  # fmt: skip
    found = attempt(learned(rows, 1.0), model_of(other))
    assert "z" in found.what
    assert "missing" in found.what
    assert not found.other_tasks


def test_runs_are_compared_on_the_same_rows(rows):
    learned(rows, 0.5)
    learned(rows, 1.0)
    found = train.diff("m@2", "m@1")
    card = found.card()
    assert card.lead.startswith("m@2 is **better in holdout_rmse, holdout_mae, holdout_r2** than m@1 on the same 100")
    text = " ".join(card.text().split())
    assert "95% interval" in text
    assert "a paired bootstrap, 1,000 draws (seed 0)" in text
    learned(rows, 1.0, code=BINARY, label="yes")
    text = " ".join(train.diff("m@3", "m@1").card().text().split())
    assert "not compared on the same held out rows: their tasks differ" in text


def test_rows_that_came_after_both_are_judged_in_the_place_of_a_holdout(rows):
    worse, better = learned(rows, 0.5), learned(rows, 1.0)
    later = table(300, seed=9)
    found = compare(better, worse, GivenRows("data:later@1", later, ("y",)))
    assert (found.rows, found.of, found.notes) == (300, 300, ("The rows are those of data:later@1.",))
    mean, std = scale_of(better)
    assert by_name(found)["mae"].ours == pytest.approx(abs(later["y"] - (later["x"] - mean) / std).mean(), rel=1e-5)
    assert by_name(found)["mae"].verdict == "better"


def test_of_given_rows_those_that_either_learned_from_are_left_out(rows):
    first, second = learned(rows, 0.5), learned(data.add("u", table(seed=1)), 1.0)
    given = pd.concat([table(), table(seed=1), table(50, seed=9)], ignore_index=True)
    found = compare(second, first, GivenRows("data:all@1", given, ("y",)))
    assert (found.rows, found.of) == (250, 850)  # a quarter of each table was held out
    assert [note.partition(" that ")[0] for note in found.notes[1:]] == ["300 rows", "300 rows"]
    with pytest.raises(Incomparable, match="learned from all but 0 rows of data:known@1"):
        compare(second, first, GivenRows("data:known@1", _learned_rows(first), ("y",)))


def _learned_rows(one: ComparedModel) -> pd.DataFrame:
    held = heldout.read(one.run.stored)
    both = table()
    return both[~both["x"].isin(held["x"])]


def test_classes_of_given_rows_may_be_numbers_and_no_label_may_be_missing(rows):
    one = learned(rows, 1.0, code=BINARY, label="yes")
    other = learned(rows, -1.0, code=BINARY, label="yes")
    later = table(300, seed=9)
    assert by_name(compare(one, other, GivenRows("data:later@1", later, ("yes",))))["roc_auc"].verdict == "better"
    gaps = later.assign(yes=later["yes"].where(later.index > 0))
    found = attempt(one, other, GivenRows("data:later@1", gaps, ("yes",)))
    assert (str(found.what), found.fix) == ("not all of these rows have yes", "give rows whose outcome is known")
