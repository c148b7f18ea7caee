"""Several folders on one store: which folder has which jobs, and what becomes of those of a folder that is gone."""

import shutil
import subprocess
from pathlib import Path

import pytest

from aiinfra_lab import jobs
from aiinfra_lab.config import settings
from aiinfra_lab.jobs import JobRecord, record
from aiinfra_lab.jobs import home as homes
from aiinfra_lab.jobs.home import home_id, make_home_id
from aiinfra_lab.store import Record, open_store


@pytest.fixture
def folder(workspace: Path) -> Path:
    """The toolkit's folder of a workspace, which has its id."""
    (workspace / ".aiinfra").mkdir()
    make_home_id(workspace / ".aiinfra")
    return workspace / ".aiinfra"


def copied(folder: Path, name: str = "copy") -> Path:
    """A copy of the whole workspace, with times and modes."""
    target = folder.parent.with_name(name)
    subprocess.run(["cp", "-a", str(folder.parent), str(target)], check=True)
    return target / folder.name


def moved(folder: Path, name: str = "moved") -> Path:
    return folder.parent.rename(folder.parent.with_name(name)) / folder.name


def on_machine(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    """From now on this is that machine; "" for one that has no id."""
    monkeypatch.setattr(homes, "_machine", lambda: machine)
    homes._settled.cache_clear()


def test_a_folder_keeps_its_id_when_it_is_moved(folder):
    first = home_id(folder)
    assert (len(first), home_id(moved(folder))) == (16, first)


def test_a_copy_gets_an_id_of_its_own_and_the_original_keeps_its(folder):
    first = home_id(folder)
    other = home_id(copied(folder))
    assert (len(other), other != first, home_id(folder)) == (16, True, first)
    assert home_id(folder.parent.with_name("copy") / ".aiinfra") == other


def test_a_copy_of_a_folder_that_was_moved_gets_an_id_of_its_own_too(folder):
    first = home_id(folder)
    there = moved(folder)
    assert home_id(there) == first
    assert home_id(copied(there)) != first


def test_a_copy_that_may_not_be_written_has_no_id(folder, monkeypatch):
    there = copied(folder)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("a file system that may only be read")

    monkeypatch.setattr(homes.files, "write", refused)
    assert (home_id(there), home_id(folder) != "") == ("", True)


def test_a_backup_put_back_where_the_original_is_gone_is_the_folder(folder):
    first, there = home_id(folder), copied(folder)
    shutil.rmtree(folder.parent)
    shutil.copytree(there.parent, folder.parent)
    assert home_id(folder) == first


def test_an_id_of_before_stays_and_is_given_to_the_folder_when_it_is_read(folder):
    (folder / "id").write_text("0123456789abcdef")
    assert home_id(folder) == make_home_id(folder) == "0123456789abcdef"
    assert home_id(copied(folder)) != "0123456789abcdef"


def test_a_copy_on_another_machine_is_another_folder(folder, monkeypatch):
    on_machine(monkeypatch, "one")
    (folder / "id").unlink()
    first, there = make_home_id(folder), copied(folder)
    shutil.rmtree(folder.parent)
    on_machine(monkeypatch, "two")
    assert home_id(there) != first


def test_a_volume_that_is_seen_by_another_machine_is_the_folder_and_nothing_is_written(folder, monkeypatch):
    on_machine(monkeypatch, "one")
    (folder / "id").unlink()
    first, written = make_home_id(folder), (folder / "id").read_text()
    on_machine(monkeypatch, "two")
    there = moved(folder, "mounted-elsewhere")
    assert (home_id(there), (there / "id").read_text()) == (first, written)


@pytest.mark.parametrize("machine", ["one", ""])
def test_where_it_cannot_be_told_the_id_stays(folder, monkeypatch, machine):
    on_machine(monkeypatch, machine)
    (folder / "id").unlink()
    first, there = make_home_id(folder), copied(folder)
    shutil.rmtree(folder.parent)
    on_machine(monkeypatch, "")
    assert home_id(there) == first


def test_a_folder_that_is_mounted_twice_is_one(folder):
    first, written = home_id(folder), (folder / "id").read_text()
    other = folder.parent.with_name("mount")
    other.symlink_to(folder.parent)
    assert (home_id(other / ".aiinfra"), (folder / "id").read_text()) == (first, written)


def test_an_id_that_is_torn_is_made_anew(folder):
    for text in ("", "0123\n[1]"):
        (folder / "id").write_text(text)
        assert len(home_id(folder)) == 16


def test_a_job_is_not_here_in_a_copy_and_its_output_can_be_read(folder, monkeypatch):
    job = jobs.wait(jobs.start("train:a", ["echo", "out"]).id, 60)
    there = copied(folder)
    monkeypatch.chdir(there.parent)
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(there.parent))
    assert (jobs.poll(job.id).is_here, jobs.log(job.id)) == (False, "out")


def test_a_look_at_many_jobs_asks_once_which_folder_this_is_and_the_next_look_again(folder, monkeypatch):
    body = JobRecord(subject="train:a", state="running", started_at=1.0, home="another")
    open_store().commit([Record.new(f"train-a-{number}", body) for number in range(20)])
    asked = []
    monkeypatch.setattr(record, "settings", lambda: asked.append(1) or settings())
    assert [len(jobs.ls(live=True)), len(asked)] == [20, 1]
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(moved(folder).parent))
    assert (jobs.ls()[0].folder.parent.parent, len(asked)) == (folder.parent.with_name("moved") / ".aiinfra", 2)
