"""What the noun tells of runs to those who know none of them."""

import os
import time

import pytest

from aiinfra_lab import nouns
from aiinfra_lab.completion import complete
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.jobs import JobRecord, process
from aiinfra_lab.models.record import ModelAliases, ModelVersion
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train.noun import NOUN
from aiinfra_lab.train.observing import find
from aiinfra_lab.train.record import TrainingRun
from tests import records

from .many import make_runs

SELF = (os.getpid(), process.birth(os.getpid()))


@pytest.fixture
def going(workspace) -> Record:
    """train:delay@3, which goes on in this very process; train:delay@1 is done, and delay@2 was killed."""
    make_runs(2)
    run = Record.new("delay@3", TrainingRun(state="running", started_at=5.0, on="gpu:trainer"))
    job = JobRecord(subject=run.uri, state="running", started_at=5.0, supervised=False, pid=SELF[0], born=SELF[1])
    return open_store().commit([run, Record.new("train-delay-3", job)])[0]


@pytest.fixture
def champion(workspace) -> None:
    """models:late@2 is the champion, and was made by train:delay@1."""
    make_runs(2)
    version = Record.new("late@2", ModelVersion(run="train:delay@1"))
    open_store().commit([version, Record.new("late", ModelAliases(aliases={"champion": 2}))])


def test_the_table_has_it():
    assert nouns.find("train") is NOUN


def test_it_lists_what_its_own_list_has_with_what_each_does(going):
    found = [(thing.uri, thing.state) for thing in NOUN.things()]
    assert found == [("train:delay@3", "running"), ("train:delay@2", "killed"), ("train:delay@1", "done")]


def test_a_run_is_called_by_its_name_or_its_version(going):
    assert list(NOUN.names()) == ["delay", "delay@3", "delay@2", "delay@1"]


def test_what_lives_is_watched_and_what_ended_last(going):
    live, *over = NOUN.watched()
    assert (live.uri, live.state, live.is_live, live.can_stop, live.job) == (
        *("train:delay@3", "running", True, True, "train-delay-3"),
    )
    assert [(item.uri, item.state, item.can_stop) for item in over] == [
        *(("train:delay@2", "killed", False), ("train:delay@1", "done", False)),
    ]
    assert [item.uri for item in NOUN.watched(ended=0)] == ["train:delay@3"]
    assert len(NOUN.watched(ended=1)) == 2


def test_a_run_that_was_asked_to_end_cannot_be_asked_again(going):
    assert NOUN.stop("train:delay") == ["train-delay-3"]
    (item,) = NOUN.observe([going])
    assert (item.state, item.can_stop) == ("stopping", False)


def test_what_is_over_is_not_stopped(going):
    with pytest.raises(NotFound) as caught:
        NOUN.stop("train:delay@2")
    assert caught.value.fix == "`%train show delay@2` says how it ended"


def test_a_run_that_waits_says_so_and_has_taken_no_time(workspace):
    open_store().commit([Record.new("delay@1", TrainingRun(state="starting", started_at=5.0, planned_by=SELF))])
    (item,), (span,) = NOUN.watched(), NOUN.spans()
    assert (item.state, item.is_live) == ("starting", True)
    assert (span.started_at, span.ended_at, span.is_live) == (5.0, 5.0, False)


def test_time_is_taken_from_its_begin_to_its_end_or_to_now(going):
    live, killed, done = sorted(NOUN.spans(), key=lambda span: span.uri, reverse=True)
    assert (live.is_live, live.within, time.time() - live.ended_at < 60) == (True, "gpu:trainer", True)
    assert (done.started_at, done.ended_at, done.within, done.on_machine) == (1.0, 2.0, "", True)
    assert (killed.is_live, killed.ended_at > killed.started_at) == (False, True)


def test_a_run_that_ended_before_it_began_took_no_time(workspace):
    run = Record.new("delay@1", TrainingRun(state="done", tracked=True, started_at=100.0, ended_at=50.0))
    open_store().commit([run])
    assert find("delay@1").duration_s == 0.0


def test_an_alias_is_the_run_behind_the_model_whatever_its_name(champion):
    assert resolve("train:late@champion", TrainingRun).uri == "train:delay@1"
    assert resolve("late@champion", TrainingRun).version == 1


def test_an_alias_that_means_nothing_yet_says_how_it_gets_a_meaning(champion):
    with pytest.raises(NotFound) as caught:
        resolve("train:delay@champion", TrainingRun)
    assert caught.value.fix == "`%models add delay --run train:delay` makes one"


def test_a_run_is_a_version_and_has_no_parts(champion):
    with pytest.raises(UsageProblem):
        resolve("train:delay@1#0a", TrainingRun)


def test_where_nothing_is_there_is_nothing_to_reconcile(workspace):
    assert (NOUN.reconcile(), NOUN.things(), NOUN.watched(), NOUN.spans()) == ([], [], [], [])


def test_the_parameters_of_the_newest_run_that_had_some_are_offered(workspace):
    records.run("delay@1", state="done", params={"epochs": "3"})
    records.run("delay@2", state="done")
    assert complete("train", "run delay --rows data:x -p ") == ["epochs=3"]


def digest(**fields) -> str:
    run = {"state": "done", "files": {"model": "1" * 64}, "metrics": {"auc": 0.7}, "code_digest": "c", **fields}
    return NOUN.digest(Record.new("delay@1", TrainingRun(**run)))


def test_runs_with_the_same_model_and_figures_of_the_same_have_one_digest():
    assert digest() == digest(started_at=9.0, ended_at=12.0, tracked_as="id", machine={"torch": "2"})
    others = [
        digest(files={"model": "2" * 64}),
        digest(metrics={"auc": 0.71}),
        digest(code_digest="d"),
        digest(params={"epochs": 2}),
        digest(seed=1),
        digest(rows_digest="r"),
    ]
    assert len({digest(), *others}) == 7


@pytest.mark.parametrize("fields", [{"state": "running"}, {"state": "failed"}, {"files": {}}])
def test_a_run_that_is_not_done_or_saved_no_model_has_none(fields):
    assert digest(**fields) == ""
