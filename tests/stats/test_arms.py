"""A canary beside its champion: what convicts it, what never does, and what is kept over a restart."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from aiinfra_lab.stats.arms import GROUPS, HEAD_START, LIMIT, LONGEST_S, ArmComparison
from aiinfra_lab.stats.latencies import FrozenLatencies
from tests.benchmarks import _canary as canary
from tests.benchmarks._canary import LOOK_S, Ours, Traffic


def comparison(share=0.05, **given):
    return ArmComparison(share, 0.0, **given)


def take(compared, now, champion, on_canary):
    """One look. champion, on_canary: (failed, requests), dealt to the groups in turn."""
    for is_canary, (failed, requests) in enumerate((champion, on_canary)):
        for at in range(requests):
            compared.add(at % GROUPS, 10.0, is_canary=bool(is_canary), failed=at < failed)
    if stratum := compared.close(now):
        compared.weigh(stratum, now)


@pytest.mark.parametrize("odds", [1.5, 5.0, 100.0])
@pytest.mark.parametrize(("requests", "on_canary", "failed"), [(40, 2, 8), (60, 30, 3), (25, 1, 24), (200, 10, 100)])
def test_while_nothing_is_wrong_a_bet_wins_nothing_on_average(odds, requests, on_canary, failed):
    """Exactly: over all ways in which the failures may fall on the arms."""
    expected = 0.0
    place = [1.5, 2, 3, 5, 10, 30, 100].index(odds)
    for drawn in range(max(0, failed - requests + on_canary), min(failed, on_canary) + 1):
        chance = math.comb(failed, drawn) * math.comb(requests - failed, on_canary - drawn)
        compared = comparison(on_canary / requests)
        take(compared, 10.0, (failed - drawn, requests - on_canary), (drawn, on_canary))
        before = HEAD_START * LIMIT + 1
        expected += chance / math.comb(requests, on_canary) * compared._sums[0, place] / before
    assert 0 < expected <= 1 + 1e-9


def test_of_few_requests_a_bet_wins_nothing_on_average():
    share, expected = 0.2, np.zeros(7)
    for drawn in range(4):
        compared = comparison(share)
        take(compared, LONGEST_S, (3 - drawn, 3 - drawn), (drawn, drawn))
        expected += math.comb(3, drawn) * share**drawn * (1 - share) ** (3 - drawn) * compared._few[:7]
    assert expected == pytest.approx((HEAD_START * LIMIT + 6) * np.ones(7))


def test_a_total_outage_is_no_evidence():
    compared = comparison()
    take(compared, 10.0, (475, 475), (25, 25))
    assert np.all(compared._sums[:, :7] <= HEAD_START * LIMIT + 1 + 1e-6)


def test_a_look_at_too_few_requests_waits_for_more():
    compared = comparison()
    take(compared, 10.0, (0, 5), (0, 1))
    assert (compared.at, compared.stratum.total) == (0.0, 6)
    take(compared, 20.0, (0, 30), (0, 1))
    assert (compared.at, compared.stratum.total) == (20.0, 0)


def test_errors_of_the_canary_alone_convict_it_with_what_was_counted_and_since_when():
    compared = comparison(0.5)
    for look in range(1, 61):
        take(compared, look * 10.0, (0, 50), (0, 50))
    for look in range(61, 65):
        take(compared, look * 10.0, (0, 50), (10, 50))
    assert compared.convicted == "errors"
    shares = compared.shares("errors")
    assert (shares.canary_bad / shares.canary, shares.champion_bad) == (0.2, 0)
    assert shares.since == 600.0


def test_what_is_not_guarded_convicts_nobody():
    compared = comparison(0.5, guarded=["latency"])
    for look in range(1, 10):
        take(compared, look * 10.0, (0, 50), (40, 50))
    assert compared.evidence("errors") > LIMIT
    assert compared.convicted is None


def test_a_group_of_keys_alone_convicts_nobody():
    compared = comparison(0.5)
    for look in range(1, 30):
        for _ in range(20):
            compared.add(3, 10.0, is_canary=True, failed=True)
        take(compared, look * 10.0, (0, 50), (0, 30))
    assert compared._sums[0, :7].mean() > LIMIT
    assert compared.convicted is None


def test_a_key_that_always_fails_leaves_the_size_of_the_others_difference_to_be_judged():
    """Else only chance would stand between such a key and a rollback."""
    compared = comparison(0.5)
    for look in range(1, 60):
        for _ in range(20):
            compared.add(3, 10.0, is_canary=True, failed=True)
        take(compared, look * 10.0, (0, 1000), (2, 1000))
    assert compared._sums[:, :7].mean(axis=1).min() > LIMIT
    assert compared.evidence("errors") < LIMIT


def test_errors_that_are_hardly_more_convict_nobody_however_sure_they_are():
    compared = comparison(0.5)
    for look in range(1, 60):
        take(compared, look * 10.0, (0, 1000), (2, 1000))
    assert compared._sums[:, :7].mean(axis=1).min() > LIMIT
    assert compared.evidence("errors") == 0


def test_years_without_an_error_do_not_make_the_first_one_convict():
    compared = comparison(0.05)
    for year in range(1, 4):
        take(compared, year * 3e7, (0, 475), (0, 25))
    take(compared, 9.1e7, (0, 475), (1, 25))
    assert compared.evidence("errors") < LIMIT / 4


def test_false_rollbacks_are_bounded_by_what_is_stated():
    compared = comparison()
    assert compared.false_rollbacks_per_hour == pytest.approx(0.01)
    assert compared.false_rollbacks_at_start == pytest.approx(0.005)
    assert comparison(guarded=["errors"], limit=360_000.0).false_rollbacks_per_hour == pytest.approx(0.001)


def test_latencies_convict_only_when_whole_blocks_agree():
    compared = comparison(0.5, latencies=canary.FROZEN)
    rng = np.random.default_rng(1)
    slow = Traffic(share=0.5, slower=(0.0, math.log(1.5)))
    for look in range(1, 30):
        compared.weigh(canary.look(rng, slow).stratum, look * LOOK_S)
    assert compared._sums[:, 7:].mean(axis=1).min() > LIMIT
    assert (compared.wander.evidence, compared.convicted) == (0.0, None)  # nobody knows yet how they wander apart


@pytest.mark.parametrize("story", canary.HEALTHY.values(), ids=canary.HEALTHY)
def test_a_healthy_canary_is_not_convicted(story):
    rng = np.random.default_rng(11)
    moments = story(rng)
    rule = Ours(before=canary.minutes_before(rng, moments))
    assert not any(rule.sees(canary.look(rng, next(moments)), (at + 1) * LOOK_S) for at in range(3 * 360))


@pytest.mark.parametrize(
    ("fault", "most_s"),
    [
        (Traffic(errors=(0.005, 0.05)), 180),
        (Traffic(errors=(0.005, 0.015)), 1500),
        (Traffic(slower=(0.0, math.log(1.2))), 360),
        (Traffic(slower=(0.0, math.log(1.5))), 240),
    ],
)
@pytest.mark.parametrize("healthy_h", [0, 2])
def test_a_fault_is_found_as_soon_after_hours_of_health_as_from_the_start(fault, most_s, healthy_h):
    found = [canary.seconds_to_find(np.random.default_rng(seed), fault, healthy_h) for seed in range(4)]
    assert None not in found
    assert sorted(found)[2] <= most_s


def test_half_of_three_requests_a_minute_that_fail_are_found():
    fault = Traffic(per_s=0.05, errors=(0.005, 0.5))
    found = [canary.seconds_to_find(np.random.default_rng(seed), fault, 1, most_s=8 * 3600) for seed in range(9)]
    assert sorted(found)[4] <= 45 * 60


def test_what_was_kept_goes_on_where_it_was():
    rng, other = np.random.default_rng(2), np.random.default_rng(2)
    going, kept = (Ours(before=(3.4,) * 20).comparison for _ in range(2))
    fault = Traffic(errors=(0.005, 0.03), slower=(0.0, 0.1))
    for at in range(1, 40):
        going.weigh(canary.look(rng, fault).stratum, at * LOOK_S)
        if at % 6 == 1:  # between blocks: what is not over is not kept
            kept = ArmComparison.of_state(json.loads(json.dumps(kept.to_state())))
        kept.weigh(canary.look(other, fault).stratum, at * LOOK_S)
    assert kept.evidence("errors") == pytest.approx(going.evidence("errors"), rel=1e-2)
    assert kept.shares("errors") == going.shares("errors")
    assert kept.at == going.at
    assert len(json.dumps(kept.to_state())) < 12_000


def test_latencies_are_frozen_only_once_there_are_enough():
    edges, counts = [1.0, 2.0, 4.0, 8.0], [10, 50, 30, 9, 1]
    assert FrozenLatencies.of_histogram(edges, counts) is None
    found = FrozenLatencies.of_histogram(edges, [10 * count for count in counts])
    assert 4 < found.p95_ms < 8
    assert found.bin_of(4.19, is_canary=True) == found.bin_of(4.0, is_canary=False)


def test_latencies_that_are_all_alike_can_be_compared_too():
    found = FrozenLatencies.of_histogram([1.0, 2.0, 4.0], [0, 1000, 0, 0])
    assert len(set(found.edges_ms)) == 12
    assert 1 <= found.edges_ms[0] < found.edges_ms[-1] <= 2


def test_a_margin_is_forgiven_to_the_canary():
    rule, rng = Ours(before=(3.4,) * 20), np.random.default_rng(4)
    slower = replace(Traffic(), slower=(0.0, math.log(1.04)))
    assert not any(rule.sees(canary.look(rng, slower), at * LOOK_S) for at in range(1, 360))
