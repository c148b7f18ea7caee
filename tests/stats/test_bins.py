"""Bins of numbers, to draw them."""

import numpy as np
import pytest

from aiinfra_lab.stats.bins import shares_in_bins


@pytest.mark.parametrize(("values", "bins"), [(8, 8), (14, 14), (30, 10), (1, 1)])
def test_whole_numbers_that_are_all_as_common_are_drawn_flat(values, bins):
    (shares,) = shares_in_bins(np.tile(np.arange(1, values + 1), 50), most=14)
    assert shares == pytest.approx([1 / bins] * bins)


def test_two_samples_share_their_bins():
    before, now = shares_in_bins(np.array([1, 1, 2]), np.array([2, 3]), most=14)
    assert (before, now) == (pytest.approx([2 / 3, 1 / 3, 0]), [0, 0.5, 0.5])


def test_fractions_fill_as_many_bins_as_are_allowed():
    (shares,) = shares_in_bins(np.linspace(0, 1, 1001), most=14)
    assert (len(shares), sum(shares)) == (14, pytest.approx(1))


def test_what_lies_far_off_counts_to_the_last_bin():
    (shares,) = shares_in_bins(np.array([1, 2] * 500 + [10**9]), most=14)
    assert (len(shares), sum(shares)) == (2, pytest.approx(1))


def test_no_finite_number_has_no_bins():
    assert shares_in_bins(np.array([np.nan, np.inf]), most=14) == [[]]
