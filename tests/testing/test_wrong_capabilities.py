"""The suites of capabilities refuse what only looks like one: each of these has the methods, and they are wrong."""

import contextlib
import importlib
import math

import msgspec
import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.deploy import lifecycle
from aiinfra_lab.deploy.desired_state import ServeRequest
from aiinfra_lab.deploy.record import Verdict, VersionCounts
from aiinfra_lab.errors import Failed, Unavailable
from aiinfra_lab.gpu import Status
from aiinfra_lab.stats.bounds import parse_bounds
from aiinfra_lab.store import GENESIS, Event, open_store
from aiinfra_lab.testing import deploy as suites
from aiinfra_lab.testing.artifacts import ROW
from aiinfra_lab.testing.data import ONE, TWO, WorkingCopiesContract, folder
from aiinfra_lab.testing.deploy import PredictionLogContract, ReportingContract
from aiinfra_lab.testing.gpu import KernelHostContract, PacedMachinesContract
from aiinfra_lab.testing.store import AwayStoreContract, EventIndexContract, HeadKeeperContract, StoreContract
from tests.fakes import cloud

from .conftest import FAKES

VERSIONS = ("models:delay@1", "models:delay@2")


def module(monkeypatch, name):
    monkeypatch.syspath_prepend(FAKES / name)
    return importlib.import_module(name)


def test_a_target_may_not_count_nothing(far, started, monkeypatch):
    monkeypatch.setattr(ReportingContract, "patience_s", 0.2)
    monkeypatch.setattr(far.Service, "count", lambda *_: None)
    with pytest.raises(Unavailable, match="never counted"):
        ReportingContract().test_rows_are_counted_and_not_only_requests(
            far.FarCounting(settings()), started, VERSIONS, ROW
        )


def test_an_end_is_given_the_time_that_the_target_says_and_else_that_of_the_suite(far, started, monkeypatch):
    given, suite = [], ReportingContract()
    monkeypatch.setattr(far.Far, "stop", lambda *how: given.append(how[-1]))
    suite.patience_s = 90.0
    suite.stop(far.FarCounting(settings()), started.body.job)
    suite.stop(far.Far(settings()), started.body.job)
    assert given == [5.0, 90.0]


def test_a_target_may_not_report_what_has_ended(far, started, monkeypatch):
    monkeypatch.setattr(far.FarCounting, "report", lambda *_: far.Report({}, 0.0, 1))
    with pytest.raises(AssertionError):
        ReportingContract().test_what_has_ended_or_never_was_reports_nothing(far.FarCounting(settings()), started)


def test_a_verdict_may_not_be_told_of_a_canary_that_began_since(far, started, monkeypatch):
    suite, target = ReportingContract(), far.FarCounting(settings())
    record = suites.change(started, target, ServeRequest(VERSIONS[1], 0.5, parse_bounds("errors > 1%")))
    suites.served(target, record.body.job, record.body.generation)
    (service,) = far.CLOUD.values()
    service.break_rule()
    record = lifecycle.observe_all([record], target)[0][0]
    verdict = Verdict("breach", ("errors are 9 %",))
    monkeypatch.setattr(far.FarCounting, "report", lambda *_: far.Report({}, 0.0, service.served.generation, verdict))
    with pytest.raises(AssertionError):
        suite.test_a_verdict_on_an_earlier_canary_is_not_reported_as_one_on_the_next(target, record, VERSIONS)


@pytest.mark.parametrize("counts", [VersionCounts(requests=0.5), VersionCounts(requests=20, buckets={"le_5": 20})])
def test_a_report_may_hold_nothing_that_no_record_can(far, started, monkeypatch, counts):
    monkeypatch.setattr(far.FarCounting, "report", lambda *_: far.Report({VERSIONS[0]: counts}, 0.0, 1))
    with pytest.raises(Failed, match="reports"):
        ReportingContract().report(far.FarCounting(settings()), started.body.job)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[::-1], AssertionError),
        (lambda rows: rows[:1], AssertionError),
        (lambda rows: [{"row_id": row["row_id"], "outputs": row["outputs"]} for row in rows], msgspec.ValidationError),
        (lambda rows: [{**row, "at": "today"} for row in rows], msgspec.ValidationError),
    ],
)
def test_a_log_may_not_be_in_another_order_incomplete_or_of_another_form(far, started, monkeypatch, change, expected):
    right = far.FarCounting.predictions
    monkeypatch.setattr(far.FarCounting, "predictions", lambda *how: change(right(*how)))
    with pytest.raises(expected):
        PredictionLogContract().test_what_was_answered_is_logged_newest_first(far.FarCounting(settings()), started, ROW)


@pytest.mark.parametrize("answer", [False, True])
def test_working_copies_may_not_be_called_modified_at_random(workspace, monkeypatch, tmp_path, answer):
    copies = module(monkeypatch, "remote_data").Copying(settings())
    monkeypatch.setattr(type(copies), "is_modified", lambda *_: answer)
    keys = tuple(copies.ingest(folder(tmp_path / str(number), files)) for number, files in enumerate((ONE, TWO)))
    with pytest.raises(AssertionError):
        WorkingCopiesContract().test_only_what_nothing_stored_is_equal_to_is_a_change(
            copies, workspace / "data" / "x", keys
        )


def test_a_head_may_not_stay_where_it_was(workspace, monkeypatch):
    store = module(monkeypatch, "memory_store").Memory()
    monkeypatch.setattr(type(store), "head", lambda _: (0, GENESIS))
    with pytest.raises(AssertionError):
        HeadKeeperContract().test_the_newest_event_is_noted_with_its_commit(store, store)


def test_a_store_that_is_away_may_not_be_called_out_of_use_for_good(workspace, monkeypatch):
    store = module(monkeypatch, "memory_store").Memory()

    def gone(_):
        raise Unavailable("the memory is gone", "install it again")

    @contextlib.contextmanager
    def away():
        with monkeypatch.context() as patch:
            patch.setattr(type(store), "_reach", gone)
            yield

    with pytest.raises(Unavailable, match="install it again"):
        AwayStoreContract().test_a_store_that_is_away_says_so_with_a_fix(store, away, "get")


def test_a_store_may_not_be_silent_about_what_its_list_lacks(workspace, monkeypatch):
    memory_store = module(monkeypatch, "memory_store")
    monkeypatch.setattr(memory_store, "leave_out", lambda *_: None)
    with pytest.raises(AssertionError):
        StoreContract().test_whoever_shows_a_list_learns_what_it_leaves_out_each_time(memory_store.Memory())


def test_an_index_may_not_be_called_rebuilt_that_stays_wrong(workspace, monkeypatch):
    store = open_store()
    store.commit([], Event("data add", "data:a"))
    store.commit([], Event("data add", "data:b"))

    def forget(seq):
        with store._transaction() as db:
            db.execute("DELETE FROM event_uris WHERE seq = ?", (seq,))

    monkeypatch.setattr(type(store), "rebuild_index", lambda _: None)
    with pytest.raises(AssertionError):
        EventIndexContract().test_what_is_wrong_is_seen_and_rebuilt(
            store, store, {1: {"data:a"}, 2: {"data:b"}}, forget
        )


def test_a_kernel_may_not_be_given_for_a_machine_that_never_was(workspace, monkeypatch):
    machines = module(monkeypatch, "kernel_cloud").Machines(settings())
    monkeypatch.setattr(type(machines), "kernel", lambda *_: None)
    with pytest.raises(pytest.fail.Exception):
        KernelHostContract().test_a_machine_that_never_was_has_no_kernel(machines)


@pytest.mark.parametrize("within_s", [0.0, math.inf])
def test_a_time_that_is_stated_may_be_neither_too_short_nor_endless(workspace, monkeypatch, within_s):
    monkeypatch.setattr(cloud, "machines", {})
    monkeypatch.setattr(cloud.Cloud, "ready_within_s", lambda _: within_s, raising=False)
    monkeypatch.setattr(cloud.Cloud, "ended_within_s", lambda _: 60.0, raising=False)
    monkeypatch.setattr(cloud.Cloud, "status", lambda self, handle: Status("ready"))
    machines = cloud.Cloud(settings())
    with pytest.raises(AssertionError):
        PacedMachinesContract().test_a_machine_is_ready_and_over_within_the_times_that_are_stated(
            machines, machines.offers()[0]
        )
