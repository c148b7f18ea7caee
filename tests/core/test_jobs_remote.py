"""Jobs of another folder that shares the store: its supervisor's signs of life, and what a stop does without them."""

import os
import re
import time

import pytest
from msgspec.structs import replace

from aiinfra_lab import jobs
from aiinfra_lab.errors import Denied, Unavailable
from aiinfra_lab.jobs import HomeRecord, JobRecord, heartbeat, process, remote
from aiinfra_lab.jobs import home as homes
from aiinfra_lab.jobs.supervisor import Supervisor
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.store.sqlite import SqliteStore
from tests.conftest import PATIENCE_S, end_supervisor, supervisors, until

SLEEP = ["sleep", "600"]
NOBODY = 2**22 + 1  # no process has that pid
PLACE = {"path": "far/project", "host": "other", "fingerprint": "another folder", "process_table": "another"}
SIGN = HomeRecord(**PLACE, pid=1, born=1.0, since_at=1.0, seen_at=1.0)


def sign(**changes: object) -> None:
    """What the supervisor of the folder `another` has written."""
    put("another", replace(SIGN, **changes))


def put(name, body) -> None:
    found = open_store().get(type(body), name)
    open_store().commit([found.of(body) if found else Record.new(name, body)])


def remote_job(**changes: object) -> str:
    """A job of the folder `another`, which began an hour ago."""
    began = {"subject": "gpu:a", "state": "running", "started_at": time.time() - 3600, "pid": 1, "born": 1.0}
    put("gpu-a-1", JobRecord(**{**began, "home": "another", **changes}))
    return "gpu-a-1"


def ago(seconds: float) -> float:
    return time.time() - seconds


@pytest.mark.parametrize(("silent_s", "started_s"), [(30, 3600), (9999, 30)])
def test_a_stop_is_passed_on_to_a_folder_that_gives_signs_of_life(workspace, silent_s, started_s):
    sign(seen_at=ago(silent_s))
    asked = jobs.cancel(remote_job(started_at=ago(started_s)))
    assert (asked.live, asked.stop_requested_at is not None) == (True, True)
    assert supervisors(workspace) == []


def test_a_stop_and_a_wait_say_at_once_where_a_silent_folder_is(workspace):
    sign(seen_at=ago(300))
    with pytest.raises(Unavailable) as stopped:
        jobs.cancel(remote_job())
    with pytest.raises(Unavailable) as waited:
        jobs.wait("gpu-a-1")
    assert "`cd far/project && aiinfra lab start` on other" in stopped.value.fix
    assert waited.value.fix.startswith("`cd far/project && aiinfra lab start` on other")
    left = re.search(r"`%gpu stop a` again in (10 min|9 min \d+ s) writes its end", stopped.value.fix)
    assert left, stopped.value.fix
    assert jobs.poll("gpu-a-1").stop_requested_at is not None


def test_a_stop_ends_a_job_of_a_folder_that_is_gone(workspace):
    sign(seen_at=ago(1000))
    ended = jobs.cancel(remote_job())
    assert (ended.live, ended.state, ended.ended_at is not None) == (False, "lost", True)
    assert "may still run" in ended.ended_by
    assert jobs.ls(live=True) == []
    assert jobs.cancel(ended.id) == ended


@pytest.mark.parametrize("signs", [{"home": "unknown"}, {"supervised": False}])
def test_where_no_signs_are_due_the_first_request_counts(workspace, signs):
    sign(seen_at=ago(5000))
    job_id = remote_job(**signs)
    assert jobs.cancel(job_id).live
    asked = open_store().get(JobRecord, job_id).body
    assert jobs.cancel(job_id).stop_requested_at == asked.stop_requested_at
    put(job_id, replace(asked, stop_requested_at=ago(300)))
    with pytest.raises(Unavailable, match="lab start"):
        jobs.cancel(job_id)
    put(job_id, replace(asked, stop_requested_at=ago(1000)))
    assert jobs.cancel(job_id).state == "lost"


def test_waiting_for_a_job_of_a_silent_folder_that_nobody_stopped_goes_on(workspace):
    sign(seen_at=ago(300))
    with pytest.raises(Unavailable, match="still goes on"):
        jobs.wait(remote_job(), 0.1)


def started(workspace) -> jobs.Job:
    job = jobs.start("gpu:a", SLEEP)
    until(lambda: jobs.poll(job.id).state == "running")
    return jobs.poll(job.id)


def lost(job: jobs.Job) -> None:
    """Another folder took ours for gone."""
    record = open_store().get(JobRecord, job.id)
    open_store().commit([record.with_(state="lost", ended_at=time.time(), ended_by="it gave no sign of life")])


def is_ended(job: jobs.Job) -> bool:
    return not list(process.tree(job.pid, 0.0, job.id))


def test_a_supervisor_ends_what_another_folder_took_for_gone(workspace):
    job = started(workspace)
    lost(job)
    until(lambda: is_ended(job))
    assert jobs.poll(job.id).state == "lost"


def test_a_folder_that_comes_back_ends_what_was_taken_for_gone_and_nothing_else(workspace):
    job = started(workspace)
    end_supervisor(workspace)
    lost(job)
    assert [remote.ended_remotely(open_store(), workspace / ".aiinfra", name) for name in ("another", "")] == [[], []]
    assert jobs.needs_supervisor()
    jobs.launch()
    until(lambda: is_ended(job))
    assert not jobs.needs_supervisor()


def test_a_supervisor_gives_signs_of_life_while_something_lives_and_few(workspace):
    job = started(workspace)
    record = until(lambda: open_store().get(HomeRecord, homes.home_id(workspace / ".aiinfra")))
    assert (record.body.path, record.body.pid) == (str(workspace), supervisors(workspace)[0])
    jobs.cancel(job.id)
    jobs.wait(job.id, PATIENCE_S)
    assert [one.rev for one in open_store().list(HomeRecord)] == [record.rev]


def test_where_nothing_lives_no_sign_is_written(workspace):
    assert Supervisor().tick() == 0
    assert open_store().list(HomeRecord) == []


@pytest.fixture
def beating(workspace, monkeypatch):
    """A folder that has an id; its supervisor looks at every tick."""
    monkeypatch.setattr(heartbeat, "LOOK_S", 0.0)
    (workspace / ".aiinfra").mkdir()
    return workspace / ".aiinfra", homes.make_home_id(workspace / ".aiinfra")


def test_a_sign_is_written_again_when_it_is_due(beating, monkeypatch):
    folder, name = beating
    ours = heartbeat.Heartbeat(open_store(), folder)
    assert [ours.look(), ours.look()] == ["acting", "acting"]
    first = open_store().get(HomeRecord, name)
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.0)
    ours.look()
    assert open_store().get(HomeRecord, name).body.seen_at > first.body.seen_at


@pytest.mark.parametrize("before", [{"seen_at": 1.0}, {"process_table": process.table(), "pid": NOBODY}])
def test_a_supervisor_that_is_gone_hinders_nobody(beating, before):
    folder, name = beating
    put(name, replace(SIGN, **{"seen_at": time.time(), **before}))
    assert heartbeat.Heartbeat(open_store(), folder).look() == "acting"
    assert open_store().get(HomeRecord, name).body.pid == os.getpid()


def test_one_of_this_very_folder_that_is_about_to_end_hinders_nobody(beating):
    folder, name = beating
    here = {
        "process_table": process.table(),
        "fingerprint": homes.fingerprint_of(folder),
        "pid": os.getppid(),
    }
    put(name, replace(SIGN, seen_at=time.time(), born=process.birth(os.getppid()), **here))
    assert heartbeat.Heartbeat(open_store(), folder).look() == "acting"


def test_one_of_another_folder_that_is_seen_to_live_keeps_the_id(beating):
    folder, name = beating
    here = {"process_table": process.table(), "pid": os.getppid(), "born": process.birth(os.getppid())}
    put(name, replace(SIGN, **here))
    assert heartbeat.Heartbeat(open_store(), folder).look() == "taken"


def test_one_that_may_live_on_another_machine_is_given_time_to_answer(beating, monkeypatch):
    folder, name = beating
    put(name, replace(SIGN, seen_at=time.time()))
    ours = heartbeat.Heartbeat(open_store(), folder)
    assert [ours.look(), ours.look()] == ["waiting", "waiting"]
    ours._acts_from = time.monotonic()  # it did not answer
    assert ours.look() == "acting"


@pytest.mark.parametrize(("since_at", "standing"), [(1.0, "taken"), (9e9, "acting")])
def test_of_two_under_one_id_the_older_one_stays(beating, since_at, standing):
    folder, name = beating
    ours = heartbeat.Heartbeat(open_store(), folder)
    ours.look()
    put(name, replace(SIGN, since_at=since_at, seen_at=time.time()))
    assert ours.look() == standing
    assert (open_store().get(HomeRecord, name).body.pid == os.getpid()) == (standing == "acting")


def test_two_heartbeats_under_one_id_settle_on_the_older_one(beating):
    folder, _ = beating
    one, other = heartbeat.Heartbeat(open_store(), folder), heartbeat.Heartbeat(open_store(), folder)
    for each, place in ((one, "container 1"), (other, "container 2")):
        each._sign = replace(each._sign, process_table=place)
    assert [one.look(), other.look(), one.look(), other.look()] == ["acting", "waiting", "acting", "taken"]


@pytest.mark.parametrize("error", [Denied, Unavailable])
def test_a_store_that_takes_no_sign_keeps_nobody_from_acting(beating, monkeypatch, error):
    def full(*_: object) -> None:
        raise error("the store takes nothing", "free some space")

    monkeypatch.setattr(SqliteStore, "commit", full)
    assert heartbeat.Heartbeat(open_store(), beating[0]).look() == "acting"


def test_a_folder_whose_id_is_anothers_gets_one_of_its_own_and_touches_no_job(beating):
    folder, name = beating
    remote_job(home=name, pid=NOBODY)
    watching = Supervisor()
    watching.heartbeat = heartbeat.Heartbeat(open_store(), folder)
    watching.heartbeat.look()
    put(name, replace(SIGN, seen_at=time.time()))
    assert [watching.tick(), watching.tick()] == [0, 0]
    assert (homes.home_id(folder) != name, jobs.poll("gpu-a-1").state) == (True, "running")


def test_a_supervisor_that_waits_for_an_answer_leaves_the_jobs_alone_though_the_store_goes_away(beating, monkeypatch):
    _, name = beating
    remote_job(home=name, pid=NOBODY)
    put(name, replace(SIGN, seen_at=time.time()))
    watching = Supervisor()
    assert watching.tick() == 1
    before = open_store().get(JobRecord, "gpu-a-1")

    def away(*_: object, **__: object) -> None:
        raise Unavailable("it is away", "wait")

    with monkeypatch.context() as broken:
        broken.setattr(SqliteStore, "list", away)
        assert watching.tick() == 1
    assert open_store().get(JobRecord, "gpu-a-1") == before


def test_a_supervisor_leaves_the_process_of_another_container_alone(workspace):
    """Its pid is nobody's here."""
    own = homes.make_home_id(workspace / ".aiinfra")
    job_id = remote_job(home=own, supervised=False, process_table="another", seen_at=ago(30))
    assert Supervisor().tick() == 0
    assert (jobs.poll(job_id).state, jobs.needs_supervisor()) == ("running", False)
