"""How a run is handed over and shown, without running anything."""

import pytest

from aiinfra_lab import recipe
from aiinfra_lab.errors import NotFound
from aiinfra_lab.recipe.history import ObservedRun
from aiinfra_lab.recipe.record import Output, RunRecord, StepRecord, StepState
from aiinfra_lab.recipe.results import MARKS, RunStep, recipe_run
from aiinfra_lab.store import Record, open_store

ERROR = "ValueError: it broke\nwith a long explanation"


def a_run(workspace, state="failed", *, executed: bool = True) -> Record[RunRecord]:
    own = workspace / ".aiinfra" / "recipe"
    archive = own / ("r@2" if executed else "r@1")
    made = StepRecord(
        name="z",
        state="done" if executed else "skipped",
        outputs=(Output("rows", "data:a@3"), Output("model", "models:m@1")),
        archive=str(archive / "z.ipynb"),
        seconds=2.5,
    )
    broken = StepRecord(name="a", state="failed", error=ERROR, cell=3, seconds=0.0)
    body = RunRecord(state=state, started_at=10.0, ended_at=14.0, steps=(made, broken) if executed else (made,))
    return open_store().commit([Record.new("r@2", body)])[0]


def test_every_state_of_a_step_has_a_mark():
    states = {state for part in StepState.__args__ for state in part.__args__}
    assert states == set(MARKS)


def test_a_step_is_handed_over_with_all_that_its_record_holds(workspace):
    run = recipe_run(ObservedRun(a_run(workspace)), "Title")
    assert {*StepRecord.__struct_fields__} - {"name"} == RunStep.__annotations__.keys()
    assert all(step.keys() == RunStep.__annotations__.keys() for step in run.steps.values())
    assert run.steps["z"]["outputs"] == {"rows": "data:a@3", "model": "models:m@1"}
    assert run.outputs == {"z.rows": "data:a@3", "z.model": "models:m@1"}


def test_its_card_shows_the_steps_the_error_and_where_to_look(workspace):
    card = recipe_run(ObservedRun(a_run(workspace)), "Title").card()
    assert (card.title, card.state) == ("recipe:r@2 · Title", "failed in 4.0 s")
    assert [row[:4] for row in card.rows] == [("✓", "z", "done", "2.5 s"), ("✗", "a", "failed", "0 ms")]
    assert card.notes == [
        "a: ValueError: it broke",
        f"executed notebooks: {workspace / '.aiinfra' / 'recipe' / 'r@2'}",
        "where to look next: `%data show a@3`, `%models show m@1`, `%lab log models:m@1`",
    ]


def test_a_run_that_executed_nothing_names_the_run_that_did(workspace):
    run = recipe_run(ObservedRun(a_run(workspace, "done", executed=False)), "Title")
    folder = workspace / ".aiinfra" / "recipe" / "r@1"
    assert (run.archive, run.card().notes[0]) == ("", f"skipped as in recipe:r@1; executed notebooks: {folder}")


def test_a_run_that_goes_on_has_no_end_and_nothing_to_look_at_yet(workspace):
    body = RunRecord(started_at=10.0, steps=(StepRecord(name="a", state="running"), StepRecord(name="b")))
    run = recipe_run(ObservedRun(Record.new("r@1", body)), "Title")
    assert (run.state, run.duration_s, run.card().state, run.card().notes) == ("running", None, "running", [])


def test_what_has_run_is_shown_whatever_became_of_its_file(workspace, recipe):
    from aiinfra_lab import recipe as verbs

    a_run(workspace)
    assert verbs.show("r@2").title == "r"
    path = recipe("r", "title = ")
    assert (verbs.show("r@2").title, verbs.log("r")[0].title) == ("r", "r")
    path.write_text("title = 'R'\n[steps.a]\nnotebook = 'none.ipynb'\n")
    assert verbs.show("r@2").title == "r"


def test_a_list_counts_the_runs_of_each_recipe(workspace, notebook, recipe):
    from aiinfra_lab import recipe as verbs

    notebook("a", "")
    for name in ("r", "s"):
        recipe(name, f'title = "{name.upper()}"\n[steps.a]\nnotebook = "a.ipynb"\n')
    a_run(workspace)
    assert [(info.uri, info.title, info.state, info.runs) for info in verbs.ls()] == [
        ("recipe:r", "R", "failed", 1),
        ("recipe:s", "S", "never ran", 0),
    ]
    assert verbs.show("r") == verbs.check("r") == verbs.ls()[0]


def test_what_has_neither_a_file_nor_a_run_is_not_found(workspace):
    for verb in (recipe.show, recipe.log, recipe.stop, recipe.check, recipe.run):
        with pytest.raises(NotFound) as problem:
            verb("nothing")
        assert "`%lab start --from example:flights` writes one" in problem.value.fix
