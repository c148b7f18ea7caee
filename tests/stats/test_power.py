"""What a canary's share is worth, said beforehand."""

import math

import numpy as np
import pytest

from aiinfra_lab.stats.power import seconds_to_see
from tests.benchmarks import _canary as canary


def test_it_is_about_what_a_fault_then_takes():
    fault = canary.Traffic(errors=(0.005, 0.02))
    found = [canary.seconds_to_find(np.random.default_rng(seed), fault, 0) for seed in range(7)]
    assert seconds_to_see(50, 0.05, 0.005, 0.02) == pytest.approx(np.median(found), rel=0.5)


def test_little_traffic_takes_hours_and_more_share_fewer():
    little = seconds_to_see(40 / 60, 0.05, 0.01, 0.02)
    assert little > 10 * 3600
    assert seconds_to_see(40 / 60, 0.25, 0.01, 0.02) < little / 3


@pytest.mark.parametrize("given", [(0.0, 0.05, 0.01, 0.02), (50.0, 0.0, 0.01, 0.02), (50.0, 0.05, 0.02, 0.02)])
def test_what_is_never_seen_takes_for_ever(given):
    assert math.isinf(seconds_to_see(*given))
