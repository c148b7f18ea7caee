"""Block by block: arms that wander apart by themselves are not slower."""

import math

import numpy as np
import pytest

from aiinfra_lab.stats.wander import LIMIT, LogSums, Wander


def sums(mean, count=100, spread=0.4):
    return LogSums(count, count * mean, count * (mean**2 + spread**2))


def blocks(wander, differences):
    for difference in differences:
        wander.add(60.0, sums(3.0, 2000), sums(3.0 + difference))


def test_a_slow_canary_is_found_in_a_few_blocks_once_they_are_known():
    rng = np.random.default_rng(1)
    wander = Wander()
    blocks(wander, rng.normal(0, 0.04, 20))
    assert wander.evidence < LIMIT / 100
    blocks(wander, math.log(1.5) + rng.normal(0, 0.04, 3))
    assert wander.evidence > LIMIT


def test_what_the_champion_did_before_tells_from_the_start():
    wander = Wander(before=(3.0,) * 30)
    blocks(wander, [math.log(1.5)] * 3)
    assert wander.evidence > LIMIT
    unknown = Wander(before=(3.0,) * 14)
    blocks(unknown, [math.log(1.5)] * 3)
    assert unknown.evidence == 0


def test_a_champion_that_wanders_makes_it_careful():
    rng = np.random.default_rng(2)
    wander = Wander(before=tuple(3.0 + rng.normal(0, 0.3, 30)))
    blocks(wander, [math.log(1.5)] * 3)
    assert wander.evidence < LIMIT / 100


def test_a_block_waits_for_answers_of_both():
    wander = Wander(before=(3.0,) * 30)
    wander.add(60.0, sums(3.0), sums(4.0, 5))
    assert len(wander.differences) == 0
    wander.add(10.0, sums(3.0), sums(4.0, 5))
    assert list(wander.differences) == [pytest.approx(1.0)]


def test_it_is_kept():
    wander = Wander(before=(3.0,) * 30)
    blocks(wander, [0.01, 0.3, 0.2])
    kept = Wander.of_state(wander.to_state())
    assert kept.evidence == pytest.approx(wander.evidence, rel=1e-3)
    assert list(kept.differences) == pytest.approx([0.01, 0.3, 0.2])
