"""Columns compared one by one, and the verdict on all of them, on frames made here."""

import numpy as np
import polars as pl
import pytest

from aiinfra_lab.drift.verdict import LEAST_EFFECT, judge, overall


def frame(seed: int, rows: int = 400, **columns) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    same = {"x": rng.normal(size=rows), "colour": rng.choice(["red", "green"], size=rows)}
    return pl.DataFrame({**same, **columns})


def test_only_columns_that_both_have_are_compared():
    found = judge(frame(1, gone=np.zeros(400)), frame(2, new=np.zeros(400)), 0.05)
    assert sorted(change.column for change in found) == ["colour", "x"]


def test_columns_that_drifted_come_first_and_then_the_largest_effect():
    rng = np.random.default_rng(3)
    reference = frame(1, much=rng.normal(size=400), little=rng.normal(size=400))
    current = frame(2, much=rng.normal(size=400) + 2, little=rng.normal(size=400) + 0.5)
    found = judge(reference, current, 0.05)
    assert [(change.column, change.drifted) for change in found[:2]] == [("much", True), ("little", True)]
    assert found[0].effect > found[1].effect > found[2].effect >= 0


def test_a_significant_trifle_is_no_drift():
    """With enough rows every change is significant."""
    rng = np.random.default_rng(4)
    reference = pl.DataFrame({"x": rng.normal(size=200_000)})
    current = pl.DataFrame({"x": rng.normal(size=200_000) + 0.03})
    (change,) = judge(reference, current, 0.05)
    assert change.p < 1e-6
    assert (change.effect < LEAST_EFFECT, change.drifted) == (True, False)


def test_a_large_effect_that_may_be_chance_is_no_drift():
    reference, current = pl.DataFrame({"x": np.arange(30.0)}), pl.DataFrame({"x": np.arange(30.0) + 3})
    (change,) = judge(reference, current, 0.05)
    assert (change.effect > LEAST_EFFECT, change.p > 0.05, change.drifted) == (True, True, False)


def test_an_empty_column_is_compared_as_what_it_was():
    (change,) = judge(frame(1).select("x"), pl.DataFrame({"x": [None] * 400}), 0.05)
    assert (change.kind, change.drifted, change.missing_before, change.missing_now) == ("number", True, 0.0, 1.0)


def test_a_number_that_became_a_text_is_compared_as_texts():
    (change,) = judge(frame(1).select("x"), pl.DataFrame({"x": ["a", "b"] * 200}), 0.05)
    assert (change.kind, change.drifted, change.unseen) == ("category", True, 1.0)


def test_too_few_rows_cannot_tell_and_say_how_many_are_needed():
    found = judge(frame(1), frame(2, 20), 0.05)
    assert {(change.p, change.drifted, change.why) for change in found} == {
        (None, False, "20 rows are too few: 30 are needed")
    }
    assert overall(found) == "cannot tell"


def test_a_column_that_drifted_decides_whatever_could_not_be_compared():
    keys = {"key": [f"a{number}" for number in range(400)]}
    other = {"key": [f"b{number}" for number in range(400)], "x": np.full(400, 9.0)}
    found = judge(frame(1, **keys), frame(2, **other), 0.05)
    assert (overall(found), next(change.p for change in found if change.column == "key")) == ("drift", None)


def test_nothing_compared_is_no_verdict():
    assert overall(judge(pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]}), 0.05)) == "cannot tell"


@pytest.mark.parametrize(("alpha", "state"), [(0.5, "drift"), (1e-9, "no drift")])
def test_alpha_is_how_sure_it_must_be(alpha, state):
    rng = np.random.default_rng(5)
    reference, current = rng.normal(size=300), rng.normal(size=300) + 0.25
    assert overall(judge(pl.DataFrame({"x": reference}), pl.DataFrame({"x": current}), alpha)) == state
