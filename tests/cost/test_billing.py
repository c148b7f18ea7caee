"""The meter against the bill, over histories of prices, ends and outages."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_lab.cost.billing import PER_SECOND, MachineTime, PriceChange, SpendingMeter, Tariff, bill
from aiinfra_lab.errors import UsageProblem

MOST_ERROR = 0.001
EPOCH = 1_764_000_000.0


def second_by_second(time: MachineTime, tariff: Tariff) -> Fraction:
    """The bill as somebody with patience would write it."""
    steps = max(tariff.least_s, 0)
    began, usd, at = Fraction(time.began_at), Fraction(0), 0
    while began + at < Fraction(time.ended_at) or at < steps:
        price = [each for each in time.prices if Fraction(each.at) <= began + at or each is time.prices[0]][-1]
        usd += Fraction(repr(price.usd_per_hour)) * tariff.step_s / 3600
        at += tariff.step_s
    return usd


usd = st.floats(0.0, 120.0, allow_nan=False)


@st.composite
def histories(draw, longest_s=600.0):
    began = EPOCH + draw(st.floats(0, 10))
    lasted = draw(st.floats(0, longest_s))
    changes = sorted(
        draw(st.lists(st.tuples(st.floats(0, longest_s), usd), max_size=5, unique_by=lambda each: each[0]))
    )
    later = [PriceChange(began + at, price) for at, price in changes if at > 0]
    # Two moments that a float cannot tell apart are one.
    later = [each for at, each in enumerate(later) if each.at != (later[at - 1].at if at else began)]
    return MachineTime(began, began + lasted, (PriceChange(began, draw(usd)), *later))


@settings(max_examples=300)
@given(histories(), st.sampled_from([PER_SECOND, Tariff(60, 60), Tariff(60, 600), Tariff(1, 0)]))
def test_the_bill_is_that_of_every_step_at_the_price_that_held_when_it_began(time, tariff):
    assert bill([time], tariff) == second_by_second(time, tariff)


def test_a_minute_is_the_least_and_a_second_that_was_begun_is_whole():
    def lasting(seconds: float) -> MachineTime:
        return MachineTime(0.0, seconds, (PriceChange(0.0, 3600.0),))

    assert [float(bill([lasting(seconds)])) for seconds in (0, 1, 60, 60.001, 61, 3600)] == [60, 60, 60, 61, 61, 3600]
    assert bill([lasting(1), lasting(1)]) == 120


@settings(max_examples=300)
@given(histories(), st.randoms())
def test_the_meter_is_the_bill_in_whatever_order_it_hears_of_changes(time, order):
    changes = [*time.prices[1:]]
    order.shuffle(changes)
    meter = SpendingMeter(time.began_at, time.prices[0].usd_per_hour)
    for change in changes:
        meter.price(change.at, change.usd_per_hour)
    meter.ended(time.ended_at)
    assert meter.spent_usd(time.ended_at + 1e6) == pytest.approx(float(bill([time])), rel=1e-9, abs=1e-12)


def history(draw: random.Random) -> MachineTime:
    """A spot machine for a minute to two days, whose price wanders every some minutes."""
    began, lasted = EPOCH + draw.random() * 1e6, draw.choice([60.0, 600.0, 7200.0, 172_800.0]) * draw.random()
    price, at, changes = draw.uniform(0.05, 30), 0.0, []
    while (at := at + draw.expovariate(1 / 1800)) < lasted and len(changes) < 40:
        price *= draw.uniform(0.7, 1.4)
        changes.append(PriceChange(began + at, round(price, 4)))
    return MachineTime(began, began + lasted, (PriceChange(began, round(draw.uniform(0.05, 30), 4)), *changes))


def test_the_meter_is_within_a_thousandth_of_the_bill_over_many_histories_with_outages():
    draw, worst = random.Random(5), 0.0
    for _ in range(3000):
        time = history(draw)
        meter = SpendingMeter(time.began_at, time.prices[0].usd_per_hour)
        # While nobody could be asked it heard of nothing; then it hears of all that it missed, in one piece.
        outage = sorted(draw.uniform(time.began_at, time.ended_at) for _ in range(2))
        now = time.began_at
        for change in time.prices[1:]:
            if not outage[0] <= change.at <= outage[1]:
                meter.price(change.at, change.usd_per_hour)
                now = change.at
        for change in time.prices[1:]:
            if outage[0] <= change.at <= outage[1]:
                meter.price(change.at, change.usd_per_hour)
        seen = MachineTime(time.began_at, max(now, outage[1]), time.prices)
        meter.ended(time.ended_at)
        for part in (seen, time):
            exact = float(bill([part]))
            worst = max(worst, abs(meter.spent_usd(part.ended_at) - exact) / exact)
    assert worst <= MOST_ERROR


@settings(max_examples=300)
@given(histories(longest_s=7200.0), st.floats(0, 50))
def test_what_runs_until_its_budget_is_spent_costs_no_more_whatever_the_price_becomes(time, budget):
    """By at most the tick that a float may be off."""
    worst = max(each.usd_per_hour for each in time.prices)
    known, *later = time.prices
    meter = SpendingMeter(time.began_at, known.usd_per_hour)
    until = meter.spent_at(budget, worst)
    for change in later:
        # The machine is told its end anew with each change that is heard in time.
        if change.at < until:
            meter.price(change.at, change.usd_per_hour)
            until = max(change.at, meter.spent_at(budget, worst))
    if until > time.began_at:
        tick = worst / 3600
        assert float(bill([MachineTime(time.began_at, until, time.prices)])) <= budget + tick + 1e-9


def test_a_budget_below_the_first_minute_starts_nothing():
    meter = SpendingMeter(1000.0, 6.0)
    assert meter.spent_at(0.09, 6.0) == 1000.0
    assert meter.spent_at(0.1, 6.0) == 1060.0
    assert meter.spent_at(6.0, 12.0) == 1000.0 + 1800


def test_the_price_now_is_the_last_that_was_heard_of():
    meter = SpendingMeter(0.0, 1.0)
    meter.price(100.0, 2.0)
    meter.price(50.0, 3.0)
    assert [meter.usd_per_hour(at) for at in (-5, 0, 50, 99, 100, 1e9)] == [1, 1, 3, 3, 2, 2]
    meter.price(100.0, 5.0)
    assert meter.usd_per_hour(100.0) == 5.0


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_what_is_no_price_is_refused(wrong):
    with pytest.raises(UsageProblem):
        SpendingMeter(0.0, wrong)
