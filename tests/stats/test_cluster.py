"""Tests of two profiles whose blocks are the units of evidence."""

import numpy as np
import pytest
from scipy import stats

from aiinfra_lab.stats.cluster import cells_difference, mean_difference, share_difference, unseen_difference
from aiinfra_lab.stats.profiles import Profile, profile

LINE = np.array([0.0, 1.0, 2.0])


def rows(seed: int, shares: list[float], count: int = 400) -> Profile:
    """Each row a block of its own."""
    return Profile(np.random.default_rng(seed).multinomial(1, shares, size=count))


def test_with_a_row_a_block_the_mean_is_compared_as_welchs_t_test_does():
    one, other = rows(1, [0.2, 0.3, 0.5]), rows(2, [0.3, 0.3, 0.4])
    expected = stats.ttest_ind(other.counts @ LINE, one.counts @ LINE, equal_var=False)
    found = mean_difference(one, other, LINE)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.effect == pytest.approx((other.counts @ LINE).mean() - (one.counts @ LINE).mean())


def test_with_a_row_a_block_cells_are_compared_nearly_as_pearson_does():
    one, other = rows(1, [0.2, 0.3, 0.5]), rows(2, [0.25, 0.3, 0.45])
    expected = stats.chi2_contingency([one.cells, other.cells], correction=False).pvalue
    assert cells_difference(one, other).p == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("copies", [2, 10])
def test_rows_that_repeat_within_a_block_are_no_more_evidence(copies):
    one, other = rows(1, [0.2, 0.3, 0.5]), rows(2, [0.3, 0.3, 0.4])
    more, other_more = Profile(one.counts * copies), Profile(other.counts * copies)
    assert mean_difference(more, other_more, LINE).p == pytest.approx(mean_difference(one, other, LINE).p)
    assert cells_difference(more, other_more).p == pytest.approx(cells_difference(one, other).p)


def test_what_few_blocks_have_is_compared_by_blocks_and_by_rows_and_the_larger_p_counts():
    nothing = Profile(np.tile([50, 0], (40, 1)))
    burst = nothing.counts.copy()
    burst[0] = [0, 50]
    found = share_difference(nothing, Profile(burst), np.array([False, True]))
    assert found.p == pytest.approx(1.0)
    assert found.effect == pytest.approx(1 / 40)


@pytest.mark.parametrize("compare", [lambda a, b: mean_difference(a, b, LINE), cells_difference])
def test_an_inflated_variance_makes_a_larger_p(compare):
    one, other = rows(1, [0.2, 0.3, 0.5]), rows(2, [0.3, 0.3, 0.4])
    assert compare(one, other).p < compare(Profile(one.counts, 2.0), Profile(other.counts, 2.0)).p < 1


@pytest.mark.parametrize("compare", [lambda a, b: mean_difference(a, b, LINE), cells_difference])
@pytest.mark.parametrize("other", [np.zeros((0, 3), int), np.array([[1, 2, 3]])], ids=["no block", "one block"])
def test_without_two_blocks_nothing_has_changed(compare, other):
    assert compare(rows(1, [0.2, 0.3, 0.5]), Profile(other)).p == 1.0


@pytest.mark.parametrize(("now", "p"), [([10, 0, 0], 1.0), ([0, 0, 10], 0.0)])
def test_blocks_that_do_not_vary_differ_or_do_not(now, p):
    one, other = Profile(np.tile([10, 0, 0], (8, 1))), Profile(np.tile(now, (8, 1)))
    assert (mean_difference(one, other, LINE).p, cells_difference(one, other).p) == (p, p)


def test_a_rare_value_that_one_sample_lacks_is_no_new_one():
    """Of 400 values, each expected in five rows, some are in one sample only."""
    p = [
        unseen_difference(rows(seed, [1 / 400] * 400, 2000), rows(seed + 50, [1 / 400] * 400, 2000)).p
        for seed in range(50)
    ]
    assert sum(each <= 0.05 for each in p) <= stats.binom.ppf(0.999, 50, 0.05)


@pytest.mark.parametrize("seed", range(5))
def test_keys_of_which_a_few_lie_across_the_end_of_a_block_are_no_new_values(seed):
    def orders(first: int) -> np.ndarray:
        """Rows of orders with 1 to 8 lines each, in their own order."""
        lines = np.random.default_rng(seed + first).integers(1, 9, 600)
        return first + np.repeat(np.arange(600), lines)[:2000]

    block = np.arange(2000) // 50
    before, now = (profile(cells, 1200, block) for cells in (orders(0), orders(600)))
    assert unseen_difference(before, now).p > 0.05


@pytest.mark.parametrize(("blocks", "is_seen"), [(2, False), (40, True)])
def test_a_new_value_is_seen_by_the_blocks_that_have_it(blocks, is_seen):
    before, now = np.tile([50, 0], (40, 1)), np.tile([50, 0], (40, 1))
    now[:blocks] = [49, 1]
    assert (unseen_difference(Profile(before), Profile(now)).p < 0.05) == is_seen


def test_of_few_rows_that_depend_on_each_other_as_many_count_as_they_are_worth():
    nothing, some = (np.tile([500, 0], (40, 1)) for _ in range(2))
    some[:4] = [490, 10]
    plain, dependent = (
        share_difference(Profile(nothing, 1.0, time), Profile(some, 1.0, time), np.array([False, True])).p
        for time in (1.0, 20.0)
    )
    assert dependent > plain
