import os
import time

import pytest

from aiinfra_lab import jobs, lab
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.store import open_store

DAY = 86_400


def ended(days_ago: float, size: int = 1000) -> jobs.Job:
    """A job that ended so long ago, with a log of that size."""
    made = jobs.prepare("gpu:old", [])
    at = time.time() - days_ago * DAY
    (record,) = open_store().commit([made.with_(state="done", started_at=at, ended_at=at)])
    job = jobs.observe(record)
    job.log_path.write_bytes(b"x" * size)
    return job


def finding() -> list[str]:
    return [f"{item.state} {item.detail}" for item in lab.check(report=True).findings if item.what == "old jobs.log"]


def test_what_is_within_the_settings_stays_and_is_not_mentioned(workspace):
    kept = ended(days_ago=89)
    assert finding() == []
    assert lab.rm(expired=True).files == ()
    assert kept.folder.exists()


def test_what_is_too_old_is_said_then_listed_then_freed(workspace):
    old, kept = ended(days_ago=91), ended(days_ago=1)
    assert finding()[0].startswith("off 1 of ")
    assert [file.path for file in lab.rm(expired=True, dry=True).files] == [str(old.folder)]
    assert old.folder.exists()
    assert lab.rm(expired=True).size_bytes > 1000
    assert (old.folder.exists(), kept.folder.exists(), finding()) == (False, True, [])


def test_the_record_of_what_was_freed_stays(workspace):
    old = ended(days_ago=91)
    lab.rm(expired=True)
    assert open_store().get(JobRecord, old.id).body.state == "done"
    assert jobs.poll(old.id).state == "done"


def test_the_oldest_go_first_when_there_is_too_much(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_JOBS_LOG_GIB", str(2500 / 2**30))
    third, second, first = (ended(days_ago) for days_ago in (3, 2, 1))
    assert lab.rm(expired=True).files[0].path == str(third.folder)
    assert [job.folder.exists() for job in (third, second, first)] == [False, True, True]


def test_what_lives_is_never_freed(workspace):
    with jobs.here("train:delay@1") as here:
        folder = jobs.poll(here.id).folder
        os.utime(folder, (1, 1))
        assert lab.rm(expired=True).files == ()
        assert folder.exists()


def test_a_setting_that_is_no_number_is_an_error_that_names_it(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_JOBS_LOG_DAYS", "many")
    with pytest.raises(UsageProblem, match=r"jobs\.log_days"):
        lab.rm(expired=True)
    assert [item.state for item in lab.check(report=True).findings if item.what == "retention"] == ["bad"]


def test_rm_says_what_it_needs(workspace):
    with pytest.raises(UsageProblem) as problem:
        lab.rm()
    assert "%lab rm --expired --dry" in problem.value.fix
