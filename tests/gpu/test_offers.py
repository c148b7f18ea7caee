"""Offers of several providers: asked at once, in the order in which they would be taken, and why not the others."""

import threading
import time
from types import SimpleNamespace

import pytest

from aiinfra_lab import gpu
from aiinfra_lab.errors import Denied, LabError, NotFound, Unavailable, UsageProblem
from aiinfra_lab.gpu import Offer, offers
from aiinfra_lab.gpu.offers import ProviderOffer
from tests.fakes import cloud


def of(*found: Offer, provider: str = "cloud") -> list[ProviderOffer]:
    return [ProviderOffer(provider, each) for each in found]


SPOT = Offer("A10G", 0.46, spot=True, type="g5.xlarge", where="us-east-1a", worst_usd_per_hour=1.0)
STEADY = Offer("A10G", 1.0, type="g5.xlarge", where="us-east-1a")
SMALL = Offer("L4", 0.2, type="g6f.2xlarge", count=0.25)
WHOLE = Offer("L4", 0.8, type="g6.xlarge", where="us-east-1b")
HELD = Offer("L4", 0.1, taken_by="other")
CUT = Offer("A100-80GB-1g.10gb", 0.6)
ALL = of(SPOT, STEADY, SMALL, WHOLE, HELD, CUT, Offer("cpu", 0.05))


@pytest.fixture
def rented(workspace, tmp_path, monkeypatch):
    cloud.install(tmp_path, monkeypatch)


# ---- the choice ----


@pytest.mark.parametrize(
    ("asked", "spot", "found"),
    [
        ("A10G", False, [STEADY]),
        ("A10G", True, [SPOT, STEADY]),
        ("A10G or L4", False, [WHOLE, STEADY]),
        ("1/4 L4", False, [SMALL, WHOLE]),
        ("A100 1g.10gb", False, [CUT]),
        ("cpu", False, [Offer("cpu", 0.05)]),
        ("cpu or L4", False, [Offer("cpu", 0.05), WHOLE]),
        ("2x L4", False, []),
        ("", False, [Offer("cpu", 0.05), SMALL, CUT, WHOLE, STEADY]),
    ],
)
def test_what_fits_comes_in_the_order_in_which_it_is_taken(asked, spot, found):
    assert [each.offer for each in offers.choose(ALL, offers.request(asked, spot=spot)).offers] == found


def test_several_may_stand_behind_commas_and_a_slice_has_a_name_that_there_is():
    assert offers.asked_for("A10G, L4,T4") == "A10G or L4 or T4"
    assert offers.asked_for("A100, H100", "1g.10gb") == "A100 1g.10gb or H100 1g.10gb"
    for accelerator in (None, "H100"):
        with pytest.raises(UsageProblem, match=r"'1g\.10' is no MIG profile") as problem:
            offers.asked_for(accelerator, "1g.10")
        assert problem.value.fix == "did you mean 1g.10gb?"


def test_every_other_is_counted_by_its_reason():
    among = offers.choose(ALL, offers.request("L4", for_s=7200, budget_usd=1.0))
    assert among.offers == ()
    assert dict(among.why_not) == {"accelerator": 4, "too few": 1, "taken": 1, "budget": 1}
    assert sum(count for _, count in among.why_not) == len(ALL)
    assert (1, "may cost more than the budget") in among.reasons()


def test_a_worst_case_is_of_whole_minutes_at_the_dearest_price():
    assert offers.worst_case_usd(SPOT, offers.request("A10G", for_s=90)) == pytest.approx(2 / 60)
    assert offers.worst_case_usd(SPOT, offers.request("A10G")) is None


@pytest.mark.parametrize(
    ("for_s", "budget", "what", "fix"),
    [
        (None, 0.01, "A10G costs more in its first minute", "ask with a budget of 0.02"),
        (7200, 1.5, "A10G for 2 h may cost 2.00 USD", "ask for 1h30m, or with a budget of 2.00, or for L4"),
    ],
)
def test_what_is_beyond_the_budget_names_what_would_fit(for_s, budget, what, fix):
    asked = offers.request("A10G", for_s=for_s, budget_usd=budget)
    with pytest.raises(Denied) as problem:
        offers.choose(of(STEADY, Offer("L4", 0.7)), asked).check_budget()
    assert problem.value.what.startswith(what)
    assert problem.value.fix.startswith(fix)


def test_what_a_budget_buys_is_no_slice_and_nothing_that_is_taken_away_unless_that_was_asked_for():
    others = of(STEADY, Offer("L4", 0.3, spot=True), Offer("L4", 0.2, taken_by="x"), Offer("T4", 0.5))
    among = offers.choose(others, offers.request("A10G", for_s=3600, budget_usd=0.6))
    assert among.nearest.offer == Offer("T4", 0.5)


def test_a_slice_of_any_accelerator_that_can_be_cut_so():
    assert offers.asked_for("A100 or H100", "1g.10gb") == "A100 1g.10gb or H100 1g.10gb"
    assert offers.choose(ALL, offers.request(offers.asked_for(None, "1g.10gb"))).offers[0].offer == CUT
    with pytest.raises(UsageProblem, match=r"A100 has no MIG profile 9g\.1gb"):
        offers.check(offers.request(offers.asked_for(None, "9g.1gb")).wanted)


def test_nothing_to_be_had_says_what_was_tried_and_what_is_nearest():
    tried = [(Offer("A10G", 1.0, device="g5.xlarge/a"), "no capacity in a"), (STEADY, "its quota is 0")]
    problem = offers.no_room("aws", STEADY, tried, [STEADY, WHOLE, CUT])
    assert problem.what == "aws has no room for A10G: tried g5.xlarge/a (no capacity in a); A10G (its quota is 0)"
    assert problem.fix == "try again later, or take --gpu L4: aws g6.xlarge in us-east-1b, 0.80 USD an hour"
    assert "`%cost ls`" in offers.no_room("aws", STEADY, tried, [STEADY]).fix


def test_the_risk_of_spot_is_what_the_price_table_knows(workspace):
    row = SimpleNamespace(
        provider="aws", type="g5.xlarge", region="us-east-1", zone="us-east-1a", spot_high_usd=0.5,
        usd_per_hour=1.0, as_of="2026-01-31",
    )  # fmt: skip
    below = "may be taken away; 54 % below the price on demand, as of 2026-01-31"
    assert offers.risk(of(SPOT, provider="aws")[0], [row]) == below
    assert offers.risk(of(SPOT)[0], [row]) == "may be taken; how often is unknown"
    assert offers.risk(of(STEADY, provider="aws")[0], [row]) == ""


# ---- asking ----


class Renting:
    """Looks up what is wanted, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def offers(self, wanted: str = "") -> list[Offer]:
        self.asked.append(wanted)
        return [STEADY]


def test_who_rents_looks_up_what_is_wanted():
    renting = Renting()
    assert [offers.offers_of(renting, text) for text in ("A10G or L4", "cpu", "")] == [[STEADY]] * 3
    assert renting.asked == ["A10G or L4", "", ""]


def test_all_are_asked_at_once_and_one_that_cannot_be_asked_hides_no_other(workspace, monkeypatch):
    met = threading.Barrier(3)

    def make(_: str, name: str) -> object:
        met.wait(10)  # none goes on before all are asked
        if name == "b":
            raise Unavailable("b is away", "wait")
        return SimpleNamespace(offers=lambda: [Offer("cpu", 1.0, device=name)])

    monkeypatch.setattr(offers, "make", make)
    answers = offers.ask(["a", "b", "c"])
    assert [(each.provider, [one.device for one in each.offers]) for each in answers] == [
        ("a", ["a"]),
        ("b", []),
        ("c", ["c"]),
    ]
    assert answers[1].problem.what == "b is away"


def test_one_that_hangs_is_left_out(workspace, monkeypatch):
    hangs = threading.Event()

    def make(_: str, name: str) -> object:
        return SimpleNamespace(offers=lambda: hangs.wait(30) if name == "slow" else [SMALL])

    monkeypatch.setattr(offers, "make", make)
    begun = time.monotonic()
    slow, quick = offers.ask(["slow", "quick"], within_s=0.3)
    hangs.set()
    assert time.monotonic() - begun < 5
    assert (slow.problem.what, quick.offers) == ("slow has not answered within 300 ms", (SMALL,))


def test_a_mistake_of_ours_is_no_provider_that_cannot_be_asked(workspace, monkeypatch):
    monkeypatch.setattr(offers, "make", lambda *_: SimpleNamespace(offers=lambda: 1 // 0))
    with pytest.raises(ZeroDivisionError):
        offers.ask(["a"])


# ---- the list ----


def test_offers_of_all_providers_are_one_list(rented):
    found = gpu.ls(offers=True, gpu="A10G or A100", for_="2h", budget=5)
    assert [(one.on, one.gpu, one.hourly_usd, one.worst_case_usd) for one in found] == [("cloud", "A10G", 1.0, 2.0)]
    text = " ".join(found.card().text().split())
    assert "The first is cloud A10G, 1.00 USD an hour, at most 2.00 USD in 2 h." in text
    assert '%gpu start NAME --gpu "A10G or A100" --for 2h --budget 5 --on cloud` takes the first' in text
    assert "1 may cost more than the budget" in text
    assert "ssh no machine behind ssh is named" in text
    assert cloud.machines == {}


def test_what_takes_the_first_works(rented):
    found = gpu.ls(offers=True, gpu="A10G", for_="1h")
    words = found.start.replace("NAME", "t").split()
    assert words == ["%gpu", "start", "t", "--gpu", "A10G", "--for", "1h", "--on", "cloud"]
    started = gpu.start("t", gpu="A10G", for_="1h", on="cloud")
    assert (started.gpu, started.hourly_usd) == (found[0].gpu, found[0].hourly_usd)


def test_a_cloud_that_does_not_answer_is_a_line(rented):
    cloud.reachable[0] = False
    found = gpu.ls(offers=True)
    assert [one.on for one in found] == ["local"]
    assert {"cloud", "ssh"} <= {name for name, _, _ in found.unasked}
    with pytest.raises(Unavailable, match="does not answer"):
        gpu.ls(offers=True, on="cloud")


def test_a_simulation_is_offered_to_whoever_asks_for_it(workspace, monkeypatch):
    assert {one.on for one in gpu.ls(offers=True)} == {"local"}
    assert {one.on for one in gpu.ls(offers=True, gpu="A10G", on="sim", spot=True)} == {"sim"}
    monkeypatch.setenv("AIINFRA_GPU_MACHINES", "sim")
    assert {one.on for one in gpu.ls(offers=True)} == {"local", "sim"}


def test_nothing_that_fits_says_why_not(rented):
    found = gpu.ls(offers=True, gpu="T4", budget=0.001, on="cloud")
    assert (list(found), found.why_not[0]) == ([], (2, "another accelerator, or none"))
    assert "There is no T4 now." in found.card().text()


@pytest.mark.parametrize(
    ("flags", "kind", "what"),
    [
        ({"gpu": "A10H"}, NotFound, "there is no accelerator 'A10H'"),
        ({"gpu": "A10G", "mig": "1g.10gb"}, UsageProblem, "A10G has no MIG profile"),
        ({"gpu": " "}, UsageProblem, "names no accelerator"),
        ({"on": "moon"}, LabError, "moon"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(rented, flags, kind, what):
    with pytest.raises(kind, match=what):
        gpu.ls(offers=True, **flags)


def test_flags_of_offers_need_it(workspace):
    with pytest.raises(UsageProblem, match="--for says which offers to list") as problem:
        gpu.ls(for_="2h")
    assert problem.value.fix == "`%gpu ls --offers` with --for lists them"


def test_a_list_of_offers_is_whole_as_json_and_ends_in_no_number(rented):
    found = gpu.ls(offers=True, for_="2h")
    assert {"on": "cloud", "gpu": "T4", "worst_case_usd": 1.0}.items() <= found.as_json()["items"][1].items()
    assert found.card().parts[0].titles[-1] in ("market", "to know")
    assert list(found.df().columns) == list(found.header)
