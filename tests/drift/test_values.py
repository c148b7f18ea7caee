"""Vectors as one number: of unequal lengths, and where a sample has no rows."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from aiinfra_lab.drift.values import frame, projected
from aiinfra_lab.drift.verdict import judge
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
