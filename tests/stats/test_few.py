"""Few blocks, and blocks that differ in size."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy import stats

from aiinfra_lab.stats.blocks import Ordered, by_column
from aiinfra_lab.stats.cluster import cells_difference, mean_difference
from aiinfra_lab.stats.columns import ColumnShift, categories, numbers
from aiinfra_lab.stats.few import Known, left_out
from aiinfra_lab.stats.profiles import Profile

LINE = np.array([0.0, 1.0, 2.0])


def of_rows(rows: np.ndarray) -> Profile:
    """Blocks with so many rows each."""
    return Profile(rows[:, None])


def test_of_blocks_of_one_size_there_is_one_degree_of_freedom_less():
    known = Known.of(of_rows(np.full(7, 30)))
    assert (known.freedom, known.worth()) == pytest.approx((6.0, 7.0))


def test_a_large_block_counts_for_several_and_leaves_few_degrees_of_freedom():
    known = Known.of(of_rows(np.array([100, 1, 1, 1, 1, 1])))
    assert known.freedom < 3
    assert known.worth() == pytest.approx(105**2 / (100**2 + 5))


@pytest.mark.parametrize("blocks", [0, 1])
def test_less_than_two_blocks_show_no_variance(blocks):
    known = Known.of(of_rows(np.full(blocks, 9)))
    assert (known.freedom, known.worth()) == (0.0, blocks)


def test_the_variance_is_what_leaving_out_one_block_at_a_time_shows():
    rows, sums = np.array([5.0, 50.0, 20.0, 9.0]), np.array([1.0, 30.0, 2.0, 8.0])
    mean = sums.sum() / rows.sum()
    without = (sums.sum() - sums) / (rows.sum() - rows)
    seen = ((sums - mean * rows) * left_out(rows)) ** 2
    assert seen.sum() == pytest.approx(3 / 4 * ((without - mean) ** 2).sum())


def test_few_blocks_that_happen_to_be_alike_are_held_against_the_many():
    many = Profile(np.random.default_rng(1).multinomial(30, [0.4, 0.3, 0.3], size=60))
    alike = Profile(np.tile([9, 11, 10], (5, 1)))
    assert mean_difference(many, alike, LINE).p > 0.05
    assert cells_difference(many, alike).p > 0.05
    assert Known.of(many).least(Known.of(alike)) == 0


def entities(rng: np.random.Generator, count: int, *, alpha: float = 1.3) -> Profile:
    """Of sizes by Pareto's law, each in one of three cells altogether."""
    sizes = np.minimum(rng.pareto(alpha, count) * 3 + 1, 400).astype(int)
    return Profile(sizes[:, None] * rng.multinomial(1, [0.4, 0.3, 0.3], size=count))


@pytest.mark.parametrize("compare", [lambda a, b: mean_difference(a, b, LINE), cells_difference])
@pytest.mark.parametrize("counts", [(20, 20), (60, 8), (8, 60)])
def test_entities_of_very_different_sizes_are_flagged_no_more_often_than_stated(compare, counts):
    rng = np.random.default_rng(2)
    p = [compare(*(entities(rng, count) for count in counts)).p for _ in range(300)]
    assert sum(each <= 0.05 for each in p) <= stats.binom.ppf(0.999, 300, 0.05)


def flagged_of(checks: int, draw: Callable[[np.random.Generator], ColumnShift]) -> int:
    """How many of those checks call a column drifted."""
    found = [draw(np.random.default_rng(seed)) for seed in range(checks)]
    return sum(shift.matters and shift.p is not None and shift.p <= 0.05 for shift in found)


def test_what_is_rare_and_did_not_occur_in_a_small_sample_is_flagged_no_more_often_than_stated():
    def draw(rng: np.random.Generator) -> ColumnShift:
        return numbers(*(rng.binomial(1, 0.004, rows).astype(float) for rows in (20_000, 150)), Ordered())

    assert flagged_of(60, draw) <= stats.binom.ppf(0.999, 60, 0.05)


@pytest.mark.parametrize("days", [(365, 30), (30, 365)])
def test_outages_on_few_of_many_days_are_flagged_no_more_often_than_stated(days):
    def sample(rng: np.random.Generator, count: int) -> tuple[list[str], pl.Series]:
        day = np.repeat(np.arange(count), 20)
        is_out = (rng.random(count) < 0.04)[day] & (rng.random(len(day)) < 0.8)
        return np.where(is_out, "out", "well").tolist(), pl.Series(day)

    def draw(rng: np.random.Generator) -> ColumnShift:
        (before, day), (now, day_now) = (sample(rng, count) for count in days)
        return categories(before, now, by_column(day, day_now, "day"))

    assert flagged_of(60, draw) <= stats.binom.ppf(0.999, 60, 0.05)
