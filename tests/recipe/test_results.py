"""How a run is handed over and shown, without running anything."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from aiinfra_lab import recipe
from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.recipe import run_card
from aiinfra_lab.recipe.base import Recipe, RecipeStep
from aiinfra_lab.recipe.history import ObservedRun
from aiinfra_lab.recipe.record import Output, RunRecord, StepRecord, StepState
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.recipe.results import RecipeInfo, RunStep, recipe_run
from aiinfra_lab.recipe.schedule.record import ScheduleRecord
from aiinfra_lab.show import Dim, Quote, Table, mark_of
from aiinfra_lab.store import Record, open_store

ERROR = "ValueError: it broke\nwith a long explanation"


def observed(body: RunRecord, label: str = "r@1") -> ObservedRun:
    return ObservedRun(RecordedRun(Record.new(label, body)))


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


def test_every_state_of_a_step_is_in_the_alphabet():
    states = {state for part in StepState.__args__ for state in part.__args__}
    assert [state for state in states if mark_of(state).glyph == "·"] == []


def test_a_step_is_handed_over_with_all_that_its_record_holds(workspace):
    run = recipe_run(ObservedRun(RecordedRun(a_run(workspace))), "Title")
    assert {*StepRecord.__struct_fields__} - {"name", "run", "files"} == RunStep.__annotations__.keys()
    assert all(step.keys() == RunStep.__annotations__.keys() for step in run.steps.values())
    assert run.steps["z"]["outputs"] == {"rows": "data:a@3", "model": "models:m@1"}
    assert run.outputs == {"z.rows": "data:a@3", "z.model": "models:m@1"}


def test_a_step_with_an_executed_notebook_is_marked_and_no_dead_link(workspace):
    run = a_run(workspace)
    assert (
        "aiinfra-notebook" not in recipe_run(ObservedRun(RecordedRun(run)), "Title").card().html()
    )  # it is gone, or not there yet
    archive = Path(run.body.steps[0].archive)
    archive.parent.mkdir(parents=True)
    archive.touch()
    shown = recipe_run(ObservedRun(RecordedRun(run)), "Title").card().html()
    assert '<span class="aiinfra-notebook">z</span>' in shown
    assert (shown.count("aiinfra-notebook"), "<a " in shown) == (1, False)


def test_a_failed_run_says_how_to_get_the_notebook_that_failed(workspace):
    archive = workspace / "a.ipynb"
    archive.touch()
    steps = (StepRecord(name="a", state="failed", archive=str(archive), error="it broke"),)
    run = Record.new("r@2", RunRecord(state="failed", started_at=10.0, ended_at=14.0, steps=steps))
    assert recipe_run(ObservedRun(RecordedRun(run)), "Title").card().next[1] == "`%recipe get r@2/a --into FILE.ipynb`"


def rows(card):
    (table,) = [part for part in card.parts if isinstance(part, Table)]
    return [(row[0], str(row[1]), *row[2:]) for row in table.rows]


def test_a_failed_run_says_which_step_failed_where_and_how_to_go_on(workspace):
    card = recipe_run(ObservedRun(RecordedRun(a_run(workspace))), "Title").card()
    assert (card.uri, str(card.state), card.when[-5:]) == ("recipe:r@2", "✕ failed", "4.0 s")
    assert card.lead == "**Step a failed in cell 3:** ValueError: it broke."
    assert rows(card) == [
        ("z", "✓ done", "", "2.5 s", "data:a@3 models:m@1"),
        ("a", "✕ failed", "in cell 3", "0 ms", Dim("–")),
    ]
    assert card.parts[-1] == Quote(ERROR)
    assert ("executed notebooks", str(workspace / ".aiinfra" / "recipe" / "r@2")) in card.facts
    assert card.next == ["Next: `%recipe run r` goes on from there: 1 step is done", "`%models show m@1`"]


def test_what_did_not_run_was_skipped_and_says_why(workspace):
    failed = StepRecord(name="a", state="failed", error="Failed: `x` is not there", cell=112, seconds=1.0)
    steps = (failed, StepRecord(name="b", state="blocked", error="a did not succeed"))
    steps = (*steps, StepRecord(name="c", state="failed", error="Failed: no `y`", cell=2))
    body = RunRecord(
        state="failed", started_at=10.0, ended_at=14.0, steps=(*steps, StepRecord(name="d", state="not run"))
    )
    card = recipe_run(observed(body), "Title", declared()).card()
    assert [row[1:3] for row in rows(card)] == [
        ("✕ failed", "in cell 112"),
        ("» skipped", "a did not succeed"),
        ("✕ failed", "in cell 2: Failed: no y"),
        ("» skipped", "the run ended before it"),
    ]


@pytest.mark.parametrize("state", [state for part in StepState.__args__ for state in part.__args__])
def test_what_a_box_says_of_a_step_fits_a_narrow_one(state):
    steps = {
        str(at): StepRecord(name=str(at), state=state if at else "running", cell=10, seconds=270.0) for at in range(13)
    }
    body = RunRecord(state="running", started_at=time.time() - 5, steps=tuple(steps.values()))
    chain = [RecipeStep(name, Path("a.ipynb"), after=tuple(list(steps)[:12]) if name == "12" else ()) for name in steps]
    run = recipe_run(observed(body), "T", Recipe("r", "T", Path("r.toml"), {}, tuple(chain)))
    assert len(run_card._detail("12", run.steps["12"], run.steps, run.context)) <= 14


def test_an_error_with_a_fix_of_its_own_gives_it_as_the_advice(workspace):
    step = StepRecord(name="a", state="failed", error="LabError: no rows\n  fix: add some")
    body = RunRecord(state="failed", started_at=10.0, ended_at=14.0, steps=(step,), parameters={"n": 2})
    card = recipe_run(observed(body), "Title").card()
    assert (card.advice, card.lead) == ("add some.", "**Step a failed:** LabError: no rows.")
    assert card.next == ["Next: `%recipe run r -p n=2` goes on from there"]
    assert ("n", "2") in card.facts


def test_a_run_that_is_done_says_where_to_look(workspace):
    done = StepRecord(name="a", state="done", seconds=1.0, outputs=(Output("x", "data:a@3"),))
    body = RunRecord(state="done", started_at=10.0, ended_at=14.0, steps=(done,))
    card = recipe_run(observed(body), "Title").card()
    assert (str(card.state), card.lead) == ("✓ done", "**1 step done.**")
    assert card.next == ["Next: `%data show a@3`", "`%lab log data:a@3`"]


def test_a_run_that_executed_nothing_names_the_run_that_did(workspace):
    run = recipe_run(ObservedRun(RecordedRun(a_run(workspace, "done", executed=False))), "Title")
    folder = workspace / ".aiinfra" / "recipe" / "r@1"
    assert (run.archive, run.card().facts[-1]) == ("", ("executed notebooks", str(folder)))
    assert rows(run.card())[0][1:3] == ("» skipped", "same code, parameters and inputs as in recipe:r@1")
    assert run.card().lead == "**Nothing had changed:** 1 step skipped."


def test_a_run_that_goes_on_shows_how_far_it_is_and_how_to_stop_it(workspace):
    steps = (StepRecord(name="a", state="done", seconds=1.0), StepRecord(name="b", state="running"))
    run = recipe_run(
        ObservedRun(RecordedRun(Record.new("r@1", RunRecord(started_at=10.0, steps=(*steps, StepRecord(name="c")))))),
        "T",
    )
    card = run.card()
    assert (run.state, run.duration_s, str(card.state), card.lead) == ("running", None, "◐ running", "")
    assert (card.progress.value, card.progress.most, card.progress.text) == (1, 3, "**1** of 3 steps")
    assert [row[1:3] for row in rows(card)] == [("✓ done", ""), ("◐ running", ""), ("○ waits", "for b")]
    assert "`%recipe stop r@1`" in card.next[0]


def test_a_recipe_of_which_a_run_goes_on_says_how_to_stop_it():
    info = RecipeInfo("recipe:r", "T", "running", {}, ("a (a.ipynb)",), 2, newest="recipe:r@2")
    assert info.card().next[:2] == ["Next: `%recipe show r@2` says how far it is", "`%recipe stop r@2` stops it"]
    assert replace(info, state="stopping").card().next[1] == "`%recipe log r`"
    assert replace(info, state="done").card().next[0] == "Next: `%recipe run r`"


def declared() -> Recipe:
    steps = [RecipeStep("a", Path("a.ipynb"), outputs={"x": "data:a"})]
    steps += [RecipeStep(name, Path(f"{name}.ipynb"), inputs={"x": "a.x"}) for name in "bc"]
    return Recipe("r", "Title", Path("r.toml"), {}, tuple(steps))


def test_what_comes_after_what_is_drawn_and_the_time_that_is_left_is_told(workspace):
    ended = tuple(StepRecord(name=name, state="done", seconds=60.0) for name in "abc")
    open_store().commit([Record.new("r@1", RunRecord(state="done", started_at=1.0, ended_at=2.0, steps=ended))])
    steps = (StepRecord(name="a", state="done", seconds=1.0), StepRecord(name="b"), StepRecord(name="c"))
    card = recipe_run(observed(RunRecord(started_at=10.0, steps=steps), "r@2"), "T", declared()).card()
    assert card.progress.text == "**1** of 3 steps · at most about **2 min** left"
    picture, table = card.parts
    assert picture.pictures[0].alt == "a done, b waits, c waits"
    assert picture.pictures[0].svg.count("<use") == 3
    assert [*table.titles] == ["step", "state", "why", "time", "usual", "made"]


@pytest.mark.parametrize(
    ("because", "why"),
    [
        (("first time",), "ran: first time"),
        (("n 3 → 4", "raw/x.csv changed"), "ran: n 3 → 4; raw/x.csv changed"),
        (tuple("abcde"), "ran: a; b; c; and 2 more"),
        (("x" * 500,), f"ran: {'x' * 160}…"),
    ],
)
def test_a_step_that_ran_says_what_had_changed(because, why):
    step = StepRecord(name="a", state="done", key="k", seconds=1.0, because=because)
    run = Record.new("r@2", RunRecord(state="done", started_at=3.0, ended_at=4.0, steps=(step,)))
    assert rows(recipe_run(ObservedRun(RecordedRun(run)), "T").card())[0][2] == why


def test_a_recipe_shows_what_each_step_takes_and_makes():
    info = RecipeInfo("recipe:r", "Title", "never ran", {}, ("a", "b", "c"), 0, declared())
    picture, table = info.card().parts
    assert "b after a" in picture.pictures[0].alt
    assert table.rows[:2] == [("a", "a.ipynb", Dim("–"), "data:a"), ("b", "b.ipynb", "a.x", Dim("–"))]
    assert (str(info.card().state), info.card().next) == ("○ never ran", ["Next: `%recipe run r`"])


def test_what_has_run_is_shown_whatever_became_of_its_file(workspace, recipe):
    a_run(workspace)
    assert verbs.show("r@2").title == "r"
    path = recipe("r", "title = ")
    assert (verbs.show("r@2").title, verbs.log("r")[0].title) == ("r", "r")
    path.write_text("title = 'R'\n[steps.a]\nnotebook = 'none.ipynb'\n")
    assert verbs.show("r@2").title == "r"


def test_a_list_counts_the_runs_of_each_recipe(workspace, notebook, recipe):
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
        assert "`%lab start --from example:flights` writes others" in problem.value.fix


STEP = '[steps.a]\nnotebook = "a.ipynb"\n'
TIMED = f'{STEP}[schedule]\ncron = "0 3 * * *"\n'


def test_a_recipe_that_cannot_be_read_stands_in_the_list_with_why(recipe, notebook):
    notebook("a", "n: int = 1")
    recipe("good", STEP)
    for name, text in {
        "key": "titel = 1",
        "gone": '[steps.a]\nnotebook = "no.ipynb"',
        "cron": TIMED.replace("3", "33"),
    }.items():
        recipe(name, text)
    found = {item.title: (item.state, item.trouble) for item in verbs.ls()}
    assert found.pop("good") == ("never ran", "")
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(
        ("key", "gone", "cron"), "cannot be read"
    )
    assert "unknown key 'titel'" in found["key"][1]
    assert "▲ cannot be" in repr(verbs.ls())
    with pytest.raises(UsageProblem):
        verbs.show("key")


def test_a_list_has_columns_of_schedules_where_there_are_some(recipe, notebook):
    notebook("a", "n: int = 1")
    recipe("plain", STEP)
    assert verbs.ls().header == ("uri", "title", "state", "runs")
    recipe("timed", TIMED)
    assert verbs.ls().header == ("uri", "title", "state", "runs", "runs_by_itself", "next_at", "last_due_at")
    body = ScheduleRecord(started_at=1.0, decided_until=1.0, missed_count=2, last_due=10800.0)
    open_store().commit([Record.new("timed", body)])
    listed = verbs.ls()
    assert listed.header[-1] == "missed"
    assert (listed[1].runs_by_itself, listed[1].next_at, listed[1].missed) == ("scheduled", 10800.0, 2)


def test_stop_of_a_schedule_whose_file_broke_pauses_it_and_says_why_it_cannot_be_read(recipe, notebook):
    notebook("a", "n: int = 1")
    path = recipe("timed", TIMED)
    open_store().commit([Record.new("timed", ScheduleRecord(started_at=1.0, decided_until=1.0))])
    path.write_text("titel = 1")
    assert verbs.stop("timed").state == "cannot be read"
    path.unlink()
    assert verbs.stop("timed").problem.startswith("there is no recipe 'timed'")  # paused already


def test_stop_of_a_recipe_that_never_ran_says_so(recipe, notebook):
    notebook("a", "n: int = 1")
    recipe("plain", STEP)
    with pytest.raises(NotFound, match="recipe:plain is not scheduled, and nothing of it has run yet"):
        verbs.stop("plain")
    with pytest.raises(NotFound, match="none"):
        verbs.stop("none")


def test_show_of_a_step_names_the_verb_that_has_it(recipe, notebook):
    notebook("a", "n: int = 1")
    recipe("plain", STEP)
    for name in ("plain/a", "plain@1/a"):
        with pytest.raises(UsageProblem) as problem:
            verbs.show(name)
        assert f"`%recipe log {name}`" in problem.value.fix


def test_the_times_of_a_schedule_are_in_its_zone(recipe, notebook):
    notebook("a", "n: int = 1")
    recipe("timed", TIMED + 'tz = "Asia/Kolkata"\n')
    body = ScheduleRecord(started_at=1.0, decided_until=1.0, last_due=1.0, missed=(1.0,), missed_count=1)
    open_store().commit([Record.new("timed", body)])
    facts = dict(verbs.show("timed").card().facts)
    assert facts["schedule"].endswith("scheduled, next 1970-01-02 03:00 IST")
    assert facts["last due"] == "1970-01-01 05:30 IST"
    assert facts["missed"].endswith("last 1970-01-01 05:30 IST")


def test_the_card_says_what_each_step_has_cost_where_the_machine_has_a_price(workspace):
    (workspace / "aiinfra.toml").write_text("[cost]\nmachine_usd_per_hour = 36\n")
    spans = {"a": (100.0, 10.0), "b": (105.0, 10.0), "c": (200.0, 5.0)}
    steps = [StepRecord(name=name, state="done", began_at=at, seconds=took) for name, (at, took) in spans.items()]
    steps.append(StepRecord(name="d", state="skipped", seconds=0.0))
    run = Record.new("r@1", RunRecord(state="done", started_at=100.0, ended_at=205.0, steps=tuple(steps)))
    card = recipe_run(ObservedRun(RecordedRun(open_store().commit([run])[0])), "Title").card()
    (table,) = [part for part in card.parts if isinstance(part, Table)]
    at = [*table.titles].index("cost")
    assert [row[at] for row in table.rows] == ["0.10 USD", "0.10 USD", "0.050 USD", Dim("–")]
    # a and b share five seconds of one machine, which is paid for as long as the run goes on.
    assert (table.total[at], table.total[2]) == ("1.05 USD", "at once, in a run of 1 min 45 s")
