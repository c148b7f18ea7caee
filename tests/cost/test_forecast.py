"""How many machines a load takes and what they cost, against the plainest way to reckon it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_lab.cost import day, forecast, prices
from aiinfra_lab.cost.forecast import CapacityPlan, Demand, Fleet
from aiinfra_lab.cost.premises import DAYS_PER_MONTH, DEFAULTS, HOURS_PER_MONTH, Premises
from aiinfra_lab.cost.prices import Catalogue, Price
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.nouns import Saving


def premises(**values: float) -> Premises:
    """Those of the defaults, but for these, which somebody has set."""
    sources = {key: "set" if key in values else known.source for key, known in DEFAULTS.items()}
    return Premises({key: values.get(key, known.usual) for key, known in DEFAULTS.items()}, sources)


def price(name: str = "aws.g5.xlarge", usd: float = 1.0, spot: float | None = 0.4, **more) -> Price:
    provider, _, kind = name.partition(".")
    fields = {"accelerator": "A10G", "count": 1.0, "region": "us-east-1", "source": "a list", "as_of": "2026-11-01"}
    return Price(
        uri=f"cost:{name}",
        provider=provider,
        type=kind,
        usd_per_hour=usd,
        spot_low_usd=spot,
        spot_high_usd=spot,
        **{**fields, **more},
    )


def planned(
    per_day: float, rate: float, *, catalogue: tuple[Price, ...] = (), usd: float = 1.0, **more
) -> CapacityPlan:
    given = premises(**{key: more.pop(key) for key in list(more) if key in DEFAULTS})
    return forecast.plan(Demand(per_day), rate, price(usd=usd), given, catalogue=Catalogue.of(catalogue), **more)


# ---- a day ----


@given(peak=st.floats(1.0, 23.9))
def test_a_day_has_its_mean_and_its_busiest_hour(peak):
    hours = day.curve(peak)
    assert sum(hours) / 24 == pytest.approx(1.0)
    assert max(hours) == pytest.approx(peak, rel=1e-6)
    assert min(hours) >= 0


def test_a_day_without_a_peak_is_flat():
    assert set(day.curve(1.0)) == {1.0}


# ---- machines ----


def test_ten_million_a_day_on_machines_of_a_hundred_a_second():
    # 115.7 a second in the mean, 196.8 in the busiest hour, 70 of each machine: three.
    fleet = Fleet(Demand(10e6), 100.0, 0.7, 1.7)
    assert (fleet.most, min(fleet.hours)) == (3, 1)


@settings(max_examples=200)
@given(per_day=st.floats(1, 5e9), rate=st.floats(1, 5000), utilisation=st.floats(0.1, 1.0), peak=st.floats(1, 10))
def test_every_hour_has_enough_machines_and_none_too_many(per_day, rate, utilisation, peak):
    fleet = Fleet(Demand(per_day), rate, utilisation, peak)
    mean = per_day / 86_400
    for machines, factor in zip(fleet.hours, day.curve(peak), strict=True):
        carried = machines * rate * utilisation
        assert carried >= mean * factor * (1 - 1e-6) or machines == 100_000
        assert machines == 1 or (machines - 1) * rate * utilisation < mean * factor * (1 + 1e-6)


def test_a_load_that_would_take_endless_machines_is_refused():
    with pytest.raises(UsageProblem, match="more than 100,000 machines"):
        planned(1e15, 1.0)


# ---- money ----


def test_rented_on_demand_and_on_spot_the_busiest_hour_is_paid_for_all_day():
    plan = planned(10e6, 100.0)
    on_demand, spot = plan.option("on demand"), plan.option("spot")
    assert (on_demand.machines, on_demand.usd_per_month) == (3, 3 * HOURS_PER_MONTH)
    assert spot.usd_per_month == pytest.approx(3 * HOURS_PER_MONTH * 0.4)
    assert on_demand.utilisation == pytest.approx(10e6 / 86_400 / 300)


def test_as_each_hour_needs_only_what_runs_is_paid():
    plan = planned(10e6, 100.0)
    hours = sum(plan.hours) * DAYS_PER_MONTH
    scaled = plan.option("as each hour needs")
    assert scaled.usd_per_month == pytest.approx(hours)
    assert scaled.utilisation > plan.option("on demand").utilisation


def test_where_every_hour_needs_one_machine_there_is_nothing_to_scale_nor_to_share():
    plan = planned(1000, 100.0)
    assert {each.name for each in plan.options} == {"on demand", "spot", "own machines"}


def test_without_a_spot_price_there_is_no_spot():
    found = forecast.plan(Demand(1e6), 100.0, price(spot=None), premises(), catalogue=Catalogue.of(()))
    assert found.option("spot") is None


def test_an_own_machine_costs_its_price_its_power_and_its_work():
    plan = planned(1000, 100.0, own_usd=6000, own_years=5, own_watts=500, pue=2, usd_per_kwh=0.1, own_hours_per_month=1,
                   usd_per_work_hour=27)  # fmt: skip
    assert plan.option("own machines").usd_per_month == pytest.approx(100 + 0.5 * 730 * 2 * 0.1 + 27)


@settings(max_examples=200)
@given(
    per_day=st.floats(1e5, 1e9), rate=st.floats(5, 500), own=st.floats(0, 50_000), usd=st.floats(0.05, 20),
    peak=st.floats(1, 6),
)  # fmt: skip
def test_the_split_between_own_and_rented_is_the_best_of_all(per_day, rate, own, usd, peak):
    plan = planned(per_day, rate, usd=usd, own_usd=own, peak=peak)
    hybrid = plan.option("own and cloud")
    if max(plan.hours) > 400:
        return
    each = plan.option("own machines").usd_per_month / max(plan.hours)
    sums = [
        bought * each + sum(max(0, hour - bought) for hour in plan.hours) * DAYS_PER_MONTH * usd
        for bought in range(min(plan.hours), max(plan.hours))
    ]
    if hybrid is None:
        assert sums == []
    else:
        assert hybrid.usd_per_month == pytest.approx(min(sums))


@settings(max_examples=200)
@given(per_day=st.floats(1e5, 1e9), rate=st.floats(5, 500), own=st.floats(1, 50_000), usd=st.floats(0.05, 20))
def test_the_break_even_month_is_the_first_in_which_less_has_been_paid(per_day, rate, own, usd):
    for even in planned(per_day, rate, usd=usd, own_usd=own).break_even:
        paid = [
            month
            for month in range(1, even.months + 1)
            if even.buys_usd + month * even.upkeep_usd <= month * even.rent_usd * (1 + 1e-9)
        ]
        assert even.month == next(iter(paid), None)


def test_machines_like_this_one_have_its_price_where_it_has_one():
    assert planned(1e6, 100.0).option("machines like this one") is None
    assert planned(1e6, 100.0, here_usd_per_hour=0.1).option("machines like this one").usd_per_month == pytest.approx(
        73
    )


def test_what_own_machines_cost_is_assumed_until_somebody_says_it():
    assert planned(1000, 100.0).option("own machines").is_assumed
    assert not planned(1000, 100.0, own_usd=3000).option("own machines").is_assumed


# ---- what would save ----


def test_a_measured_saving_enters_by_its_factor_with_its_source():
    plan = planned(10e6, 100.0, savings=[Saving("INT8", 3.0, "a test of models:delay@4")])
    [(saving, option)] = plan.saved
    assert (saving.name, option.machines, option.usd_per_month) == ("INT8", 1, HOURS_PER_MONTH)
    assert option.note == "a test of models:delay@4"


CHEAPER = (
    price("aws.g6f.2xlarge", 0.25, None, accelerator="L4", count=0.25),
    price("aws.a100", 3.5, None, accelerator="A100-40GB"),
    price("azure.a10g", 2.0, 0.25, accelerator="A10G"),
    price("aws.g4dn.xlarge", 0.5, None, accelerator="T4"),
    price("aws.p5", 9.0, None, accelerator="H200"),
)


def test_of_a_machine_on_which_nothing_was_measured_only_the_rate_is_said_from_which_it_costs_less():
    found = {each.machine: each for each in planned(10e6, 100.0, catalogue=CHEAPER).candidates}
    assert {name: each.less_from_per_s for name, each in found.items()} == pytest.approx(
        {"aws g6f.2xlarge": 25.0, "aws a100": 50.0, "azure a10g": 25.0, "aws g4dn.xlarge": 50.0}
    )
    assert found["aws a100"].note == "MIG slice 1g.5gb of A100-40GB, 1 of 7"
    assert found["aws g6f.2xlarge"].note.startswith("0.25 of L4")


def test_a_plan_is_made_of_the_shipped_table_too(workspace):
    plan = forecast.plan(Demand(1e8), 50.0, prices.of("aws.g5.xlarge"), premises(), catalogue=prices.catalogue())
    assert [each.usd_per_month for each in plan.options] == sorted(each.usd_per_month for each in plan.options)
    assert 0 < len(plan.candidates) <= 4
    assert all(0 < each.utilisation <= 1 for each in plan.options)
    assert all(math.isfinite(each.usd_per_month) for each in plan.options)
