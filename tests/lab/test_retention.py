import errno
import os
import time
from pathlib import Path

import pytest

from aiinfra_lab import jobs, lab
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.lab import retention
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


@pytest.mark.parametrize("setting", ["AIINFRA_JOBS_LOG_DAYS", "AIINFRA_JOBS_LOG_GIB", "AIINFRA_DEPLOY_LOG_DAYS"])
@pytest.mark.parametrize("value", ["-1", "nan"])
def test_a_setting_that_is_no_length_of_time_or_size_frees_nothing(workspace, monkeypatch, setting, value):
    kept = ended(days_ago=1)
    monkeypatch.setenv(setting, value)
    with pytest.raises(UsageProblem, match=setting[8:].lower().replace("_", ".", 1)):
        lab.rm(expired=True)
    assert kept.folder.exists()


def test_what_was_freed_is_an_event_of_each_thing(workspace):
    ended(days_ago=91)
    freed = lab.rm(expired=True)
    (logged,) = open_store().events(naming="gpu:old")
    assert (logged.event.verb, logged.event.detail) == ("lab rm", {"files": 1, "size_bytes": freed.size_bytes})
    lab.rm(expired=True)
    assert len(list(open_store().events(naming="gpu:old"))) == 1


def test_what_could_not_be_deleted_is_an_error_and_not_counted(workspace, monkeypatch):
    stuck, old = ended(days_ago=92), ended(days_ago=91)
    delete = retention.shutil.rmtree
    monkeypatch.setattr(retention.shutil, "rmtree", lambda path: refuse(path) if path == stuck.folder else delete(path))
    with pytest.raises(Failed, match=r"1 of 2 were freed .*could not be deleted: Operation not permitted"):
        lab.rm(expired=True)
    (logged,) = open_store().events(naming="gpu:old")
    assert (old.folder.exists(), logged.event.detail["files"]) == (False, 1)


def test_a_folder_in_which_something_still_writes_is_deleted_all_the_same(workspace, monkeypatch):
    old = ended(days_ago=91)
    remove, written = os.rmdir, iter(range(3))

    def rmdir(path, **options):
        if Path(path).name == old.folder.name and (number := next(written, None)) is not None:
            (old.folder / f"late-{number}").touch()
        remove(path, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    assert [file.path for file in lab.rm(expired=True).files] == [str(old.folder)]
    assert (old.folder.exists(), next(written, None)) == (False, None)


def test_a_folder_that_something_else_deletes_meanwhile_is_freed(workspace, monkeypatch):
    old = ended(days_ago=91)
    delete = retention.shutil.rmtree

    def second(path):
        delete(path)
        delete(path)

    monkeypatch.setattr(retention.shutil, "rmtree", second)
    assert [file.path for file in lab.rm(expired=True).files] == [str(old.folder)]


def refuse(path: Path) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))


def test_rm_says_what_it_needs(workspace):
    with pytest.raises(UsageProblem) as problem:
        lab.rm()
    assert "%lab rm --expired --dry" in problem.value.fix
