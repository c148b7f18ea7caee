"""When a job that has died is started again, and when not."""

import os
import signal
import time

from msgspec.structs import replace

from aiinfra_lab import jobs
from aiinfra_lab.jobs import JobRecord, supervisor
from aiinfra_lab.jobs.supervisor import Supervisor
from aiinfra_lab.store import open_store, update
from tests.conftest import PATIENCE_S, end_supervisor, until
from tests.core.test_jobs import SLEEP, running, shell


def test_a_failing_job_is_restarted_a_bounded_number_of_times(workspace, monkeypatch):
    job = jobs.start(
        "deploy:a", shell("n=$(cat n 2>/dev/null || echo 0); echo $((n+1)) > n; [ $n -ge 2 ]"), restart=True
    )
    ended = jobs.wait(job.id, PATIENCE_S)
    assert (ended.state, ended.restarts) == ("done", 2)


def test_a_job_that_dies_at_once_again_and_again_is_given_up_after_five_within_ten_minutes(workspace, monkeypatch):
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.001)
    job, watching = jobs.prepare("deploy:a", shell("echo it is broken; exit 3"), restart=True), Supervisor()
    open_store().commit([job])
    until(lambda: not watching.tick())
    ended = jobs.poll(job.name)
    assert (ended.state, ended.restarts, jobs.log(job.name).count("broken")) == ("failed", 5, 6)


def died(workspace, restarts, *ages_s):
    """A job whose process has just died, after restarts so many seconds ago, and the supervisor that finds it."""
    job = running(jobs.start("deploy:a", SLEEP, restart=True))
    end_supervisor(workspace)
    restarted_at = tuple(time.time() - age_s for age_s in ages_s)
    change = {"restarts": restarts, "restarted_at": restarted_at}
    update(open_store(), JobRecord, job.id, lambda body: replace(body, **change))
    os.killpg(job.pid, signal.SIGKILL)
    until(lambda: not jobs.poll(job.id).live)
    return job.id, Supervisor()


def test_a_job_that_dies_once_a_day_is_always_started_again(workspace):
    job_id, watching = died(workspace, 364, *(86400.0 * day for day in (5, 4, 3, 2, 1)))
    until(lambda: watching.tick() and jobs.poll(job_id).state == "running")
    again = jobs.poll(job_id)
    assert (again.restarts, len(again.restarted_at)) == (365, 5)
    assert time.time() - again.restarted_at[-1] < PATIENCE_S


def test_another_supervisor_knows_how_often_a_job_was_started_again(workspace):
    job_id, watching = died(workspace, 5, 500, 400, 300, 200, 100)
    until(lambda: not watching.tick())
    assert (jobs.poll(job_id).state, jobs.poll(job_id).restarts) == ("lost", 5)


def test_whoever_starts_a_job_anew_gives_it_all_its_restarts_again(workspace):
    job_id, watching = died(workspace, 5, 500, 400, 300, 200, 100)
    jobs.forget_restarts(job_id)
    until(lambda: watching.tick() and jobs.poll(job_id).state == "running")
    assert jobs.poll(job_id).restarts == 1


def test_a_stopped_job_is_not_restarted(workspace):
    job = running(jobs.start("deploy:a", SLEEP, restart=True))
    jobs.cancel(job.id)
    assert (jobs.wait(job.id, PATIENCE_S).state, jobs.poll(job.id).restarts) == ("stopped", 0)


def test_a_job_that_is_to_be_restarted_and_is_stopped_before_is_not(workspace):
    job_id, watching = died(workspace, 0)
    jobs.cancel(job_id)
    until(lambda: not watching.tick())
    assert (jobs.poll(job_id).state, jobs.poll(job_id).restarts) == ("stopped", 0)
