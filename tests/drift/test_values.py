"""Vectors as one number: of unequal lengths, and where a sample has no rows."""

import polars as pl
import pytest

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


def test_the_number_is_along_what_differs_most_in_the_reference():
    reference, current = projected(frame(["v"], LONG), frame(["v"], [{"v": [5.0, 7.0]}]))
    assert reference["v"].to_list() == pytest.approx([0, 1, 2, 3])
    assert current["v"].to_list() == pytest.approx([7])
