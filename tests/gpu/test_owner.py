"""What the keeper of a session does for it besides its kernel: warnings of its budget, while nobody looks."""

import time

import pytest

from aiinfra_lab import nouns, signal_records
from aiinfra_lab.gpu import metering, pool_members
from aiinfra_lab.gpu.owner import SessionOwner
from aiinfra_lab.gpu.pool_job import PoolKeeper
from aiinfra_lab.gpu.pool_record import PoolRecord
from aiinfra_lab.gpu.record import MachineRecord, SessionRecord
from aiinfra_lab.kernels import KernelState
from aiinfra_lab.store import Record, open_store
from tests.fakes.rented_life import write_job

JOB = "gpu-far-0a1b2c3d"


@pytest.fixture
def owner(workspace) -> SessionOwner:
    write_job(JOB, "far", None)
    now = time.time()
    fields = {"provider": "sim", "gpu": "L4", "usd_per_hour": 1.0, "is_rented": True, "handle": JOB}
    open_store().commit([Record.new("far", SessionRecord(started_at=now, budget_usd=4.0, **fields))])
    return SessionOwner("far", JOB)


def spend(usd: float, name: str = "far-1", job: str = JOB) -> None:
    """A machine that has cost so much, at a dollar an hour."""
    fields = {"provider": "sim", "gpu": "L4", "usd_per_hour": 1.0, "instance": "i-1"}
    body = MachineRecord(session="far", job=job, requested_at=time.time() - usd * 3600, **fields)
    before = open_store().get(MachineRecord, name)
    open_store().commit([before.of(body) if before else Record.new(name, body)])


def sent() -> list[str]:
    return [each.body.what.partition(", ")[0] for each in signal_records.since(open_store(), 0)]


def test_each_level_of_the_budget_is_sent_and_logged_once(owner, caplog):
    for usd in (1.0, 2.1, 2.2, 3.3, 3.4):
        spend(usd)
        owner.lease()
    assert [each.partition(" ")[0] for each in caplog.messages] == ["53", "83"]
    assert [each.partition(" ")[0] for each in sent()] == ["83"]  # a thing has one signal, its newest


def test_it_has_the_price_of_its_machine_looked_at(owner):
    looked = []

    class Rental:
        def note_prices(self) -> None:
            looked.append(1)

    SessionOwner("far", JOB, Rental()).lease()
    SessionOwner("far", "gpu-far-ffffffff", Rental()).lease()
    assert looked == [1]


def test_money_of_an_earlier_start_is_none_of_this_budget(owner, caplog):
    spend(3.0, job="gpu-far-ffffffff")
    owner.lease()
    assert caplog.messages == []


def test_the_end_by_its_budget_is_said(owner, caplog):
    spend(4.0)
    owner.ended(KernelState(phase="ended", why="budget", at=time.time()))
    assert [each[:18] for each in caplog.messages] == ["100 % of 4.00 USD,"]


def test_a_keeper_that_was_replaced_by_another_start_says_nothing(owner, caplog):
    spend(3.0)
    SessionOwner("far", "gpu-far-ffffffff").lease()
    assert caplog.messages == []


@pytest.fixture
def pool(workspace) -> PoolKeeper:
    """Of two sessions, each with a share of 4 dollars."""
    body = PoolRecord(
        min=0, max=2, places=2, per_member=1.0, provider="sim", job=JOB, started_at=time.time() - 8 * 3600,
        budget_usd=8.0,
    )  # fmt: skip
    fields = {"provider": "sim", "gpu": "L4", "usd_per_hour": 1.0, "is_rented": True, "context": "gpu:far"}
    open_store().commit([Record.new("far", body)])
    for name in ("far-1", "far-2"):
        write_job(f"gpu-{name}-0a1b2c3d", name, None)
        session = SessionRecord(started_at=time.time(), budget_usd=4.0, handle=f"gpu-{name}-0a1b2c3d", **fields)
        open_store().commit([Record.new(name, session)])
    return PoolKeeper("far")


def spend_in_pool(usd: float, name: str) -> None:
    job = f"gpu-{name}-0a1b2c3d"
    fields = {"provider": "sim", "gpu": "L4", "usd_per_hour": 1.0, "instance": "i-1"}
    body = MachineRecord(session=name, job=job, requested_at=time.time() - usd * 3600, **fields)
    open_store().commit([Record.new(f"{name}-0", body)])


def test_a_share_of_a_pools_budget_is_warned_of_by_nobody_and_the_whole_once_by_its_job(pool, caplog):
    spend_in_pool(3.9, "far-1")
    for _ in range(2):
        SessionOwner("far-1", "gpu-far-1-0a1b2c3d").lease()
        pool.warn()
    assert caplog.messages == []
    spend_in_pool(2.6, "far-2")
    for _ in range(2):
        SessionOwner("far-2", "gpu-far-2-0a1b2c3d").lease()
        pool.warn()
    assert [each[:17] for each in caplog.messages] == ["81 % of 8.00 USD,"]
    assert [each.uri for each in nouns.find("gpu").budgets()] == ["gpu:far"]
    assert not any("▲" in each.text for each in metering.meter("far-1")())


@pytest.mark.parametrize("name", ["far", "far-1", "near-1", "far-01"])
def test_a_session_that_is_only_called_like_a_pools_is_on_its_own(owner, name):
    record = open_store().get(SessionRecord, "far")
    assert pool_members.pool_of(Record.new(name, record.body)) is None
