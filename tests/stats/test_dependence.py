"""What rows in their order are worth."""

import numpy as np
import pytest
from scipy import signal

from aiinfra_lab.stats.dependence import DOUBT, LEAST_STRETCHES, MOST_MEMORY, Stretches, independent, stretches
from aiinfra_lab.stats.profiles import number_cells
from aiinfra_lab.stats.scores import normal_scores, spread_scores


def autoregressive(seed: int, r: float, rows: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=rows)
    return signal.lfilter([1], [1, -r], noise)


def cut(values: np.ndarray) -> Stretches:
    cells = number_cells(values)
    found = cells.of(values)
    mass = np.bincount(found, minlength=cells.count)[:-1]
    place = normal_scores(mass)
    return stretches(found, cells.count, np.stack([place, spread_scores(place, mass)], axis=1))


def cut_classes(values: np.ndarray, classes: int) -> Stretches:
    """The same values as so many classes, of which nobody knows the order."""
    cells = np.digitize(values, np.quantile(values, np.arange(1, classes) / classes))
    return stretches(np.random.default_rng(0).permutation(classes)[cells], classes + 1)


@pytest.mark.parametrize("r", [0.0, 0.5, 0.9])
def test_autoregressive_rows_are_worth_what_theory_says(r):
    """The integrated autocorrelation time of an AR(1) process is (1 + r) / (1 - r)."""
    found = cut(autoregressive(1, r, 20_000))
    assert found.time == pytest.approx((1 + r) / (1 - r), rel=0.3)
    assert found.worth == pytest.approx(20_000 / found.time)


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_classes_are_as_slow_as_what_stands_behind_them(classes):
    assert cut_classes(autoregressive(1, 0.9, 20_000), classes).time > 9
    assert cut_classes(autoregressive(1, 0.0, 20_000), classes).time < 1.3


def test_rows_that_come_ten_times_are_worth_one():
    values = np.repeat(np.random.default_rng(2).normal(size=500), 10)
    assert 8 < cut(values).time < 20


def test_a_slow_part_beneath_much_noise_is_seen():
    """The correlation of neighbouring rows is a tenth, and yet they are worth a sixth."""
    rng = np.random.default_rng(3)
    slow = autoregressive(4, 0.97, 20_000)
    assert cut(rng.normal(size=20_000) + slow / slow.std() / 3).time > 4


def test_a_volatility_that_lasts_is_a_resemblance_too():
    noise = np.random.default_rng(5).normal(size=20_000)
    assert cut(noise * np.exp(autoregressive(6, 0.99, 20_000) / 7)).time > 10


def test_independent_rows_stay_in_forty_blocks():
    one, other, inconclusive = independent(cut(autoregressive(1, 0, 2000)), cut(autoregressive(2, 0, 2000)))
    assert (len(one.counts), len(other.counts), inconclusive) == (40, 40, "")


def test_rows_that_resemble_their_neighbours_come_in_longer_blocks():
    one, other, inconclusive = independent(cut(autoregressive(1, 0.9, 2500)), cut(autoregressive(2, 0.9, 2500)))
    assert LEAST_STRETCHES <= min(len(one.counts), len(other.counts)) < 40
    assert inconclusive == ""
    assert one.counts.sum() == 2500
    assert min(item.profile(is_doubtful=False).inflation for item in (one, other)) > 1


def test_a_handful_of_effective_rows_is_inconclusive():
    *_, inconclusive = independent(cut(autoregressive(1, 0.99, 2000)), cut(autoregressive(2, 0.99, 2000)))
    assert "60 are needed" in inconclusive


def test_a_trend_leaves_no_independent_blocks():
    rng = np.random.default_rng(7)
    trend = np.linspace(0, 0.3, 50_000)
    *_, inconclusive = independent(*(cut(trend + rng.normal(size=50_000)) for _ in range(2)))
    assert "resemble" in inconclusive


def test_blocks_are_long_beside_what_correlation_lasts_for():
    """A weak slow part hardly correlates blocks, and yet decides their sums."""
    rng = np.random.default_rng(8)
    parts = (autoregressive(seed, 0.98, 6000) for seed in (9, 10))
    one, other, _ = independent(*(cut(part / part.std() * 0.4 + rng.normal(size=6000)) for part in parts))
    assert max(one.relative_memory, other.relative_memory) <= MOST_MEMORY
    assert min(len(one.counts), len(other.counts)) < 40


def test_of_many_classes_noise_alone_is_no_resemblance():
    assert np.mean([cut_classes(autoregressive(seed, 0.0, 500), 40).time for seed in range(10)]) < 1.3


def test_doubt_raises_the_variance():
    found = cut(autoregressive(1, 0.9, 2000))
    assert found.profile(is_doubtful=True).inflation == DOUBT * found.profile(is_doubtful=False).inflation


def test_rows_of_either_sample_depend_on_each_other_as_those_of_the_other_do():
    """A reference in no order says nothing of its own."""
    slow = autoregressive(1, 0.9, 5000)
    mixed = cut(np.random.default_rng(2).permutation(slow))
    one, other, _ = independent(mixed, cut(autoregressive(3, 0.9, 5000)))
    assert mixed.time < 2
    assert one.time == other.time > 9
    assert one.profile(is_doubtful=False).time == one.time


@pytest.mark.parametrize("seed", range(10))
def test_what_may_be_chance_in_many_rows_is_not_held_against_few(seed):
    few = cut(autoregressive(seed + 50, 0, 60))
    _, other, _ = independent(cut(autoregressive(seed, 0, 20_000)), few)
    assert other.worth == few.worth
