"""Whatever fails while a machine is got, kept and ended: none is left over or there twice, and none of others ends."""

import contextlib
import math
import random
import threading
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from aiinfra_lab.errors import Denied, Failed, LabError, StoreUnavailable, Unavailable
from aiinfra_lab.gpu import Offer, reaping, renting
from aiinfra_lab.gpu.record import MachineRecord, SessionRecord
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.kernels.kept import KernelState
from aiinfra_lab.store import Record, open_store, update
from tests.fakes.rented import OFFERS
from tests.fakes.rented_life import ASK_AGAIN_S, Course, Life, drawn, end_job, singles, write_job


@pytest.fixture
def life(workspace) -> Life:
    return Life()


def obtain(life: Life, rental: renting.Rental | None = None) -> renting.Rental:
    """As a keeper does, which asks again."""
    rental = rental or source(life)
    for _ in range(100):
        try:
            rental.obtain(lambda what: None)
        except Unavailable:
            life.time.sleep(ASK_AGAIN_S)
        else:
            return rental
    raise AssertionError("there is no machine")


def source(life: Life, offer: Offer = OFFERS[0]) -> renting.Rental:
    return life.machines.source(life.kernel, offer, life.job)


def failing(life: Life, **at) -> None:
    """The next calls of these names fail so, one after the other."""
    for name, faults in at.items():
        begun = life.faults.calls.count(name)
        life.faults.at |= {(name, begun + place): fault for place, fault in enumerate(faults)}


def own(life: Life) -> list:
    return [each for each in life.cloud.machines if each.id not in life.kept]


# ---- whatever fails ----


def check(life: Life) -> None:
    life.lead()
    # A keeper that is started again leaves nothing to the reaper.
    assert life.left_over == [] or not life.course.comes_back
    assert (life.left, life.touched, life.cloud.doubles) == ([], set(), [])
    assert not [each for each in life.records() if each.is_open]


@pytest.mark.parametrize("part", range(8))
def test_one_fault_at_any_call_leaves_nothing(workspace, part):
    for faults, course in list(singles())[part::8]:
        check(Life(faults, course))


@pytest.mark.parametrize("seed", range(0, 80, 10))
def test_several_faults_at_calls_by_chance_leave_nothing(workspace, seed):
    for each in range(seed, seed + 10):
        check(Life(*drawn(random.Random(each))))


# ---- what is asked for and not listed yet ----


def test_a_machine_that_was_asked_for_late_is_not_taken_for_gone(life):
    life.cloud.lag_s = 20.0
    failing(life, launch=["error before"] * 12)  # a minute and more: its intent is old by then
    obtain(life)
    assert [each.is_open for each in life.records()] == [True]
    assert life.left == [own(life)[0].id]


def test_a_request_whose_answer_is_lost_has_made_a_machine_though_the_next_one_finds_no_room(life):
    failing(life, launch=["lost answer", "no capacity"])
    obtain(life)
    assert [each.instance for each in life.records()] == [own(life)[0].id]
    assert life.cloud.doubles == []


@pytest.mark.parametrize("ahead_s", [7200.0, -7200.0])
def test_a_clock_that_is_set_meanwhile_loses_no_machine(life, ahead_s):
    life.cloud.lag_s = 20.0
    failing(life, launch=["lost answer"])
    rental = source(life)
    with pytest.raises(Unavailable):
        rental.obtain(lambda what: None)
    life.time.ahead_s = ahead_s
    obtain(life, rental)
    assert len(own(life)) == 1
    assert life.left == [own(life)[0].id]


def test_a_list_that_is_empty_for_an_instant_ends_no_session(life):
    rental = obtain(life)
    failing(life, instances=["empty"])
    with pytest.raises(Unavailable, match="does not list"):
        rental.lost()
    life.time.sleep(ASK_AGAIN_S)
    assert rental.lost() is None


def test_a_machine_that_stays_away_from_the_lists_is_gone_and_is_ended_all_the_same(life):
    rental = obtain(life)
    life.cloud.machines[-1].listed_at = life.time.at + 1e6
    with pytest.raises(Unavailable):
        rental.lost()
    life.time.sleep(life.machines.listed_s + 1)
    assert rental.lost() == ("its machine is gone: it is not listed any more", False)
    rental.release()
    assert life.cloud.ended == [own(life)[0].id]


# ---- which machine comes next ----


def test_one_that_is_taken_is_replaced_by_none_that_may_become_dearer(life, monkeypatch):
    offers = [
        Offer("T4", 0.1, device="t4/quarter", count=0.25),
        Offer("T4", 0.2, device="t4/rises", worst_usd_per_hour=9.0),
        Offer("T4", 0.6, device="t4/dear"),
        Offer("T4", 0.4, device="t4/fits"),
    ]
    monkeypatch.setattr(life.machines, "offers", lambda: offers)
    life.cloud.takes_after_s = [40.0]
    rental = obtain(life)
    life.time.sleep(60)
    assert rental.lost() == ("its machine is gone: it was taken", True)
    obtain(life, rental)
    assert [each.device for each in life.records()] == ["t4/fits", OFFERS[0].device]


def test_the_dearest_price_goes_along_with_each_request(life):
    offer = replace(OFFERS[0], worst_usd_per_hour=0.9)
    obtain(life, source(life, offer))
    assert own(life)[0].request[2].worst_usd_per_hour == 0.9


def test_one_that_is_being_taken_while_it_boots_is_replaced(life):
    life.cloud.takes_after_s = [5.0]
    obtain(life)
    assert [each.ended_by for each in life.records()] == ["", "it was taken"]


def test_one_that_somebody_ended_is_not_replaced_by_a_keeper_that_was_killed_when_it_saw_it(life):
    rental = obtain(life)
    own(life)[0].asked_at = life.time.at
    life.time.sleep(60)
    assert rental.lost() == ("its machine is gone: stopped", False)
    again = source(life)
    with pytest.raises(Failed, match="ended before it was ready: stopped"):
        again.obtain(lambda what: None)
    again.release()
    assert len(own(life)) == 1
    assert [each.ended_by for each in life.records()] == ["stopped"]


def test_two_keepers_of_one_job_have_one_machine(life):
    obtain(life)
    obtain(life)
    assert len(own(life)) == 1


@pytest.mark.parametrize("ahead_s", [0.0, 7200.0, -7200.0])
def test_how_long_it_lasts_goes_along_whatever_the_clock_here_shows(workspace, monkeypatch, ahead_s):
    life = Life(course=Course(ahead_s=ahead_s))
    specs, launch = [], life.machines.launch
    monkeypatch.setattr(life.machines, "launch", lambda spec: specs.append(spec) or launch(spec))
    failing(life, launch=["lost answer", "error before"])
    obtain(life)
    assert len(specs) == 3
    [lasts_s] = {each.lasts_s for each in specs}
    assert lasts_s == pytest.approx(7200 - 60, abs=5)  # a token stands for one request, whenever that is sent


# ---- one that does not answer ----


def test_a_machine_that_runs_and_never_answers_is_ended_and_that_is_said(life):
    life.machines.answers_after_s, life.cloud.lag_s = math.inf, 0.0
    rental, began_at = source(life), life.time.at
    with pytest.raises(Failed, match="has run for 15 min, and did not answer: it is ended"):
        rental.obtain(lambda what: None)
    assert life.time.at - began_at < 1000
    rental.release()
    assert life.left == []


def test_a_machine_on_which_no_kernel_can_be_begun_is_none_for_long_either(life):
    rental = obtain(life)
    for _ in range(18):
        rental.obtain(lambda what: None)
        life.time.sleep(50)
    with pytest.raises(Failed, match="did not answer"):
        rental.obtain(lambda what: None)


def test_a_machine_that_had_a_kernel_is_kept_though_it_cannot_be_reached(life):
    obtain(life)
    life.kernel.folder.mkdir(parents=True, exist_ok=True)
    life.kernel.write_state(KernelState(phase="ready", machine=own(life)[0].id))
    life.machines.answers_after_s = 3000.0
    obtain(life, source(life))
    assert life.left == [own(life)[0].id]


# ---- its end ----


def test_a_machine_whose_end_was_moved_while_it_began_ends_then(life):
    life.cloud.lag_s = 0.0
    failing(life, place_on=["error before"] * 3)
    rental = source(life)
    moved = life.deadline_at + 900

    def report(what: str) -> None:
        if "answers" in what:
            life.machines.renew(life.job, moved)

    failing(life, move_end=["error before"])
    with pytest.raises(Unavailable):
        rental.obtain(report)
    obtain(life, rental)
    assert own(life)[0].expires_at == moved
    assert life.records()[0].deadline_at == moved


def test_an_earlier_start_of_the_name_does_not_end_the_machine_of_this_one(life):
    obtain(life)
    before = "gpu-before-0a1b2c3d"
    write_job(before, life.name, None, state="failed")
    life.machines.end_alone(life.kernel, OFFERS[0], before)
    life.machines.renew(before, 1.0)
    assert life.machines.status(before).state == "ended"
    assert life.cloud.ended == []
    assert own(life)[0].expires_at == life.deadline_at


def test_what_is_being_asked_for_when_the_end_comes_is_ended(life, monkeypatch):
    monkeypatch.setattr(renting, "_GONE_S", 0.2)
    asked, go_on = threading.Event(), threading.Event()
    launch = life.machines.launch

    def slowly(spec):
        asked.set()
        go_on.wait()
        return launch(spec)

    monkeypatch.setattr(life.machines, "launch", slowly)
    rental = source(life)
    begun = threading.Thread(target=suppressed, args=(rental.obtain, lambda what: None))
    begun.start()
    asked.wait()
    with pytest.raises(Unavailable, match="is still being asked for"):
        rental.release()
    go_on.set()
    begun.join()
    monkeypatch.setattr(renting, "_GONE_S", 60.0)
    rental.release()
    assert life.left == []
    with pytest.raises(LabError):
        rental.obtain(lambda what: None)
    life.time.sleep(60)
    assert life.left == []


def suppressed(work, *args) -> None:
    with contextlib.suppress(LabError):
        work(*args)


@pytest.mark.parametrize("problem", [Denied("it is read only", "…"), StoreUnavailable("it is full", "…")])
def test_a_store_that_takes_nothing_keeps_no_machine_from_its_end(life, monkeypatch, problem):
    rental = obtain(life)

    def refuse(*_: object) -> None:
        raise problem

    monkeypatch.setattr(open_store(), "commit", refuse)
    for _ in range(5):
        suppressed(rental.release)
    assert life.left == []


def test_a_store_that_is_away_keeps_no_machine_from_its_end(life, monkeypatch):
    rental = obtain(life)

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("it is away", "…")

    monkeypatch.setattr(open_store(), "list", away)
    with pytest.raises(StoreUnavailable):
        rental.release()
    life.time.sleep(10)
    assert life.left == []


def test_a_machine_that_cannot_be_ended_keeps_no_other_from_its_end(life, monkeypatch):
    obtain(life)
    first = open_store().list(MachineRecord, about=f"gpu:{life.name}")[0]
    open_store().commit([Record.new("gpu-0-0", changed(first.body, instance="i-ffff"))])
    ends = life.machines.end

    def end(instance: str) -> None:
        if instance == "i-ffff":
            raise Denied("termination protection", "…")
        ends(instance)

    monkeypatch.setattr(life.machines, "end", end)
    life.time.sleep(60)
    with pytest.raises(Denied):
        life.machines.end_alone(life.kernel, OFFERS[0], life.job)
    life.time.sleep(10)
    assert life.left == []


# ---- money ----


def budget(life: Life, usd: float) -> float:
    """Give it a budget; when it ends at the price of the first offer."""
    now = life.machines.clock.now()
    ends_at = now + usd / OFFERS[0].usd_per_hour * 3600
    fields = {"provider": "fake", "gpu": "T4", "usd_per_hour": 0.5, "started_at": now, "is_rented": True}
    limits = {"budget_usd": usd, "deadline_at": ends_at, "deadline_by": "budget"}
    open_store().commit([Record.new(life.name, SessionRecord(**fields, **limits, handle=life.job))])
    update(open_store(), JobRecord, life.job, lambda body: changed(body, deadline_at=ends_at))
    return ends_at


def test_machines_that_are_taken_at_once_cost_a_minute_each_and_no_more_than_the_budget(life, monkeypatch):
    monkeypatch.setattr(life.machines, "offers", lambda: [OFFERS[0]])
    ends_at = budget(life, 0.1)  # 12 minutes
    life.cloud.takes_after_s = [20.0] * 50
    rental = source(life)

    def spend() -> None:
        for _ in range(50):
            obtain(life, rental)
            life.time.sleep(20)
            rental.lost()

    with pytest.raises(Failed, match=r"of its budget of .* are left .*, and a minute costs"):
        spend()
    assert len(own(life)) * 60 / 3600 * 0.5 == pytest.approx(0.1, abs=0.5 / 60)
    assert sum(each.spent_usd(0.0) for each in life.records()) <= 0.1
    session = open_store().get(SessionRecord, life.name)
    assert session.body.deadline_at < ends_at


def test_a_machine_is_paid_from_when_its_provider_says_and_by_what_it_says(life):
    rental = obtain(life)
    life.time.sleep(3000)
    rental.release()
    [record], [machine] = life.records(), own(life)
    assert record.began_at == machine.created_at
    assert record.ended_at == machine.gone_at()
    assert record.spent_usd(0.0) == pytest.approx((machine.gone_at() - machine.created_at) / 3600 * 0.5, rel=1e-3)


def test_no_machine_is_asked_for_when_its_time_is_over(life):
    failing(life, launch=["error before"] * 3)
    rental = source(life)
    with pytest.raises(Unavailable):
        rental.obtain(lambda what: None)
    life.time.sleep(7300)
    with pytest.raises(LabError):
        obtain(life, rental)
    assert own(life) == []


# ---- the reaper ----


def reaped(life: Life) -> reaping.Findings:
    return reaping.look({"fake": life.machines})


def test_the_machine_of_a_session_that_starts_is_no_orphan(life):
    rental, found = source(life), []

    def report(what: str) -> None:
        found.append(reaped(life))

    for _ in range(9):
        suppressed(rental.obtain, report)
        life.time.sleep(ASK_AGAIN_S)
    assert len(found) > 2
    assert [each.orphans for each in found] == [[]] * len(found)


def test_a_keeper_that_is_about_to_be_started_again_keeps_its_machine(life, monkeypatch):
    started = []
    life.cloud.lag_s = 500.0
    failing(life, launch=["lost answer"])
    suppressed(source(life).obtain, lambda what: None)
    update(open_store(), JobRecord, life.job, lambda body: changed(body, state="lost"))
    life.time.sleep(60)
    with monkeypatch.context() as patch:
        patch.setattr(reaping.jobs, "launch", lambda: started.append(1))
        assert reaped(life).closed == []
    assert started
    assert [each.is_open for each in life.records()] == [True]
    end_job(life.job)


def test_machines_of_another_folder_with_the_same_store_are_not_taken_for_gone(life):
    obtain(life)
    update(open_store(), JobRecord, life.job, lambda body: changed(body, home="another", state="lost", ended_at=1.0))
    life.machines.owner = "another"
    life.time.sleep(60)
    life.machines.owner = "this"
    assert reaped(life).closed == []


def test_an_orphan_that_a_list_lacks_for_an_instant_is_ended(life):
    obtain(life)
    end_job(life.job)
    life.time.sleep(60)
    found = reaped(life)
    failing(life, instances=["empty"] * 2)
    assert reaping.end(found.orphans, 60.0, {"fake": life.machines}, life.machines.clock) == []
    life.time.sleep(10)
    assert life.left == []


def test_a_list_that_is_empty_for_an_instant_closes_no_record(life):
    obtain(life)
    end_job(life.job)
    life.time.sleep(60)
    failing(life, instances=["empty"])
    assert reaped(life).closed == []


def test_an_end_that_was_refused_is_none(life, monkeypatch):
    obtain(life)
    end_job(life.job)
    life.time.sleep(60)
    found = reaped(life)
    failing(life, end=["error before"] * 9)
    left = reaping.end(found.orphans, 5.0, {"fake": life.machines}, life.machines.clock)
    assert [each.instance.id for each in left] == [own(life)[0].id]


def test_two_reapers_at_once_end_what_is_left_and_nothing_else(life):
    obtain(life)
    end_job(life.job)
    life.time.sleep(60)
    both = [reaped(life), reaped(life)]
    for found in both:
        assert reaping.end(found.orphans, 60.0, {"fake": life.machines}, life.machines.clock) == []
    assert (life.left, life.touched) == ([], set())
    assert reaped(life).orphans == []


def test_what_was_taken_for_gone_has_cost_money_until_it_was_ended(life):
    obtain(life)
    for record in open_store().list(MachineRecord, about=f"gpu:{life.name}"):
        renting.close_machine(record, "it was gone when somebody looked", at=life.machines.clock.now())
    end_job(life.job)
    life.time.sleep(1000)
    reaping.end(reaped(life).orphans, 60.0, {"fake": life.machines}, life.machines.clock)
    [record], [machine] = life.records(), own(life)
    assert record.ended_at == pytest.approx(machine.gone_at(), abs=5.0)
    assert record.ended_by == "it was gone when somebody looked; it was not, and was ended"
