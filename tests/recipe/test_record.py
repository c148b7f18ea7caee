"""A run's record: what version 1 wrote is brought up, and what a run is asked for."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from aiinfra_lab import recipe
from aiinfra_lab.errors import Damaged
from aiinfra_lab.recipe.record import Output, RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import Body, Record, open_store
from tests import records

BEFORE = json.loads(Path(__file__).with_name("runs-version-1.json").read_text())
"""Records that version 0.1.0 wrote, by their names."""


class RunVersion1(Body, frozen=True, kw_only=True):
    """What `RunRecord` was in version 1."""

    kind: ClassVar[str] = "recipe"
    state: str
    started_at: float
    ended_at: float | None = None
    parameters: dict[str, Any]
    steps: dict[str, Any]
    order: tuple[Any, ...] = ()


def brought_up(fields: dict[str, Any], name: str = "count@1") -> RunRecord:
    """What the store gives for what version 1 wrote."""
    open_store().commit([Record.new(name, RunVersion1(**fields))])
    return resolve(name, RunRecord).body


@pytest.mark.parametrize("name", BEFORE)
def test_a_run_of_version_1_holds_what_it_held(workspace, name):
    before, run = BEFORE[name], brought_up(BEFORE[name], name)
    assert (run.state, run.started_at, run.ended_at) == (before["state"], before["started_at"], before["ended_at"])
    assert (run.parameters, [step.name for step in run.steps]) == (before["parameters"], ["make", "use"])
    for step in run.steps:
        found = {**{field: getattr(step, field) for field in before["steps"][step.name]}, "outputs": step.made}
        assert found == before["steps"][step.name]


def test_the_steps_of_version_1_keep_the_order_that_stood_beside_them(workspace):
    steps = {name: {"state": "done", "outputs": {"a": "data:a@1", "b": "data:b@1"}} for name in ("first", "zeroth")}
    order = [["zeroth", ["b", "a"]], ["first", ["a", "missing"]]]
    run = brought_up({**BEFORE["count@1"], "steps": steps, "order": order})
    made = [(step.name, list(step.made)) for step in run.steps]
    assert made == [("zeroth", ["b", "a"]), ("first", ["a"])]


def test_the_first_runs_kept_no_order(workspace):
    fields = {name: value for name, value in BEFORE["count@1"].items() if name != "order"}
    assert [step.name for step in brought_up(fields).steps] == ["make", "use"]


def test_a_run_of_version_1_that_is_no_run_is_damaged(workspace):
    with pytest.raises(Damaged, match=r"recipe count@1 cannot be read") as problem:
        brought_up({**BEFORE["count@1"], "order": [["gone", []]]})
    assert "`%lab check`" in problem.value.fix


def test_a_run_of_version_1_is_shown_as_it_was(workspace):
    brought_up(BEFORE["count@3"], "count@3")
    shown = recipe.show("count@3")
    assert shown.as_json()["steps"]["use"].items() >= BEFORE["count@3"]["steps"]["use"].items()
    rows = shown.card().parts[0].rows
    assert [(row[0], str(row[1])) for row in rows] == [("make", "» skipped"), ("use", "✕ failed")]
    assert shown.outputs == {"make.counted": "data:counted@1"}


class RunVersion2(Body, frozen=True, kw_only=True):
    """What `RunRecord` was in version 2."""

    kind: ClassVar[str] = "recipe"
    schema_version: ClassVar[int] = 2
    state: str = "lost"
    started_at: float = 9.0
    ended_at: float | None = 10.0
    steps: tuple[StepRecord, ...] = (StepRecord(name="a", state="lost"),)


def test_of_a_run_of_version_2_nothing_is_ended(workspace):
    open_store().commit([Record.new("r@1", RunVersion2())])
    run = resolve("recipe:r@1", RunRecord).body
    assert (run.state, run.steps, run.ended_at) == ("lost", (StepRecord(name="a", state="lost"),), 10.0)
    assert (run.keep, run.may_leave_things) == (True, False)


class RunVersion4(Body, frozen=True, kw_only=True):
    """What `RunRecord` was in version 4."""

    kind: ClassVar[str] = "recipe"
    schema_version: ClassVar[int] = 4
    state: str = "done"
    started_at: float = 9.0
    ended_at: float | None = 10.0
    parameters: dict[str, Any]
    keep: bool = True
    steps: tuple[dict[str, Any], ...]


def test_a_step_of_version_4_keeps_its_reasons_and_has_no_parts(workspace):
    step = {"name": "a", "state": "done", "key": "k", "inputs": {"x.csv": "1" * 64}, "because": ["x.csv"]}
    open_store().commit([Record.new("r@1", RunVersion4(parameters={}, steps=(step,)))])
    (found,) = resolve("recipe:r@1", RunRecord).body.steps
    assert found == StepRecord(name="a", state="done", key="k", because=("x.csv changed",))


def run_of(*steps: StepRecord) -> RecordedRun:
    return records.recorded_run("r@1", RunRecord(started_at=10.0), *steps)


def test_a_run_gave_its_last_sign_when_its_last_step_did(workspace):
    done = StepRecord(name="a", state="done", began_at=20.0, seconds=5.0)
    run = run_of(done, StepRecord(name="b", state="running", began_at=26.0))
    assert (run.last_sign_at, run.with_steps([StepRecord(name="b")]).last_sign_at) == (26.0, 25.0)


def test_the_end_of_a_run_ends_its_running_step_and_begins_no_other(workspace):
    run = run_of(*(StepRecord(name=state, state=state) for state in ("done", "running", "waiting")))
    assert [step.state for step in run.ended("stopped", 30.0).steps] == ["done", "stopped", "not run"]


def test_a_step_takes_the_place_of_the_one_of_its_name(workspace):
    run = run_of(StepRecord(name="a"), StepRecord(name="b")).with_steps([StepRecord(name="a", state="done")])
    assert [(step.name, step.state) for step in run.steps] == [("a", "done"), ("b", "waiting")]
    assert run.step("c") is None


def test_what_becomes_of_a_step_writes_its_record_alone(workspace):
    run = run_of(StepRecord(name="a"), StepRecord(name="b", state="running"))
    rev = max([run.record.rev, *(each.rev for each in run.by_step.values())])
    now = run.with_steps([StepRecord(name="a", state="running")]).commit(run)
    assert [(key.kind, key.name) for key in open_store().changed(rev)] == [("recipe.step", "r@1#a")]
    assert now.commit(now) is now
    assert len(open_store().changed(rev)) == 1


def test_steps_of_another_run_are_none_of_it(workspace):
    run_of(StepRecord(name="a", state="done"))
    records.recorded_run("r@10", RunRecord(started_at=10.0), StepRecord(name="a", state="failed"))
    one, ten = (RecordedRun(resolve(f"recipe:{name}", RunRecord)) for name in ("r@1", "r@10"))
    assert (one.step("a").state, ten.step("a").state) == ("done", "failed")


def test_values_and_outputs_come_back_as_they_were_in_their_order(workspace):
    values = {"n": 3, "x": 3.0, "yes": True, "text": "'é", "list": [1, "a"], "table": {"k": 1}}
    step = StepRecord(name="z", outputs=(Output("z", "data:z@1"), Output("a", "data:a@1")), values=values)
    run_of(replace(step, state="done"), StepRecord(name="a"))
    found = RecordedRun(resolve("recipe:r@1", RunRecord))
    assert found.steps == (replace(step, state="done", run="recipe:r@1"), StepRecord(name="a"))
    assert (type(found.steps[0].values["n"]), type(found.steps[0].values["x"])) == (int, float)
