"""Which offer a request takes, and what is said when none fits: without a machine."""

import contextlib
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from aiinfra_lab.errors import Conflict, Denied, NotFound, Unavailable
from aiinfra_lab.gpu import Offer, starting
from aiinfra_lab.gpu.record import SessionRecord
from aiinfra_lab.store import Record

OFFERS = (
    Offer("cpu", 0.1),
    Offer("A10G", 0.4, spot=True),
    Offer("A10G", 1.0),
    Offer("A10G", 0.9, taken_by="other"),
    Offer("A100-SXM4-80GB", 4.0),
    Offer("A100-SXM4-40GB", 3.0),
)


def request(gpu: str | None = None, *, spot: bool = False) -> starting.SessionRequest:
    return starting.SessionRequest("t", gpu, spot, None, None, None)


def choose(gpu: str | None = None, *, spot: bool = False) -> Offer:
    return starting._choose(OFFERS, request(gpu, spot=spot), "cloud")


@pytest.mark.parametrize(
    ("gpu", "spot", "usd_per_hour"),
    [
        (None, False, 0.1),
        ("A10G", False, 1.0),  # neither what may be taken away nor what is taken
        ("A10G", True, 0.4),
        ("A100", False, 3.0),
        ("A100", True, 3.0),  # there is no spot one
        ("a100-80gb", False, 4.0),
    ],
)
def test_the_cheapest_that_fits_is_taken(gpu, spot, usd_per_hour):
    assert choose(gpu, spot=spot).usd_per_hour == usd_per_hour


@pytest.mark.parametrize(
    ("asked", "on", "kind", "what"),
    [
        ("A10G", None, Conflict, "lives with cpu, not with A10G"),
        (None, "cloud", Conflict, "lives on local, not on cloud"),
        ("L4", None, Unavailable, "local has no L4"),
        ("L4", "cloud", Unavailable, "cloud has no L4"),
        ("A10O", None, NotFound, "there is no accelerator 'A10O'"),
    ],
)
def test_that_a_session_lives_is_said_of_machines_that_are_to_be_had(monkeypatch, asked, on, kind, what):
    monkeypatch.setattr(starting, "make", lambda *_: SimpleNamespace(offers=lambda: OFFERS))
    body = SessionRecord(started_at=0.0, gpu="cpu", provider="local", usd_per_hour=0.0)
    with pytest.raises(kind, match=what) as problem:
        starting._keeps_its_machine(replace(request(asked), on=on), body)
    assert ("`%gpu stop t`" in problem.value.fix) is (kind is Conflict)


def test_what_others_hold_names_one_of_them():
    with pytest.raises(Unavailable) as problem:
        starting._choose([OFFERS[3]], request("A10G"), "cloud")
    assert problem.value.fix == "`%gpu stop other`"


def test_what_is_not_there_names_what_is_nearest_and_a_cloud_that_has_it(workspace):
    with pytest.raises(Unavailable, match="cloud has no H100; it has cpu, A10G, A100-SXM4-80GB") as problem:
        choose("H100")
    use = "use --gpu A100-SXM4-80GB: `%gpu start t --gpu A100-SXM4-80GB`"
    assert re.fullmatch(rf"{use}; \S+ \S+ has it for about [\d.]+ USD an hour \(.*\)", problem.value.fix)


def test_what_nobody_knows_names_the_nearest_name_and_its_price(workspace):
    with pytest.raises(NotFound, match="there is no accelerator 'A10H'") as problem:
        choose("A10H")
    assert re.fullmatch(r"did you mean A10G?, which \S+ \S+ has for about [\d.]+ USD an hour\?", problem.value.fix)


def test_what_only_a_driver_knows_can_be_asked_for(workspace):
    offers = [Offer("RTX-4090", 0.3), Offer("cpu", 0.1)]
    assert starting._choose(offers, request("RTX 4090"), "local") == offers[0]


def test_several_and_shares_are_asked_for_as_the_price_table_has_them(workspace):
    offers = [
        Offer("L4", 0.2, count=0.25),
        Offer("L4", 0.8),
        Offer("A100-80GB-1g.10gb", 0.6),
        Offer("L4", 5.0, count=8),
    ]
    asked = {"1/4 L4": 0.2, "L4": 0.8, "2x L4": 5.0, "A100 1g.10gb": 0.6, "A10G or 4x L4": 5.0}
    assert {text: starting._choose(offers, request(text), "cloud").usd_per_hour for text in asked} == asked
    with pytest.raises(Unavailable, match="cloud has no 9x L4"):
        starting._choose(offers, request("9x L4"), "cloud")


def test_what_is_suggested_is_like_what_was_asked_for_and_can_be_rented_here(workspace):
    offers = [Offer("cpu", 0.04), Offer("T4", 0.5), Offer("A100-80GB", 3.4)]
    with pytest.raises(Unavailable) as problem:
        starting._choose(offers, request("100x A100"), "cloud")
    assert problem.value.fix.startswith("use --gpu A100-80GB: `%gpu start t --gpu A100-80GB`")
    with pytest.raises(Unavailable) as problem:
        starting._choose(offers[:2], request("A100"), "local")
    assert re.search(r"; aws p4d?e?\.24xlarge has it for about [0-9.]+ USD an hour \(--on aws\)", problem.value.fix)


def test_a_budget_is_a_wall(workspace):
    offers = [Offer("A10G", 0.4, spot=True, worst_usd_per_hour=1.0, type="g5.xlarge", where="a"), Offer("L4", 0.7)]
    asked = replace(request("A10G", spot=True), for_s=7200, budget_usd=1.5)
    with pytest.raises(Denied) as problem:
        starting._choose(offers, asked, "cloud")
    what = "spot A10G for 2 h may cost 2.00 USD (cloud g5.xlarge in a), and the budget is 1.50 USD"
    fix = "ask for 1h30m, or with a budget of 2.00, or for L4 (cloud L4, 1.40 USD at most)"
    assert (problem.value.what, problem.value.fix) == (what, fix)
    assert starting._choose(offers, replace(asked, for_s=5400), "cloud") == offers[0]
    assert starting._choose(offers, replace(asked, budget_usd=2.0), "cloud") == offers[0]
    assert starting._choose(offers, replace(asked, gpu="L4"), "cloud") == offers[1]


def test_a_provider_without_offers_says_so(workspace):
    with pytest.raises(Unavailable, match="cloud has no cpu; it has nothing") as problem:
        starting._choose([], request(), "cloud")
    assert problem.value.fix.startswith("ask for another accelerator")


@pytest.mark.parametrize(("asked", "is_spot", "notes"), [(True, True, 0), (True, False, 1), (False, False, 0)])
def test_a_spot_machine_that_is_not_to_be_had_is_a_note(asked, is_spot, notes):
    assert len(starting._spot_note(request(spot=asked), is_spot, "cloud")) == notes


@pytest.mark.parametrize(
    ("count", "asked", "is_other"),
    [
        (1.0, "2x A100", True),
        (2.0, "2x A100", False),
        (8.0, "2x A100", False),
        (None, "2x A100", False),  # an earlier version did not write it
        (0.25, "A100", True),
        (0.25, "1/4 A100", False),
    ],
)
def test_a_session_that_lives_has_as_many_as_are_asked_for(monkeypatch, count, asked, is_other):
    offers = [Offer("A100-40GB", 6.0, count=2.0), Offer("A100-40GB", 3.0)]
    monkeypatch.setattr(starting, "make", lambda *_: SimpleNamespace(offers=lambda: offers))
    body = SessionRecord(started_at=0.0, gpu="A100-40GB", count=count, provider="cloud", usd_per_hour=0.0)
    with pytest.raises(Conflict, match=f"not with {asked}") if is_other else contextlib.nullcontext():
        starting._keeps_its_machine(request(asked), body)


@pytest.mark.parametrize(
    ("why", "what", "fix"),
    [
        ("budget", "its budget was spent before", "give it more: `%gpu start t --gpu A10G --on sim --budget 5`"),
        ("its keeper was killed", "its keeper was killed", "start it again: `%gpu start t --gpu A10G --on sim`"),
    ],
)
def test_what_did_not_become_ready_is_started_again_as_it_was(why, what, fix):
    body = SessionRecord(started_at=0.0, gpu="A10G", provider="sim", usd_per_hour=1.0, budget_usd=2.5)
    problem = starting._ended_early(Record.new("t", body), why, "")
    assert (problem.what, problem.fix) == (f"gpu:t did not become ready: {what}", fix)
