"""What the panel lists, against what the nouns say of the same things."""

import os
import signal
import time
from pathlib import Path

import pytest

from aiinfra_lab import gpu, jobs
from aiinfra_lab.deploy.record import EndpointRecord, Rollback
from aiinfra_lab.host.spec import read_state
from aiinfra_lab.jobs import JobRecord, process
from aiinfra_lab.jupyter.items import Item, ItemFeed
from aiinfra_lab.kernels.kept import KeptKernel
from aiinfra_lab.store import Record, Store, open_store
from aiinfra_lab.train.observing import find
from aiinfra_lab.train.record import TrainingRun
from tests import records
from tests.conftest import end_supervisor, until


@pytest.fixture
def store(workspace: Path) -> Store:
    return open_store()


def listed(store: Store) -> dict[str, Item]:
    return {item.uri: item for item in ItemFeed(store).look()}


@pytest.mark.parametrize("victim", ["core", "guard"])
def test_a_session_that_was_killed_ends_in_the_words_of_its_noun(store: Store, victim: str) -> None:
    gpu.start("trainer")
    host = read_state(KeptKernel.of("gpu:trainer").host)
    os.kill(host.core_pid if victim == "core" else host.pid, signal.SIGKILL)
    until(lambda: not jobs.ls("gpu:trainer", live=True))
    item = listed(store)["gpu:trainer"]
    assert item.state == gpu.show("trainer").state
    assert item.state.startswith("ended (its ")
    assert item.detail == ""


def test_a_session_that_starts_is_not_said_to_run(store: Store) -> None:
    job = running("gpu:trainer")
    records.session("trainer", handle=job.id, started_at=time.time())
    assert (job.state, listed(store)["gpu:trainer"].state) == ("running", "starting")


def test_a_rented_session_is_one_row_while_it_lives_and_when_it_has_ended(store: Store) -> None:
    gpu.start("far", on="sim", for_="1h")
    assert [(item.uri, item.figure) for item in ItemFeed(store).look()] == [("gpu:far", "0.04 USD/h")]
    gpu.stop("far")
    assert [(item.uri, item.state) for item in ItemFeed(store).look()] == [("gpu:far", "ended (stopped)")]


def running(subject: str) -> jobs.Job:
    job = jobs.start(subject, ["sleep", "600"])
    until(lambda: jobs.poll(job.id).state == "running")
    return jobs.poll(job.id)


def test_an_earlier_start_of_a_session_keeps_its_own_end(store: Store) -> None:
    gpu.start("trainer")
    gpu.stop("trainer")
    gpu.start("trainer")
    states = {item.job: item.state for item in ItemFeed(store).look()}
    assert sorted(states.values()) == ["running", "stopped"]


def test_a_run_whose_process_is_gone_was_killed(store: Store) -> None:
    store.commit([Record.new("delay@1", TrainingRun(state="running", started_at=time.time()))])
    gone = {"subject": "train:delay@1", "state": "running", "started_at": time.time(), "supervised": False}
    store.commit([Record.new("train-delay-1", JobRecord(**{**gone, "pid": 2**22 - 1, "born": 1.0}))])
    item = listed(store)["train:delay@1"]
    assert item.state == find("train:delay@1").state == "killed"
    assert not item.stoppable


def test_the_panel_says_what_a_state_means_whatever_the_noun(store: Store) -> None:
    pid, born = os.getpid(), process.birth(os.getpid())
    store.commit([Record.new("delay@1", TrainingRun(state="starting", planned_by=(pid, born)))])
    going = {"state": "running", "started_at": 1.0, "stop_requested_at": 2.0, "pid": pid, "born": born}
    job = JobRecord(subject="train:delay@2", supervised=False, **going)
    store.commit([Record.new("delay@2", TrainingRun(state="running")), Record.new("train-delay-2", job)])
    seen = {item.name: (item.state, item.detail) for item in ItemFeed(store).look()}
    assert seen == {"delay@1": ("starting", "waiting for its process"), "delay@2": ("stopping", "was asked to end")}


@pytest.fixture
def endpoint(store: Store) -> jobs.Job:
    """An endpoint as far as the panel sees it: a job, and the record that names it."""
    job = running("deploy:delay")
    records.endpoint("delay", job=job.id, rolled_back=None)
    return job


def test_a_rollback_is_news_and_says_why(store: Store, endpoint: jobs.Job) -> None:
    watch = ItemFeed(store)
    before = watch.look()
    lost = Rollback("models:delay@2", "errors 4% > 1%", 1.0, "rule")
    store.commit([store.get(EndpointRecord, "delay").with_(rolled_back=lost)])
    (item,) = watch.look(watch.rev)
    assert (before[0].detail, item.state) == ("", "running")
    assert item.detail == "models:delay@2 was rolled back: errors 4% > 1%"


def test_what_changed_unwritten_is_told_to_whoever_read_the_same_revision(
    store: Store, endpoint: jobs.Job, workspace: Path
) -> None:
    watch = ItemFeed(store)
    watch.look()
    assert watch.look(watch.rev) == []
    end_supervisor(workspace)
    os.killpg(endpoint.pid, signal.SIGKILL)
    until(lambda: not jobs.poll(endpoint.id).live and not jobs.is_watched())
    rev = watch.rev
    assert [[item.state for item in watch.look(rev)] for _ in range(2)] == [["lost"], ["lost"]]
    assert watch.look(watch.rev) == []


def test_a_place_that_cannot_be_asked_hides_nothing(store: Store, endpoint: jobs.Job) -> None:
    store.commit([store.get(EndpointRecord, "delay").with_(on="nowhere")])
    assert listed(store)["deploy:delay"].state == "cannot tell"


def test_a_run_is_one_item_before_its_job_with_it_and_after_its_end(store: Store) -> None:
    run, own = "train:delay@1", (os.getpid(), process.birth(os.getpid()))
    record = records.run("delay@1", state="starting", started_at=time.time(), planned_by=own)
    feed, found = ItemFeed(store), []
    found.append([(item.job, item.state) for item in feed.look()])
    job = JobRecord(subject=run, state="running", started_at=time.time(), supervised=False, pid=own[0], born=own[1])
    (job_record, record) = store.commit([Record.new("train-delay-1", job), record.with_(state="running")])
    found.append([(item.job, item.state) for item in feed.look()])
    at = time.time()
    store.commit([job_record.with_(state="lost", ended_at=at), record.with_(state="killed", ended_at=at)])
    found.append([(item.job, item.state) for item in feed.look()])
    assert found == [[(run, "starting")], [(run, "running")], [(run, "killed")]]
