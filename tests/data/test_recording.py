"""Adding that a kill cuts short: the next verb finishes it or undoes it, and no mixture is ever a version."""

import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_lab import data, files
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.data import content_of, folder
from aiinfra_lab.uris import Uri


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return folder(tmp_path / "pets", {"cats.csv": "name,age\nTom,3\n", "dogs.csv": "name,age\nRex,7\n"})


DYING = """
import os, sys
from aiinfra_lab import data, files
from aiinfra_lab.data import adding, recording, working_copy
from aiinfra_lab.data.dvc import Dvc
die = lambda *given, **named: os.kill(os.getpid(), 9)
moments = {
    "copied": (adding, "describe"), "stored": (Dvc, "is_modified"), "placed": (recording, "Event"),
    "recorded": (Dvc, "publish"), "exchanged": (files, "_exchange"),
}
setattr(*moments[sys.argv[1]], die)
data.add("pets", sys.argv[2])
"""


@pytest.mark.parametrize(("moment", "versions"), [("copied", 1), ("stored", 2), ("placed", 2), ("recorded", 2)])
@pytest.mark.parametrize("look", [data.ls, lambda: data.get("pets"), lambda: data.add("other", "pets.csv")])
def test_what_a_kill_cut_short_is_finished_or_undone_by_the_next_verb(workspace, pets, moment, versions, look, capfd):
    data.add("pets", pets / "cats.csv")
    (workspace / "pets.csv").write_text("x\n1\n")
    open_store().close()
    died = subprocess.run([sys.executable, "-c", DYING, moment, str(pets)], capture_output=True, check=False)
    assert died.returncode == -9
    look()
    now = content_of(workspace / "data" / "pets")
    assert now == (content_of(pets) if versions == 2 else {"cats.csv": (pets / "cats.csv").read_text()})
    assert [item.uri for item in data.ls("pets")] == [f"data:pets@{n}" for n in range(versions, 0, -1)]
    assert data.check("pets", report=True).findings[0].state == "good"
    assert ("data:pets@2" in capfd.readouterr().err) == (moment in ("stored", "placed"))
    assert left_of(workspace) == []
    assert data.add("pets").note.startswith("nothing new")
    assert data.add("pets", pets).uri == "data:pets@2"


def left_of(workspace: Path) -> list[str]:
    """What lies about of a version that was not made, or of its copy."""
    home = workspace / ".aiinfra" / "data"
    places = [home / "incoming", home / "unfinished" / "copies"]
    found = [path for place in places if place.is_dir() for path in place.iterdir()]
    found += [path for path in (home / "unfinished").glob("*") if path.name != "copies"]
    known = {Uri.parse(item.uri).label for item in data.ls()}
    found += [path for path in (home / "versions").iterdir() if path.name not in known]
    return [str(path.relative_to(workspace)) for path in (*found, *workspace.rglob("*.part"))]


@pytest.mark.parametrize("folder_name", ["unfinished", "manifests"])
def test_a_file_that_a_killed_process_was_writing_goes_with_the_next_verb(workspace, pets, folder_name):
    data.add("pets", pets)
    left = workspace / ".aiinfra" / "data" / folder_name / ".version.json.0123abcd.part"
    left.touch()
    (workspace / ".aiinfra" / "data" / "incoming" / "left").mkdir()
    data.ls()
    assert not left.exists()


def test_what_a_living_process_is_at_work_on_is_left(workspace, pets):
    data.add("pets", pets)
    with files.lock(workspace / ".aiinfra" / "data" / "lock"):
        (at_work := workspace / ".aiinfra" / "data" / "incoming" / "new").mkdir()
        assert data.get("pets").uri == "data:pets@1"
        assert at_work.exists()
    data.get("pets")
    assert not at_work.exists()


def test_changes_that_were_made_since_the_kill_stay(workspace, pets):
    data.add("pets", pets / "cats.csv")
    open_store().close()
    subprocess.run([sys.executable, "-c", DYING, "stored", str(pets)], capture_output=True, check=False)
    (workspace / "data" / "pets" / "cats.csv").write_text("name,age\nMine,1\n")
    assert [item.uri for item in data.ls()] == ["data:pets@1"]  # as it would have been refused
    assert content_of(workspace / "data" / "pets") == {"cats.csv": "name,age\nMine,1\n"}
    assert left_of(workspace) == []


def test_content_that_a_power_cut_took_the_end_of_is_undone(workspace, pets):
    data.add("pets", pets / "cats.csv")
    open_store().close()
    subprocess.run([sys.executable, "-c", DYING, "stored", str(pets)], capture_output=True, check=False)
    cut = workspace / ".aiinfra" / "data" / "unfinished" / "content" / "dogs.csv"
    cut.unlink()
    cut.write_text("na")
    assert [item.uri for item in data.ls()] == ["data:pets@1"]
    assert left_of(workspace) == []


def test_a_copy_that_is_being_put_in_place_is_the_old_one_or_the_new_one(workspace, pets):
    """Killed at the exchange itself, before and after."""
    data.add("pets", pets / "cats.csv")
    open_store().close()
    subprocess.run([sys.executable, "-c", DYING, "exchanged", str(pets)], capture_output=True, check=False)
    assert content_of(workspace / "data" / "pets") == {"cats.csv": (pets / "cats.csv").read_text()}
    assert data.add("pets").note.startswith("nothing new")  # what it holds is the new version by now
    assert content_of(workspace / "data" / "pets") == content_of(pets)
    assert left_of(workspace) == []
