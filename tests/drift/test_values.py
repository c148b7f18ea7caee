"""Vectors as one number: of unequal lengths, and where a sample has no rows."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from aiinfra_lab.drift.values import frame, projected

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
