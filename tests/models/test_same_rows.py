"""Versions compared on the same held out rows: by `diff`, and by a check against the champion."""

import json

import pytest
import xgboost

from aiinfra_lab import data, models, train
from aiinfra_lab.errors import Failed, Inconclusive
from tests.following import follow

from ..train.test_paired import BINARY, REGRESSION, table


@pytest.fixture
def rows(workspace, empty_mlflow):
    return data.add("t", table())


def version(rows, weight: float, *, code: str = REGRESSION, label: str = "y", seed: int = 0) -> models.Model:
    given = {"weight": weight}
    run = train.run("m", rows=rows, label=label, columns=["x"], code=code, params=given, seed=seed)
    return models.add("m", run=run)


@pytest.fixture
def champion(rows):
    """models:m@1, which is off by less than chance can tell from the best."""
    found = version(rows, 0.95)
    models.check(found)
    models.promote(found)
    return found


def comparison_of(found: models.ModelVerdict):
    return next(one for one in found.findings if one.what.startswith("champion "))


def test_diff_shows_each_metric_with_its_interval(rows):
    version(rows, 0.5)
    better = version(rows, 1.0)
    found = models.diff(better, "m@1")
    assert {one.name: one.verdict for one in found.paired.metrics} == dict.fromkeys(
        ["holdout_rmse", "holdout_mae", "holdout_r2"], "better"
    )
    card = found.card()
    assert card.lead.startswith("m@2 is **better in holdout_rmse, holdout_mae, holdout_r2** than m@1 on the same 100")
    assert "a paired bootstrap, 1,000 draws (seed 0)" in card.notes[0]
    assert models.diff("m@1", better).paired.metrics[0].verdict == "worse"


def test_diff_of_given_rows_measures_both_on_them(rows):
    version(rows, 0.5)
    better = version(rows, 1.0)
    later = data.add("later", table(300, seed=9))
    found = models.diff(better, "m@1", rows=later)
    assert (found.paired.rows, found.paired.metrics[0].verdict) == (300, "better")
    assert "The rows are those of data:later@1." in found.card().notes[-1]
    unlabelled = data.add("unlabelled", table(300, seed=9).drop(columns="y"))
    assert models.diff(better, "m@1", rows=unlabelled).unpaired == "not all of these rows have y"


def test_what_was_compared_on_the_same_rows_is_in_the_json(rows, champion):
    better = version(rows, 1.0)
    found = json.loads(json.dumps(models.diff(better, "m@1").as_json()))["paired"]
    rmse = next(one for one in found["metrics"] if one["name"] == "holdout_rmse")
    assert (found["rows"], found["of"]) == (100, 100)
    assert rmse["low"] < rmse["ours"] - rmse["theirs"] < rmse["high"]
    assert rmse["verdict"] == "cannot tell"  # by what chance explains
    verdict = json.loads(json.dumps(models.check(better, report=True).as_json()))
    assert (verdict["state"], verdict["margin"]) == ("cannot tell", 0.0)
    assert {"rows": 100, "is_unclear": True, "uri": "models:m@1"}.items() <= verdict["compared"].items()
    assert json.loads(json.dumps(models.check("m@1", report=True).as_json()))["compared"] is None
    worse = models.diff("m@1", version(rows, 0.1)).as_json()["paired"]["metrics"]
    assert {one["verdict"] for one in worse} == {"better"}


def test_why_there_are_no_same_rows_is_in_the_json(rows):
    version(rows, 0.5)
    other = version(rows, 1.0, code=BINARY, label="yes")
    found = json.loads(json.dumps(models.diff(other, "m@1").as_json()))
    assert (found["paired"], found["unpaired"][:18]) == (None, "their tasks differ")
    again = train.diff("m@2", "m@1").as_json()
    assert again["paired"] is None


def test_diff_says_why_there_are_no_same_rows(rows):
    version(rows, 0.5)
    other = version(rows, 1.0, code=BINARY, label="yes")
    found = models.diff(other, "m@1")
    assert found.paired is None
    assert found.unpaired == "their tasks differ: classification of no, yes, and regression"
    assert found.unpaired in " ".join(found.card().text().split())


def test_a_version_that_is_worse_beyond_chance_is_bad(rows, champion):
    worse = version(rows, 0.4)
    with pytest.raises(
        Failed, match=r"champion m@1: holdout_r2 is .*, on the same 100 held out rows \(difference −"
    ) as it:
        models.check(worse)
    assert models.check(worse, report=True).compared.rows == 100
    follow(it.value)  # the policy is loosened, and the check passes
    assert models.check(worse).state == "good"


def test_a_version_that_is_worse_by_what_chance_explains_cannot_be_told(rows, champion):
    near = version(rows, 1.0)
    found = models.check(near, report=True)
    one = comparison_of(found)
    assert (found.state, one.state) == ("cannot tell", "cannot tell")
    assert one.detail.endswith("chance may explain it")
    assert "cannot tell" in found.card().text().partition("Against the champion, on the same 100 held out rows")[2]
    with pytest.raises(Inconclusive, match="hold out more rows"):
        models.check(near)


def test_a_version_that_is_no_worse_is_good(rows, champion):
    again, better = version(rows, 0.95), version(rows, 0.93)
    assert models.check(again).state == models.check(better).state == "good"
    assert "on the same 100 held out rows" in comparison_of(models.check(better)).detail


def test_the_policys_measure_decides_by_its_own_or_by_the_word(rows, champion):
    better = version(rows, 1.0)
    for require, name in [("holdout_mae < 5", "holdout_mae"), ("rmse < 5", "holdout_rmse")]:
        policy = models.policies.stated(models.policies.required(require), None)
        pair = models.checks.on_same_rows(models.resolve(better, models.ModelVersion), 1)
        assert models.checks._decides(policy, pair).name == name


def test_a_margin_allows_what_is_beyond_chance(rows, champion):
    worse = version(rows, 0.4)
    assert models.check(worse, margin=5, report=True).state == "bad"  # the policy's margin of 0 stays
    models.policy("m", margin=5)
    assert models.check(worse).state == "good"


@pytest.mark.parametrize(
    ("code", "label", "why"),
    [
        (BINARY, "yes", "their tasks differ: classification of no, yes, and regression"),
        (REGRESSION, "yes", "their tasks differ: to predict yes, and y"),
    ],
)
def test_a_champion_that_predicts_something_else_is_no_measure(rows, champion, code, label, why):
    """Whatever both have logged: an accuracy of other classes is another accuracy."""
    other = version(rows, 1.0, code=f"{code}\nrun.log(auc=0.9, holdout_r2=0.9)", label=label)
    found = models.check(other, report=True)
    one = comparison_of(found)
    assert (found.state, one.state, found.compared) == ("cannot tell", "cannot tell", None)
    assert why in one.detail
    assert f"under a name of its own: `%models add NAME --run {other.run}`" in one.fix
    with pytest.raises(Inconclusive, match="their tasks differ"):
        models.check(other)


def test_a_champion_of_the_same_task_that_is_measured_otherwise_says_so(rows, champion):
    unlearned = REGRESSION.replace("run.split(", "(lambda *given: run.tensors())(")
    one = comparison_of(models.check(version(rows, 1.0, code=unlearned), report=True))
    assert "their tasks differ" not in one.detail
    assert "learned from all but 0 rows of the hold-out of models:m@1" in one.detail


def test_the_model_card_has_what_was_measured_on_the_hold_out(rows, champion):
    assert "| holdout_rmse | " in champion.model_card


def test_a_version_from_a_file_predicts_the_champions_hold_out(rows, champion, tmp_path):
    """It has no label of its own: that is no other task."""
    known = table()
    booster = xgboost.train({"max_depth": 6, "eta": 0.3}, xgboost.DMatrix(known[["x"]], known["y"]), 60)
    booster.save_model(tmp_path / "m.ubj")
    found = models.check(models.add("m", from_=tmp_path / "m.ubj", rows=known), report=True)
    one = comparison_of(found)
    assert "on the same 100 held out rows" in one.detail
    assert "it may know some of these rows" in one.detail
    assert one.state == found.state != "cannot tell"
