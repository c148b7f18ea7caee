"""The line of money in a session's live frame."""

import time

import pytest

from aiinfra_lab.gpu import metering
from aiinfra_lab.gpu.record import MachineRecord, SessionRecord
from aiinfra_lab.store import Record, open_store

JOB = "gpu-far-0a1b2c3d"


def session(**fields) -> None:
    now = time.time()
    given = {"provider": "sim", "gpu": "L4", "usd_per_hour": 0.46, "started_at": now - 940, "handle": JOB, **fields}
    open_store().commit([Record.new("far", SessionRecord(**given))])


def machine(spent_s: float, job: str = JOB) -> None:
    fields = {"provider": "sim", "gpu": "L4", "usd_per_hour": 0.46, "instance": "i-1"}
    body = MachineRecord(session="far", job=job, requested_at=time.time() - spent_s, **fields)
    open_store().commit([Record.new(f"{job}-0", body)])


@pytest.fixture
def no_provider(monkeypatch):
    """Nobody may be asked."""

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("aiinfra_lab.gpu.sessions.make", refuse)


@pytest.mark.usefixtures("workspace", "no_provider")
def test_it_says_what_is_spent_what_an_hour_costs_and_when_it_ends():
    session(is_rented=True, budget_usd=5.0, deadline_at=time.time() + 6720.5)
    machine(939.0)
    machine(50_000.0, job="gpu-far-ffffffff")  # of an earlier start
    assert [each.text for each in metering.meter("far")()] == ["0.12 of 5.00 USD · 0.46 USD/h · ends in 1 h 52 min"]


@pytest.mark.usefixtures("workspace", "no_provider")
@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "0.12 USD · 0.46 USD/h"),
        ({"budget_usd": 0.2}, "0.12 of 0.20 USD · 0.46 USD/h · ▲ over 50 % of its budget"),
        ({"budget_usd": 0.12}, "0.12 of 0.12 USD · 0.46 USD/h · ▲ over 100 % of its budget"),
        ({"usd_per_hour": 0.0}, ""),
        ({"ended_at": 1.0}, ""),
    ],
)
def test_it_says_no_more_than_is_known(fields, line):
    session(**fields)
    assert [each.text for each in metering.meter("far")()] == ([line] if line else [])


@pytest.mark.usefixtures("workspace")
def test_a_session_that_is_not_written_down_yet_has_none():
    assert metering.meter("far")() == []
