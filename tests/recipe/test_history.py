"""The end of a run whose process vanished is written once, by whoever observes it."""

import os
from typing import Any

import pytest
from msgspec.structs import replace

from aiinfra_lab import jobs, recipe
from aiinfra_lab.errors import Damaged, Denied
from aiinfra_lab.recipe import history, recorded
from aiinfra_lab.recipe.noun import NOUN
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.store import Record, open_store, update
from tests import records

STEPS = (
    StepRecord(name="a", state="done", began_at=100.0, seconds=5.0),
    StepRecord(name="b", state="running", began_at=106.0),
    StepRecord(name="c"),
)


def begun(number: int = 1) -> RecordedRun:
    """A run of which no process is left."""
    return records.recorded_run(f"r@{number}", RunRecord(started_at=99.0), *STEPS)


def of_version_9(number: int = 1) -> RecordedRun:
    """The same as that version recorded it."""
    (record,) = open_store().commit([Record.new(f"r@{number}", RunRecord(started_at=99.0, steps=STEPS))])
    return RecordedRun(record)


@pytest.mark.parametrize("there", [begun, of_version_9])
def test_a_run_whose_process_vanished_ended_when_it_last_gave_a_sign(workspace, there):
    (run,) = history.observe([there()])
    assert (run.state, run.record.body.ended_at, run.job) == ("lost", 106.0, None)
    assert [step.state for step in run.record.steps] == ["done", "lost", "not run"]
    assert [step.state for step in history.recorded_run("r@1").steps] == ["done", "lost", "not run"]


def test_the_last_sign_of_a_run_may_be_that_a_step_was_saved(workspace):
    archive = workspace / "b.ipynb"
    archive.write_text("{}")
    os.utime(archive, (140.0, 140.0))
    running = StepRecord(name="b", state="running", began_at=106.0, archive=str(archive))
    gone = StepRecord(name="c", state="running", began_at=107.0, archive=str(workspace / "c.ipynb"))
    records.recorded_run("r@1", RunRecord(started_at=99.0), running, gone)
    assert history.newest("r").record.body.ended_at == 140.0


def test_its_end_is_written_and_nobody_observes_it_again(workspace):
    history.observe([begun()])
    (written,) = open_store().list(RunRecord)
    assert (written.body.state, written.body.is_open) == ("lost", False)
    assert history.observe([RecordedRun(written)])[0].record.record.rev == written.rev


def test_a_run_goes_on_while_its_job_does(workspace):
    record = Record.new("r@1", RunRecord(started_at=1.0))
    with jobs.here(record.uri, record) as job:
        (run,) = history.observe(history.readable_runs())
        assert (run.state, run.job.id) == ("running", job.id)
        jobs.cancel(job.id)
        assert history.newest("r").state == "stopping"
        assert recipe.show("r@1").state == "stopping"


def test_a_run_that_ended_while_one_looked_is_not_lost(workspace):
    read = begun()
    update(open_store(), RunRecord, read.name, lambda body: replace(body, state="done", ended_at=120.0))
    (run,) = history.observe([read])
    assert (run.state, run.record.body.ended_at) == ("done", 120.0)


def test_a_step_that_ended_while_one_looked_is_not_lost(workspace):
    read = begun()
    done = StepRecord(name="b", state="done", began_at=106.0, seconds=7.0)
    history.recorded_run("r@1").with_steps([done]).commit(read)
    (run,) = history.observe([read])
    assert (run.state, run.record.body.ended_at) == ("lost", 113.0)
    assert [step.state for step in run.record.steps] == ["done", "done", "not run"]


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
        for module in (history, jobs, recorded):
            patch.setattr(module, "open_store", lambda: self)
        return self


def test_looking_works_where_nothing_can_be_written(workspace, monkeypatch):
    seen = [begun()]
    Watched(writable=False).use(monkeypatch)
    assert history.observe(seen)[0].state == "lost"
    (written,) = open_store().list(RunRecord)
    assert written.body.state == "running"


def test_many_runs_take_one_question_and_one_commit(workspace, monkeypatch):
    many = [begun(number) for number in range(1, 30)]
    store = Watched(writable=True).use(monkeypatch)
    assert {run.state for run in history.observe(many)} == {"lost"}
    assert store.asked == ["list", "commit"]


def test_steps_of_all_runs_are_read_at_once(workspace, monkeypatch):
    before = [[step.state for step in begun(number).steps] for number in range(1, 30)]
    store = Watched(writable=True).use(monkeypatch)
    runs = history.readable_runs(with_steps=True)
    assert [[step.state for step in run.steps] for run in runs] == before
    assert store.asked == ["list", "list"]


def test_a_step_that_cannot_be_read_keeps_no_run_from_being_looked_at(workspace, monkeypatch):
    run = records.recorded_run("r@1", RunRecord(state="done", started_at=1.0, ended_at=2.0), *STEPS[:1])
    with open_store()._transaction() as db:
        ((body,),) = db.execute("SELECT body FROM records WHERE kind = ?", (StepRecord.kind,)).fetchall()
        db.execute("UPDATE records SET body = ? WHERE kind = ?", ("{", StepRecord.kind))
    (looked_at,) = NOUN.observe([run.record])
    assert (looked_at.state, looked_at.facts) == ("done", ("0 of 1 step",))
    assert [step.state for step in history.readable_runs()[0].steps] == ["cannot be read"]
    assert NOUN.spans(with_steps=True)[0].uri == "recipe:r@1"
    assert recipe.show("r@1").steps["a"]["state"] == "cannot be read"
    assert recipe.show("r@1").card().lead == "**It is done**, but 1 step cannot be read."
    with pytest.raises(Damaged):
        recipe.log("r@1/a")
    with pytest.raises(Damaged):
        history.recorded_run("r@1").step("a")
    with open_store()._transaction() as db:
        db.execute("UPDATE records SET body = ? WHERE kind = ?", (body, StepRecord.kind))
    assert NOUN.observe([run.record])[0].facts == ("1 of 1 step",)


def test_a_lost_run_with_a_step_that_cannot_be_read_takes_no_other_with_it(workspace):
    begun()
    records.recorded_run("r@2", RunRecord(started_at=99.0), *STEPS)
    with open_store()._transaction() as db:
        db.execute("UPDATE records SET body = ? WHERE name = ?", ("{", "r@1#a"))
    found = history.observe(history.readable_runs())
    assert {run.record.uri: run.state for run in found} == {"recipe:r@1": "lost", "recipe:r@2": "lost"}
    assert [run.record.body.state for run in found] == ["lost"] * 2
    assert [step.state for step in found[1].record.steps] == ["cannot be read", "lost", "not run"]
    assert [run.body.state for run in history.readable_runs()] == ["lost"] * 2


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
