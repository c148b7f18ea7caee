"""Content under DVC, and the real `dvc` command on the same workspace."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_lab import data
from aiinfra_lab.config import settings
from aiinfra_lab.data.dvc import Dvc
from aiinfra_lab.errors import Failed, NotFound, Unavailable
from aiinfra_lab.testing.data import (
    ONE,
    TWO,
    RepairingContract,
    VersionStoreContract,
    WorkingCopiesContract,
    content_of,
    folder,
)

DVC = Path(sys.executable).with_name("dvc")


def dvc(*words: str) -> str:
    done = subprocess.run([DVC, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def content(workspace: Path) -> Dvc:
    return Dvc(settings())


class TestDvc(VersionStoreContract, WorkingCopiesContract, RepairingContract):
    """What every store of versions keeps, and every one that shows working copies or can be repaired."""

    @pytest.fixture
    def damage(self, workspace) -> Callable[[str], None]:
        def alter(text: str) -> None:
            for stored in (workspace / ".dvc" / "cache" / "files").rglob("*"):
                if stored.is_file() and stored.read_text() == text:
                    stored.chmod(0o644)
                    stored.write_text("x")

        return alter


def test_publishing_goes_forth_and_back(content, workspace, tmp_path):
    one, two = (content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, TWO)))
    for key, files in ((one, ONE), (two, TWO), (two, TWO), (one, ONE)):
        content.publish("x", key)
        assert content_of(workspace / "data" / "x") == files


def test_writing_to_what_is_published_changes_no_version(content, workspace, tmp_path):
    key = content.ingest(folder(tmp_path / "in", ONE))
    content.publish("x", key)
    (workspace / "data" / "x" / "a.txt").write_text("mine")
    content.checkout(key, tmp_path / "out")
    assert content_of(tmp_path / "out") == ONE


def test_a_working_copy_is_modified_until_its_content_is_taken_in(content, workspace, tmp_path):
    assert not content.is_modified("x")
    content.publish("x", content.ingest(folder(tmp_path / "in", ONE)))
    assert not content.is_modified("x")
    (workspace / "data" / "x" / "new.txt").write_text("mine")
    assert content.is_modified("x")
    content.ingest(folder(tmp_path / "again", {**ONE, "new.txt": "mine"}))
    assert not content.is_modified("x")


def test_withdrawing_is_silent_when_there_is_nothing(content, workspace, tmp_path):
    content.publish("x", content.ingest(folder(tmp_path / "in", ONE)))
    for _ in range(2):
        content.withdraw("x")
    assert list((workspace / "data").iterdir()) == []


def test_what_is_published_must_be_stored(content, workspace):
    with pytest.raises(NotFound) as caught:
        content.publish("x", "0" * 32 + ".dir")
    assert "dvc pull" in caught.value.fix
    assert not (workspace / "data" / "x").exists()


def test_what_is_stored_is_linked_and_not_copied(content, workspace, tmp_path):
    content.checkout(content.ingest(folder(tmp_path / "in", ONE)), workspace / "out")
    assert (workspace / "out" / "a.txt").stat().st_nlink > 1


def test_the_dvc_command_sees_pushes_and_restores_what_was_added(workspace, tmp_path):
    data.add("pets", folder(tmp_path / "pets", {"cats.csv": "name,age\nTom,3\n", "pics/tom.txt": "~"}))
    assert "up to date" in dvc("status")
    dvc("remote", "add", "--default", "there", str(tmp_path / "remote"))
    assert "3 files pushed" in dvc("push")
    (workspace / "data" / "pets" / "cats.csv").unlink()
    assert "data/pets" in dvc("status")
    dvc("checkout")
    assert content_of(workspace / "data" / "pets") == {"cats.csv": "name,age\nTom,3\n", "pics/tom.txt": "~"}


def test_an_older_version_is_read_while_dvc_shows_the_newest(workspace, tmp_path):
    for age in (3, 4):
        data.add("pets", folder(tmp_path / "pets", {"cats.csv": f"name,age\nTom,{age}\n"}))
    assert dvc("status").startswith("Data and pipelines are up to date")
    assert data.get("pets@1").df().age[0] == 3
    assert data.get("pets").df().age[0] == 4


def test_what_dvc_itself_added_is_not_in_the_way(workspace, tmp_path):
    data.add("pets", folder(tmp_path / "pets", {"a.txt": "a"}))
    folder(workspace / "mine", {"b.txt": "b"})
    dvc("add", "mine")
    data.add("pets", folder(tmp_path / "pets", {"a.txt": "changed"}))
    assert "up to date" in dvc("status")


def test_removing_keeps_what_dvc_itself_tracks(workspace, tmp_path):
    data.add("pets", folder(tmp_path / "pets", {"a.txt": "a"}))
    folder(workspace / "mine", {"a.txt": "a"})
    dvc("add", "mine")
    data.rm("pets@1")
    (workspace / "mine" / "a.txt").unlink()
    dvc("checkout")
    assert content_of(workspace / "mine") == {"a.txt": "a"}


def test_dvc_is_quiet_and_says_nothing_to_the_notebook(workspace, tmp_path, capfd):
    data.add("pets", folder(tmp_path / "pets", {"a.txt": "a"}))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("place", [".dvcignore", "deep/er/.dvcignore"])
def test_a_folder_with_dvcs_own_file_in_it_is_refused_and_the_fix_works(workspace, tmp_path, place):
    given = folder(tmp_path / "x", {"a.txt": "a", "deep/er/b.txt": "b", place: "*.tmp"})
    with pytest.raises(Failed) as caught:
        data.add("x", given)
    assert caught.value.fix == f"take {place} out of it"
    assert not (workspace / "data").exists()
    (given / place).unlink()
    assert data.add("x", given).files == 2


def test_dvcs_own_file_in_a_working_copy_is_refused_too(workspace, tmp_path):
    data.add("x", folder(tmp_path / "x", ONE))
    (workspace / "data" / "x" / ".dvcignore").touch()
    with pytest.raises(Failed) as caught:
        data.add("x", folder(tmp_path / "x", {"a.txt": "changed"}))
    assert caught.value.fix == "take .dvcignore out of it"


def test_files_that_dvc_is_told_to_ignore_are_no_change(workspace, tmp_path):
    (workspace / ".dvcignore").write_text("*.log\n")
    for number in (1, 2, 3):  # part of a version, else it could be lost; and else the user's own
        more = {"x.log": "x"} if number == 2 else {}
        data.add("x", folder(tmp_path / str(number), {"a.txt": str(number), **more}))
        assert (workspace / "data" / "x" / "x.log").exists() == (number == 2)
    (workspace / "data" / "x" / "mine.log").write_text("mine")
    assert not Dvc(settings()).is_modified("x")


def test_what_did_not_change_is_not_copied_again(content, workspace, tmp_path):
    one, two = (content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, TWO)))
    content.publish("x", one)
    before = (workspace / "data" / "x" / "a.txt").stat()
    content.publish("x", two)
    now = (workspace / "data" / "x" / "a.txt").stat()
    assert (now.st_ino, now.st_nlink) == (before.st_ino, 1)
    assert content_of(workspace / "data" / "x") == TWO


def test_a_link_of_the_users_to_a_folder_elsewhere_leaves_that_folder_alone(workspace, tmp_path):
    elsewhere = folder(tmp_path / "big", {"a.txt": "a"})
    (workspace / "data").mkdir()
    (workspace / "data" / "x").symlink_to(elsewhere)
    data.add("x")
    data.add("x", folder(tmp_path / "x", {"a.txt": "changed"}))
    assert content_of(elsewhere) == {"a.txt": "a"}
    assert content_of(workspace / "data" / "x") == {"a.txt": "changed"}


@pytest.mark.parametrize("at", ["dvc_data.hashfile.build.build", "dvc_data.hashfile.state.State.__init__"])
def test_a_disk_that_is_full_for_dvcs_own_notes_is_said(content, workspace, tmp_path, monkeypatch, at):
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(at, full)
    with pytest.raises(Unavailable, match="disk is full"):
        content.ingest(folder(tmp_path / "in", ONE))
