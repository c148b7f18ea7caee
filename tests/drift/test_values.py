"""Vectors as one number: of unequal lengths, and where a sample has no rows."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from aiinfra_lab.drift.values import frame, projected, rounded
from aiinfra_lab.drift.verdict import judge, overall
from aiinfra_lab.stats import blocks

LONG = [{"v": [0.0, float(at)]} for at in range(4)]


@pytest.mark.parametrize(
    ("reference", "current"),
    [(LONG, [{"v": [1.0, 2.0, 3.0]}]), (LONG, [{"v": [1.0]}]), (LONG, []), ([], LONG), ([], [])],
)
def test_each_vector_becomes_one_number_whatever_its_length(reference, current):
    both = projected(frame(["v"], reference), frame(["v"], current))
    assert [side["v"].dtype for side in both] == [pl.Float64, pl.Float64]
    assert [side.height for side in both] == [len(reference), len(current)]


def test_the_number_is_along_what_differs_most_in_both_together():
    reference, current = projected(frame(["v"], LONG), frame(["v"], [{"v": [0.0, 7.0]}]))
    assert reference["v"].to_list() == pytest.approx([0, 1, 2, 3])
    assert current["v"].to_list() == pytest.approx([7])


def test_vectors_that_are_drawn_alike_seem_to_differ_as_seldom_as_numbers_do():
    draw, alarms = np.random.default_rng(0), 0
    for _ in range(100):
        sides = [pl.DataFrame({"v": draw.normal(size=(400, 32)).tolist()}) for _ in range(2)]
        reference, current = (side["v"] for side in projected(*sides))
        alarms += stats.ks_2samp(reference, current).pvalue < 0.05
    assert alarms <= 11  # of 100 at 5 %; by the direction of the reference alone it is 34


def sessions(draw, count: int) -> tuple[pl.DataFrame, pl.Series]:
    """Sessions of five texts, which share four words that no other session has, in an order of their own."""
    rows = []
    for _ in range(count):
        name = f"s{draw.integers(10**12)}"
        own = [f"{name}w{at}" for at in range(4)]
        rows += [(name, " ".join([*own, *(f"w{word}" for word in draw.zipf(1.5, 12))])) for _ in range(5)]
    rows = [rows[at] for at in draw.permutation(len(rows))]
    return frame(["text"], [{"text": text} for _, text in rows], ["text"]), pl.Series([name for name, _ in rows])


@pytest.mark.parametrize("counts", [(100, 100), (300, 60), (30, 200), (8, 40)])
def test_the_words_of_a_session_are_as_new_in_the_reference_as_they_are_now(counts):
    """Declared by the column that names it, whatever the other texts of one session say."""
    draw, alarms = np.random.default_rng(0), 0
    for _ in range(20):
        (reference, name), (current, other) = (sessions(draw, count) for count in counts)
        units = blocks.by_column(name, other, "session")
        both = projected(reference, current, units)
        alarms += any(one.drifted for one in judge(*both, 0.05, units))
        means = [side["text.new_words"].mean() for side in both]
        assert means[0] == pytest.approx(means[1], abs=0.05)
        assert means[0] > 0.2
    assert alarms <= 3


def test_new_words_of_a_session_are_still_seen():
    draw = np.random.default_rng(0)
    (reference, name), (current, other) = (sessions(draw, 60) for _ in range(2))
    words = pl.element()
    other_words = pl.when(words.str.starts_with("w")).then("x" + words).otherwise(words)
    current = current.with_columns(pl.col("text.new_words").list.eval(other_words))
    units = blocks.by_column(name, other, "session")
    found = judge(*projected(reference, current, units), 0.05, units)
    assert "text.new_words" in [one.column for one in found if one.drifted]


# ---- the last digits of a number ----


def of_numbers(reference, current):
    """Both as the answers that are compared."""
    sides = (
        frame(["eta"], [{"eta": value} for value in np.asarray(side, float).tolist()]) for side in (reference, current)
    )
    return rounded(*sides, ["eta"])


@pytest.mark.parametrize(
    ("mean", "spread"), [(1.764e9, 3600), (1.764e9, 21600), (101_325, 0.3), (2e7, 100), (0, 1), (0.5, 1e-6)]
)
def test_a_number_drifts_by_how_it_varies_whatever_it_is_far_from(mean, spread):
    draw = np.random.default_rng(0)
    before, same, other = (draw.normal(mean + shift * spread, spread, 2000) for shift in (0, 0, 1))
    assert overall(judge(*of_numbers(before, other), 0.05, None, ("eta",))) == "drift"
    assert overall(judge(*of_numbers(before, same), 0.05, None, ("eta",))) == "no drift"


@pytest.mark.parametrize("value", [0.47440377, 1.764e9, -3e-7])
def test_a_number_that_all_rows_share_is_the_same_however_it_was_computed(value):
    before = np.full(500, value, np.float32)
    for bits in (-3, -1, 1, 3):
        now = (before.view(np.int32) + bits).view(np.float32)
        assert not (before == now).any()
        reference, current = of_numbers(before, now)
        assert reference.equals(current)


def test_so_are_several_that_many_rows_share():
    draw = np.random.default_rng(0)
    before, now = (draw.choice(np.array([0.1, 0.7, 3.3, 1e4], np.float32), 500) for _ in range(2))
    now = now * np.float32(1 + 2e-7)
    reference, current = of_numbers(before, now)
    assert {*current["eta"]} <= {*reference["eta"]}


def test_whole_numbers_stay_whole_and_what_is_missing_stays_missing():
    reference, current = of_numbers([1e6 + 1, 1e6 + 4, 3e9], [np.nan, np.inf, 1e6 + 3])
    assert reference["eta"].to_list()[:2] == [1e6 + 1, 1e6 + 4]
    assert reference["eta"][2] % 1 == 0
    assert np.isnan(current["eta"][0])
    assert current["eta"][2] == 1e6 + 3
    for nothing in ([], [None, None]):
        column = pl.DataFrame({"eta": pl.Series(nothing, dtype=pl.Float64)})
        assert rounded(column, column, ["eta"])[0].equals(column)
