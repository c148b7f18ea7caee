"""What processes leave that were killed goes with the next verb, and nothing that is alive."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiinfra_lab import lab, leftovers
from aiinfra_lab.host.spec import STATE_FILE, HostState, write_state

WRITE = "from aiinfra_lab.files import writing as hold"
BUILD = "from aiinfra_lab.files import building as hold"
WORK = """
import sys
from pathlib import Path
{imported}
with hold(Path(sys.argv[1])) as aside:
    print(aside, flush=True)
    sys.stdin.read()
"""
TEMPORARY = """
import sys
from aiinfra_lab.leftovers import make_temporary
print(make_temporary(), flush=True)
sys.stdin.read()
"""
Begin = Callable[..., tuple[subprocess.Popen[str], Path]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """`begin(code, *arguments)`: a process that has made something and goes on, and what it made."""
    begun: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of this test alone, and of the processes that it starts."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path / "temporary"
    tempfile.tempdir = None


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def age(*paths: Path, by_s: float = 61.0) -> None:
    """As if nothing had changed there for so long."""
    for path in paths:
        os.utime(path, (time.time() - by_s,) * 2)


def forget(workspace: Path) -> None:
    """As if the last look had been a minute ago."""
    leftovers._next_at.clear()
    (workspace / ".aiinfra" / "swept").unlink(missing_ok=True)


@pytest.mark.parametrize("imported", [WRITE, BUILD])
@pytest.mark.parametrize("place", [".aiinfra/train/x@1/checkpoint", "aiinfra.toml", "recipes/new.toml"])
def test_the_next_verb_removes_what_a_killed_process_was_writing(workspace, begin, imported, place):
    lab.start()
    killed, left = begin(WORK.format(imported=imported), workspace / place)
    _, alive = begin(WORK.format(imported=imported), workspace / place)
    kill(killed)
    forget(workspace)
    lab.show()
    assert (left.exists(), alive.exists()) == (False, True)


def test_a_persons_file_of_such_a_name_stays(workspace, begin):
    lab.start()
    killed, left = begin(WORK.format(imported=WRITE), workspace / "notes.txt")
    kill(killed)
    forget(workspace)
    lab.show()
    assert left.exists()


def test_the_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(workspace, begin, temporary_folder):
    lab.start()
    killed, left = begin(TEMPORARY)
    _, alive = begin(TEMPORARY)
    kill(killed)
    age(left, alive)
    forget(workspace)
    lab.show()
    assert (left.exists(), alive.exists()) == (False, True)


def test_a_folder_goes_although_a_process_that_ends_writes_into_it(tmp_path):
    folders, is_over = [tmp_path], threading.Event()

    def write_on():
        while not is_over.is_set():
            write_state(folders[-1] / "host", HostState())

    writer = threading.Thread(target=write_on)
    writer.start()
    for _ in range(50):
        folder = leftovers.make_temporary(tmp_path)
        (folder / "host").mkdir()
        folders.append(folder)
        while not (folder / "host" / STATE_FILE).exists():
            time.sleep(0.001)
        leftovers.remove_temporary(folder)
    is_over.set()
    writer.join()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays_in_the_temporary_directory(workspace, begin, temporary_folder):
    lab.start()
    killed, left = begin(TEMPORARY)
    kill(killed)
    others = [left.with_name(name) for name in ("aiinfra-mine", "aiinfra-tests-abcdefgh", "other-abcdefgh")]
    for path in others:
        path.mkdir()
        (path / "owner").touch()
    link = left.with_name("aiinfra-01234567")
    link.symlink_to(others[0])
    of_before = left.with_name("aiinfra-abcdefgh")  # by an earlier version: nobody can tell whether it is used
    of_before.mkdir()
    (of_before / "k-1").touch()
    age(left, *others, of_before, by_s=10_000)
    forget(workspace)
    lab.show()
    assert sorted(temporary_folder.iterdir()) == sorted([*others, link, of_before])
    assert (others[0] / "owner").exists()


def test_what_lies_in_memory_waits_a_day_for_somebody_who_looks(workspace, begin, tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "IN_MEMORY", tmp_path / "memory")
    (tmp_path / "memory").mkdir()
    code = TEMPORARY.replace("make_temporary()", f"make_temporary({str(tmp_path / 'memory')!r})")
    lab.start()
    killed, left = begin(code)
    kill(killed)
    for by_s, is_there in ((3600, True), (86_400, False)):
        age(left, by_s=by_s)
        forget(workspace)
        lab.show()
        assert left.exists() is is_there


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_the_folder_of_another_user_stays(workspace, begin, temporary_folder):
    lab.start()
    killed, left = begin(TEMPORARY)
    kill(killed)
    os.chown(left, 12345, 12345)
    age(left)
    forget(workspace)
    lab.show()
    assert left.exists()


def test_a_workspace_is_looked_through_once_a_minute_by_all_its_processes(workspace, begin):
    lab.start()
    forget(workspace)
    lab.show()
    killed, left = begin(WORK.format(imported=WRITE), workspace / ".aiinfra" / "x")
    kill(killed)
    leftovers._next_at.clear()  # as another process
    lab.show()
    assert left.exists()
    age(workspace / ".aiinfra" / "swept")
    lab.show()
    assert left.exists()  # this process has looked just now
    leftovers._next_at.clear()
    lab.show()
    assert not left.exists()


def test_where_nothing_was_made_yet_nothing_is_made_by_looking(workspace):
    lab.show()
    assert not (workspace / ".aiinfra" / "swept").exists()
