"""Content under DVC, and the real `dvc` command on the same workspace."""

import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_lab import data
from aiinfra_lab.config import settings
from aiinfra_lab.data.dvc import Dvc
from aiinfra_lab.errors import NotFound
from aiinfra_lab.testing.data import ONE, TWO, VersionStoreContract, WorkingCopiesContract, content_of, folder

DVC = Path(sys.executable).with_name("dvc")


def dvc(*words: str) -> str:
    done = subprocess.run([DVC, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def content(workspace: Path) -> Dvc:
    return Dvc(settings())


class TestDvc(VersionStoreContract, WorkingCopiesContract):
    """What every store of versions keeps, and every one that shows working copies."""


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
