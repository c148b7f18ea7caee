"""What decides whether a step runs: its key, and what became of its earlier attempts."""

from dataclasses import replace
from pathlib import Path

import pytest

from aiinfra_lab.errors import Failed
from aiinfra_lab.recipe import plan
from aiinfra_lab.recipe.base import Recipe, RecipeStep
from aiinfra_lab.recipe.record import Output, RunRecord, StepRecord
from aiinfra_lab.store import Record, open_store


@pytest.fixture
def step(notebook) -> RecipeStep:
    """A step with a parameter, an input, something that it comes after, and an output."""
    path = notebook("a", "n: int = 1", "print(n)")
    return RecipeStep("a", path, {"n": 1}, {"rows": "first.rows"}, {"made": "recipe:made"}, ("other",))


MADE_BY = {"first": "1" * 64, "other": "2" * 64}


def key(step: RecipeStep, values=None, made_by=None) -> str:
    return plan.step_key(step, values or {"n": 1}, made_by or MADE_BY)


def test_the_same_step_has_the_same_key(step):
    assert key(step) == key(replace(step)) != ""


@pytest.mark.parametrize(
    "change",
    [
        lambda step: key(step, values={"n": 2}),
        lambda step: key(step, made_by={**MADE_BY, "first": "3" * 64}),
        lambda step: key(step, made_by={**MADE_BY, "other": "3" * 64}),
        lambda step: key(replace(step, outputs={"made": "recipe:another"})),
        lambda step: key(replace(step, inputs={})),
    ],
    ids=["values", "input", "after", "outputs", "fewer inputs"],
)
def test_whatever_decides_what_it_makes_changes_the_key(step, change):
    assert change(step) != key(step)


def test_the_code_changes_the_key_and_its_comments_and_outputs_do_not(step, notebook):
    before = key(step)
    text = step.notebook.read_text()
    step.notebook.write_text(text.replace('"outputs": []', '"outputs": [{"output_type": "stream"}]', 1))
    assert key(step) == before
    notebook("a", "n: int = 1", "print(n + 1)")
    assert key(step) != before


@pytest.mark.parametrize("is_parameter", [True, False])
def test_the_content_of_a_file_that_is_named_changes_the_key(step, notebook, workspace, is_parameter):
    (workspace / "rows.csv").write_text("1")
    if not is_parameter:
        notebook("a", "n: int = 1", "%data add flights ../rows.csv --key id")
    values = {"path": "../rows.csv"} if is_parameter else {"n": 1}
    before = key(step, values)
    assert key(step, values) == before
    (workspace / "rows.csv").write_text("2")
    assert key(step, values) != before


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a" * 5000 + ".csv", "no\0path.csv", "../.aiinfra/x.csv", "/etc/hostname"]
)
def test_a_text_that_names_no_file_of_the_project_counts_as_a_text(step, workspace, text):
    before = key(step, {"path": text})
    (workspace / ".aiinfra").mkdir(exist_ok=True)
    (workspace / ".aiinfra" / "x.csv").write_text("1")
    assert key(step, {"path": text}) == before


def run(number: int, *steps: StepRecord) -> Record[RunRecord]:
    body = RunRecord(state="done", started_at=1.0, ended_at=2.0, steps=steps)
    return open_store().commit([Record.new(f"made@{number}", body)])[0]


def attempt(key: str, state="done", uri: str = "recipe:made@1") -> StepRecord:
    return StepRecord(name="a", state=state, key=key, outputs=(Output("made", uri),))


def test_the_newest_attempt_with_that_key_stands_in(workspace):
    runs = [run(1, attempt("k")), run(2, attempt("other"))]
    assert plan.earlier(runs[::-1], "a", "k", alive=True) == attempt("k")
    assert plan.earlier(runs[::-1], "a", "unknown", alive=True) is None
    assert plan.earlier(runs[::-1], "b", "k", alive=True) is None


@pytest.mark.parametrize("state", ["failed", "stopped", "lost"])
def test_nothing_older_stands_in_for_an_attempt_that_did_not_succeed(workspace, state):
    runs = [run(2, attempt("k", state)), run(1, attempt("k"))]
    assert plan.earlier(runs, "a", "k", alive=True) is None


def test_a_run_in_which_the_step_did_not_begin_is_passed_over(workspace):
    runs = [run(2, StepRecord(name="a", state="not run")), run(1, attempt("k"))]
    assert plan.earlier(runs, "a", "k", alive=True) == attempt("k")


def test_an_attempt_whose_output_is_gone_does_not_stand_in(workspace):
    assert plan.earlier([run(1, attempt("k", uri="recipe:gone@1"))], "a", "k", alive=True) is None


def test_what_a_step_made_is_the_newest_of_what_it_names(workspace, step):
    run(1)
    run(7)
    assert plan.made(step) == (Output("made", "recipe:made@7"),)


def test_a_step_that_made_nothing_is_told_where_to_correct_it(workspace, step):
    with pytest.raises(Failed) as problem:
        plan.made(step)
    assert (problem.value.what, problem.value.fix) == (
        "a ran, but made no recipe:made",
        "correct a.ipynb, or `out` of the step",
    )


def test_a_part_of_a_recipe_has_only_the_steps_that_lead_to_what_is_wanted():
    def made(name: str, *after: str) -> RecipeStep:
        return RecipeStep(name, Path(f"{name}.ipynb"), outputs={"x": f"data:{name}"}, after=after)

    whole = Recipe("r", "R", Path("r.toml"), {}, (made("a"), made("b"), made("c", "a"), made("d", "c")))
    assert [step.name for step in whole.leading_to("data:c").steps] == ["a", "c"]
    assert [step.name for step in whole.leading_to("data:d").steps] == ["a", "c", "d"]
    assert whole.leading_to("data:nothing") is None


def test_what_steps_have_made_already_is_taken_and_they_do_not_run():
    def made(name: str, *takes: str, after: tuple[str, ...] = ()) -> RecipeStep:
        inputs = {each: f"{each}.x" for each in takes}
        return RecipeStep(name, Path(f"{name}.ipynb"), inputs=inputs, outputs={"x": f"data:{name}"}, after=after)

    whole = Recipe("r", "R", Path("r.toml"), {}, (made("a"), made("b", "a"), made("c", "a", "b", after=("b",))))
    assert whole.from_what_is_there({}) == whole
    (last,) = whole.from_what_is_there({"data:a": "data:a@2", "data:b": "data:b@7"}).steps
    assert (last.inputs, last.data, last.after) == ({}, {"a": "data:a@2", "b": "data:b@7"}, ())
    b, c = whole.from_what_is_there({"data:a": "data:a@2", "data:c": "data:c@1"}).steps
    assert (b.inputs, b.data) == ({}, {"a": "data:a@2"})
    assert (c.inputs, c.data, c.after) == ({"b": "b.x"}, {"a": "data:a@2"}, ("b",))
    a, c = whole.from_what_is_there({"data:b": "data:b@7"}).steps
    assert (a.name, c.inputs, c.data) == ("a", {"a": "a.x"}, {"b": "data:b@7"})
