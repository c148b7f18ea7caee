"""Which offer a request takes, and what is said when none fits: without a machine."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from aiinfra_lab.errors import Conflict, Unavailable
from aiinfra_lab.gpu import Offer, starting
from aiinfra_lab.gpu.record import SessionRecord

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
        ("A10O", None, Unavailable, "local has no A10O"),
        ("A10O", "cloud", Unavailable, "cloud has no A10O"),
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


def test_what_is_not_there_names_what_is_and_a_cloud_that_has_it(workspace):
    with pytest.raises(Unavailable, match="cloud has no H100; it has cpu, A10G, A100-SXM4-80GB") as problem:
        choose("H100")
    assert re.fullmatch(r"use --gpu cpu: `.*`; \S+ \S+ has it for about [\d.]+ USD an hour \(.*\)", problem.value.fix)


def test_what_nobody_has_names_the_list(workspace):
    with pytest.raises(Unavailable) as problem:
        choose("B52")
    use = "use --gpu cpu: `%gpu start t --gpu cpu`"
    assert problem.value.fix == f"{use}; `%cost ls` lists the accelerators that clouds rent out"


def test_a_provider_without_offers_says_so(workspace):
    with pytest.raises(Unavailable, match="cloud has no cpu; it has nothing") as problem:
        starting._choose([], request(), "cloud")
    assert problem.value.fix.startswith("ask for another accelerator")


@pytest.mark.parametrize(("asked", "is_spot", "notes"), [(True, True, 0), (True, False, 1), (False, False, 0)])
def test_a_spot_machine_that_is_not_to_be_had_is_a_note(asked, is_spot, notes):
    assert len(starting._spot_note(request(spot=asked), is_spot, "cloud")) == notes
