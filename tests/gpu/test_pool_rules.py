"""What a pool does with any queue, on any machines: a model of sessions in a clock, under the rules of the job."""

import math
import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiinfra_lab.cost.billing import PER_SECOND
from aiinfra_lab.gpu import pool_rules
from aiinfra_lab.gpu.pool_record import Retry
from aiinfra_lab.gpu.pool_rules import TICK_S, Member
from aiinfra_lab.scaling import Measurement, ScalingPolicy, ScalingState, decide

LOOK_S = 5.0
IDLE_S = 60.0


@dataclass
class Session:
    """One on a machine that boots, works and ends. budget_usd: when that is spent, its host ends it."""

    number: int
    price: float
    begun_s: float
    boot_s: float
    budget_usd: float | None
    free_s: float = 0.0
    ending_s: float | None = None

    def spent(self, now: float) -> float:
        return max(PER_SECOND.least_s, math.ceil(now - self.begun_s)) / 3600 * self.price

    def is_ready(self, now: float) -> bool:
        return now >= self.begun_s + self.boot_s and self.ending_s is None

    def seen(self, now: float) -> Member:
        state = "stopping" if self.ending_s is not None else "running" if self.is_ready(now) else "starting"
        is_held = self.is_ready(now) and self.free_s > now
        return Member(self.number, state, self.price, self.spent(now), self.budget_usd, is_held)


@dataclass
class Model:
    """A pool in a clock. chance: of what fails and is lost."""

    policy: ScalingPolicy
    budget_usd: float | None
    price: float
    boot_s: float
    draw: random.Random
    trouble: float = 0.0
    now: float = 0.0
    sessions: list[Session] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    gone_usd: float = 0.0
    starts: int = 0
    lost: int = 0
    ends: list[float] = field(default_factory=list)
    retry: Retry = field(default_factory=Retry)

    def __post_init__(self) -> None:
        self.state = ScalingState.begin(self.policy.min, 0.0)

    @property
    def spent(self) -> float:
        return self.gone_usd + sum(each.spent(self.now) for each in self.sessions)

    def tick(self, arrived: list[float]) -> None:
        """One look of the job, after what has happened since the last one."""
        self.now += LOOK_S
        self._happen()
        self.queue += arrived
        self._serve()
        members = [each.seen(self.now) for each in self.sessions]
        load = pool_rules.measure(members, len(self.queue), self.policy.per_replica, self.now)
        decision = decide(self.policy, self.state, load)
        self.state = decision.state
        change = pool_rules.change(decision.target, self.policy.max, members, (), self.policy.max)
        for each in [each for each in self.sessions if each.number in change.end]:
            assert not each.seen(self.now).is_busy
            each.ending_s = self.now
            self.ends.append(self.now)
        if self.now >= self.retry.next_at:
            self._start(change.start, members)
        self._move(members)

    def _start(self, numbers, members) -> None:
        for number in numbers:
            budget = None
            if self.budget_usd is not None:
                budget = pool_rules.share_usd(self.budget_usd, self.gone_usd, members, self.policy.max, self.price)
                if not budget:
                    return
            if self.draw.random() < self.trouble:
                self.retry = self.retry.failed(self.now, self.now, "no room", "")
                continue
            self.retry = self.retry.succeeded(self.now)
            self.starts += 1
            self.sessions.append(Session(number, self.price, self.now, self.boot_s, budget))
            members.append(self.sessions[-1].seen(self.now))

    def _move(self, members) -> None:
        if self.budget_usd is None:
            return
        moved = pool_rules.new_budgets(self.budget_usd, self.gone_usd, members, self.policy.max)
        for each in self.sessions:
            if each.number in moved and each.ending_s is None:
                each.budget_usd = moved[each.number]

    def _happen(self) -> None:
        for each in [*self.sessions]:
            ended = None
            if each.budget_usd is not None and each.spent(self.now) >= each.budget_usd:
                ended = max(each.begun_s, each.begun_s + each.budget_usd / each.price * 3600)
            if each.ending_s is not None:
                ended = each.ending_s + 1.0 if ended is None else min(ended, each.ending_s + 1.0)
            if ended is None and self.draw.random() < self.trouble / 10:
                ended, self.lost = self.now, self.lost + 1
            if ended is not None:
                self.sessions.remove(each)
                self.gone_usd += each.spent(min(ended, self.now))

    def _serve(self) -> None:
        for each in self.sessions:
            if self.queue and each.is_ready(self.now) and each.free_s <= self.now:
                each.free_s = self.now + self.queue.pop(0)


arrivals = st.lists(st.lists(st.floats(1, 200), max_size=6), min_size=1, max_size=60)
policies = st.builds(
    lambda low, more, each: ScalingPolicy(
        min=low, max=max(1, low + more), per_replica=each, down_s=IDLE_S, idle_to_zero_s=IDLE_S
    ),
    low=st.integers(0, 3),
    more=st.integers(0, 8),
    each=st.integers(1, 4),
)


@given(policies, arrivals, st.none() | st.floats(0.0, 3.0), st.floats(0.05, 7), st.floats(0, 120), st.integers())
def test_never_above_its_most_nor_above_its_budget(policy, work, budget, price, boot_s, seed):
    model = Model(policy, budget, price, boot_s, random.Random(seed), trouble=0.2)
    for arrived in [*work, *([[]] * 200)]:
        model.tick(arrived)
        assert len(model.sessions) <= policy.max
        if budget is not None:
            members = [each.seen(model.now) for each in model.sessions]
            assert model.gone_usd + sum(each.worst_usd for each in members) <= budget + 1e-6
            assert model.spent <= budget + 1e-6


@given(policies, arrivals, st.floats(0, 120))
def test_all_work_is_done_and_zero_is_reached(policy, work, boot_s):
    model = Model(policy, None, 1.0, boot_s, random.Random(0))
    for arrived in work:
        model.tick(arrived)
    for _ in range(100_000):
        if not model.queue and len(model.sessions) == policy.min:
            break
        model.tick([])
    assert (model.queue, len(model.sessions)) == ([], policy.min)


@example(ScalingPolicy(min=3, max=4, per_replica=4, tolerance=0.1, up_s=0.0, down_s=60.0, idle_to_zero_s=60.0), 13, 0.0)
@given(policies, st.integers(0, 30), st.floats(0, 120))
def test_the_same_load_starts_nothing_twice(policy, waiting, boot_s):
    """Work that lasts: as many sessions as it wants, whether they are there or still on their way."""
    model = Model(policy, None, 1.0, boot_s, random.Random(0))
    model.tick([1e9] * waiting)
    load = waiting / policy.per_replica
    # The least that there always is may be near enough.
    wanted = policy.min if load <= policy.min * (1 + policy.tolerance) else policy.within(math.ceil(load))
    for _ in range(60):
        model.tick([])
        assert len(model.sessions) == wanted
    assert (model.starts, model.ends) == (wanted, [])


@given(st.integers(1, 6), st.integers(1, 3), st.integers())
def test_it_does_not_oscillate(most, each, seed):
    """Bursts that come again before the window is over cost no start after the first ones."""
    draw = random.Random(seed)
    policy = ScalingPolicy(min=0, max=most, per_replica=each, down_s=IDLE_S, idle_to_zero_s=IDLE_S)
    model = Model(policy, None, 1.0, 10.0, draw)
    for tick in range(200):
        model.tick([LOOK_S] * (most * each) if tick % 8 == 0 else [])
    assert model.starts == most
    assert model.ends == []


@given(arrivals, st.integers(1, 5), st.integers())
def test_what_is_lost_is_replaced(work, most, seed):
    policy = ScalingPolicy(min=most, max=most, down_s=IDLE_S)
    model = Model(policy, None, 1.0, 5.0, random.Random(seed), trouble=0.3)
    for arrived in work:
        model.tick(arrived)
    model.trouble = 0.0
    for _ in range(int(Retry.LONGEST_S / LOOK_S) + 2):
        model.tick([])
    assert len(model.sessions) == most
    assert model.starts == most + model.lost


@given(policies, st.lists(st.none() | st.floats(0, 40), max_size=80))
def test_shorter_windows_decide_the_same(policy, loads):
    long = short = ScalingState.begin(policy.min, 0.0)
    for tick, load in enumerate(loads):
        seen = Measurement(tick * LOOK_S, load)
        one, other = decide(policy, long, seen), decide(policy, short, seen)
        assert (one.target, one.reason, one.why) == (other.target, other.reason, other.why)
        long, short = one.state, pool_rules.shortened(other.state)
    assert len(short.wanted) <= len(long.wanted)


# ---- money ----


def running(number: int, spent: float, budget: float | None, price: float = 1.0) -> Member:
    return Member(number, "running", price, spent, budget)


def test_one_that_works_gets_what_others_do_not_need():
    """It must not end in the middle of its work while there is money, be the pool made for eight."""
    member, moves = running(1, 0.0, pool_rules.share_usd(8.0, 0.0, [], 8, 1.0)), 0
    while new := pool_rules.new_budgets(8.0, 0.0, [replace(member, spent_usd=member.budget_usd - 0.05)], 8):
        member, moves = replace(member, budget_usd=new[1]), moves + 1
        assert moves < 100
    assert member.budget_usd + TICK_S / 3600 == pytest.approx(8.0, abs=PER_SECOND.least_s / 3600)


def test_a_budget_that_was_set_lower_is_shared_by_those_that_live():
    members = [running(1, 0.5, 3.0), running(2, 0.1, 3.0)]
    new = pool_rules.new_budgets(2.0, 0.4, members, 4)
    assert new == {1: pytest.approx(1.0, abs=0.001), 2: pytest.approx(0.6, abs=0.001)}
    after = [replace(each, budget_usd=new[each.number]) for each in members]
    assert sum(each.worst_usd for each in after) <= 1.6 + 1e-9
    assert pool_rules.new_budgets(2.0, 0.4, after, 4) == {}


def test_sessions_of_a_pool_that_had_no_budget_get_one():
    new = pool_rules.new_budgets(2.0, 0.0, [running(1, 0.5, None)], 1)
    assert 0.5 < new[1] <= 2.0


def test_less_than_a_minute_is_no_share():
    assert pool_rules.share_usd(0.016, 0.0, [], 1, 1.0) == 0.0
    assert pool_rules.share_usd(0.018, 0.0, [], 1, 1.0) > 0.0
    assert pool_rules.share_usd(5.0, 0.0, [running(1, 0.1, 4.99)], 2, 1.0) == 0.0


def test_what_costs_nothing_needs_no_share():
    assert pool_rules.new_budgets(1.0, 0.0, [running(1, 0.0, None, price=0.0)], 2) == {}


# ---- which ones ----


def test_what_is_not_ready_goes_first_and_what_is_used_stays():
    members = [
        Member(1, "running"),
        Member(2, "running", is_held=True),
        Member(3, "running", may_end=False),
        Member(4, "starting"),
        Member(5, "running"),
        Member(6, "stopping"),
    ]
    assert pool_rules.change(3, 8, members, (), 8).end == (4, 5)
    assert pool_rules.change(0, 8, members, (), 8).end == (4, 5, 1)


def test_one_that_ends_still_counts_among_the_most():
    members = [Member(1, "stopping"), Member(2, "running")]
    assert pool_rules.change(2, 2, members, (), 2).start == ()
    assert pool_rules.change(2, 3, members, (), 3).start == (3,)


def test_names_of_others_are_left_alone():
    assert pool_rules.change(2, 4, [], {1, 3}, 4).start == (2, 4)


def test_one_that_somebody_else_uses_has_no_room_for_the_queue():
    members = [Member(1, "running", is_used=True)]
    assert pool_rules.measure(members, 2, 4.0, 0.0).load == 6.0
    assert pool_rules.measure(members, 0, 4.0, 0.0).busy == 1


# ---- failures ----


def test_a_start_that_failed_is_tried_later_each_time():
    retry, now, pauses = Retry(), 0.0, []
    for _ in range(9):
        retry = retry.failed(now, now, "no room", "later")
        pauses.append(retry.next_at - now)
        now = retry.next_at
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
    assert retry.succeeded(now) == Retry()


def test_starts_that_failed_together_are_one_failure():
    retry = Retry().failed(10.0, 12.0, "no room", "").failed(10.0, 13.0, "no room", "")
    assert retry.failures == 1
    assert retry.succeeded(11.0) == retry  # it had begun before
    assert retry.succeeded(14.0) == Retry()
