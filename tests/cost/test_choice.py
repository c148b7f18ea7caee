import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_lab.cost import prices
from aiinfra_lab.cost.choice import Choice, choose
from aiinfra_lab.cost.prices import Catalogue, Price
from aiinfra_lab.cost.wanted import Wanted
from aiinfra_lab.errors import Denied, Unavailable
from tests.benchmarks import _choice

FRESH = "2999-01-01"


def row(machine: str, accelerator: str, usd: float, spot: float | None = None, **fields) -> Price:
    """`row("aws.a/r-1", "T4", 1.0)`: a provider's type in a zone of r."""
    (provider, name), zone = machine.partition("/")[0].split("."), machine.partition("/")[2]
    known = {"count": 1.0, "region": "r", "source": "s", "as_of": FRESH} | fields
    return Price(
        uri=f"cost:{machine}", provider=provider, type=name, accelerator=accelerator, usd_per_hour=usd,
        spot_low_usd=spot, spot_high_usd=spot, zone=zone, **known,
    )  # fmt: skip


TABLE = [
    row("aws.a", "T4", 0.5, 0.2),
    row("aws.b", "L4", 0.8, 0.3),
    row("aws.c", "L4", 0.4, count=0.25),
    row("gcp.d", "L4", 0.7),
    row("gcp.e", "A100-80GB", 4.0, 1.0),
    row("gcp.f", "A100-80GB", 30.0, 8.0, count=8.0),
]


def chosen(wanted: str | None, table: list[Price] = TABLE, **options) -> Choice:
    return choose(table, Wanted.parse(wanted) if wanted else None, **options)


def types(found: Choice) -> str:
    return "".join(offer.price.type for offer in found.offers)


def why(found: Choice) -> set[str]:
    return {str(each) for each in found.why_not}


@pytest.mark.parametrize(
    ("wanted", "options", "offers"),
    [
        ("L4", {}, "db"),
        ("1/4 L4", {}, "cdb"),
        ("T4 or L4", {}, "adb"),
        ("A100", {}, "ef"),
        ("2x A100", {}, "f"),
        ("16x A100", {}, ""),
        ("A100 1g.10gb", {}, "ef"),
        ("8x A100 1g.10gb", {}, "f"),
        ("L4", {"spot": True}, "b"),
        ("T4 or L4", {"memory_gib": 20}, "db"),
        ("1/4 L4", {"memory_gib": 10}, "db"),
        ("A100 1g.10gb", {"memory_gib": 20}, ""),
        ("L4", {"providers": ["aws"]}, "b"),
        ("L4", {"places": ["r"]}, "db"),
        ("L4", {"places": ["elsewhere"]}, ""),
        (None, {"memory_gib": 40}, "ef"),
        ("L4", {"most": 1}, "d"),
    ],
)
def test_the_cheapest_that_is_what_was_asked_for_comes_first(workspace, wanted, options, offers):
    assert types(chosen(wanted, **options)) == offers


def test_every_row_that_is_not_chosen_is_explained(workspace):
    found = chosen("L4", spot=True, budget_usd=0.001)
    assert why(found) == {
        "3 rows: another accelerator",
        "1 row: fewer accelerators than were asked for, or a smaller share of one",
        "1 row: no spot price is known",
        "1 row: may cost more than the budget",
    }
    assert found.fitting + sum(each.rows for each in found.why_not) == len(TABLE)


def test_rows_that_cannot_be_true_are_explained_too(workspace):
    wrong = [
        row("x.a", "T4", 0.0),
        row("x.b", "T4", 1.0, count=0.0),
        row("x.c", "T4", 1.0, 0.1),
        row("x.d", "T4", 1.0, 1.0),
        row("x.e", "T4", 1.0),
        row("x.e", "T4", 1.1),
        row("x.f", "T4", 0.1, as_of="2025-01-01"),
        row("x.f", "T4", 1.0),
        row("x.g", "L4", 0.0),
    ]
    found = chosen("T4", wrong, spot=True)
    assert types(found) == ""
    assert why(found) == {
        "1 row: their price is nothing, or there is none",
        "1 row: they have no accelerator",
        "1 row: they are of dedicated tenancy, 1.1 times the machine's price",
        "1 row: a newer price of the same machine is known",
        "2 rows: no spot price is known",
        "2 rows: no market made their spot price: it is the price on demand, dearer, or exactly 10 % of it",
        "1 row: another accelerator",
    }


def test_the_zone_with_the_cheapest_spot_price_is_chosen(workspace):
    best = choose(prices.catalogue(), Wanted.parse("8x H100"), spot=True, places=["us-east-1"]).best()
    assert (best.price.zone, best.usd_per_hour) == ("use1-az5", 14.246)


def test_of_a_range_of_spot_prices_the_upper_end_counts(workspace):
    whole = row("aws.a", "T4", 1.0, 0.2)
    ranged = Price(**{**vars(whole), "type": "b", "uri": "cost:aws.b", "spot_low_usd": 0.15, "spot_high_usd": 0.9})
    assert types(chosen("T4", [ranged, whole], spot=True)) == "ab"


# ---- what it may cost ----


@pytest.mark.parametrize(
    ("options", "usd"),
    [
        ({"for_s": 3600}, 0.8),
        ({"for_s": 3601}, 0.8 * 61 / 60),
        ({"for_s": 1}, 0.8 / 60),
        ({"for_s": 60}, 0.8 / 60),
        # A machine on the spot market may go on at the price on demand.
        ({"for_s": 3600, "spot": True}, 0.8),
        ({"for_s": 3600, "spot": True, "may_fall_back": False}, 0.3),
        ({"for_s": 3600, "spot": True, "may_fall_back": False, "stale_before": "3000-01-01"}, 0.8),
        ({}, None),
    ],
)
def test_the_worst_case_is_of_whole_minutes_and_of_the_price_that_may_come(workspace, options, usd):
    best = chosen("L4", [TABLE[1]], **options).best()
    assert best.worst_case_usd == (usd if usd is None else pytest.approx(usd))


def test_an_offer_may_cost_all_of_the_budget_and_not_a_cent_more(workspace):
    assert types(chosen("L4", [TABLE[1]], for_s=3600, budget_usd=0.8)) == "b"
    assert types(chosen("L4", [TABLE[1]], for_s=3600, budget_usd=0.79)) == ""


def test_beyond_the_budget_nothing_is_rented_and_what_would_fit_is_named(workspace):
    found = chosen("A100", for_s=8 * 3600, budget_usd=20)
    with pytest.raises(Denied) as problem:
        found.best()
    assert problem.value.what == "A100 for 8 h may cost 32.00 USD (gcp e in r), and the budget is 20.00 USD"
    assert problem.value.fix == "ask for 5h00m, or with a budget of 32.00, or for L4 (gcp d in r, 5.60 USD at most)"
    assert types(chosen("A100", for_s=5 * 3600, budget_usd=20)) == "e"
    assert types(chosen("A100", for_s=8 * 3600, budget_usd=32)) == "e"


@pytest.mark.parametrize("spot", [False, True])
@pytest.mark.parametrize("may_fall_back", [False, True])
def test_what_is_named_does_fit(workspace, spot, may_fall_back):
    options = {"spot": spot, "may_fall_back": may_fall_back, "for_s": 3600}
    nearest = chosen("8x A100", **options, budget_usd=2.0).nearest
    assert nearest is not None
    assert nearest.worst_case_usd <= 2.0
    assert nearest.price.accelerator == ("A100-80GB" if spot and not may_fall_back else "L4")


def test_a_budget_that_buys_nothing_at_all_says_what_it_takes(workspace):
    with pytest.raises(Denied) as problem:
        chosen("T4", for_s=600, budget_usd=0.001).best()
    assert problem.value.fix == "ask with a budget of 0.09"


def test_without_a_time_the_budget_has_to_buy_a_minute(workspace):
    assert types(chosen("T4", budget_usd=0.01)) == "a"
    with pytest.raises(Denied, match="more in its first minute"):
        chosen("T4", budget_usd=0.001).best()


def test_where_there_is_none_it_says_why_and_what_to_ask(workspace):
    with pytest.raises(Unavailable, match="no 16x A100: 4 rows: another accelerator") as problem:
        chosen("16x A100").best()
    assert "%cost ls" in problem.value.fix
    with pytest.raises(Unavailable) as problem:
        chosen("L4", [TABLE[3]], spot=True).best()
    assert "on demand" in problem.value.fix
    with pytest.raises(Unavailable, match="it is empty"):
        chosen("L4", []).best()


def test_old_prices_say_so(workspace):
    old = [row("x.a", "T4", 1.0, as_of="2020-01-01"), row("x.b", "T4", 1.0)]
    (note,) = chosen("T4", old).notes
    assert "1 of 2 offers are older than 180 days, from 2020-01-01 on" in note
    assert chosen("T4", [old[1]]).notes == ()


# ---- against a search of all rows ----


@given(st.integers(0, 2**32))
@settings(max_examples=40)
def test_it_is_what_a_search_of_every_row_finds(seed):
    dice = random.Random(seed)
    table = _choice.orphans(_choice.rows(dice.choice((5, 60, 300)), dice))
    catalogue, true = Catalogue.of(each.price for each in table), _choice.true_rows(table)
    wrong = {id(each.price) for each in table if each.wrong}
    for asked in _choice.requests(8, dice):
        found = choose(catalogue, asked.wanted, stale_before=_choice.STALE_BEFORE, **asked.options)
        costs = [(each.usd_per_hour, each.worst_usd_per_hour) for each in found.offers]
        assert costs == sorted(costs)
        assert next(iter(costs), None) == _choice.cheapest(true, asked)
        assert not {id(each.price) for each in found.offers} & wrong
        assert found.fitting + sum(each.rows for each in found.why_not) == len(table)
        if found.nearest and found.nearest.worst_case_usd is not None:
            assert found.nearest.worst_case_usd <= asked.options["budget_usd"] + 1e-6
