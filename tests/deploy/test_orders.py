"""What a verb orders: pure changes of a record's body."""

from unittest.mock import ANY

import pytest

from aiinfra_lab.deploy import orders
from aiinfra_lab.deploy.orders import Wish
from aiinfra_lab.errors import Conflict, UsageProblem


def live(model="models:delay@1", **changes):
    body, _ = orders.fresh(None, Wish(model, None, ""))
    return {**body, "versions": {model: {}}, **changes}


def test_a_first_version_is_the_champion():
    body, note = orders.fresh(None, Wish("models:delay@1", None, ""))
    assert (body["champion"], body["canary"], body["generation"]) == ("models:delay@1", None, 1)
    assert "all traffic" in note


def test_a_first_canary_has_no_champion_beside_it_and_says_so():
    body, note = orders.fresh(None, Wish("models:delay@1", 0.05, ""))
    assert (body["champion"], body["canary"], body["share"]) == (None, "models:delay@1", 0.05)
    assert note == orders.NO_CHAMPION


def test_a_swap_remembers_the_champion_before():
    body, _ = orders.updated(live(), Wish("models:delay@2", None, ""))
    assert (body["champion"], body["earlier"]) == ("models:delay@2", ["models:delay@1"])


def test_a_step_up_keeps_the_salt_and_another_canary_does_not():
    small, _ = orders.updated(live(), Wish("models:delay@2", 0.05, ""))
    large, _ = orders.updated(small, Wish("models:delay@2", 0.2, ""))
    other, _ = orders.updated(large, Wish("models:delay@3", 0.2, ""))
    assert small["salt"] == large["salt"] != other["salt"]
    assert [body["generation"] for body in (small, large, other)] == [2, 3, 4]


@pytest.mark.parametrize("wish", [Wish("models:delay@1", None, ""), Wish("models:delay@2", 0.1, "errors > 1%")])
def test_the_same_wish_twice_changes_nothing_the_second_time(wish):
    once, _ = orders.updated(live(), wish)
    twice, _ = orders.updated(once, wish)
    assert twice == once


def test_the_champion_needs_no_canary():
    body, note = orders.updated(live(), Wish("models:delay@1", 0.1, "errors > 1%"))
    assert body["canary"] is None
    assert "already" in note


def test_promote_makes_the_canary_champion():
    body = orders.promoted(live(canary="models:delay@2", share=0.1))
    assert (body["champion"], body["canary"], body["earlier"]) == ("models:delay@2", None, ["models:delay@1"])


def test_promote_of_what_has_all_traffic_already_changes_nothing():
    assert orders.promoted(live()) == live() | {"started_at": ANY}


def test_promote_of_what_was_rolled_back_is_refused_until_a_version_is_started_again():
    told = {"model": "models:delay@2", "by": "rule", "reason": "errors > 1 %", "at": 0.0}
    with pytest.raises(Conflict, match="models:delay@2 was rolled back by rule: errors > 1 %"):
        orders.promoted(live(rolled_back=told))
    again, _ = orders.updated(live(rolled_back=told), Wish("models:delay@1", 0.1, ""))
    assert orders.promoted(again)["champion"] == "models:delay@1"


def test_promote_without_anything_to_promote_is_refused():
    with pytest.raises(Conflict, match="no canary to promote"):
        orders.promoted(live(champion=None))


def test_rollback_takes_the_canary_off_first_and_then_goes_back():
    swapped, _ = orders.updated(live(), Wish("models:delay@2", None, ""))
    with_canary = {**swapped, "canary": "models:delay@3", "share": 0.1}
    once, gone, _ = orders.rolled_back(with_canary)
    assert (once["champion"], once["canary"], gone) == ("models:delay@2", None, "models:delay@3")
    twice, gone, _ = orders.rolled_back(once)
    assert (twice["champion"], twice["earlier"], gone) == ("models:delay@1", [], "models:delay@2")
    with pytest.raises(Conflict):
        orders.rolled_back(twice)


def test_a_restart_remembers_the_champion_that_served():
    body, _ = orders.fresh(live(generation=4), Wish("models:delay@2", 0.1, ""))
    assert (body["champion"], body["canary"], body["generation"]) == ("models:delay@1", "models:delay@2", 5)
    assert (body["count"], body["versions"]) == (0, {})


def test_a_restart_remembers_what_the_starts_before_it_took_and_did():
    first = live(started_at=10.0, ended_at=20.0, job="a", count=5, versions={"models:delay@1": {"busy_ms": 3.0}})
    second, _ = orders.fresh(first, Wish("models:delay@1", None, ""), job="b")
    third, _ = orders.fresh({**second, "started_at": 30.0, "count": 7}, Wish("models:delay@1", None, ""), job="c")
    assert third["earlier_spans"] == [
        {"started_at": 10.0, "ended_at": 20.0, "job": "a", "count": 5, "busy_ms": 3.0},
        {"started_at": 30.0, "ended_at": None, "job": "b", "count": 7, "busy_ms": 0},
    ]


def test_a_restart_does_not_believe_in_a_champion_that_never_served():
    broken = live(champion="models:delay@9", earlier=["models:delay@1"])
    body, _ = orders.fresh(broken, Wish("models:delay@2", 0.1, ""))
    assert body["champion"] == "models:delay@1"


@pytest.mark.parametrize(
    ("canary", "rule"), [(0.0, ""), (None, "errors > 1%"), (0.1, "errors < 1%"), (0.1, "p95_s > 1"), (0.1, "nothing")]
)
def test_a_wish_that_makes_no_sense_is_refused(canary, rule):
    with pytest.raises(UsageProblem):
        Wish("models:delay@1", canary, rule)
