"""The end of a run whose process vanished is written once, by whoever observes it."""

from typing import Any

import pytest
from msgspec.structs import replace

from aiinfra_lab import jobs, recipe
from aiinfra_lab.errors import Denied
from aiinfra_lab.recipe import history
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.store import Record, open_store, update

STEPS = (
    StepRecord(name="a", state="done", began_at=100.0, seconds=5.0),
    StepRecord(name="b", state="running", began_at=106.0),
    StepRecord(name="c"),
)


def begun(number: int = 1) -> Record[RunRecord]:
    """A run of which no process is left."""
    (record,) = open_store().commit([Record.new(f"r@{number}", RunRecord(started_at=99.0, steps=STEPS))])
    return record


def test_a_run_whose_process_vanished_ended_when_it_last_gave_a_sign(workspace):
    (run,) = history.observe([begun()])
    assert (run.state, run.record.body.ended_at, run.job) == ("lost", 106.0, None)
    assert [step.state for step in run.record.body.steps] == ["done", "lost", "not run"]


def test_its_end_is_written_and_nobody_observes_it_again(workspace):
    history.observe([begun()])
    (written,) = open_store().list(RunRecord)
    assert (written.body.state, written.body.is_open) == ("lost", False)
    assert history.observe([written])[0].record.rev == written.rev


def test_a_run_goes_on_while_its_job_does(workspace):
    record = Record.new("r@1", RunRecord(started_at=1.0, steps=()))
    with jobs.here(record.uri, record) as job:
        (run,) = history.observe(open_store().list(RunRecord))
        assert (run.state, run.job.id) == ("running", job.id)
        jobs.cancel(job.id)
        assert history.newest("r").state == "stopping"
        assert recipe.show("r@1").state == "stopping"


def test_a_run_that_ended_while_one_looked_is_not_lost(workspace):
    read = begun()
    update(open_store(), RunRecord, read.name, lambda body: replace(body, state="done", ended_at=120.0))
    (run,) = history.observe([read])
    assert (run.state, run.record.body.ended_at) == ("done", 120.0)


class Watched:
    """A store that counts what it is asked, and may refuse to be written."""

    def __init__(self, *, writable: bool) -> None:
        self.asked: list[str] = []
        self._writable = writable

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        if name == "commit" and not self._writable:
            raise Denied("the store may not be written", "make it yours")
        return getattr(self._store, name)

    def use(self, patch: pytest.MonkeyPatch) -> "Watched":
        self._store = open_store()
        for module in (history, jobs):
            patch.setattr(module, "open_store", lambda: self)
        return self


def test_looking_works_where_nothing_can_be_written(workspace, monkeypatch):
    records = [begun()]
    Watched(writable=False).use(monkeypatch)
    assert history.observe(records)[0].state == "lost"
    (written,) = open_store().list(RunRecord)
    assert written.body.state == "running"


def test_many_runs_take_one_question_and_one_commit(workspace, monkeypatch):
    records = [begun(number) for number in range(1, 30)]
    store = Watched(writable=True).use(monkeypatch)
    assert {run.state for run in history.observe(records)} == {"lost"}
    assert store.asked == ["list", "commit"]


def test_what_has_ended_takes_no_question(workspace, monkeypatch):
    (run,) = history.observe([begun()])
    store = Watched(writable=True).use(monkeypatch)
    history.observe([run.record])
    assert store.asked == []


def test_a_list_of_runs_says_how_each_ended(workspace):
    begun()
    begun(2)
    assert [(run.uri, run.state, run.duration_s) for run in recipe.log("r")] == [
        ("recipe:r@2", "lost", 7.0),
        ("recipe:r@1", "lost", 7.0),
    ]
