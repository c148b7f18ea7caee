"""A workspace within a git repository: real git stages nothing of what is the toolkit's, or of tracked data."""

import subprocess
from pathlib import Path

import pytest

from aiinfra_lab import data, files, lab
from aiinfra_lab.testing.data import folder


def git(at: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=at, capture_output=True, text=True, check=True).stdout


def staged(repository: Path) -> set[str]:
    git(repository, "add", "-A")
    return set(git(repository, "diff", "--cached", "--name-only").split())


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return folder(tmp_path / "pets", {"cats.csv": "name,age\nTom,3\n", "pics/tom.txt": "~"})


OURS = {".dvc/.gitignore", ".dvc/config", ".dvcignore", "aiinfra.toml", "data/.gitignore", "data/pets.dvc"}


@pytest.mark.parametrize("above", [0, 1])
def test_git_stages_pointers_and_no_data(workspace, pets, above):
    repository = [workspace, workspace.parent][above]
    git(repository, "init", "-q")
    data.add("pets", pets)
    prefix = "workspace/" * above
    assert {name for name in staged(repository) if name.startswith(prefix)} >= {prefix + name for name in OURS}
    assert {
        name for name in staged(repository) if ".aiinfra" in name or "/pets/" in name.removeprefix("pets/")
    } == set()
    (workspace / "data" / "pets" / "new.txt").write_text("new")
    assert not any("new.txt" in name for name in staged(repository))


def test_a_repository_that_is_made_later_finds_the_same(workspace, pets):
    data.add("pets", pets)
    git(workspace, "init", "-q")
    assert staged(workspace) == OURS


def test_a_workspace_of_before_is_hidden_by_the_next_start(workspace):
    lab.start()
    (workspace / ".aiinfra" / ".gitignore").unlink()
    lab.start()
    git(workspace, "init", "-q")
    assert staged(workspace) == {"aiinfra.toml"}


def test_the_users_own_lines_stay_and_ours_come_once(workspace, pets):
    (workspace / "data").mkdir()
    ignore = workspace / "data" / ".gitignore"
    ignore.write_bytes(b"# mine\r\n*.tmp")
    for age in (1, 2):
        data.add("pets", folder(pets, {"cats.csv": f"name,age\nTom,{age}\n"}))
    assert ignore.read_bytes() == b"# mine\r\n*.tmp\n/pets\n/.*.part\n"
    for number in (1, 2):
        data.rm(f"pets@{number}")
    assert ignore.read_bytes() == b"# mine\r\n*.tmp\n"


def test_what_the_user_wants_in_git_stays_there(workspace, pets):
    (workspace / "data").mkdir()
    (workspace / "data" / ".gitignore").write_text("!/pets\n")
    git(workspace, "init", "-q")
    data.add("pets", pets)
    assert "data/pets/cats.csv" in staged(workspace)


def test_a_link_to_a_list_of_patterns_stays_one(tmp_path):
    folder(tmp_path, {"shared": "a\n", "here/x": ""})
    (tmp_path / "here" / ".gitignore").symlink_to(tmp_path / "shared")
    files.ignore_in_git(tmp_path / "here", "/b")
    assert (tmp_path / "here" / ".gitignore").is_symlink()
    assert (tmp_path / "shared").read_text() == "a\n/b\n"


def test_what_a_killed_process_left_beside_the_data_is_not_staged(workspace, pets):
    data.add("pets", pets)
    folder(workspace / "data" / ".pets.0123abcd.part", {"half.csv": ""})
    git(workspace, "init", "-q")
    assert staged(workspace) == OURS
