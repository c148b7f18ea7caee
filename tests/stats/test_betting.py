"""Bets: they show what is so, rarely what is not, and say about how many requests are missing."""

import json

import numpy as np
import pytest

from aiinfra_lab.stats.betting import NotWorse, OneSample


def pairs(bets, rng, champion, canary, requests, share=0.05):
    """So many requests of the canary among the champion's."""
    for _ in range(requests):
        for _ in range(rng.geometric(share) - 1):
            bets.add(rng.random() < champion, is_canary=False)
        bets.add(rng.random() < canary, is_canary=True)
    return bets


def test_a_canary_that_is_alike_is_shown_to_be_not_worse():
    rng = np.random.default_rng(1)
    assert sum(pairs(NotWorse(0.01), rng, 0.005, 0.005, 2000).is_shown for _ in range(8)) >= 7


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_one_that_is_worse_by_the_margin_is_rarely_shown(share):
    rng = np.random.default_rng(3)
    shown = sum(pairs(NotWorse(0.05), rng, 0.02, 0.07, 400, share).is_shown for _ in range(200))
    assert shown <= 18  # 5 % of 200, and thrice its error


def test_where_both_get_half_each_request_is_a_bet():
    bets = NotWorse(0.01)
    for number in range(1000):
        bets.add(False, is_canary=number % 4 < 2)
    assert len(bets.waiting) <= 2
    assert bets.wealths[-1] == pytest.approx(1.007**500, rel=0.05)


def test_requests_of_one_arm_alone_are_no_evidence():
    bets = NotWorse(0.01)
    for _ in range(1000):
        bets.add(False, is_canary=True)
    assert bets.wealth == 1.0


def test_about_so_many_requests_show_it_as_are_missing():
    rng = np.random.default_rng(5)
    taken = []
    for _ in range(9):
        bets = NotWorse(0.01)
        while not bets.is_shown:
            pairs(bets, rng, 0.0, 0.0, 1)
        taken.append(bets.counts[1][0])
    bets = pairs(NotWorse(0.01), rng, 0.0, 0.0, 200)
    assert bets.needed() == pytest.approx(np.median(taken) - 200, rel=0.5)
    assert NotWorse(0.01).needed() > bets.needed()
    assert pairs(NotWorse(0.01), rng, 0.0, 0.3, 200).needed() is None


def test_bets_are_kept():
    bets = pairs(NotWorse(0.01), np.random.default_rng(6), 0.01, 0.01, 300)
    kept = NotWorse.of_state(json.loads(json.dumps(bets.to_state())))
    assert (kept.counts, kept.champion, kept.waiting) == (bets.counts, bets.champion, bets.waiting)
    assert kept.most == pytest.approx(bets.most, rel=1e-4)


def hours(alarm, rng, share, looks):
    for _ in range(looks):
        alarm.add(int(rng.binomial(500, share)), 500, 10.0)
    return alarm


def test_a_bound_is_exceeded_kept_or_neither():
    rng = np.random.default_rng(7)
    assert hours(OneSample(0.01), rng, 0.03, 60).is_exceeded
    kept = hours(OneSample(0.01), rng, 0.002, 60)
    assert (kept.is_kept, kept.is_exceeded, kept.needed()) == (True, False, 0)
    even = hours(OneSample(0.01), rng, 0.01, 60)
    assert (even.is_kept, even.is_exceeded) == (False, False)


def test_an_alarm_comes_soon_after_hours_of_health_and_ends():
    rng = np.random.default_rng(8)
    alarm = hours(OneSample(0.01), rng, 0.002, 2160)
    assert hours(alarm, rng, 0.03, 12).is_exceeded
    assert hours(alarm, rng, 0.002, 360).is_kept


def test_a_bound_that_lies_high_can_be_exceeded_too():
    alarm = OneSample(0.99)
    alarm.add(5000, 5000, 10.0)
    assert alarm.is_exceeded


def test_of_none_allowed_the_first_exceeds():
    alarm = OneSample(0.0)
    alarm.add(0, 500, 10.0)
    assert not alarm.is_exceeded
    alarm.add(1, 500, 10.0)
    assert alarm.is_exceeded


def test_an_alarm_is_kept_over_a_restart():
    alarm = hours(OneSample(0.01), np.random.default_rng(9), 0.008, 30)
    kept = OneSample.of_state(json.loads(json.dumps(alarm.to_state())))
    assert (kept.counts, kept.evidence) == (alarm.counts, pytest.approx(alarm.evidence, rel=1e-3))
