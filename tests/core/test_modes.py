"""Who may read what is made, by our own writes and by those of libraries."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab import data, files, jobs, lab, modes
from aiinfra_lab.store import open_store
from tests.conftest import PATIENCE_S


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    assert os.umask(before) == 0o022


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def touched(path: Path) -> int:
    path.touch()
    return mode(path)


def test_in_a_block_all_is_for_its_owner_and_afterwards_as_before(tmp_path):
    with modes.owner_only():
        assert touched(tmp_path / "in") == 0o600
        with modes.as_the_user():
            assert touched(tmp_path / "asked for") == 0o644
        with modes.owner_only():
            pass
        assert touched(tmp_path / "still in") == 0o600
    assert touched(tmp_path / "after") == 0o644


def test_blocks_of_several_threads_leave_the_umask_as_it_was():
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(2000):
            with modes.owner_only(), modes.as_the_user(), modes.owner_only():
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert modes.users_umask() == 0o022


def test_the_users_umask_is_known_in_a_block_and_outside():
    with modes.owner_only():
        assert modes.users_umask() == 0o022
    assert modes.users_umask() == 0o022


@pytest.mark.parametrize("is_ours", [True, False])
def test_what_is_written_in_our_folder_is_for_its_owner_and_anything_else_is_the_users(tmp_path, is_ours):
    home = tmp_path / (".aiinfra" if is_ours else "project")
    with modes.owner_only():
        files.write(home / "new" / "file", "")
        files.overwrite(home / "line", "1")
        with files.building(home / "folder") as aside:
            (aside / "in").touch()
            (aside / "in").chmod(0o644)
            files.publish(aside, home / "folder")
    made = {path.name: mode(path) for path in home.rglob("*")}
    folders, plain = (0o700, 0o600) if is_ours else (0o755, 0o644)
    line = 0o600  # the caller's own place, as the store's head is
    assert made == {"new": folders, "folder": folders, "file": plain, "in": plain, "line": line}


def test_a_library_that_puts_another_file_there_does_not_open_it(tmp_path):
    with files.writing(tmp_path / ".aiinfra" / "file") as aside:
        aside.unlink()
        aside.touch()
    assert mode(tmp_path / ".aiinfra" / "file") == 0o600


def test_a_job_has_the_umask_of_who_asked_and_its_files_are_its_owners(workspace):
    job = jobs.start("gpu:x", ["/bin/sh", "-c", "touch made"], cwd=workspace)
    jobs.wait(job.id, PATIENCE_S)
    assert mode(workspace / "made") == 0o644
    assert open_to_others(workspace / ".aiinfra") == []


def test_a_command_leaves_what_a_person_asked_for_to_the_persons_umask(tmp_path):
    environment = {**os.environ, "AIINFRA_WORKSPACE": str(tmp_path / "w")}
    (tmp_path / "a.csv").write_text("x\n1\n")

    def run(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "aiinfra_lab.cli", *words], check=True, env=environment, cwd=tmp_path)

    run("lab", "start", str(tmp_path / "w"))
    run("data", "add", "a", "a.csv")
    run("data", "get", "a", "--into", "copy.csv")
    asked = ("copy.csv", "w", "w/aiinfra.toml", "w/data", "w/data/a", "w/data/a/a.csv", "w/data/a.dvc")
    assert [oct(mode(tmp_path / name) & 0o044) for name in asked] == [oct(0o044)] * len(asked)
    assert open_to_others(tmp_path / "w" / ".aiinfra", tmp_path / "w" / ".dvc" / "cache") == []


def test_what_a_workspace_of_before_left_open_is_closed_with_the_store(workspace):
    data.add("a", frame_of_before(workspace))
    open_store().close()
    left = [workspace / ".aiinfra" / name for name in ("store.sqlite", "audit.head", "backups")]
    left += (workspace / ".aiinfra" / "backups").iterdir()
    for path in left:
        path.chmod(0o755)
    lab.show()
    assert [mode(path) & 0o077 for path in left] == [0] * len(left)


def frame_of_before(workspace: Path) -> Path:
    (workspace / "a.csv").write_text("x\n1\n")
    return workspace / "a.csv"


def open_to_others(*folders: Path) -> list[str]:
    """What others could read by its own mode, whatever the folders above it have."""
    below = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return [str(path) for path in below if mode(path) & 0o077 and not (path.is_symlink() or path.is_socket())]
