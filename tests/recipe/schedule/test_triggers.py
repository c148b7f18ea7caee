"""A recipe runs for what happens: once for each, and not for what was there."""

import os
import time
from collections.abc import Callable

import pandas as pd
import pytest

from aiinfra_lab import data, recipe
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.recipe.schedule import daemon
from aiinfra_lab.recipe.schedule.daemon import ScheduleKeeper
from aiinfra_lab.recipe.schedule.record import ScheduleRecord
from aiinfra_lab.store import open_store
from tests.conftest import until

from .test_daemon import Begun, Clock

ON = '[steps.a]\nnotebook = "a.ipynb"\n[trigger]\non = ["data:flights", "raw/*.csv"]\n'


@pytest.fixture
def on(notebook, recipe, workspace) -> Callable[..., None]:
    notebook("a", "", "print(1)")
    (workspace / "raw").mkdir()

    def write(more: str = "") -> None:
        recipe("on", ON + more)

    write()
    return write


@pytest.fixture
def no_daemon(monkeypatch) -> None:
    monkeypatch.setattr(daemon, "launch", lambda: None)


def rows(count: int) -> pd.DataFrame:
    return pd.DataFrame({"x": range(count)})


def test_what_is_new_begins_a_run_once_and_what_was_there_none(on, no_daemon, workspace):
    data.add("flights", rows(1))
    recipe.start("on")
    begun = Begun()
    keeper = ScheduleKeeper(Clock(), begun)
    keeper.look()
    assert begun.causes == []
    data.add("flights", rows(2))
    for _ in range(3):
        keeper.look()
    assert begun.causes == ["data:flights@2 is new"]
    path = workspace / "raw" / "a.csv"
    path.write_text("a\n1\n")
    keeper.look()
    os.utime(path, (1, 1))
    keeper.look()
    assert begun.causes[1:] == ["raw/*.csv changed"], "the same content is no news"
    path.write_text("a\n2\n")
    os.utime(path, (1, 1))
    keeper.look()
    assert begun.causes[1:] == ["raw/*.csv changed"], "neither time nor size differ: so the file system tells it"
    path.rename(path.with_name("b.csv"))
    keeper.look()
    keeper.look()
    assert begun.causes[1:] == ["raw/*.csv changed"] * 2
    assert recipe.show("on").schedule.words == "when data:flights or raw/*.csv changes"


def test_what_comes_for_the_first_time_counts_and_what_goes_does_not(on, no_daemon, workspace):
    recipe.start("on")
    begun = Begun()
    keeper = ScheduleKeeper(Clock(), begun)
    data.add("flights", rows(1))
    keeper.look()
    data.rm("flights@1")
    keeper.look()
    assert begun.causes == ["data:flights@1 is new"]


def test_a_version_that_goes_is_no_news_and_the_next_one_is(on, no_daemon):
    data.add("flights", rows(1))
    data.add("flights", rows(2))
    recipe.start("on")
    begun = Begun()
    keeper = ScheduleKeeper(Clock(), begun)
    data.rm("flights@2")
    keeper.look()
    assert begun.causes == []
    added = data.add("flights", rows(3))
    keeper.look()
    assert begun.causes == [f"{added.uri} is new"]


def test_a_change_is_read_once_while_it_waits_for_its_run(on, no_daemon, workspace, monkeypatch):
    from aiinfra_lab.recipe.schedule import triggers

    on('every = "1h"\n')
    recipe.start("on")
    clock, begun, read = Clock(), Begun(), []
    digest = triggers.file_digest
    monkeypatch.setattr(triggers, "file_digest", lambda path: read.append(path.name) or digest(path))
    keeper = ScheduleKeeper(clock, begun)
    for text in ("a\n", "a\n1\n"):
        (workspace / "raw" / "a.csv").write_text(text)
        for _ in range(3):
            keeper.look()
    assert (len(begun.causes), read) == (1, ["a.csv", "a.csv"])


def test_several_within_the_least_time_are_one(on, no_daemon):
    on('every = "1h"\n')
    recipe.start("on")
    clock, begun = Clock(), Begun()
    keeper = ScheduleKeeper(clock, begun)
    for count in range(1, 5):
        data.add("flights", rows(count))
        clock.now += 60
        keeper.look()
    assert begun.causes == ["data:flights@1 is new"]
    clock.now += 3600
    keeper.look()
    assert begun.causes[1:] == ["data:flights@4 is new"]


def test_of_verdicts_only_drift_counts(on, no_daemon, recipe):
    from aiinfra_lab import recipe as recipes
    from aiinfra_lab.drift.record import DriftRecord
    from aiinfra_lab.store import Record

    recipe("on", ON.replace('"data:flights", "raw/*.csv"', '"drift:delay"'))
    recipes.start("on")
    begun = Begun()
    keeper = ScheduleKeeper(Clock(), begun)
    for number, state in enumerate(("no drift", "drift", "cannot tell", "drift"), 1):
        verdict = DriftRecord(
            state=state, endpoint="deploy:late", model="models:delay@1", against="x", rows_before=1, rows_now=1,
            alpha=0.05, checked_at=time.time(), columns=(),
        )  # fmt: skip
        open_store().commit([Record.new(f"delay@{number}", verdict)])
        keeper.look()
    assert begun.causes == ["drift:delay@2 is new", "drift:delay@4 is new"]


def test_paused_nothing_is_looked_at_and_what_came_meanwhile_is_no_news(on, no_daemon):
    recipe.start("on")
    begun = Begun()
    keeper = ScheduleKeeper(Clock(), begun)
    recipe.stop("on")
    data.add("flights", rows(1))
    assert keeper.look() == 0
    recipe.start("on")
    keeper.look()
    assert begun.causes == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("on = []", "it has no list `on`, or an empty one"),
        ('on = "data:flights"', "on must be a list of texts, and 'data:flights' was given"),
        ('on = ["data:flights@3"]', "has no new versions"),
        ('on = ["nope.csv"]', "'nope.csv' in `on` is no file that is there, and no thing"),
        ('on = ["deploy:late"]', "has no new versions"),
        ('on = ["datta:flights"]', "datta"),
        ('on = ["data:flights"]\nevery = "3"', "every: '3' has no unit"),
        ('on = ["data:flights"]\nonce = true', "once"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_its_place(notebook, recipe, line, what):
    notebook("a", "")
    recipe("r", f'[steps.a]\nnotebook = "a.ipynb"\n[trigger]\n{line}\n')
    with pytest.raises(UsageProblem) as problem:
        declaration.read("r")
    assert (what in problem.value.what, problem.value.what.startswith("r.toml")) == (True, True)


def test_the_daemon_begins_it(on):
    recipe.start("on")
    until(lambda: open_store().get(ScheduleRecord, "on"))
    data.add("flights", rows(1))
    until(lambda: recipe.show("on").runs == 1)
    until(lambda: recipe.show("on@1").state == "done")
    assert open_store().get(RunRecord, "on@1").body.cause == "data:flights@1 is new"
    assert ("begun by", "data:flights@1 is new") in recipe.show("on@1").card().facts
    recipe.stop("on")
