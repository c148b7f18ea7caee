"""Columns compared one by one, and the verdict on all of them, on frames made here."""

import numpy as np
import polars as pl
import pytest

from aiinfra_lab.drift.record import ColumnChange
from aiinfra_lab.drift.verdict import judge, overall
from aiinfra_lab.stats.blocks import by_column


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
    assert found[0].effect > found[1].effect > 0.3


def test_a_significant_trifle_is_no_drift():
    """With enough rows every change is significant."""
    rng = np.random.default_rng(4)
    reference = pl.DataFrame({"x": rng.normal(size=200_000)})
    current = pl.DataFrame({"x": rng.normal(size=200_000) + 0.03})
    (change,) = judge(reference, current, 0.05)
    assert change.p < 1e-6
    assert (change.times_floor < 1, change.drifted) == (True, False)


def test_a_large_effect_that_may_be_chance_is_no_drift():
    rng = np.random.default_rng(6)
    reference, current = (pl.DataFrame({"x": rng.normal(size=80)}) for _ in range(2))
    (change,) = judge(reference, current.select(pl.col("x") - pl.col("x").mean() + 0.2), 0.05)
    assert (change.times_floor > 1, change.p > 0.05, change.drifted) == (True, True, False)


def test_an_empty_column_is_compared_as_what_it_was():
    (change,) = judge(frame(1).select("x"), pl.DataFrame({"x": [None] * 400}), 0.05)
    assert (change.kind, change.drifted, change.missing_before, change.missing_now) == ("number", True, 0.0, 1.0)


def test_a_number_that_became_a_text_is_compared_as_texts():
    (change,) = judge(frame(1).select("x"), pl.DataFrame({"x": ["a", "b"] * 200}), 0.05)
    assert (change.kind, change.drifted, change.unseen) == ("category", True, 1.0)


def test_too_few_rows_cannot_tell_and_say_how_many_are_needed():
    found = judge(frame(1), frame(2, 20), 0.05)
    assert {(change.p, change.drifted, change.why) for change in found} == {
        (None, False, "20 rows are too few: 60 are needed")
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


def change_of(**fields) -> ColumnChange:
    same = {"column": "x", "kind": "number", "drifted": False, "effect": 0.3, "floor": 0.05, "effect_unit": "sd"}
    return ColumnChange(
        **{**same, "p": 0.2, "missing_before": 0, "missing_now": 0, "unseen": 0, "why": "", "unit": "", **fields}
    )


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({"drifted": True, "p": 1e-9, "effect": 0.5}, 2.0),
        ({"drifted": True, "p": 0.0, "effect": -0.05}, 1.0),
        ({"p": 0.05**0.5}, 0.5),
        ({"p": 1e-9, "effect": 0.02}, 0.4),
        ({"p": 0.0, "effect": 0.02}, 0.4),
        ({"p": 1.0}, 0.0),
        ({"p": None}, 0.0),
        ({"p": 0.01, "effect": 0.0, "floor": 0.0}, 0.0),
    ],
)
def test_only_what_drifted_has_a_weight_of_one_or_more(fields, weight):
    """However large an effect is that may be chance, and however sure a trifle."""
    assert change_of(**fields).weight(0.05) == pytest.approx(weight)


def test_the_unit_is_what_was_declared_or_found():
    repeated = pl.concat([frame(1, 60)] * 10), pl.concat([frame(2, 60)] * 10)
    assert {change.unit for change in judge(*repeated, 0.05)} == {"60 and 60 blocks of rows that repeat"}
    assert all(change.unit.endswith(" stretches of rows") for change in judge(frame(1), frame(2), 0.05))
    day = pl.Series(np.arange(400) // 20)
    declared = judge(frame(1), frame(2), 0.05, by_column(day, day, "day"))
    assert all(change.unit.endswith(" blocks of day") for change in declared)


def test_columns_of_other_types_are_looked_at_for_blocks_too():
    """What was a number is a text now: each value returns within its sample, and none of them in the other."""
    numbers = np.random.default_rng(7).integers(0, 40, 400)
    found = judge(frame(1, z=numbers), frame(2, z=[f"v{number}" for number in numbers]), 0.05)
    assert (overall(found), found[0].column, found[0].unseen) == ("drift", "z", 1.0)


def test_a_feature_that_the_score_follows_from_is_no_entity():
    """Prices that return to the cent, and a score that is a function of them: all of them rose by 60 %."""

    def sample(seed, factor):
        generator = np.random.default_rng(seed)
        items = generator.integers(1, 9, 6000)
        price = generator.lognormal(3, 1, 6000).round(2) * factor
        weight = np.where(generator.random(6000) < 0.3, np.nan, generator.gamma(2, 1, 6000))
        score = 1 / (1 + np.exp(1 - 0.02 * price + 0.2 * items))
        return pl.DataFrame({"price": price, "items": items, "weight": weight, "score": score})

    found = {change.column: change for change in judge(sample(1, 1.0), sample(2, 1.6), 0.05, outputs=["score"])}
    assert (found["price"].drifted, found["score"].drifted, found["items"].drifted) == (True, True, False)
    assert "of price" not in found["price"].unit
