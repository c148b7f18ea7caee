"""The autoscaler's rule: what it promises holds for any policy and any load."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.scaling import Decision, Measurement, ScalingPolicy, ScalingState, decide, simulate

POOL = ScalingPolicy(min=0, max=8, per_replica=2)
TICK_S = 5.0
LONG = 10_000


def follow(policy: ScalingPolicy, loads, begin: int | None = None, busy: int = 0) -> list[Decision]:
    """The decisions on one load a tick; `None` is a load that could not be measured."""
    state = ScalingState.begin(policy.min if begin is None else begin, 0.0)
    decisions = []
    for tick, load in enumerate(loads):
        decisions.append(decide(policy, state, Measurement(tick * TICK_S, load, busy)))
        state = decisions[-1].state
    return decisions


def targets(policy: ScalingPolicy, loads, begin: int | None = None, busy: int = 0) -> list[int]:
    return [decision.target for decision in follow(policy, loads, begin, busy)]


def changes(seen: list[int]) -> tuple[list[int], list[int]]:
    """The ticks of the changes up, and of those down."""
    steps = [(tick, other - one) for tick, (one, other) in enumerate(pairwise(seen))]
    return [tick for tick, step in steps if step > 0], [tick for tick, step in steps if step < 0]


policies = st.builds(
    lambda low, more, **rest: ScalingPolicy(min=low, max=max(low + more, 1), **rest),
    low=st.integers(0, 5),
    more=st.integers(0, 20),
    per_replica=st.floats(0.1, 50),
    tolerance=st.floats(0, 0.5),
    up_s=st.sampled_from([0.0, 0.0, 7.0, 60.0]),
    down_s=st.sampled_from([0.0, 10.0, 60.0, 300.0]),
    idle_to_zero_s=st.sampled_from([0.0, 30.0, 300.0]),
)
loads = st.lists(st.none() | st.floats(0, 300) | st.just(0.0), min_size=1, max_size=60)


# ---- what it wants ----


@pytest.mark.parametrize(("load", "wanted"), [(0.5, 1), (2, 1), (3, 2), (7, 4), (16, 8), (1e300, 8)])
def test_a_step_of_the_load_is_followed_at_once(load, wanted) -> None:
    assert targets(POOL, [load]) == [wanted]


@given(policies, st.floats(0, 1000), st.integers(0, 25))
def test_the_target_is_reached_in_two_ticks_and_stays(policy, load, begin) -> None:
    eager = ScalingPolicy(policy.min, policy.max, policy.per_replica, policy.tolerance, 0, 0, 0)
    reached = targets(eager, [load] * 20, begin)
    assert set(reached[1:]) == {reached[1]}
    share = load / eager.per_replica
    near = reached[1] and abs(share / reached[1] - 1) <= eager.tolerance + 1e-9
    assert near or reached[1] in (eager.within(math.ceil(share)), eager.within(math.ceil(share - 1e-9)))


@given(policies, loads, st.integers(0, 30), st.integers(0, 30))
def test_the_target_is_never_outside_of_min_and_max(policy, loads, begin, busy) -> None:
    assert all(policy.min <= target <= policy.max for target in targets(policy, loads, begin, busy))


def test_a_load_within_the_tolerance_changes_nothing() -> None:
    assert targets(POOL, [8, 8.8, 8.9]) == [4, 4, 5]


def test_a_share_that_is_a_whole_number_is_not_rounded_up() -> None:
    assert targets(ScalingPolicy(max=9, per_replica=0.1, tolerance=0), [0.1 * 3]) == [3]


def test_a_replica_at_work_is_not_taken_away() -> None:
    eager = ScalingPolicy(max=8, per_replica=2, down_s=0)
    assert targets(eager, [4, 4], begin=4, busy=4) == [4, 4]


def test_requests_per_second_are_a_load_as_well() -> None:
    assert targets(ScalingPolicy(min=1, max=20, per_replica=250), [100, 2600, 4900]) == [1, 11, 20]


# ---- no oscillation ----


def test_a_constant_load_changes_nothing_over_10_000_ticks() -> None:
    for load in (0, 1, 2, 5, 11, 16, 40):
        assert len(set(targets(POOL, [load] * LONG)[1:])) == 1


@pytest.mark.parametrize("middle", [2.0, 3.0, 7.3, 12.0, 15.9])
def test_noise_around_a_load_is_followed_up_and_not_down_again(middle) -> None:
    noise = random.Random(7)
    seen = targets(POOL, [max(0.0, noise.gauss(middle, middle / 3)) for _ in range(LONG)])
    ups, downs = changes(seen)
    # A change down is one that a whole window wanted, so that between it and the one up before it lies a window.
    assert all((down - up) * TICK_S >= POOL.down_s for down in downs for up in ups if up < down)
    assert len(downs) < LONG * TICK_S / POOL.down_s


@pytest.mark.parametrize("middle", [2.0, 3.0, 7.3, 12.0, 15.9])
def test_noise_within_the_tolerance_changes_nothing_over_10_000_ticks(middle) -> None:
    noise = random.Random(7)
    shares = [noise.uniform(-0.09, 0.09) for _ in range(LONG)]
    full = math.ceil(middle / POOL.per_replica) * POOL.per_replica
    assert len(set(targets(POOL, [full, *(full * (1 + share) for share in shares)]))) == 1


@given(policies, loads)
def test_what_goes_down_was_wanted_for_a_whole_window(policy, loads) -> None:
    decisions = follow(policy, loads)
    changes = [(tick, decision.target - before) for tick, decision, before in stepped(policy, decisions)]
    for tick, change in changes:
        if change < 0 and decisions[tick].reason == "down":
            begin = max(0, math.ceil(tick - policy.down_s / TICK_S + 1e-9))
            assert all(loads[each] is not None for each in range(begin + 1, tick))
            assert tick * TICK_S >= policy.down_s


def stepped(policy, decisions):
    befores = [policy.min, *(decision.target for decision in decisions)]
    return [(tick, decision, befores[tick]) for tick, decision in enumerate(decisions)]


def test_up_waits_for_as_long_as_the_policy_says_except_from_zero() -> None:
    slow = ScalingPolicy(max=8, per_replica=2, up_s=15)
    assert targets(slow, [2, 2, 2, 2, 12, 12, 12, 12]) == [1, 1, 1, 1, 1, 1, 1, 6]
    assert follow(slow, [2, 12])[-1].reason == "waiting to go up"


# ---- zero ----


def test_zero_comes_after_the_idle_time_and_work_at_once() -> None:
    policy = ScalingPolicy(max=8, per_replica=2, down_s=20, idle_to_zero_s=60)
    seen = targets(policy, [6] + [0] * 14 + [1])
    assert seen == [3] * 5 + [1] * 8 + [0] * 2 + [1]


def test_a_shorter_idle_time_does_not_wait_for_the_window() -> None:
    policy = ScalingPolicy(max=8, per_replica=2, down_s=300, idle_to_zero_s=10)
    assert targets(policy, [6, 0, 0, 0]) == [3, 3, 3, 0]


@given(policies, loads, st.integers(0, 3))
def test_zero_is_never_while_there_is_work_or_while_that_is_not_known(policy, loads, busy) -> None:
    decisions = follow(policy, loads, busy=busy)
    for load, (_, decision, before) in zip(loads, stepped(policy, decisions), strict=True):
        if load or busy:
            assert load is None or decision.target >= 1
        if decision.target == 0 and before > 0:
            assert load == 0
            assert busy == 0


@given(policies, st.integers(0, 20))
def test_a_pool_without_work_goes_to_its_min(policy, begin) -> None:
    assert targets(policy, [0] * 200, begin)[-1] == policy.min


# ---- what is not known ----


@given(policies, st.integers(0, 25), st.integers(1, 100))
def test_a_load_that_is_not_known_keeps_the_target(policy, begin, ticks) -> None:
    for missing in (None, math.nan, math.inf, -1.0):
        decisions = follow(policy, [missing] * ticks, begin)
        assert {decision.target for decision in decisions} == {policy.within(begin)}
        assert decisions[-1].reason == "cannot tell"


def test_idle_time_and_windows_begin_anew_behind_a_measurement_that_is_missing() -> None:
    policy = ScalingPolicy(max=8, per_replica=2, down_s=20, idle_to_zero_s=30)
    assert targets(policy, [6, 0, 0, None, 0, 0, 0, 0, 0, 0, 0]) == [3] * 8 + [1, 1, 0]


@pytest.mark.parametrize(("apart_s", "looks"), [(60.0, 1), (20.0, 2), (30.0, 1)])
def test_up_waits_where_nobody_looked_for_longer_than_its_window(apart_s, looks) -> None:
    """More was wanted for 30 s once two looks that far apart have seen it, and all between them."""
    policy = ScalingPolicy(min=0, max=10, up_s=30, down_s=300)
    seen = decide(policy, ScalingState.begin(1, 0.0), Measurement(0.0, 1.0))
    found = []
    for number in range(1, looks + 2):
        seen = decide(policy, seen.state, Measurement(apart_s * number, 5.0))
        found.append((seen.target, seen.reason))
    assert found == [*[(1, "waiting to go up")] * looks, (5, "up")]


def test_up_waits_anew_after_a_time_that_nobody_watched_at_all() -> None:
    policy = ScalingPolicy(min=0, max=10, up_s=30, down_s=300)
    seen = decide(policy, ScalingState.begin(1, 0.0), Measurement(400.0, 5.0))
    assert (seen.target, seen.reason) == (1, "waiting to go up")
    assert decide(policy, seen.state, Measurement(430.0, 5.0)).target == 5


def test_a_time_that_nobody_watched_is_no_idle_time() -> None:
    state = ScalingState.begin(5, 0.0)
    decision = decide(POOL, state, Measurement(5000.0, 0.0))
    assert (decision.target, decision.reason) == (5, "waiting to go down")
    assert decide(POOL, decision.state, Measurement(5010.0, 20.0)).target == 8


def test_a_clock_that_is_set_back_takes_nothing_away_and_holds_nothing_up() -> None:
    state = decide(POOL, ScalingState.begin(0, 9000.0), Measurement(9000.0, 8.0)).state
    assert decide(POOL, state, Measurement(100.0, 0.0)).target == 4
    for tick in range(200):
        state = decide(POOL, state, Measurement(100 + tick * TICK_S, 0.0)).state
    assert state.target == 0


# ---- a pool under the rule ----


def test_machines_that_start_count_so_that_a_burst_starts_each_once() -> None:
    for start_up_s in (0.0, 60.0, 600.0):
        pool = simulate(POOL, [8] + [0] * 400, 1200.0, start_up_s)
        begun = [moment.ready + moment.starting for moment in pool.moments if moment.waiting]
        assert set(begun) == {4}
        assert pool.moments[0].target == 4


@pytest.mark.parametrize("start_up_s", [0.0, 30.0, 300.0])
def test_a_steady_stream_of_jobs_is_served_without_oscillation_for_10_000_ticks(start_up_s) -> None:
    pool = simulate(POOL, [1, 0, 0, 0] * (LONG // 4), 60.0, start_up_s)  # 3 at work at any time
    settled = pool.moments[LONG // 10 :]
    assert len({moment.target for moment in settled}) == 1
    assert max(moment.waiting for moment in settled) <= 2 * settled[0].target
    assert all(gap >= POOL.down_s for gap in pool.reversals)


def test_a_random_stream_never_takes_away_within_a_window_what_it_began() -> None:
    chance = random.Random(3)
    arrivals = [sum(chance.random() < 0.05 for _ in range(5)) for _ in range(LONG)]
    pool = simulate(POOL, arrivals, lambda _: chance.expovariate(1 / 60), 60.0)
    ups, downs = changes(pool.targets)
    assert downs
    assert min(down - max(up for up in ups if up < down) for down in downs) * TICK_S >= POOL.down_s
    assert len(pool.reversals) < LONG * TICK_S / POOL.down_s
    assert all(moment.target >= 1 for moment in pool.moments if moment.waiting or moment.running)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.sampled_from([0.0, 30.0, 300.0]))
def test_however_long_machines_start_there_are_never_more_than_the_largest_load_wants(arrivals, start_up_s) -> None:
    pool = simulate(ScalingPolicy(max=1000, per_replica=2), arrivals, 60.0, start_up_s)
    largest = max(moment.waiting + moment.running for moment in pool.moments)
    assert max(moment.ready + moment.starting for moment in pool.moments) <= math.ceil(largest / 2)


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.floats(0, 200),
    st.sampled_from([0.0, 12.0, 90.0]),
    st.sets(st.integers(0, 80)),
)
def test_every_job_is_done_and_the_pool_ends_empty(arrivals, service_s, start_up_s, unmeasured) -> None:
    policy = ScalingPolicy(max=3, per_replica=2, down_s=30, idle_to_zero_s=60)
    tail = [0] * (200 + math.ceil(sum(arrivals) * (service_s + TICK_S) / TICK_S + start_up_s))
    pool = simulate(policy, arrivals + tail, service_s, start_up_s, unmeasured=unmeasured)
    last = pool.moments[-1]
    assert (last.waiting, last.running, last.ready, last.starting, last.target) == (0, 0, 0, 0, 0)
    assert all(moment.ready + moment.starting >= moment.running for moment in pool.moments)
    assert pool.replica_s >= sum(arrivals) * service_s * 0.99 - TICK_S * sum(arrivals)


def test_what_a_pool_costs_is_the_time_of_its_replicas() -> None:
    pool = simulate(ScalingPolicy(max=2, idle_to_zero_s=30, down_s=0), [1] + [0] * 30, 20.0, 10.0)
    assert pool.replica_s == 10 + 20 + 30


# ---- what it is given and what it says ----


@pytest.mark.parametrize(
    "wrong",
    [
        {"min": 3, "max": 2},
        {"min": -1},
        {"max": 0},
        {"per_replica": 0},
        {"per_replica": math.nan},
        {"tolerance": 1},
        {"down_s": -1},
        {"idle_to_zero_s": math.inf},
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_a_fix(wrong) -> None:
    with pytest.raises(UsageProblem, match="give"):
        ScalingPolicy(**wrong)


def test_a_decision_says_why() -> None:
    policy = ScalingPolicy(max=8, per_replica=2, down_s=5, idle_to_zero_s=20)
    decisions = follow(policy, [6, 6, 4, 4, 0, 0, 0, 0, 0, None, 99])
    assert [(decision.target, decision.reason) for decision in decisions] == [
        (3, "up"),
        (3, "steady"),
        (3, "waiting to go down"),
        (2, "down"),
        (2, "waiting to go down"),
        (1, "down"),
        (1, "waiting to go down"),
        (1, "waiting to go down"),
        (0, "to zero"),
        (0, "cannot tell"),
        (8, "up"),
    ]
    assert decisions[0].why == "a load of 6, 2 each, wants 3"
    assert decisions[2].why == "a load of 4, 2 each, wants 2; down once less was wanted for 5 s"
    assert decisions[7].why == "no work; to zero after 20 s of it"
    assert decisions[8].why == "no work for 20 s"
    assert decisions[10].why == "a load of 99, 2 each, wants 8, the most there may be"


def test_a_decision_names_the_replicas_that_are_at_work() -> None:
    decision = decide(POOL, ScalingState.begin(4, 0.0), Measurement(0.0, 4.0, busy=4))
    assert decision.why == "a load of 4, 2 each, and 4 are at work, wants 4"
