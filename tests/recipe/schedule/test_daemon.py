"""Schedules are kept, by one daemon or two, whatever happens in between."""

import re
import time
from collections.abc import Callable

import pytest

from aiinfra_lab import jobs, recipe
from aiinfra_lab.errors import Conflict, Failed, NotFound, UsageProblem
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.recipe.schedule import daemon, keeping
from aiinfra_lab.recipe.schedule.daemon import ScheduleKeeper
from aiinfra_lab.recipe.schedule.record import ScheduleRecord
from aiinfra_lab.store import Record, open_store
from tests.conftest import until

NIGHTLY = """
[steps.a]
notebook = "a.ipynb"
parameters = { day = "${params.day}" }
[parameters]
day = ""
[schedule]
cron = "0 3 * * *"
tz = "Europe/Berlin"
parameters = { day = "${run.date}" }
"""
DAY = 86400.0


@pytest.fixture
def nightly(notebook, recipe) -> Callable[..., None]:
    notebook("a", "day: str = ''", "print('of', day)")

    def write(more: str = "") -> None:
        recipe("nightly", NIGHTLY + more)

    write()
    return write


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Begun:
    """Begins runs that end at once, as far as a schedule sees it."""

    def __init__(self) -> None:
        self.due: list[float] = []
        self.given: list[dict[str, object]] = []
        self.causes: list[str] = []

    def __call__(self, recipe, given, due, cause, also) -> None:
        at = due or 0.0
        body = RunRecord(state="done", started_at=at, ended_at=at, due_at=due, cause=cause, steps=())
        run = Record.new(f"{recipe.name}@{len(self.due) + 1}", body)
        open_store().commit([run, also(run)])
        self.due.append(due)
        self.causes.append(cause)
        self.given.append(dict(given))


@pytest.fixture
def no_daemon(monkeypatch) -> None:
    monkeypatch.setattr(daemon, "launch", lambda: None)


def schedule_of(name: str = "nightly") -> ScheduleRecord:
    found = open_store().get(ScheduleRecord, name)
    assert found is not None
    return found.body


def test_it_runs_each_night_once_and_knows_the_day(nightly, no_daemon):
    assert recipe.show("nightly").schedule.state == "not started"
    recipe.start("nightly")
    clock, begun = Clock(), Begun()
    keeper = ScheduleKeeper(clock, begun)
    assert keeper.look() == 1
    assert begun.due == []
    for _ in range(3 * 24 * 4):
        clock.now += DAY / 24 / 4
        keeper.look()
    assert len(begun.due) == 3
    calendar = declaration.read("nightly").schedule.calendar
    assert begun.given == [{"day": calendar.local(due).date().isoformat()} for due in begun.due]
    facts = recipe.show("nightly").schedule
    assert (facts.state, facts.missed_count, facts.last_due) == ("scheduled", 0, begun.due[-1])
    assert facts.next_at == calendar.next(begun.due[-1])


def test_after_a_sleep_the_last_runs_and_the_others_are_listed(nightly, no_daemon):
    recipe.start("nightly")
    clock, begun = Clock(), Begun()
    clock.now += 4 * DAY
    ScheduleKeeper(clock, begun).look()
    facts = recipe.show("nightly").schedule
    assert (len(begun.due), facts.missed_count, len(facts.missed)) == (1, 3, 3)
    assert max(facts.missed) < begun.due[0]
    assert "3 runs" in str(recipe.show("nightly").card().facts)


def test_of_two_daemons_one_begins_the_run(nightly, no_daemon, monkeypatch):
    recipe.start("nightly")
    clock, begun = Clock(), Begun()
    clock.now += DAY
    keepers = [ScheduleKeeper(clock, begun), ScheduleKeeper(clock, begun)]
    # Both have read the schedule before either has decided.
    (record,) = open_store().list(ScheduleRecord)
    keepers[0]._keep(record)
    with pytest.raises(Conflict):
        keepers[1]._keep(record)
    assert len(begun.due) == 1
    assert keepers[1].look() == 1
    assert len(begun.due) == 1


def test_stop_pauses_it_and_what_was_due_meanwhile_was_not_wanted(nightly, no_daemon):
    recipe.start("nightly")
    clock, begun = Clock(), Begun()
    keeper = ScheduleKeeper(clock, begun)
    assert recipe.stop("nightly").schedule.state == "paused"
    clock.now += 5 * DAY
    assert (keeper.look(), begun.due) == (0, [])
    recipe.start("nightly")
    assert recipe.show("nightly").schedule.state == "scheduled"
    assert schedule_of().missed_count == 0


def test_all_times_since_a_day_run_first_one_after_the_other(nightly, no_daemon):
    clock, begun = Clock(), Begun()
    since = time.strftime("%Y-%m-%d", time.gmtime(clock.now - 3 * DAY))
    recipe.start("nightly", since=since)
    keeper = ScheduleKeeper(clock, begun)
    for _ in range(6):
        keeper.look()
    assert 3 <= len(begun.due) <= 4
    assert (begun.due == sorted(begun.due), schedule_of().missed_count) == (True, 0)
    assert begun.given[0]["day"] == since


@pytest.mark.parametrize(("since", "what"), [("2999-01-01", "is yet to come"), ("soon", "is no day")])
def test_a_day_that_cannot_be_is_refused(nightly, no_daemon, since, what):
    with pytest.raises(UsageProblem, match=what):
        recipe.start("nightly", since=since)
    assert recipe.show("nightly").schedule.state == "not started"


def test_a_recipe_without_a_schedule_is_not_started(notebook, recipe, no_daemon):
    from aiinfra_lab import recipe as recipes

    notebook("a", "")
    recipe("plain", '[steps.a]\nnotebook = "a.ipynb"\n')
    with pytest.raises(NotFound, match="has no schedule") as problem:
        recipes.start("plain")
    assert "[schedule]" in problem.value.fix
    assert recipes.show("plain").schedule is None


def test_what_cannot_begin_is_missed_and_the_card_says_why(nightly, no_daemon):
    nightly('[alert]\nto = ["file:heard.jsonl"]\n')
    recipe.start("nightly")

    def refuse(*_: object) -> None:
        raise NotFound("there is no data:flights", "`%data add flights PATH`")

    clock = Clock()
    clock.now += DAY
    ScheduleKeeper(clock, refuse).look()
    facts = recipe.show("nightly").schedule
    assert (facts.missed_count, facts.problem) == (1, "there is no data:flights")


def test_a_run_that_vanished_is_told_of_once(nightly, no_daemon, workspace):
    nightly('[alert]\non = ["failed"]\nto = ["file:heard.jsonl"]\n')
    recipe.start("nightly")
    keeper = ScheduleKeeper(Clock(), Begun())
    body = RunRecord(started_at=time.time(), steps=())
    open_store().commit([Record.new("nightly@1", body)])  # without a job: nobody carries it out
    for _ in range(3):
        keeper.look()
    heard = (workspace / "heard.jsonl").read_text().splitlines()
    assert (len(heard), "its process vanished" in heard[0], "recipe:nightly@1" in heard[0]) == (1, True, True)


def test_a_file_that_is_broken_is_said_once_and_what_was_due_runs_when_it_is_mended(nightly, no_daemon, workspace):
    recipe.start("nightly")
    clock, begun = Clock(), Begun()
    keeper = ScheduleKeeper(clock, begun)
    path = workspace / "recipes" / "nightly.toml"
    good = path.read_text()
    path.write_text("[")
    clock.now += DAY
    keeper.look()
    before = open_store().get(ScheduleRecord, "nightly")
    keeper.look()
    assert open_store().get(ScheduleRecord, "nightly") == before
    assert "is not valid TOML" in before.body.problem
    path.write_text(good)
    keeper.look()
    assert (len(begun.due), schedule_of().problem) == (1, "")


@pytest.mark.parametrize("again", [lambda keeper: keeper.look(), lambda _keeper: recipe.start("nightly")])
def test_a_file_that_was_away_for_a_moment_leaves_no_trouble(nightly, no_daemon, workspace, again):
    recipe.start("nightly")
    keeper, path = ScheduleKeeper(Clock(), Begun()), workspace / "recipes" / "nightly.toml"
    good, before = path.read_text(), schedule_of()
    path.unlink()
    keeper.look()
    (found,) = recipe.ls()
    assert (found.uri, found.state, found.runs_by_itself) == ("recipe:nightly", "cannot be read", "scheduled")
    assert (found.trouble, bool(schedule_of().problem)) == (found.problem, True)
    assert found.card().next == ["`%recipe stop nightly` pauses its schedule"]
    path.write_text(good)
    again(keeper)
    assert (schedule_of(), recipe.show("nightly").trouble) == (before, "")


def test_why_a_run_could_not_begin_stays_until_one_begins(nightly, no_daemon, workspace):
    recipe.start("nightly")

    def refuse(*_: object) -> None:
        raise NotFound("there is no data:flights", "`%data add flights PATH`")

    clock = Clock()
    clock.now += DAY
    ScheduleKeeper(clock, refuse).look()
    recipe.start("nightly")
    ScheduleKeeper(clock, refuse).look()
    assert recipe.show("nightly").trouble == "there is no data:flights"


@pytest.mark.parametrize("catch_up", ["last", "all", "none"])
@pytest.mark.parametrize("line", ["0 * * * *", "@hourly", "* * * * *"])
def test_times_that_are_changed_count_from_then_on(nightly, no_daemon, workspace, catch_up, line):
    path = workspace / "recipes" / "nightly.toml"
    path.write_text(path.read_text().replace('tz = "Eu', f'catch_up = "{catch_up}"\ntz = "Eu'))
    recipe.start("nightly")
    clock, begun = Clock(), Begun()
    keeper = ScheduleKeeper(clock, begun)
    calendar = declaration.read("nightly").schedule.calendar
    clock.now = calendar.next(clock.now) + 1
    keeper.look()
    assert len(begun.due) == 1
    clock.now += DAY / 2
    path.write_text(path.read_text().replace("0 3 * * *", line))
    for _ in range(5):
        keeper.look()
    assert (len(begun.due), schedule_of().missed_count) == (1, 0)
    clock.now += 3600
    keeper.look()
    assert (len(begun.due), schedule_of().decided_until >= begun.due[1] > clock.now - 3601) == (2, True)


def test_times_of_before_a_change_that_nobody_kept_are_missed(nightly, no_daemon, workspace):
    nightly('[alert]\non = ["late"]\nto = ["file:heard.jsonl"]\n')
    recipe.start("nightly")
    clock, begun = Clock(), Begun()
    clock.now += 3 * DAY
    path = workspace / "recipes" / "nightly.toml"
    path.write_text(path.read_text().replace("Europe/Berlin", "Asia/Tokyo"))
    ScheduleKeeper(clock, begun).look()
    assert (begun.due, schedule_of().missed_count, schedule_of().tz) == ([], 3, "Asia/Tokyo")
    assert len((workspace / "heard.jsonl").read_text().splitlines()) == 1


def test_times_that_are_new_in_the_file_have_no_past(notebook, recipe, no_daemon):
    from aiinfra_lab import recipe as recipes

    notebook("a", "", "print(1)")
    plain = '[steps.a]\nnotebook = "a.ipynb"\n[trigger]\non = ["data:flights"]\n'
    timed = plain + '[schedule]\ncron = "* * * * *"\n'
    recipe("r", plain)
    recipes.start("r")
    clock, begun = Clock(), Begun()
    keeper = ScheduleKeeper(clock, begun)
    for text in (timed, plain, timed):
        clock.now += DAY
        recipe("r", text)
        keeper.look()
        keeper.look()
    assert (begun.due, schedule_of("r").missed_count) == ([], 1440)  # those that the file still had on the second day


def test_a_record_that_says_no_times_takes_those_of_the_file(nightly, no_daemon):
    recipe.start("nightly")
    (record,) = open_store().list(ScheduleRecord)
    open_store().commit([record.with_(cron=None, tz="UTC")])
    clock, begun = Clock(), Begun()
    clock.now += DAY
    keeper = ScheduleKeeper(clock, begun)
    keeper.look()
    keeper.look()
    assert (len(begun.due), schedule_of().cron, schedule_of().tz) == (1, "0 3 * * *", "Europe/Berlin")
    assert ScheduleRecord.upgrade({"started_at": 1.0}, 1) == {"started_at": 1.0}


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ('[schedule]\ncron = "61 * * * *"', "is no line of cron: bad minute"),
        ("[schedule]\n", "it has no line of cron"),
        ('[schedule]\ncron = "@daily"\ncatch_up = "lats"', "catch_up cannot be 'lats'"),
        ('[schedule]\ncron = "@daily"\nwhen = 3', "when"),
        ('[schedule]\ncron = "@daily"\ntz = "CET2"', "there is no time zone"),
        ('[schedule]\ncron = "@daily"\nparameters = { daay = 1 }', "the recipe has no parameter 'daay'"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_its_place(notebook, recipe, lines, what):
    notebook("a", "")
    recipe("r", f'[steps.a]\nnotebook = "a.ipynb"\n[parameters]\nday = ""\n{lines}\n')
    with pytest.raises((UsageProblem, Failed)) as problem:
        declaration.read("r")
    assert (what in problem.value.what, problem.value.what.startswith("r.toml")) == (True, True)
    assert problem.value.fix


def test_the_daemon_of_the_supervisor_begins_what_is_due_and_goes_when_nothing_is_open(nightly, monkeypatch):
    monkeypatch.setattr(keeping, "_epoch", lambda *_: time.time() - 1.5 * DAY)
    recipe.start("nightly", since="2026-01-01")
    until(lambda: recipe.show("nightly").runs >= 1)
    until(lambda: recipe.show("nightly@1").state == "done")
    assert open_store().get(RunRecord, "nightly@1").body.due_at is not None
    assert dict(recipe.show("nightly@1").card().facts)["begun by"].startswith("its schedule, due ")
    assert [job.subject for job in jobs.ls(live=True)].count(daemon.SUBJECT) == 1
    recipe.stop("nightly")
    until(lambda: not jobs.ls(daemon.SUBJECT, live=True))
    assert jobs.find(daemon.SUBJECT).state == "done"


@pytest.mark.parametrize(
    ("given", "what", "fix"),
    [
        ('{ day = "${run.date}", n = "two" }', "n must be of type int, and 'two'", "write in the recipe"),
        ('{ n = "${run.date}" }', r"n must be .+ \(nightly.toml line 7", "write in the recipe"),
        ('{ day = "${run.tme}" }', "day holds ${run.tme}, which stands for nothing", "did you mean run.time"),
    ],
)
def test_values_that_would_miss_each_time_are_refused(notebook, recipe, given, what, fix):
    notebook("a", "day: str = ''\nn: int = 1")
    steps = '[steps.a]\nnotebook = "a.ipynb"\nparameters = { n = "${params.n}", day = "${params.day}" }\n'
    steps += '[schedule]\ncron = "@daily"\n'
    recipe("nightly", f'{steps}\nparameters = {given}\n[parameters]\nn = 1\nday = ""\n')
    with pytest.raises((UsageProblem, Failed)) as problem:
        declaration.read("nightly")
    assert re.search(what.replace("${", r"\$\{"), problem.value.what)
    assert fix in problem.value.fix
