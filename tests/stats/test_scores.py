"""What is looked at in a number."""

import numpy as np
import pytest

from aiinfra_lab.stats.profiles import Profile, number_cells, profile
from aiinfra_lab.stats.scores import normal_scores, shape_groups, spread_scores, tails

MASS = np.array([10, 20, 40, 20, 10])


def cut(values: np.ndarray, blocks: int = 40) -> Profile:
    cells = number_cells(values)
    return profile(cells.of(values), cells.count, np.arange(len(values)) * blocks // len(values)).known


def test_place_and_spread_are_standard_scores_that_share_nothing():
    place = normal_scores(MASS)
    spread = spread_scores(place, MASS)
    assert [place @ MASS, spread @ MASS, (place * spread) @ MASS] == pytest.approx([0, 0, 0], abs=1e-9)
    assert [place**2 @ MASS, spread**2 @ MASS] == pytest.approx([100, 100])


def test_two_values_have_no_spread_of_their_own():
    mass = np.array([30, 70])
    assert spread_scores(normal_scores(mass), mass) is None
    assert spread_scores(normal_scores(np.array([100])), np.array([100])) is None


def test_a_shape_is_ten_groups_of_about_the_same_mass():
    assert np.bincount(shape_groups(np.full(20, 5))).tolist() == [2] * 10


def test_a_tail_reaches_as_far_as_the_reference_has_evidence():
    """Of 20,000 rows 0.1 % are 20; of 200 values that come ten times each, there are none that far out."""
    rng = np.random.default_rng(1)
    many, few = cut(rng.normal(size=20_000)), cut(np.repeat(rng.normal(size=200), 10))
    assert many.cells[tails(many)].sum() / 20_000 == pytest.approx(0.002, abs=0.0005)
    assert few.cells[tails(few)].sum() / 2000 >= 0.02
    assert (few.counts[:, tails(few)].sum(axis=1) > 0).sum() >= 5


@pytest.mark.parametrize("values", [np.arange(2000) % 3.0, np.zeros(2000)], ids=["three values", "one value"])
def test_beyond_values_that_many_rows_share_anything_is_an_outlier(values):
    found = cut(values)
    assert found.cells[tails(found)].sum() == 0
    assert tails(found)[[0, -1]].all()
