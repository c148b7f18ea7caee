"""A change within the current sample: what is faulty from some row on."""

import numpy as np
import polars as pl
import pytest

from aiinfra_lab.stats.blocks import Ordered, by_column
from aiinfra_lab.stats.columns import categories, numbers
from aiinfra_lab.stats.within import CHANGED

ROWS = 20_000
NEWEST = np.arange(ROWS) < ROWS // 10


def draw(seed: int, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=rows)


FAULTS = {
    "missing": np.where(NEWEST, np.nan, draw(2)),
    "stuck": np.where(NEWEST, 0.0, draw(2)),
    "moved": draw(2) + NEWEST,
    "far out": draw(2) * np.where(np.arange(ROWS) < ROWS // 100, 100, 1),
}


@pytest.mark.parametrize("current", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_newest_rows_is_inconclusive_and_says_which(current):
    shift = numbers(draw(1), current, Ordered())
    assert shift.p > 0.05
    last = 500 if current is FAULTS["far out"] else 2000
    assert shift.inconclusive == f"{CHANGED}: rows 1 to {last:,} of 20,000 differ from the others"


@pytest.mark.parametrize("fault", ["new", "a", None])
def test_so_is_one_of_a_category(fault):
    one, other = (np.where(draw(seed) > 0, "a", "b").astype(object) for seed in (1, 2))
    other[NEWEST] = fault
    assert categories(one.tolist(), other.tolist(), Ordered()).inconclusive.startswith(CHANGED)


def test_rows_in_the_order_of_a_moment_are_counted_in_that_order():
    moment = pl.Series(np.random.default_rng(3).permutation(ROWS).astype(float))
    found = numbers(draw(1), FAULTS["stuck"], by_column(pl.Series(np.arange(ROWS)), moment, "at")).inconclusive
    assert found == ""
    in_order = FAULTS["stuck"][moment.to_numpy().astype(int)]
    found = numbers(draw(1), in_order, by_column(pl.Series(np.arange(ROWS)), moment, "at")).inconclusive
    assert "rows in the order of at 1 to 2,000" in found


@pytest.mark.parametrize("rows", [200, 2000])
def test_without_a_fault_stretches_hardly_ever_differ(rows):
    for seed in range(100):
        one, other = draw(seed, rows), np.exp(draw(seed + 200, rows))
        assert not numbers(np.exp(one), other, Ordered()).inconclusive.startswith(CHANGED)


def test_stretches_that_differ_in_the_reference_too_are_how_the_world_is():
    """Now and then fifty rows in a row are missing."""
    one, other = (np.where(draw(seed, ROWS // 50).repeat(50) > 1.5, np.nan, draw(seed)) for seed in (1, 2))
    assert not numbers(one, other, Ordered()).inconclusive.startswith(CHANGED)
