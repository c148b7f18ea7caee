"""A run and its record, with executors that need no kernel."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from aiinfra_lab import jobs
from aiinfra_lab import recipe as verbs
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Denied, StoreUnavailable, Unavailable, UsageProblem
from aiinfra_lab.recipe import declaration, history, runner
from aiinfra_lab.recipe.base import Outcome
from aiinfra_lab.recipe.history import recorded_run
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.recipe.run_writer import RunWriter
from aiinfra_lab.recipe.runner import RecipeRunner
from aiinfra_lab.recipe.steps import RunSteps
from aiinfra_lab.recipe.taken import file_digest
from aiinfra_lab.store import Event, open_store
from tests import records
from tests.fakes.in_process import InProcess

CHAIN = """
[steps.a]
notebook = "a.ipynb"
[steps.b]
notebook = "a.ipynb"
after = ["a"]
parameters = { x = 2 }
"""


@pytest.fixture
def chain(notebook, recipe) -> None:
    notebook("a", "x: int = 1")
    recipe("chain", CHAIN)


def go(act: Callable[..., Any] = lambda *_: Outcome("done"), show=lambda run: None) -> RecordedRun:
    made = RecipeRunner(declaration.read("chain"), {}, InProcess(act), keep=True, force=True)
    return made.go(show)


def states(run: RecordedRun) -> list[str]:
    return [run.body.state, *(step.state for step in run.steps)]


def test_what_is_returned_is_what_was_written(chain):
    run = go()
    assert states(run) == ["done", "done", "done"]
    there = recorded_run(run.name)
    assert (there.record, there.steps) == (run.record, run.steps)
    assert {record.rev for record in there.by_step.values()} == {record.rev for record in run.by_step.values()}
    assert run.body.is_open is False


@pytest.mark.parametrize("left_by_another", ["body = '{'", "schema_version = 99"])
def test_a_run_whose_record_cannot_be_read_keeps_its_recipe_from_nothing(chain, left_by_another):
    runs = [go(), go()]
    with open_store()._transaction() as db:
        db.execute(f"UPDATE records SET {left_by_another} WHERE name = ?", (runs[0].name,))
    assert verbs.run("chain", dry=True).as_json()["steps"]["a"]["action"] == "skip"
    assert verbs.check("chain").findings == ()
    assert [run.uri for run in verbs.log("chain")] == ["recipe:chain@2"]
    assert go().name == "chain@3"


def test_a_run_is_shown_from_its_first_commit_to_its_last(chain):
    shown = []
    go(show=lambda run: shown.append((run.name, states(run))))
    assert shown[0] == ("chain@1", ["running", "waiting", "waiting"])
    assert shown[1] == ("chain@1", ["running", "running", "waiting"])
    assert shown[-1] == ("chain@1", ["done", "done", "done"])


def test_a_failed_step_says_in_which_cell_and_blocks_what_depends_on_it(chain):
    run = go(lambda *_: Outcome("failed", "it broke", 3))
    first, second = run.steps
    assert states(run) == ["failed", "failed", "blocked"]
    assert (first.error, first.cell, second.error) == ("it broke", 3, "a did not succeed")


def test_an_executor_that_cannot_start_a_notebook_fails_the_step_with_the_fix(chain):
    def refuse(*_: object) -> Outcome:
        raise Unavailable("no machine is free", "ask again later")

    assert go(refuse).steps[0].error == "no machine is free\n  fix: ask again later"


@pytest.mark.parametrize("method", ["_decide", "_start", "_ended"])
def test_what_is_refused_to_a_step_is_why_it_has_failed(chain, monkeypatch, method):
    def refuse(*_: object) -> bool:
        raise UsageProblem("that is no file", "call it otherwise")

    monkeypatch.setattr(RunSteps, method, refuse)
    run = go(lambda *_: Outcome("done"))
    assert (states(run)[:2], run.steps[0].error) == (["failed"] * 2, "that is no file\n  fix: call it otherwise")


def test_what_nobody_foresaw_ends_the_run_as_failed(chain, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RunSteps, "_finish", broken)
    with pytest.raises(ZeroDivisionError):
        go(lambda *_: Outcome("done"))
    (run,) = history.runs("chain")
    assert states(run) == ["failed", "failed", "not run"]
    assert (run.body.ended_at is not None, jobs.find("recipe:chain@1").state) == (True, "failed")


def test_a_stop_request_reaches_the_executor_and_ends_the_run(chain):
    def stopped(_: int, stop_requested: Callable[[], bool]) -> Outcome:
        jobs.cancel(jobs.find("recipe:chain").id)
        while not stop_requested():
            pass
        return Outcome("stopped")

    assert states(go(stopped)) == ["stopped", "stopped", "not run"]


def test_a_run_is_never_there_without_its_job(chain):
    def look(*_: object) -> Outcome:
        assert [run.state for run in history.observe(history.runs("chain"))] == ["running"]
        return Outcome("done")

    shown = []
    go(look, lambda run: shown.append(history.newest("chain").state))
    assert shown[0] == "running"


def test_a_run_that_somebody_took_for_lost_says_how_it_really_ended(chain):
    def lose(*_: object) -> Outcome:
        (run,) = history.runs("chain")
        history.as_lost(run).commit(run)
        return Outcome("done")

    assert states(go(lose)) == ["done", "done", "done"]


def test_what_waits_in_a_run_that_somebody_took_for_lost_runs(chain, recipe):
    more = '[steps.c]\nnotebook = "a.ipynb"\nafter = ["b"]\n[steps.d]\nnotebook = "a.ipynb"\nafter = ["c"]\n'
    recipe("chain", CHAIN + more)

    def lose(number: int, _stop: object) -> Outcome:
        if number == 1:
            (run,) = history.runs("chain")
            history.as_lost(run).commit(run)
        return Outcome("done")

    run = go(lose)
    assert states(run) == ["done"] * 5
    assert states(history.recorded_run(run.name)) == ["done"] * 5


def test_who_took_a_run_for_lost_between_two_steps_is_corrected_by_the_next(chain, monkeypatch):
    seen = []

    def act(number: int, _stop: object) -> Outcome:
        if number == 1:
            (run,) = history.runs("chain")
            run.with_body(replace(run.body, state="lost")).commit(run)
        else:
            seen.append(history.runs("chain")[0].body.state)
        return Outcome("done")

    assert (states(go(act)), seen) == (["done"] * 3, ["running"])


def test_each_step_that_ended_has_its_event_once_whenever_the_store_went_away(chain, monkeypatch):
    run = records.recorded_run("w@1", RunRecord(started_at=1.0), StepRecord(name="a"), StepRecord(name="b"))
    writer = RunWriter(run, lambda _: None)
    for name in "ab":
        writer.set(StepRecord(name=name, state="done"), Event("recipe run", run.uri, outputs=(f"data:{name}@1",)))
    kind, at = type(open_store()), iter(range(9))
    commit = kind.commit

    def refuse(store, *more, **options):
        if next(at) == 1:
            raise Denied("it may not be written now", "wait")
        return commit(store, *more, **options)

    monkeypatch.setattr(kind, "commit", refuse)
    with pytest.raises(Denied):
        writer.write()
    assert [step.state for step in history.recorded_run("w@1").steps] == ["done", "waiting"]
    writer.write()
    logged = [each.event.outputs for each in open_store().events(naming=run.uri) if each.event.verb == "recipe run"]
    assert logged == [("data:a@1",), ("data:b@1",)]
    assert [step.state for step in history.recorded_run("w@1").steps] == ["done", "done"]


def test_a_database_that_restarts_in_the_middle_ends_no_pipeline(chain, monkeypatch):
    kind, refusals = type(open_store()), iter(range(3))
    commit = kind.commit

    def refuse(store, *records, **options):
        if next(refusals, None) is not None:
            raise StoreUnavailable("the database restarts", "wait")
        return commit(store, *records, **options)

    def act(number: int, _stop: object) -> Outcome:
        if number == 1:
            monkeypatch.setattr(kind, "commit", refuse)
        return Outcome("done")

    assert states(go(act)) == ["done", "done", "done"]


def test_what_was_committed_before_the_database_went_away_is_not_written_twice(chain, monkeypatch):
    kind, lost = type(open_store()), iter(range(4))
    commit = kind.commit

    def lose_the_answer(store, *records, **options):
        done = commit(store, *records, **options)
        if next(lost, None) is not None:
            raise StoreUnavailable("the database restarts", "wait")
        return done

    def act(number: int, _stop: object) -> Outcome:
        if number == 2:
            monkeypatch.setattr(kind, "commit", lose_the_answer)
        return Outcome("done")

    assert states(go(act)) == ["done", "done", "done"]
    verbs = [one.event.verb for one in open_store().events()]
    assert verbs == ["recipe start", "recipe run", "recipe run", "recipe end"]


def test_who_loses_the_race_for_a_number_takes_the_next(chain, monkeypatch):
    go()
    numbers = iter([1, 2])
    monkeypatch.setattr(runner, "next_version", lambda *_: next(numbers))
    assert go().name == "chain@2"
    folders = {path.name for path in (settings().home / "jobs").iterdir()}
    assert folders == {job.id for job in jobs.ls()}, "the job that lost has left nothing behind"


def test_of_two_that_begin_at_once_one_runs(chain):
    both, found = threading.Barrier(2), []
    going = threading.Event()

    def wait(*_: object) -> Outcome:
        going.wait(10)
        return Outcome("done")

    def begin() -> None:
        both.wait()
        try:
            found.append(states(go(wait))[0])
        except Conflict as problem:
            found.append(problem.fix)
            going.set()

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["done", "look at it with `%recipe show chain@1`, or end it with `%recipe stop chain@1`"]


def test_an_edit_while_a_notebook_runs_is_not_taken_for_what_ran(chain, workspace):
    path = workspace / "notebooks" / "a.ipynb"
    ran = file_digest(path)

    def edit(*_: object) -> Outcome:
        path.write_text(path.read_text().replace("x: int = 1", "x: int = 2"))
        return Outcome("done")

    go(edit)
    first = next(one.event for one in open_store().events() if one.event.verb == "recipe run")
    assert first.detail["notebook_sha256"] == ran != file_digest(path)
