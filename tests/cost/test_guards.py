"""Each kind of row that public price data has and nobody can rent."""

import math

import pytest

from aiinfra_lab.cost import guards
from aiinfra_lab.cost.prices import Catalogue, Price


def row(
    usd: float = 1.0,
    spot: float | None = None,
    *,
    name: str = "a",
    count: float = 1.0,
    zone: str = "",
    as_of: str = "2999-01-01",
) -> Price:
    return Price(
        uri=f"cost:x.{name}.{zone or 'r'}",
        provider="x",
        type=name,
        accelerator="T4",
        count=count,
        usd_per_hour=usd,
        spot_low_usd=spot,
        spot_high_usd=spot,
        region="r",
        zone=zone,
        source="s",
        as_of=as_of,
    )


@pytest.mark.parametrize("usd", [0.0, -1.0, math.nan, math.inf])
def test_a_price_of_nothing_is_none(usd):
    found = Catalogue.of([row(usd), row(2.0, name="b")])
    assert [price.type for price in found.rows] == ["b"]
    assert found.distrusted == {"T4": {"price": 1}}


@pytest.mark.parametrize("count", [0.0, -1.0, math.nan])
def test_a_fraction_that_was_read_as_no_accelerator_is_none(count):
    found = Catalogue.of([row(count=count)])
    assert (found.rows, found.distrusted) == ((), {"T4": {"count": 1}})


@pytest.mark.parametrize(
    ("usd", "spot", "wrong"),
    [
        (1.0, 0.0, "price"),
        (1.0, -0.1, "price"),
        (1.0, math.nan, "price"),
        (55.04, 55.04, "on-demand"),
        (68.35968, 68.3597, "on-demand"),
        # Rounded down, it is still the price on demand.
        (1.00624, 1.0062, "on-demand"),
        (1.8462, 1.964, "on-demand"),
        (71.552, 7.1552, "floor"),
        # As they stand in SkyPilot's table: 10 %, rounded to four decimals.
        (75.9552, 7.5955, "floor"),
        (9.4944, 0.9494, "floor"),
        (55.04, 14.246, ""),
        (0.526, 0.0627, ""),
    ],
)
def test_a_spot_price_that_no_market_made_is_unknown_and_the_machine_stays(usd, spot, wrong):
    (found,) = Catalogue.of([row(usd, spot)]).rows
    assert found.spot_distrust == wrong
    assert found.spot_high_usd == (None if wrong else spot)
    assert found.usd_per_hour == usd


def test_the_price_of_dedicated_tenancy_is_not_that_of_the_machine():
    found = Catalogue.of([row(0.526), row(0.579, zone="z"), row(0.579, name="b")])
    assert [(price.type, price.usd_per_hour) for price in found.rows] == [("a", 0.526), ("b", 0.579)]
    assert found.distrusted == {"T4": {"dedicated": 1}}


def test_an_older_price_gives_way_to_a_newer_one_of_the_region_whatever_its_zones_are_called():
    found = Catalogue.of([row(1.0, 0.2, zone="use1-az1", as_of="2025-06-01"), row(1.2, 0.5, zone="us-east-1a")])
    assert [(price.zone, price.usd_per_hour) for price in found.rows] == [("us-east-1a", 1.2)]
    assert found.distrusted == {"T4": {"older": 1}}


def test_zones_of_one_day_stay_beside_each_other():
    assert len(Catalogue.of([row(1.0, 0.2, zone="1"), row(1.0, 0.3, zone="2"), row(1.0, zone="3")]).rows) == 3


def test_a_stale_price_says_so():
    old, new = row(as_of="2020-01-01"), row()
    assert (old.stale, new.stale) == (True, False)


def test_the_guards_let_a_price_pass():
    assert guards.of_row(row()) is None
