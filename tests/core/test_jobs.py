import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
from msgspec.structs import replace

from aiinfra_lab import files, jobs
from aiinfra_lab.errors import Conflict, Denied, Interrupted, NotFound, StoreUnavailable, Unavailable
from aiinfra_lab.jobs import JobRecord, process, restored, supervisor
from aiinfra_lab.jobs.supervisor import Supervisor
from aiinfra_lab.store import Event, Record, open_store
from aiinfra_lab.store.base import decode
from aiinfra_lab.store.sqlite import SqliteStore, restore
from tests.conftest import PATIENCE_S, end, end_supervisor, no_supervisor, press_ctrl_c_in, supervisors, until

SLEEP = ["sleep", "600"]


def shell(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def running(job: jobs.Job) -> jobs.Job:
    until(lambda: jobs.poll(job.id).state == "running")
    return jobs.poll(job.id)


@pytest.mark.parametrize(("code", "state"), [(0, "done"), (3, "failed"), (124, "stopped")])
def test_a_job_ends_with_its_exit_code_and_log(workspace, code, state):
    job = jobs.wait(jobs.start("train:a", shell(f"echo out; echo err >&2; exit {code}")).id, PATIENCE_S)
    assert (job.state, job.exit_code, jobs.log(job.id)) == (state, code, "out\nerr")


def test_a_command_that_does_not_exist_fails_and_says_so(workspace):
    job = jobs.wait(jobs.start("train:a", ["no-such-program"]).id, PATIENCE_S)
    assert job.state == "failed"
    assert "no-such-program" in jobs.log(job.id)


def test_a_job_knows_its_id_and_workspace(workspace):
    started = jobs.start("train:a", shell("echo $AIINFRA_JOB $AIINFRA_WORKSPACE $X"), env={"X": "y"})
    job = jobs.wait(started.id, PATIENCE_S)
    assert jobs.log(job.id) == f"{job.id} {workspace} y"


def test_cancel_ends_the_whole_tree_also_what_left_its_session(workspace):
    job = running(jobs.start("gpu:a", shell("(setsid sleep 61 &); sleep 62")))
    until(lambda: len(list(process.tree(job.pid, process.birth(job.pid), job.id))) >= 3)
    jobs.cancel(job.id)
    ended = jobs.wait(job.id, PATIENCE_S)
    assert ended.state == "stopped"
    assert list(process.tree(job.pid, 0.0, job.id)) == []


def test_a_job_that_ignores_the_request_is_killed(workspace):
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(60)"
    job = running(jobs.start("gpu:a", [sys.executable, "-c", code]))
    until(lambda: jobs.log(job.id))
    jobs.cancel(job.id)
    assert jobs.wait(job.id, PATIENCE_S).state == "stopped"


def test_a_job_gets_the_chance_to_end_cleanly(workspace):
    job = running(jobs.start("gpu:a", shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")))
    until(lambda: "up" in jobs.log(job.id))
    jobs.cancel(job.id)
    assert jobs.wait(job.id, PATIENCE_S).state == "stopped"
    assert jobs.log(job.id).endswith("bye")


def test_the_deadline_ends_a_job(workspace):
    job = jobs.wait(jobs.start("gpu:a", SLEEP, deadline_s=0.5).id, PATIENCE_S)
    assert job.state == "stopped"
    assert open_store().get(jobs.JobRecord, job.id).body.ended_by == "deadline"


def test_the_deadline_holds_without_a_supervisor(workspace):
    job = jobs.start("gpu:a", SLEEP, deadline_s=1.5)
    until(lambda: jobs.poll(job.id).state != "starting")  # running; ended already, where this process was slow
    end_supervisor(workspace)
    until(lambda: jobs.poll(job.id).state == "stopped")


def test_jobs_survive_the_supervisor_and_are_adopted(workspace):
    job = running(jobs.start("deploy:a", SLEEP))
    end_supervisor(workspace)
    assert jobs.poll(job.id).state == "running"
    other = jobs.wait(jobs.start("train:b", shell("exit 0")).id, PATIENCE_S)
    jobs.cancel(job.id)
    assert (other.state, jobs.wait(job.id, PATIENCE_S).state) == ("done", "stopped")


def test_the_exit_code_is_known_though_no_supervisor_saw_the_end(workspace):
    job = running(jobs.start("train:a", shell("while [ ! -e go ]; do sleep 0.05; done; exit 7")))
    end_supervisor(workspace)
    (workspace / "go").touch()
    until(lambda: not jobs.poll(job.id).live)
    assert (jobs.poll(job.id).state, jobs.poll(job.id).exit_code) == ("failed", 7)


def test_a_job_whose_whole_tree_is_killed_is_lost(workspace):
    job = running(jobs.start("train:a", SLEEP))
    end_supervisor(workspace)
    os.killpg(job.pid, signal.SIGKILL)
    until(lambda: not jobs.poll(job.id).live)
    assert jobs.poll(job.id).state == "lost"


def orphaned(workspace) -> jobs.Job:
    """A job whose supervisor and wrapper were killed: its command goes on alone."""
    job = running(jobs.start("deploy:a", SLEEP, restart=True))
    end_supervisor(workspace)
    end(job.pid)
    until(lambda: not process.birth(job.pid))
    return job


def test_a_command_that_outlives_its_wrapper_and_the_supervisor_still_runs_and_is_adopted(workspace):
    job = orphaned(workspace)
    assert jobs.poll(job.id).state == "running"
    jobs.wait(jobs.start("train:b", ["sleep", "1"]).id, PATIENCE_S)
    assert (jobs.poll(job.id).state, jobs.poll(job.id).restarts) == ("running", 0)
    jobs.cancel(job.id)
    assert (jobs.wait(job.id, PATIENCE_S).state, list(process.tree(0, 0.0, job.id))) == ("stopped", [])


def test_a_command_that_outlived_its_wrapper_is_started_again_when_it_ends(workspace):
    job = orphaned(workspace)
    jobs.launch()
    end(*process.tree(0, 0.0, job.id))
    until(lambda: jobs.poll(job.id).restarts == 1)


def test_what_a_job_left_running_that_died_unseen_is_ended_when_it_is_given_up(workspace):
    job = running(jobs.start("deploy:a", shell("setsid sleep 61 & exec sleep 62"), restart=True))
    until(lambda: len(list(process.tree(0, 0.0, job.id))) == 3)
    end_supervisor(workspace)
    (workspace / ".aiinfra" / "jobs" / job.id / "alive").unlink()
    end(job.pid)
    until(lambda: not jobs.poll(job.id).live)
    assert [record.body.state for record in jobs.given_up(job.id)] == ["lost"]
    assert list(process.tree(0, 0.0, job.id)) == []


def test_a_start_that_failed_does_not_come_to_life_later(workspace):
    with no_supervisor(), pytest.raises(Unavailable):
        jobs.start("gpu:a", shell("touch began; sleep 60"))
    assert jobs.find("gpu:a").state == "stopped"
    jobs.wait(jobs.start("train:b", ["sleep", "1"]).id, PATIENCE_S)
    assert not (workspace / "began").exists()


def test_a_job_that_runs_is_asked_to_end_when_it_is_withdrawn(workspace):
    job = running(jobs.start("gpu:a", SLEEP))
    jobs.withdraw(job.id)
    assert jobs.wait(job.id, PATIENCE_S).state == "stopped"


@pytest.mark.parametrize("error", [Denied, Unavailable])
def test_a_stop_reaches_a_job_though_the_store_cannot_be_written(workspace, monkeypatch, error):
    job = running(jobs.start("deploy:a", SLEEP, restart=True))

    def full(*_: object) -> None:
        raise error("the store takes nothing", "free some space")

    with monkeypatch.context() as disk:
        disk.setattr(type(open_store()), "commit", full)
        assert jobs.cancel(job.id).live
    ended = jobs.wait(job.id, PATIENCE_S)
    assert (ended.state, ended.restarts) == ("stopped", 0)


@pytest.mark.parametrize("error", [Denied, Unavailable])
def test_a_supervisor_ends_what_is_due_though_the_store_takes_nothing(workspace, monkeypatch, error):
    job = running(jobs.start("gpu:a", SLEEP))
    end_supervisor(workspace)
    watching = Supervisor()
    watching.tick()

    def away(*_: object, **__: object) -> None:
        raise error("the database is away, or takes no writes", "start it")

    monkeypatch.setattr(supervisor, "GRACE_S", 0.0)
    with monkeypatch.context() as store:
        for name in ("list", "commit") if error is Unavailable else ("commit",):
            store.setattr(type(watching.store), name, away)
        (job.folder / "stop").touch()
        until(lambda: watching.tick() and not process.birth(job.pid))
    until(lambda: not watching.tick())
    assert jobs.poll(job.id).state == "stopped"


def elsewhere(job_id: str, state: str = "running") -> jobs.Job:
    """A job of another folder that shares this store."""
    record = jobs.prepare("gpu:a", SLEEP)
    open_store().commit([Record.new(job_id, replace(record.body, home="another", state=state, pid=1, born=1.0))])
    return jobs.poll(job_id)


@pytest.mark.parametrize("state", ["starting", "running", "stopping"])
def test_a_job_of_another_folder_is_what_its_supervisor_wrote(workspace, state):
    theirs = elsewhere("gpu-a-1", state)
    assert jobs.wait(jobs.start("train:b", ["sleep", "0.5"]).id, PATIENCE_S).state == "done"
    assert (theirs.state, jobs.poll(theirs.id)) == (state, theirs)
    assert "in the folder that started it" in jobs.log(theirs.id)


def test_a_stop_of_a_job_of_another_folder_is_written_for_its_supervisor(workspace):
    asked = jobs.cancel(elsewhere("gpu-a-1").id)
    assert (asked.live, asked.stop_requested_at is not None) == (True, True)
    assert supervisors(workspace) == []


def test_a_job_of_before_folders_had_ids_is_everybodys_and_an_older_package_asks_to_be_upgraded():
    old = decode(JobRecord, "gpu-a-1", '{"subject": "gpu:a", "state": "done", "started_at": 1.0}', 1)
    assert (old.home, JobRecord.schema_version) == ("", 6)


def test_an_end_that_was_told_is_not_undone_by_the_next_supervisor(workspace):
    job = running(jobs.start("deploy:a", SLEEP, restart=True))
    end_supervisor(workspace)
    os.killpg(job.pid, signal.SIGKILL)
    until(lambda: not jobs.poll(job.id).live and not jobs.is_watched())
    closed = jobs.close_unseen(jobs.poll(job.id))
    jobs.wait(jobs.start("train:b", ["sleep", "1"]).id, PATIENCE_S)
    assert (jobs.poll(job.id), closed.state) == (closed, "lost")


def test_a_store_that_is_away_for_a_while_ends_no_work_here(workspace, monkeypatch):
    away = 3

    def commit(store, *records, **options):
        nonlocal away
        if away := max(0, away - 1):
            raise StoreUnavailable("the database is away", "start it")
        return was(store, *records, **options)

    def get(*_: object) -> None:
        raise StoreUnavailable("the database is away", "start it")

    was = type(open_store()).commit
    with jobs.here("train:a@1") as here, monkeypatch.context() as store:
        store.setattr(type(open_store()), "get", get)
        assert not here.stop_requested()
        store.undo()
        monkeypatch.setattr(type(open_store()), "commit", commit)
    assert jobs.poll(here.id).state == "done"


@pytest.mark.parametrize("is_open", [True, False])
def test_a_job_record_that_cannot_be_read_keeps_no_other_from_being_watched(workspace, is_open):
    broken = jobs.wait(jobs.start("train:a", ["true"]).id, PATIENCE_S)
    end_supervisor(workspace)
    with sqlite3.connect(open_store().path) as store:
        store.execute("UPDATE records SET body = '{', is_open = ? WHERE name = ?", (is_open, broken.id))
    store.close()
    assert jobs.wait(jobs.start("train:b", ["true"]).id, PATIENCE_S).state == "done"


def test_a_claim_whose_wrapper_was_killed_while_it_wrote_it_counts_as_lost(workspace, monkeypatch):
    monkeypatch.setattr(supervisor, "CLAIM_S", 0.0)
    record = jobs.prepare("train:a", ["true"])
    (jobs.record.folder_of(record.name) / "pid").touch()
    open_store().commit([record])
    watching = Supervisor()
    until(lambda: not watching.tick())
    assert jobs.poll(record.name).state == "lost"


def test_an_end_is_written_over_room_that_was_taken_before(workspace):
    job = running(jobs.start("train:a", shell("until [ -e go ]; do sleep 0.05; done; exit 17")))
    room = job.folder / "exit.part"
    inode = until(lambda: room.exists() and room.stat().st_size == 4 and room.stat().st_ino)
    (workspace / "go").touch()
    assert jobs.wait(job.id, PATIENCE_S).exit_code == 17
    assert (job.folder / "exit").stat().st_ino == inode


def test_what_was_given_up_is_not_started_again(workspace):
    job = running(jobs.start("deploy:a", SLEEP, restart=True))
    assert jobs.given_up(job.id) == []
    end_supervisor(workspace)
    os.killpg(job.pid, signal.SIGKILL)
    until(lambda: not jobs.poll(job.id).live)
    open_store().commit(jobs.given_up(job.id), None)
    assert jobs.wait(jobs.start("train:b", ["sleep", "1"]).id, PATIENCE_S).state == "done"
    assert (jobs.poll(job.id).state, jobs.poll(job.id).restarts) == ("lost", 0)


def test_a_job_is_started_once_though_supervisors_die_at_the_worst_moment(workspace):
    for _ in range(5):
        job = jobs.start("train:a", shell("echo once; sleep 0.3"))
        end_supervisor(workspace)
        assert jobs.wait(job.id, PATIENCE_S).state == "done"
        assert jobs.log(job.id) == "once"


def test_one_supervisor_however_many_ask(workspace):
    open_store().changed()
    threads = [threading.Thread(target=jobs.launch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(supervisors(workspace)) == 1)


def test_a_supervisor_that_is_killed_while_it_starts_is_started_anew(workspace, tmp_path, monkeypatch):
    killed = tmp_path / "killed"
    python = tmp_path / "python"
    kill_once = f"[ -e {killed} ] || {{ touch {killed}; kill -9 $$; }}"
    python.write_text(f'#!/bin/sh\n{kill_once}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    running(jobs.start("gpu:trainer", SLEEP))
    assert killed.exists()


def test_a_supervisor_that_cannot_start_is_not_started_for_ever(workspace, monkeypatch):
    begun = []
    spawn = jobs._spawn_supervisor
    monkeypatch.setattr(jobs, "_spawn_supervisor", lambda *args: begun.append(spawn(*args)) or begun[-1])
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Unavailable, match="the workspace's supervisor does not start"):
        jobs.start("gpu:trainer", SLEEP)
    assert 1 < len(begun) <= 4


def test_the_supervisor_goes_when_nothing_lives(workspace):
    jobs.wait(jobs.start("train:a", ["true"]).id, PATIENCE_S)
    until(lambda: not supervisors(workspace))


def test_waiting_has_an_end(workspace):
    job = jobs.start("train:a", SLEEP)
    with pytest.raises(Unavailable, match="still goes on"):
        jobs.wait(job.id, 0.2)


def test_ctrl_c_ends_the_waiting_and_leaves_the_job(workspace):
    job = running(jobs.start("train:a", SLEEP))
    press_ctrl_c_in(jobs.wait)
    with pytest.raises(Interrupted, match=r"goes on\n  fix: look at it with `%train log a`"):
        jobs.wait(job.id, again="%train log a")
    assert jobs.poll(job.id).state == "running"


def test_find_gives_the_newest_job_of_a_subject(workspace):
    jobs.start("train:a@1", ["true"])
    second = jobs.start("train:a@2", ["true"])
    assert jobs.find("train:a").id == second.id
    assert jobs.find("train:zzz") is None


def test_an_unknown_job(workspace):
    with pytest.raises(NotFound):
        jobs.poll("nothing")


def test_this_process_as_a_job(workspace):
    with jobs.here("train:a@1") as here:
        assert jobs.find("train:a@1").state == "running"
        jobs.cancel(here.id)
        until(here.stop_requested)
    assert jobs.find("train:a@1").state == "stopped"


def test_a_process_that_dies_in_the_middle_is_seen_as_lost(workspace):
    code = "import time\nfrom aiinfra_lab import jobs\nwith jobs.here('train:a@1'):\n    time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: jobs.find("train:a@1"))
    child.kill()
    child.wait()
    assert jobs.find("train:a@1").state == "lost"


def test_what_a_job_here_is_for_is_committed_together_with_it(workspace):
    thing = Record.new("job-of-nobody", JobRecord(subject="recipe:r@1", state="done", started_at=1.0))
    with jobs.here("recipe:r@1", thing, event=Event("recipe start", "recipe:r@1")) as job:
        both = open_store().list(JobRecord, about="recipe:r@1")
        assert {record.name for record in both} == {thing.name, job.id}
    assert [logged.event.verb for logged in open_store().events()] == ["recipe start"]


def test_when_it_cannot_be_committed_there_is_no_job(workspace):
    thing = Record.new("job-of-nobody", JobRecord(subject="recipe:r@1", state="done", started_at=1.0))
    open_store().commit([thing])
    with pytest.raises(Conflict), jobs.here("recipe:r@1", thing):
        pass
    assert [job.id for job in jobs.ls()] == [thing.name]
    assert list((workspace / ".aiinfra" / "jobs").iterdir()) == []


@pytest.mark.parametrize("error", [Conflict, Denied, StoreUnavailable])
def test_a_job_that_cannot_be_committed_leaves_no_folder(workspace, monkeypatch, error):
    with monkeypatch.context() as broken:
        broken.setattr(SqliteStore, "commit", refusing(error))
        with pytest.raises(error):
            jobs.start("train:a", SLEEP)
    assert list((workspace / ".aiinfra" / "jobs").iterdir()) == []


@pytest.mark.parametrize("is_written", [False, True])
def test_work_here_begins_once_though_the_store_was_away(workspace, monkeypatch, is_written):
    commit, asked = SqliteStore.commit, []

    def lossy(self, *args):
        asked.append(1)
        if len(asked) > 1 or is_written:
            commit(self, *args)
        if len(asked) == 1:
            raise StoreUnavailable("it does not answer", "wait")

    monkeypatch.setattr(SqliteStore, "commit", lossy)
    with jobs.here("recipe:r@1", event=Event("recipe start", "recipe:r@1")):
        monkeypatch.setattr(SqliteStore, "commit", commit)
    assert [job.state for job in jobs.ls()] == ["done"]
    assert [logged.event.verb for logged in open_store().events()] == ["recipe start"]


def refusing(error):
    def commit(self, *args):
        raise error("the store takes nothing", "wait")

    return commit


def test_an_error_here_is_recorded_as_failed(workspace):
    with pytest.raises(ValueError, match="x"), jobs.here("train:a@1"):
        raise ValueError("x")
    assert jobs.find("train:a@1").state == "failed"


def test_the_heartbeat_says_how_long_a_job_is_silent(workspace):
    code = "import time\nfrom aiinfra_lab import jobs\njobs.beat()\ntime.sleep(60)"
    job = jobs.start("deploy:a", [sys.executable, "-c", code])
    until(lambda: jobs.poll(job.id).silent_s is not None)
    assert jobs.poll(job.id).silent_s < PATIENCE_S


def test_a_wrapper_that_dies_before_anybody_saw_it_run_is_lost_not_starting_for_ever(workspace):
    job = running(jobs.start("train:a", SLEEP))
    end_supervisor(workspace)
    os.killpg(job.pid, signal.SIGKILL)
    store = open_store()
    record = store.get(jobs.JobRecord, job.id)
    store.commit([record.with_(state="starting", pid=0, born=0.0)])
    assert jobs.wait(job.id, PATIENCE_S).state == "lost"


def test_a_leftover_claim_never_reaches_a_stranger(workspace):
    stranger = subprocess.Popen(SLEEP)
    record = jobs.prepare("train:a", ["true"])
    (workspace / ".aiinfra" / "jobs" / record.name / "pid").write_text(str(stranger.pid))
    open_store().commit([record])
    jobs.launch()
    jobs.cancel(record.name)
    jobs.wait(record.name, PATIENCE_S)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_job_that_cannot_be_started_fails_and_the_others_can_still_be_stopped(workspace):
    good = running(jobs.start("deploy:good", SLEEP))
    bad = jobs.wait(jobs.start("train:bad", SLEEP, cwd=workspace / "nowhere").id, PATIENCE_S)
    assert (bad.state, "could not be started" in jobs.log(bad.id)) == ("failed", True)
    jobs.cancel(good.id)
    assert jobs.wait(good.id, PATIENCE_S).state == "stopped"


def test_after_the_store_was_put_back_the_supervisor_goes_on(workspace):
    jobs.wait(jobs.start("train:a", ["true"]).id, PATIENCE_S)
    store = open_store()
    store.copy("test")
    store.path.write_bytes(b"rubbish")
    restore(store.path)
    assert jobs.wait(jobs.start("train:b", ["true"]).id, PATIENCE_S).state == "done"


def put_back(home) -> list[str]:
    """Put the newest copy of the store back, as `lab start --restore` does."""
    with restored.unsupervised(home / ".aiinfra"):
        until(lambda: supervisors(home) == [])
        restore(open_store().path)
        ended = restored.end_unknown(home / ".aiinfra")
        restored.settle(home / ".aiinfra")
    return ended


def test_what_a_restored_store_does_not_know_is_ended_and_named(workspace):
    jobs.wait(jobs.start("train:b", ["true"]).id, PATIENCE_S)
    open_store().copy("test")
    polite = running(jobs.start("gpu:my-a", shell("trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.05; done")))
    deaf = running(jobs.start("deploy:c", shell("trap '' TERM; echo up; sleep 60"), restart=True))
    until(lambda: jobs.log(polite.id) and jobs.log(deaf.id))
    assert put_back(workspace) == ["deploy:c", "gpu:my-a"]
    assert [list(process.tree(0, 0.0, job.id)) for job in (polite, deaf)] == [[], []]
    assert polite.log_path.read_text().endswith("bye\n")
    assert jobs.ls(live=True) == []


def test_a_restore_in_a_copy_of_the_folder_ends_nothing_of_the_original(workspace, tmp_path_factory, monkeypatch):
    job = running(jobs.start("gpu:a", SLEEP))
    copy = tmp_path_factory.mktemp("copy") / ".aiinfra"
    shutil.copytree(workspace / ".aiinfra" / "jobs", copy / "jobs")
    with monkeypatch.context() as there:
        there.setenv("AIINFRA_WORKSPACE", str(copy.parent))
        assert restored.end_unknown(copy) == []
    assert jobs.poll(job.id).state == "running"


@pytest.mark.parametrize("then", [{}, {"state": "starting", "pid": 0, "born": 0.0}, {"pid": 1, "born": 1.0}])
def test_what_a_restored_store_knows_of_old_and_still_lives_goes_on(workspace, then):
    job = running(jobs.start("deploy:a", SLEEP, restart=True))
    end_supervisor(workspace)
    store = open_store()
    store.commit([store.get(jobs.JobRecord, job.id).with_(**then)])
    store.copy("test")
    assert put_back(workspace) == []
    until(lambda: len(supervisors(workspace)) == 1)
    now = jobs.wait(jobs.start("train:b", ["true"]).id, PATIENCE_S) and jobs.poll(job.id)
    assert (now.state, now.pid, now.restarts) == ("running", job.pid, 0)


def test_what_was_stopped_after_the_copy_is_not_started_again(workspace):
    job = running(jobs.start("deploy:a", SLEEP, restart=True))
    open_store().copy("test")
    jobs.cancel(job.id)
    jobs.wait(job.id, PATIENCE_S)
    assert put_back(workspace) == []
    jobs.wait(jobs.start("train:b", ["sleep", "1"]).id, PATIENCE_S)
    assert (jobs.poll(job.id).live, jobs.poll(job.id).restarts) == (False, 0)


def test_a_supervisor_that_does_not_leave_is_an_error(workspace, monkeypatch):
    monkeypatch.setattr(restored, "PATIENCE_S", 0.1)
    open_store().changed()
    home = workspace / ".aiinfra"
    asked = pytest.raises(Unavailable, match="does not leave")
    with files.take_lock(home / jobs.LOCK), asked, restored.unsupervised(home):
        raise AssertionError("it was let in")


def test_a_job_for_which_the_disk_has_no_room_names_its_file_and_leaves_no_folder(workspace, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(jobs.json, "dump", full)
    with pytest.raises(Unavailable, match=r"no space is left for .*spec\.json"):
        jobs.prepare("deploy:a", ["true"])
    assert not list((workspace / ".aiinfra" / "jobs").glob("deploy-a-*"))
