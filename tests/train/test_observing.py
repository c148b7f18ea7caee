"""A killed run's end: who finds it writes it, once, and listing never looks at it again."""

import contextlib
import os
import time
from collections import Counter

import pytest

from aiinfra_lab import jobs, train
from aiinfra_lab.errors import Conflict, Denied, Unavailable
from aiinfra_lab.jobs import JobRecord, process
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.store.sql import SqlStore
from aiinfra_lab.train import history, observing, record
from aiinfra_lab.train.observing import find, observe, request_stop
from aiinfra_lab.train.record import TrainingRun

from .many import GONE, make_runs


def put(label: str, **fields) -> Record:
    return open_store().commit([Record.new(label, TrainingRun(**{"state": "running", "started_at": 1.0, **fields}))])[0]


def job_of(label: str, **fields) -> Record:
    body = {"subject": f"train:{label}", "state": "running", "started_at": 1.0, "supervised": False, **fields}
    return open_store().commit([Record.new(f"train-{label.partition('@')[0]}", JobRecord(**body))])[0]


def here() -> dict:
    """This very process, as the one that does a job."""
    return {"pid": os.getpid(), "born": process.birth(os.getpid())}


@pytest.fixture
def counted(monkeypatch):
    """Counts what is asked of the store: readings and commits."""
    counts: Counter[str] = Counter()

    def counting(name):
        real = getattr(SqlStore, name)

        def call(self, *args, **kwargs):
            counts[name] += 1
            return real(self, *args, **kwargs)

        monkeypatch.setattr(SqlStore, name, call)

    for name in ("get", "list", "commit", "changed", "events"):
        counting(name)
    return counts


def asked(counts: Counter[str], count: int) -> list[Counter[str]]:
    """What `train ls` asks of the store the first and the second time, when so many more runs were made."""
    make_runs(count, name=f"n{count}")
    found = []
    for _ in range(2):
        counts.clear()
        train.ls(f"n{count}")
        found.append(Counter(counts))
    return found


def test_listing_asks_the_store_as_often_for_many_runs_as_for_few(workspace, counted):
    few, many = asked(counted, 20), asked(counted, 200)
    assert few == many == [Counter(list=2, commit=1), Counter(list=1)]


def test_the_files_of_a_killed_run_are_read_once(workspace, monkeypatch):
    make_runs(10)
    read = []
    monkeypatch.setattr(history, "read", lambda path, real=history.read: read.append(path) or real(path))
    first, again = train.ls(), train.ls()
    assert (len(read), first) == (5, again)
    assert [run.metrics for run in first] == [{"loss": 1 / 3}, {"loss": 0.5, "auc": 0.7}] * 5


def test_the_ends_of_a_run_and_of_its_job_are_written_together(workspace):
    make_runs(4)
    train.ls()
    killed = open_store().get(TrainingRun, "delay@2").body
    job = open_store().get(JobRecord, "train-delay-2").body
    assert (killed.state, killed.ended_at, killed.metrics) == ("killed", job.ended_at, {"loss": 1 / 3})
    assert (job.state, jobs.ls(live=True), open_store().list(JobRecord, is_open=True)) == ("lost", [], [])


def test_a_run_that_was_killed_is_open_until_the_tracking_server_knows_it(workspace):
    make_runs(4)
    assert [run.name for run in open_store().list(TrainingRun, is_open=True)] == ["delay@4", "delay@2"]
    train.ls()
    record.change("delay@4", tracked=True)
    assert [run.name for run in open_store().list(TrainingRun, is_open=True)] == ["delay@2"]


@pytest.mark.parametrize("problem", [Denied("it may not be written", "x"), Unavailable("the disk is full", "x")])
def test_a_store_that_may_not_be_written_is_read_all_the_same(workspace, monkeypatch, problem):
    make_runs(2)

    def commit(*_):
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(SqlStore, "commit", commit)
        assert [(run.state, run.metrics["loss"]) for run in train.ls()] == [("killed", 1 / 3), ("done", 0.5)]
    assert open_store().get(TrainingRun, "delay@2").body.state == "running"


def test_a_run_that_ended_well_between_two_looks_is_not_called_killed(workspace, monkeypatch):
    stale = [put("delay@1")]
    record.change("delay@1", state="done", ended_at=5.0, metrics={"auc": 1.0})
    (seen,) = observe(stale)
    assert (seen.state, seen.record.body.metrics, seen.ended_at) == ("done", {"auc": 1.0}, 5.0)


def test_looking_gives_an_answer_however_often_others_write(workspace, monkeypatch):
    run = put("delay@1")

    def commit(*_):
        raise Conflict("somebody was faster", "repeat")

    monkeypatch.setattr(SqlStore, "commit", commit)
    assert [seen.state for seen in observe([run])] == ["killed"]


@pytest.mark.parametrize(
    ("run", "job", "state"),
    [
        ({}, {}, "running"),
        ({}, {"stop_requested_at": 2.0}, "stopping"),
        ({}, {"state": "starting", "pid": 0}, "running"),
        ({}, {"pid": GONE[0]}, "killed"),
        ({}, {"state": "lost"}, "killed"),
        ({"state": "failed"}, {}, "failed"),
    ],
)
def test_what_a_run_does_is_what_its_job_does(workspace, run, job, state):
    found = put("delay@1", **run)
    job_of("delay@1", **{**here(), **job})
    (seen,) = observe([found])
    assert (seen.state, seen.is_live) == (state, state in ("running", "stopping"))


def test_a_run_without_a_job_waits_for_as_long_as_whoever_planned_it_is_there(workspace):
    waiting = put("delay@1", state="starting", planned_by=(os.getpid(), process.birth(os.getpid())))
    left = put("delay@2", state="starting", planned_by=GONE)
    assert [seen.state for seen in observe([waiting, left])] == ["starting", "killed"]


def test_a_request_to_stop_reaches_the_job_or_waits_in_the_record(workspace):
    running, waiting = put("a@1"), put("b@1", state="starting", planned_by=tuple(here().values()))
    job = job_of("a@1", **here())
    assert request_stop(running) == [job.name]
    assert (find("train:a").state, request_stop(waiting)) == ("stopping", [])
    assert open_store().get(TrainingRun, "b@1").body.stop_requested_at is not None


def test_a_run_that_began_just_before_the_request_was_written_is_asked_too(workspace, monkeypatch):
    waiting = put("a@1", state="starting", planned_by=tuple(here().values()))
    real = record.change

    def change(label, **changes):
        with contextlib.suppress(Conflict):
            job_of("a@1", **here())
        return real(label, **changes)

    monkeypatch.setattr(observing.record, "change", change)
    assert request_stop(waiting) == ["train-a"]


def test_what_is_over_stays_as_it_is(workspace):
    over = put("a@1", state="done", ended_at=2.0)
    assert (request_stop(over), open_store().get(TrainingRun, "a@1")) == ([], over)


@pytest.mark.parametrize(("silent_s", "state"), [(30, "running"), (1000, "killed")])
def test_a_run_in_another_container_goes_on_as_long_as_it_gives_signs_of_life(workspace, silent_s, state):
    run, seen_at = put("delay@1"), time.time() - silent_s
    job_of("delay@1", pid=GONE[0], born=GONE[1], process_table="another", seen_at=seen_at)
    assert [seen.state for seen in observe([run])] == [state]
