"""A ranking's metric: by group, held against scikit-learn's and against the definition; and what it needs."""

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from aiinfra_lab import data, models, train
from aiinfra_lab.train import heldout
from aiinfra_lab.train.metrics import is_lower_better
from aiinfra_lab.train.scoring import Unscored, score
from aiinfra_lab.train.signature import Task

from .test_paired import FIXED, NUMBER
from .test_scoring import of

RANKING = of(Task("ranking"), score=0)


def ranked(gains, scores, groups):
    truth = pd.DataFrame({"relevance": gains})
    return score(RANKING, {"score": np.array(scores, np.float32)}, truth, pd.Series(groups, dtype=object))


def slowly(gains: list[int], scores: list[float]) -> float:
    """By the definition: among rows of one score each order is as likely, so each gets the mean of their gains."""
    discount = [1 / np.log2(place + 2) for place in range(len(gains))]
    best = sum(gain * by for gain, by in zip(sorted(gains, reverse=True), discount, strict=True))
    order = sorted(range(len(gains)), key=lambda at: -scores[at])
    mean = {one: np.mean([gain for gain, other in zip(gains, scores, strict=True) if other == one]) for one in scores}
    return sum(mean[scores[at]] * by for at, by in zip(order, discount, strict=True)) / best


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_it_is_what_the_definition_says_in_each_group(seed):
    draw = random.Random(seed)
    # Ties, a group without a name, groups of one row and without anything relevant, all in no order.
    groups = [draw.choice(["a", "b", "c", None]) for _ in range(24)]
    gains = [draw.choice([0, 0, 1, 2, 3]) for _ in groups]
    scores = [draw.choice([0.0, 0.25, 0.5, 1.0]) for _ in groups]
    found = ranked(gains, scores, groups)
    wanted, firsts = [], []
    for group in dict.fromkeys(groups):
        at = [place for place, each in enumerate(groups) if each == group]
        if len(at) > 1 and any(gains[place] for place in at):
            wanted.append(slowly([gains[place] for place in at], [scores[place] for place in at]))
            firsts.append(at)
    (metric,) = found.metrics
    assert metric.value == pytest.approx(np.mean(wanted)) if wanted else metric.value is None
    for at, value in zip(firsts, wanted, strict=True):
        assert found.losses[at] == pytest.approx([1 - value] * len(at))
    drawn = {group: draw.randrange(1, 4) for group in groups}
    weights = np.array([[drawn[group] for group in groups]], float)
    if wanted:
        shares = [drawn[groups[at[0]]] for at in firsts]
        assert metric.draws(weights)[0] == pytest.approx(np.average(wanted, weights=shares))


def test_of_one_group_it_is_scikit_learns():
    draw = np.random.default_rng(0)
    gains, scores = draw.integers(0, 4, 30), draw.random(30)
    (metric,) = ranked(gains, scores, ["q"] * 30).metrics
    assert metric.value == pytest.approx(ndcg_score([gains], [scores]), abs=1e-6)
    assert is_lower_better("holdout_ndcg") is False


REFUSED = {
    "no groups": (range(20), None, "nothing says which rows belong together"),
    "below zero": ([-1, *range(19)], ["q"] * 20, "relevance is below 0"),
    "texts": (["good"] * 20, ["q"] * 20, "of numbers that say how relevant"),
}


@pytest.mark.parametrize(("gains", "groups", "why"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_order_to_judge_says_why(gains, groups, why):
    truth, together = pd.DataFrame({"relevance": list(gains)}), None if groups is None else pd.Series(groups)
    with pytest.raises(Unscored, match=why):
        score(RANKING, {"score": np.zeros(20)}, truth, together)


def test_where_no_group_has_anything_relevant_it_is_undefined():
    (metric,) = ranked([0] * 20, range(20), ["a", "b"] * 10).metrics
    assert (metric.value, metric.reason) == (None, "no group has an order to judge")


@pytest.fixture
def searches(workspace, empty_mlflow):
    draw = np.random.default_rng(0)
    x = draw.normal(size=600)
    gains = np.clip(np.round(x + draw.normal(0, 0.7, 600) + 1), 0, 3)
    return data.add("searches", pd.DataFrame({"x": x, "relevance": gains, "query": np.arange(600) % 60}))


CODE = FIXED.format(**{**NUMBER, "more": ", group='query'"}, task="task='ranking'")


def test_a_run_is_measured_by_group_and_compared_by_it(searches):
    options = {"rows": searches, "label": "relevance", "columns": ["x", "query"], "code": CODE}
    upside_down = train.run("m", **options, params={"weight": -1.0})
    right = train.run("m", **options, params={"weight": 1.0})
    assert right.metrics["holdout_ndcg"] > upside_down.metrics["holdout_ndcg"] + 0.1
    for run in (upside_down, right):
        models.add("m", run=run)
    (one,) = models.diff("m@2", "m@1").paired.metrics
    assert (one.name, one.verdict) == ("holdout_ndcg", "better")
    held = heldout.read(right.stored)
    assert held["query"].nunique() == 15
    assert len(held) == 150


def test_without_a_group_it_is_said_to_lack(searches):
    code = CODE.replace(", group='query'", "")
    run = train.run("m", rows=searches, label="relevance", columns=["x"], code=code, params={"weight": 1.0})
    assert run.stored is None
    assert "run.split(group='COLUMN')" in run.notes[0]


def test_of_too_many_rows_whole_groups_are_kept(monkeypatch):
    monkeypatch.setattr(heldout, "MOST_ROWS", 25)
    rows = pd.DataFrame({"query": [None, "a", "b", "c"] * 10, "x": range(40)})
    kept = heldout._drawn(rows, "query")
    assert sorted(kept["query"].value_counts(dropna=False).to_list()) == [10, 10]
    assert len(heldout._drawn(rows.assign(query="one"), "query")) == 40
