"""What recipe tells those who know no noun."""

import re
import time

import pytest

from aiinfra_lab import completion, jobs, nouns
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.nouns import Fact, StepSpan
from aiinfra_lab.recipe import declaration, run
from aiinfra_lab.recipe.noun import NOUN
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.schedule import keeping
from aiinfra_lab.recipe.schedule.record import ScheduleRecord
from aiinfra_lab.resolve import exists, resolve, resolve_any
from aiinfra_lab.store import Record, open_store
from tests import records

ONE = '[steps.a]\nnotebook = "a.ipynb"\n'


@pytest.fixture
def one(notebook, recipe):
    """`one(state, …)` commits the next run of recipe `one`; recipe `fresh` never ran."""
    notebook("a", "x: int = 1")
    recipe("one", ONE)
    recipe("fresh", ONE)
    count = iter(range(1, 100))

    def commit(state: str, *steps: StepRecord, ended_at: float | None = 20.0) -> Record[RunRecord]:
        body = RunRecord(state=state, started_at=10.0, ended_at=ended_at)
        return records.recorded_run(f"one@{next(count)}", body, *steps).record

    return commit


def test_the_table_of_nouns_finds_it():
    assert nouns.find("recipe") is NOUN
    assert (NOUN.name, NOUN.kind, NOUN.has_versions) == ("recipe", RunRecord, True)


def test_its_things_are_the_recipes_with_the_state_of_their_newest_run(one, workspace):
    one("done")
    last = one("failed")
    found = {thing.uri: thing for thing in NOUN.things()}
    assert {uri: thing.state for uri, thing in found.items()} == {"recipe:fresh": "never ran", "recipe:one": "failed"}
    assert found["recipe:one"].changed_at == last.updated_at
    assert found["recipe:fresh"].changed_at == (workspace / "recipes" / "fresh.toml").stat().st_mtime


def test_its_names_are_the_recipes_and_their_runs(one):
    one("done")
    assert NOUN.names() == ["fresh", "one", "one@1"]
    assert completion.complete("recipe", "show on") == ["one", "one@1"]
    assert completion.complete("recipe", "run on") == ["one"]


@pytest.mark.parametrize(
    ("text", "error", "fix"),
    [
        ("fresh", NotFound, "run it: `%recipe run fresh`"),
        ("fresh@1", NotFound, "run it: `%recipe run fresh`"),
        ("onee", NotFound, "did you mean one?"),
        ("one@7", NotFound, "there are: one@1"),
        ("one@best", UsageProblem, "write recipe:one for the newest, or @N behind it"),
    ],
)
def test_what_does_not_resolve_says_how_to_go_on(one, text, error, fix):
    one("done")
    with pytest.raises(error) as problem:
        resolve(text, RunRecord)
    assert problem.value.fix == fix


def test_without_any_recipe_the_fix_is_how_to_get_one(workspace):
    with pytest.raises(NotFound) as problem:
        resolve("nothing", RunRecord)
    assert "write recipes/nothing.toml" in problem.value.fix
    assert "`%lab start --from example:flights` writes others to begin with" in problem.value.fix


def test_a_recipe_means_its_newest_run(one):
    one("done")
    one("failed")
    assert resolve_any("recipe:one").uri == "recipe:one@2"
    assert (exists("recipe:one@1"), exists("recipe:one@3"), exists("recipe:fresh")) == (True, False, False)


def test_watched_are_those_that_run_and_the_last_that_ended(one):
    for _ in range(3):
        one("done")
    live = Record.new("one@9", RunRecord(started_at=5.0))
    with jobs.here(live.uri, live) as job:
        first, *ended = NOUN.watched(ended=2)
    assert [each.uri for each in ended] == ["recipe:one@3", "recipe:one@2"]
    assert (first.uri, first.is_live, first.can_stop, first.job) == (live.uri, True, True, job.id)
    assert (ended[0].is_live, ended[0].can_stop, ended[0].ended_at) == (False, False, 20.0)


def test_a_run_that_vanished_is_watched_once_and_says_why(one):
    one("running", ended_at=None)
    (found,) = NOUN.watched()
    assert (found.state, found.detail, found.ended_at) == ("lost", "its process vanished without a word", 10.0)


def test_stop_asks_the_runs_that_go_on(one):
    live = Record.new("one@9", RunRecord(started_at=5.0))
    with jobs.here(live.uri, live) as job:
        assert NOUN.stop("recipe:one") == [job.id]
        (found,) = NOUN.watched()
        assert (found.state, found.detail, found.can_stop) == ("stopping", "was asked to end", False)
        assert job.stop_requested()


@pytest.mark.parametrize(
    ("name", "fix"), [("one", "`%recipe show one@1` says how it ended"), ("fresh", "run it: `%recipe run fresh`")]
)
def test_stop_of_what_does_not_run_is_refused(one, name, fix):
    one("done")
    with pytest.raises(NotFound) as problem:
        NOUN.stop(f"recipe:{name}")
    assert problem.value.fix == fix


def test_a_span_is_a_run_with_its_steps(one):
    skipped = StepRecord(name="a", state="skipped", began_at=1.0, seconds=0.0)
    done = StepRecord(name="b", state="done", began_at=11.0, seconds=4.0)
    never = StepRecord(name="c", state="not run")
    one("stopped", skipped, done, never)
    assert [span.steps for span in NOUN.spans()] == [()]
    (span,) = NOUN.spans(with_steps=True)
    assert (span.uri, span.started_at, span.ended_at, span.is_live) == ("recipe:one@1", 10.0, 20.0, False)
    assert span.steps == (
        StepSpan("a", "skipped", None, 0.0),
        StepSpan("b", "done", 11.0, 4.0),
        StepSpan("c", "not run", None, None),
    )


def test_the_span_of_a_run_that_goes_on_ends_now_and_of_a_lost_one_at_its_last_sign(one):
    one("running", StepRecord(name="a", state="running", began_at=12.0), ended_at=None)
    live = Record.new("one@9", RunRecord(started_at=5.0))
    with jobs.here(live.uri, live):
        spans = {span.uri: span for span in NOUN.spans()}
    assert (spans["recipe:one@1"].ended_at, spans["recipe:one@1"].is_live) == (12.0, False)
    assert (spans[live.uri].ended_at > 1e9, spans[live.uri].is_live) == (True, True)


SCHEDULE = """
[schedule]
cron = "0 2 * * *"
tz = "Europe/Berlin"
"""


def test_a_schedule_that_is_kept_is_seen_beside_the_runs_and_can_be_paused(one, recipe, monkeypatch):
    monkeypatch.setattr(keeping.daemon, "launch", lambda: None)
    recipe("one", ONE + SCHEDULE)
    one("failed")
    keeping.start(declaration.read("one"))
    schedule, run = NOUN.watched()
    assert (schedule.uri, run.uri) == ("recipe:one", "recipe:one@1")
    assert (schedule.state, schedule.is_live, schedule.can_stop, schedule.kind) == ("scheduled", True, True, "schedule")
    assert schedule.figure == "02:00"
    assert schedule.facts == ("At 02:00 every day (Europe/Berlin)",)
    assert schedule.usd_per_hour == 0.0
    facts = {fact.label: fact.value for fact in NOUN.details("recipe:one").facts}
    assert re.fullmatch(r"20\d\d-\d\d-\d\d 02:00 CES?T", facts["next"])
    assert "next" not in {fact.label for fact in NOUN.details("recipe:one@1").facts}

    record = open_store().get(ScheduleRecord, "one")
    open_store().commit([record.with_(run="recipe:one@1", problem="raw/*.csv means no file", missed_count=2)])
    schedule = NOUN.watched()[0]
    assert (schedule.state, schedule.detail) == ("needs a look", "raw/*.csv means no file")
    assert schedule.facts[1:] == ("last: failed",)
    assert Fact("missed", "2 runs") in NOUN.details("recipe:one").facts

    assert NOUN.stop("recipe:one") == []
    assert [each.uri for each in NOUN.watched()] == ["recipe:one@1"]
    with pytest.raises(NotFound, match="recipe:one@1 is over"):
        NOUN.stop("recipe:one")


def test_a_schedule_that_never_ran_and_one_by_a_change_alone(one, recipe, monkeypatch):
    monkeypatch.setattr(keeping.daemon, "launch", lambda: None)
    recipe("one", ONE + SCHEDULE)
    recipe("fresh", f"{ONE}[trigger]\non = ['data:x']")
    for name in ("one", "fresh"):
        keeping.start(declaration.read(name))
    assert {each.uri: each.figure for each in NOUN.watched()} == {"recipe:one": "02:00", "recipe:fresh": ""}
    assert [fact.label for fact in NOUN.details("recipe:one").facts] == ["schedule", "next"]


def test_a_plan_is_that_of_a_dry_run_with_the_parameters_of_the_next_time(notebook, recipe, monkeypatch):
    monkeypatch.setattr(keeping.daemon, "launch", lambda: None)
    notebook("a", "day: str = ''\nuntil: str = ''")
    own = '[parameters]\nday = "none"\nuntil = "${run.date}"\n' + ONE
    text = own + 'parameters = { day = "${params.day}", until = "${params.until}" }\n'
    recipe("dated", f'{text}{SCHEDULE}parameters = {{ day = "${{run.date}}" }}')
    assert NOUN.plan("recipe:dated") == run("dated", dry=True)
    keeping.start(declaration.read("dated"))
    day = next(fact.value for fact in NOUN.details("recipe:dated").facts if fact.label == "next").partition(" ")[0]
    planned = NOUN.plan("recipe:dated")
    assert planned == run("dated", param={"day": day, "until": day}, dry=True)
    assert planned.parameters == {"day": day, "until": day}
    # One of its runs is a run of that day, whatever is due next.
    open_store().commit(
        [Record.new("dated@1", RunRecord(state="done", started_at=1.0, steps=(), parameters={"day": "2026-01-01"}))]
    )
    assert NOUN.plan("recipe:dated@1").parameters["day"] == "2026-01-01"
    with pytest.raises(NotFound):
        NOUN.plan("recipe:dated@2")


def test_a_run_that_goes_on_says_how_long_it_mostly_takes_from_now(one, monkeypatch):
    for _ in range(2):
        one("done", StepRecord(name="a", state="done", seconds=60.0), StepRecord(name="b", state="done", seconds=90.0))
    began_at = time.time() - 1
    live = one("running", StepRecord(name="a", state="running", began_at=began_at), StepRecord(name="b"), ended_at=None)
    with jobs.here(live.uri, live):
        monkeypatch.setattr(time, "time", lambda: began_at + 10)
        assert NOUN.observe([live])[0].figure == "2 min 20 s left"
        new = live.with_(order=(*live.body.order, "c"))
        assert NOUN.observe([new])[0].figure == "a"
