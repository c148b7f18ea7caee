"""Content under DVC, and the real `dvc` command on the same workspace."""

import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_lab import data
from aiinfra_lab.config import settings
from aiinfra_lab.data.dvc import Dvc
from tests.contract.data import DataContract, content_of, folder

DVC = Path(sys.executable).with_name("dvc")


def dvc(*words: str) -> str:
    done = subprocess.run([DVC, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestDvc(DataContract):
    @pytest.fixture
    def content(self, workspace):
        return Dvc(settings())


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
