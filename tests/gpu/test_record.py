import json
import sqlite3
import time
from contextlib import closing

import pytest

from aiinfra_lab import gpu
from aiinfra_lab.cost.billing import MachineTime, PriceChange, bill
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.gpu.record import EarlierStart, Limits, MachineRecord, SessionRecord
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.store.base import decode, encode

# As the version before this one wrote it.
OLD = {
    "budget_usd": None,
    "deadline_at": 1795650289.9,
    "deadline_by": "deadline",
    "device": "",
    "earlier_spans": [{"ended_at": 1795650287.9, "started_at": 1795650285.4, "usd_per_hour": 0.36}],
    "ended_at": 1795650290.3,
    "ended_by": "deadline",
    "exit_code": 0,
    "gpu": "cpu",
    "handle": "gpu-short-16adf506",
    "provider": "local",
    "shown_as": "short · cpu",
    "spot": False,
    "started_at": 1795650287.9,
    "until_at": 1795650289.9,
    "usd_per_hour": 0.36,
}


def body(**fields) -> SessionRecord:
    return SessionRecord(**{"provider": "local", "gpu": "cpu", "started_at": 100.0, "usd_per_hour": 3600.0, **fields})


# What later versions have besides.
NEW = {"context": "", "stop_requested_at": None, "idle_s": None, "is_rented": False}
NEW |= {"count": None, "type": "", "where": "", "sync": False, "environment": False}


def test_a_record_of_the_version_before_reads_and_keeps_all_that_it_had():
    found = decode(SessionRecord, "short", json.dumps(OLD), 1)
    assert (found.ended_by, found.is_open, found.earlier_spans[0].started_at) == ("deadline", False, 1795650285.4)
    earlier = [{**OLD["earlier_spans"][0], "provider": None}]
    assert json.loads(encode(found)) == {**OLD, **NEW, "earlier_spans": earlier}


def test_a_session_that_never_ended_is_open(workspace):
    open_store().commit([Record.new("a", body()), Record.new("b", body(ended_at=200.0))])
    assert [record.name for record in open_store().list(SessionRecord, is_open=True)] == ["a"]
    assert [record.name for record in open_store().list(SessionRecord, is_open=False)] == ["b"]


def test_an_unknown_field_is_not_lost_silently():
    with pytest.raises(Exception, match="colour"):
        decode(SessionRecord, "x", json.dumps({**OLD, "colour": "red"}), 1)


def test_the_json_on_disk_keeps_its_shape(workspace):
    open_store().commit([Record.new("a", body())])
    with closing(sqlite3.connect(workspace / ".aiinfra" / "store.sqlite")) as db:
        (text,) = db.execute("SELECT body FROM records WHERE kind = 'gpu'").fetchone()
    assert json.loads(text).keys() == {**OLD, **NEW}.keys()


@pytest.mark.parametrize(
    ("until_in_s", "budget_usd", "deadline_in_s", "by"),
    [
        (60, None, 60, "deadline"),
        (None, 30, 30, "budget"),
        (60, 30, 30, "budget"),
        (20, 30, 20, "deadline"),
        (30, 30, 30, "deadline"),
        (None, None, None, ""),
    ],
)
def test_it_ends_at_what_comes_first(until_in_s, budget_usd, deadline_in_s, by):
    now = time.time()
    found = Limits.of(3600.0, now, now + until_in_s if until_in_s else None, budget_usd)
    assert found.deadline_by == by
    assert found.deadline_at == (pytest.approx(now + deadline_in_s) if deadline_in_s else None)


def test_a_budget_ends_nothing_on_a_free_machine():
    assert Limits.of(0.0, time.time(), None, 5.0) == Limits(budget_usd=5.0)


def test_a_budget_that_is_spent_names_one_that_is_not():
    started_at = time.time() - 100
    with pytest.raises(UsageProblem) as problem:
        Limits.of(3600.0, started_at, None, 50.0)
    enough = float(problem.value.fix.removeprefix("give it more than ").removesuffix(" USD"))
    assert Limits.of(3600.0, started_at, None, enough + 1).deadline_by == "budget"


def test_money_is_time_at_its_price():
    assert body().spent_usd(110.0) == pytest.approx(10.0)
    assert body(started_at=time.time() - 10).spent_usd(None) == pytest.approx(10.0, abs=1)
    assert body().spent_usd(90.0) == 0.0


def test_a_start_is_kept_by_the_next_one():
    first = EarlierStart(started_at=1.0, ended_at=2.0, usd_per_hour=0.1)
    found = body(earlier_spans=(first,), ended_at=200.0).starts()
    assert found == (first, EarlierStart(started_at=100.0, ended_at=200.0, usd_per_hour=3600.0, provider="local"))


def test_what_ends_it_is_said_with_what_it_will_have_cost():
    now = time.time()
    record = Record.new("a", body(started_at=now, deadline_at=now + 60, deadline_by="budget"))
    text = gpu.sessions.limit_text(gpu.sessions.ObservedSession(record, "running"))
    assert text == "in 1 min, when its budget is spent; it will have cost at most 60.00 USD"


def observed_spot(*machines: MachineRecord) -> gpu.sessions.ObservedSession:
    now = time.time()
    found = body(started_at=now, usd_per_hour=0.5, deadline_at=now + 3600, deadline_by="deadline", is_rented=True,
                 spot=True, handle="gpu-far-0a1b2c3d")  # fmt: skip
    return gpu.sessions.ObservedSession(Record.new("far", found), "running", machines=machines)


def test_of_spot_the_most_is_at_the_worst_price_of_its_machines_a_lost_one_of_them():
    lost = MachineRecord(**{**OLD_MACHINE, "usd_per_hour": 0.5, "worst_usd_per_hour": 1.006, "instance": "",
                            "spot": True})  # fmt: skip
    another_start = MachineRecord(**{**OLD_MACHINE, "job": "gpu-far-ffffffff", "worst_usd_per_hour": 9.0})
    now = MachineRecord(**{**OLD_MACHINE, "usd_per_hour": 0.5, "worst_usd_per_hour": 0.9, "began_at": time.time(),
                           "ended_at": None})  # fmt: skip
    text = gpu.sessions.limit_text(observed_spot(lost, now, another_start))
    assert text.endswith("it will have cost at most 1.01 USD, and a minute of each machine that replaces another")


def test_of_spot_without_a_machine_nobody_knows_the_most():
    assert gpu.sessions.limit_text(observed_spot()) == "in 1 h, when its time is over"


# ---- machines ----

OLD_MACHINE = {
    "session": "far",
    "job": "gpu-far-0a1b2c3d",
    "provider": "aws",
    "gpu": "A10G",
    "usd_per_hour": 1.006,
    "requested_at": 100.0,
    "device": "g5.xlarge/us-east-1/us-east-1a",
    "spot": False,
    "worst_usd_per_hour": None,
    "asked_at": 0.0,
    "deadline_at": 7300.0,
    "instance": "us-east-1/i-1",
    "began_at": 101.0,
    "ended_at": 200.0,
    "ended_by": "deadline",
}


def test_a_machine_of_the_version_before_reads_and_does_not_say_how_many_accelerators_it_had():
    found = decode(MachineRecord, "far-1", json.dumps(OLD_MACHINE), 1)
    assert json.loads(encode(found)) == {**OLD_MACHINE, "count": None, "type": "", "where": "", "prices": []}


def test_a_machine_whose_price_changes_costs_what_is_billed():
    changes = (PriceChange(90.0, 0.5), PriceChange(3701.0, 2.0), PriceChange(5501.0, 0.25))
    found = MachineRecord(**{**OLD_MACHINE, "ended_at": 7301.0}, prices=changes)
    billed = bill([MachineTime(101.0, 7301.0, (PriceChange(101.0, 0.5), *changes[1:]))])
    assert found.spent_usd(1e6) == pytest.approx(float(billed), abs=1e-12)
    assert found.mean_usd_per_hour(1e6) * 2 == pytest.approx(float(billed))
    assert decode(MachineRecord, "far-1", encode(found), 3) == found


@pytest.mark.parametrize("lasted_s", [0.2, 59.9, 60.0, 60.1, 3599.5, 7200.0])
def test_a_machine_costs_what_is_billed(lasted_s):
    found = MachineRecord(**{**OLD_MACHINE, "ended_at": 101.0 + lasted_s})
    billed = bill([MachineTime(101.0, 101.0 + lasted_s, (PriceChange(101.0, 1.006),))])
    assert found.spent_usd(1e6) == pytest.approx(float(billed), abs=1e-12)


def test_what_never_was_a_machine_costs_nothing():
    assert MachineRecord(**{**OLD_MACHINE, "instance": ""}).spent_usd(1e6) == 0.0
