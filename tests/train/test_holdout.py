"""Which rows are held out, and what is said of it."""

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import train
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.train.holdout import divided

KNOWN = {"time": "", "label": ("y",), "group": "", "seed": 0}


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "at": pd.date_range("2020-01-01", periods=200, freq="h")[generator.permutation(200)],
            "customer": generator.integers(0, 20, 200),
            "kind": ["a"] * 150 + ["b"] * 40 + ["c"] * 10,
            "y": generator.normal(size=200),
        }
    )


def test_with_a_time_the_latest_are_held_out(frame):
    found = divided(frame, 0.25, **KNOWN | {"time": "at"})
    assert found.learned["at"].max() < found.held["at"].min()
    assert (len(found.learned), len(found.held), found.how) == (150, 50, "the latest 25 % by at")


def test_rows_of_one_time_stay_on_one_side():
    months = pd.DataFrame({"month": np.repeat([1, 2, 3], 100), "y": range(300)})
    found = divided(months, 0.2, **KNOWN | {"time": "month"})
    assert (found.learned["month"].max(), found.held["month"].min(), len(found.held)) == (2, 3, 100)
    assert found.how == "the latest 33.3 % by month: rows of one month stay together"
    # The border that is next to it, also where that is before the first or behind the last of the rows in between.
    uneven = pd.DataFrame({"month": [1] * 10 + [2] * 85 + [3] * 5, "y": range(100)})
    assert len(divided(uneven, 0.2, **KNOWN | {"time": "month"}).held) == 5
    assert len(divided(uneven, 0.6, **KNOWN | {"time": "month"}).held) == 90


def test_a_constant_time_is_none_and_that_is_said(frame):
    found = divided(frame.assign(at=frame["at"].min()), 0.25, **KNOWN | {"time": "at"})
    assert found.how == "25 % at random (seed 0), since at has one value only"
    assert (len(found.learned), len(found.held)) == (150, 50)


def test_of_each_class_as_many_as_its_share(frame):
    found = divided(frame, 0.2, **KNOWN | {"label": ("kind",)})
    assert found.held["kind"].value_counts().to_dict() == {"a": 30, "b": 8, "c": 2}
    assert found.how == "20 % at random, of each kind alike (seed 0)"


@pytest.mark.parametrize(("classes", "rows"), [(50, 100), (20, 60), (7, 30)])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_classes_of_few_rows_hold_out_no_more_than_the_share(classes, rows, share):
    label = pd.Series(range(rows), dtype=int) % classes
    found = divided(pd.DataFrame({"y": label}), share, **KNOWN)
    assert len(found.held) == max(1, round(rows * share))
    assert {*found.learned["y"]} == {*range(classes)}
    assert found.held["y"].value_counts().max() - rows * share / classes < 1
    assert found.how.startswith(f"{100 * len(found.held) / rows:.3g} % at random, of each y alike")


def test_of_classes_of_two_rows_one_is_learned_from_and_that_share_is_said():
    found = divided(pd.DataFrame({"y": [0, 1, 2, 3] * 2}), 0.9, **KNOWN)
    assert (len(found.held), found.how) == (4, "50 % at random, of each y alike (seed 0)")


def test_rows_of_one_group_stay_together(frame):
    found = divided(frame, 0.2, **KNOWN | {"time": "at", "group": "customer"})
    assert not {*found.learned["customer"]} & {*found.held["customer"]}
    assert found.how == "4 of 20 values of customer at random (seed 0)"


@pytest.mark.parametrize("change", [{}, {"label": ("kind",)}, {"group": "customer"}])
def test_the_seed_decides_and_no_row_is_lost(frame, change):
    once, again, other = (divided(frame, 0.3, **KNOWN | change | {"seed": seed}) for seed in (1, 1, 2))
    assert once.held.index.tolist() == again.held.index.tolist() != other.held.index.tolist()
    assert sorted([*once.learned.index, *once.held.index]) == [*range(200)]


def test_two_rows_are_enough():
    found = divided(pd.DataFrame({"y": [1.0, 2.0]}), 0.01, **KNOWN)
    assert (len(found.learned), len(found.held)) == (1, 1)


@pytest.mark.parametrize(
    ("share", "group", "what"),
    [(0, "", "leaves nothing"), (1.5, "", "leaves nothing"), (0.2, "custmer", "did you mean customer"),
     (0.2, "one", "one has one value only")],
)  # fmt: skip
def test_what_leaves_nothing_to_one_side_is_refused(frame, share, group, what):
    with pytest.raises(UsageProblem, match=what):
        divided(frame.assign(one=1), share, **KNOWN | {"group": group})


def test_the_runs_card_says_which_rows_were_held_out(rows):
    run = train.run("delay", rows=rows, code="run.split(0.25)\nrun.log(loss=1.0)")
    assert ("holdout", "the latest 25 % by sched_dep") in run.card().facts
    grouped = train.run("delay", rows=rows, code="run.split(0.25, group='origin')", seed=3)
    assert "values of origin at random (seed 3)" in grouped.holdout
    assert train.run("delay", rows=rows, code="run.log(loss=1.0)").holdout == ""
