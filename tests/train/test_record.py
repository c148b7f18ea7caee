"""What a run's record holds on disk."""

import json

import pytest

from aiinfra_lab.errors import Damaged
from aiinfra_lab.store import open_store
from aiinfra_lab.store.base import encode
from aiinfra_lab.store.first_schema import _is_open
from aiinfra_lab.train import record
from aiinfra_lab.train.record import RunProblem, TrainingRun
from tests import records

# As version 0.1.0 wrote them: a run that failed, and one that is going on.
FAILED = {
    "code": "1 / 0", "code_digest": "a1", "ended_at": 3.0, "machine": {"python": "3.11.7"}, "metrics": {"loss": 1.0},
    "on": "", "params": {"epochs": 1, "lr": 0.1, "deep": True, "how": "adam"}, "planned_by": [16463, 269280.0],
    "problem": {"fix": "mend it", "what": "it failed"}, "resumed_from": "", "rows": "features:late@1#b3",
    "rows_digest": "e0", "seed": 3, "started_at": 2.0, "state": "failed", "trace": "Traceback", "tracked": True,
    "tracked_as": "bd58",
}  # fmt: skip
LATER = ("ended_at", "metrics", "problem", "trace", "tracked_as")
GOING = {**{key: value for key, value in FAILED.items() if key not in LATER}, "state": "running", "tracked": False}


def test_a_record_of_the_first_version_is_read_as_it_is(workspace):
    records.write_as("train", "late@3", FAILED)
    body = open_store().get(TrainingRun, "late@3").body
    assert (body.problem, body.planned_by) == (RunProblem("it failed", "mend it"), (16463, 269280.0))
    assert body.params == {"epochs": 1, "lr": 0.1, "deep": True, "how": "adam"}
    assert not body.is_open


def test_a_run_that_has_no_end_yet_lacks_what_comes_later(workspace):
    records.write_as("train", "late@3", GOING)
    body = open_store().get(TrainingRun, "late@3").body
    assert (body.ended_at, body.metrics, body.problem, body.is_open) == (None, {}, RunProblem(), True)


def test_it_is_written_with_the_names_and_shapes_of_the_first_version():
    made = TrainingRun(**{**FAILED, "problem": RunProblem(), "planned_by": (1, 2.0)})
    found = json.loads(encode(made))
    assert FAILED.keys() - found.keys() == set()
    assert (found["problem"], found["planned_by"]) == ({}, [1, 2.0])


@pytest.mark.parametrize("odd", [{"stat": "done"}, {"state": "dreaming"}, {"problem": {"why": "x"}}])
def test_a_field_or_a_state_that_it_does_not_know_is_damage(workspace, odd):
    records.write_as("train", "late@3", {**FAILED, **odd})
    with pytest.raises(Damaged):
        open_store().get(TrainingRun, "late@3")


def test_a_plan_takes_the_next_version_and_one_event(workspace):
    first, second = (record.plan("delay", TrainingRun(state="starting"), ("data:a@1",)) for _ in range(2))
    assert (first.name, second.name) == ("delay@1", "delay@2")
    assert first.body.started_at > 0
    assert [logged.event.outputs for logged in open_store().events()] == [("train:delay@1",), ("train:delay@2",)]


def test_runs_are_listed_by_when_they_began_and_those_of_a_name_by_number(workspace):
    for name in ("a", "b", "a"):
        record.plan(name, TrainingRun(state="starting"), ())
    record.change("a@1", started_at=2e10)  # it waited for its session
    assert [run.name for run in record.runs()] == ["a@1", "a@2", "b@1"]
    assert [run.name for run in record.runs("a")] == ["a@2", "a@1"]


def test_runs_of_the_first_schema_are_open_until_they_are_tracked():
    assert [_is_open("train", body) for body in (FAILED, {**FAILED, "tracked": False}, GOING)] == [False, True, True]
