"""What runs started and left living is ended, also when the run that was to do it vanished."""

import logging
import subprocess
import sys

import pytest

from aiinfra_lab import gpu, jobs, lab, recipe
from aiinfra_lab.errors import StoreUnavailable, Unavailable
from aiinfra_lab.gpu import Status, sessions
from aiinfra_lab.gpu.noun import NOUN as NOUN_OF_SESSIONS
from aiinfra_lab.recipe import declaration, history, started
from aiinfra_lab.recipe.noun import NOUN
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.recipe.runner import RecipeRunner
from aiinfra_lab.store import open_store
from tests import records
from tests.conftest import PATIENCE_S, until
from tests.fakes import cloud
from tests.fakes.in_process import InProcess

ONE = '[steps.a]\nnotebook = "a.ipynb"\n'
RUN = "recipe:one@1"


@pytest.fixture(autouse=True)
def rented(workspace, tmp_path, monkeypatch) -> None:
    """A cloud of another package, without a machine."""
    cloud.install(tmp_path, monkeypatch)


def start(name: str, monkeypatch, context: str = f"{RUN}/a") -> None:
    """A session as a run's notebook starts it."""
    with monkeypatch.context() as patch:
        patch.setenv("AIINFRA_CONTEXT", context)
        gpu.start(name, gpu="T4", on="cloud")


def vanished(*, keep: bool = False) -> RecordedRun:
    """A run of which no process is left."""
    step = StepRecord(name="a", state="running", began_at=9.0)
    return records.recorded_run("one@1", RunRecord(started_at=9.0, keep=keep), step)


def living() -> list[str]:
    return [record.name for record in sessions.records() if sessions.observe(record).is_live]


def refuse(monkeypatch) -> None:
    """The cloud's machines do not heed."""
    monkeypatch.setattr(cloud.Cloud, "terminate", lambda *_: None)
    monkeypatch.setattr(cloud.Cloud, "ended_within_s", lambda _: 0.2, raising=False)
    monkeypatch.setattr(cloud.Cloud, "ready_within_s", lambda _: 0.2, raising=False)


def test_who_finds_a_run_lost_ends_what_was_to_end_with_it(monkeypatch, caplog):
    start("mine", monkeypatch)
    start("other", monkeypatch, "recipe:one@10/a")
    with caplog.at_level(logging.WARNING):
        history.observe([vanished()])
    assert living() == ["other"]
    assert "gpu:mine" in caplog.text


def test_what_was_to_live_on_does(monkeypatch):
    start("mine", monkeypatch)
    history.observe([vanished(keep=True)])
    assert living() == ["mine"]
    assert NOUN.notices() == []


def test_what_did_not_heed_is_named_with_what_ends_it(monkeypatch):
    start("mine", monkeypatch)
    monkeypatch.setattr(cloud, "reachable", [False])
    history.observe([vanished()])
    monkeypatch.setattr(cloud, "reachable", [True])
    monkeypatch.setattr("aiinfra_lab.nouns.STOP_AGAIN_S", 0.0)
    (found,) = [each for each in lab.check(report=True).findings if each.what == "gpu:mine"]
    assert (found.detail, found.fix) == (f"it was to end with {RUN}, whose process vanished", "`%recipe stop one@1`")
    recipe.stop("one@1")
    assert living() == []
    assert NOUN.notices() == []


def test_a_stop_says_what_lives_on(monkeypatch):
    start("mine", monkeypatch)
    refuse(monkeypatch)
    vanished()
    with pytest.raises(Unavailable, match="gpu:mine cannot be ended") as problem:
        recipe.stop("one")
    assert problem.value.fix == "`%gpu stop mine` says why"


def test_the_next_run_begins_when_what_the_lost_one_left_has_ended(monkeypatch, notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("one", ONE)
    lost = vanished()
    history.observe([lost])
    start("mine", monkeypatch)  # as the last cell of a kernel that lived a moment longer
    run = RecipeRunner(declaration.read("one"), {}, InProcess(), keep=True, force=True).go(lambda _: None)
    assert (run.name, run.body.state, living()) == ("one@2", "done", [])


def test_the_next_run_of_any_recipe_ends_what_a_lost_one_left(monkeypatch, notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("other", ONE)
    start("mine", monkeypatch)
    vanished()
    RecipeRunner(declaration.read("other"), {}, InProcess(), keep=True, force=True).go(lambda _: None)
    assert living() == []


def test_an_end_is_waited_for_as_long_as_its_provider_needs(monkeypatch):
    monkeypatch.setattr("aiinfra_lab.gpu.starting.PATIENCE_S", {"ready": 30.0, "ended": 0.0})
    start("mine", monkeypatch)
    monkeypatch.setattr(cloud.Cloud, "ended_within_s", lambda _: 60.0, raising=False)
    monkeypatch.setattr(cloud.Cloud, "ready_within_s", lambda _: 60.0, raising=False)
    status, asked = cloud.Cloud.status, []

    def slow(self: cloud.Cloud, handle: str) -> Status:
        asked.append(handle)
        return Status("stopping") if len(asked) < 6 else status(self, handle)

    monkeypatch.setattr(cloud.Cloud, "status", slow)
    assert started.end(RUN) == []


def test_one_that_does_not_end_is_named_and_keeps_no_other_alive(monkeypatch):
    for name in ("stubborn", "mine"):
        start(name, monkeypatch)
    stop = NOUN_OF_SESSIONS.stop

    def some(uri: str) -> object:
        if uri == "gpu:stubborn":
            raise Unavailable("it does not heed", "wait")
        return stop(uri)

    monkeypatch.setattr(NOUN_OF_SESSIONS, "stop", some)
    assert started.end(RUN) == ["gpu:stubborn"]
    assert living() == ["stubborn"]


def test_without_the_store_nothing_is_known_to_be_gone(monkeypatch):
    start("mine", monkeypatch)

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the database restarts", "wait")

    with monkeypatch.context() as patch:
        patch.setattr(type(open_store()), "list", away)
        with pytest.raises(StoreUnavailable):
            started.end(RUN)
    assert living() == ["mine"]


def test_a_job_without_a_thing_is_ended_too(monkeypatch):
    monkeypatch.setenv("AIINFRA_CONTEXT", f"{RUN}/a")
    job = jobs.start("train:mine", ["sleep", "600"])
    monkeypatch.delenv("AIINFRA_CONTEXT")
    history.observe([vanished()])
    assert jobs.wait(job.id, PATIENCE_S).state == "stopped"


SERVE = """
from aiinfra_lab import jobs
import time
jobs.start("train:left", ["sleep", "600"])
time.sleep(600)
"""


def test_a_run_that_was_killed_leaves_nothing_once_somebody_looks(notebook, recipe):
    notebook("a", "x: int = 1", SERVE)
    recipe("one", ONE)
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one", "--no-keep"]
    going = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    job = until(lambda: jobs.find("train:left"))
    going.kill()
    going.wait()
    assert [run.state for run in history.observe(history.runs("one"))] == ["lost"]
    assert jobs.wait(job.id, PATIENCE_S).state == "stopped"
