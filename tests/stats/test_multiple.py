"""One level for many tests."""

import pytest
from scipy import stats

from aiinfra_lab.stats.multiple import adjusted


def test_adjusted_is_benjamini_and_hochbergs():
    found = [0.001, 0.04, 0.03, 0.5, 0.9]
    assert adjusted(found) == pytest.approx(stats.false_discovery_control(found, method="bh"))
    assert adjusted([]) == []


@pytest.mark.parametrize("p_values", [[0.5], [0.01, 0.01, 0.01], [0.9, 0.1, 1.0, 0.0]])
def test_adjusted_p_values_are_no_smaller_and_keep_their_order(p_values):
    found = adjusted(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, found, strict=True))
    ranked = sorted(range(len(found)), key=lambda index: p_values[index])
    assert [found[index] for index in ranked] == sorted(found)
