"""The memory of the pool in huge pages, and that of its forks before they write to it."""

import json
import mmap
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_lab.pool import asking, pages

from ..conftest import until
from .conftest import command


def test_what_a_fork_writes_into_huge_pages_is_its_own() -> None:
    content = bytearray(b"a" * (8 << 20))
    if not pages.collapse():
        pytest.skip("this system has no huge pages on demand")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        content[4 << 20] = ord("b")
        os.write(write, content[(4 << 20) - 1 : (4 << 20) + 2])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"aba"
    assert content == b"a" * (8 << 20)
    assert "AnonHugePages:         0 kB" not in Path("/proc/self/smaps_rollup").read_text()


def test_what_a_fork_writes_it_has_before() -> None:
    content = bytearray(b"a" * (2 << 20))

    def write() -> None:
        for at in range(0, len(content), PAGE):
            content[at] = ord("b")

    written = pages.written_by(write)
    if not written:
        pytest.skip("this system does not show what a process has written to")
    ours, it = socket.socketpair()
    faults = in_fork(lambda: [pages.own(written, it), faults_of(write)][1])
    assert faults < in_fork(lambda: faults_of(write)) / 10
    ours.sendall(b"!")
    assert in_fork(lambda: [pages.own(written, it), faults_of(write)][1]) > 100  # who is asked for has no time for it
    ours.close()
    it.close()


def test_what_cannot_be_tried_is_not_known() -> None:
    assert pages.written_by(lambda: 1 / 0) == []
    assert pages.written_by(lambda: os.kill(os.getpid(), signal.SIGKILL)) == []


def test_memory_that_is_not_there_is_left_alone() -> None:
    ours, it = socket.socketpair()
    with ours, it:
        pages.own([(PAGE, 3 * PAGE), (1 << 46, (1 << 46) + PAGE)], it)


def test_what_is_tried_runs_no_startup_file(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "startup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    asking.start("numpy")
    until(lambda: asking.order("show"), "the pool does not answer")
    assert not (tmp_path / "ran").exists()


def test_what_the_first_command_of_a_verb_writes_the_next_one_has_before(tmp_path: Path) -> None:
    content = bytearray(b"a" * (8 << 20))

    def write() -> None:
        for at in range(0, len(content), PAGE):
            content[at] = ord("b")

    def command(*words: str, does: Callable[[], object] = write) -> int:
        """How many pages had to be made for it."""
        known = pages.WrittenByCommands(tmp_path / "written", os.getppid())
        ours, it = socket.socketpair()
        with ours, it:
            known.own(it)
        faults = faults_of(does)
        known.learn(words)
        return faults

    first = in_fork(lambda: command("recipe", "run", "one"))
    if not (tmp_path / "written").exists():
        pytest.skip("this system does not show what a process has written to")
    assert first > len(content) // PAGE / 2
    assert in_fork(lambda: command("gpu", "ls", does=lambda: 1)) < 100
    known = (tmp_path / "written").read_bytes()
    assert json.loads(known)["verbs"] == ["recipe run"]  # the other one was a command of little
    assert (tmp_path / "written").stat().st_mode & 0o777 == 0o600
    assert in_fork(lambda: command("recipe", "run", "two")) < first / 10
    assert (tmp_path / "written").read_bytes() == known


def test_of_another_pool_s_commands_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "written").write_text(json.dumps({"pool": 1, "verbs": ["recipe run"], "ranges": [[0, PAGE]]}))
    assert pages.WrittenByCommands(tmp_path / "written", 2)._ranges == []
    assert pages.WrittenByCommands(tmp_path / "written", 1)._ranges == [(0, PAGE)]


RANGES = '{"pool": 1, "verbs": ["recipe run"], "ranges": %s}'
DAMAGED = ["", "{", "[]", "1", '{"pool": 1}', '{"pool": 1, "verbs": 2, "ranges": 3}', "\xff", "[" * 100_000]
NO_MEMORY = ["[[0, 1e999]]", f"[[{10**30}, {10**30 + 1}]]", "[[-4096, 4096]]", "[[8192, 4096]]", f"[[0, {1 << 40}]]"]
LARGE = " " * (8 << 20) + RANGES % "[]"


@pytest.mark.parametrize("found", [*DAMAGED, *(RANGES % each for each in NO_MEMORY), LARGE])
def test_a_damaged_file_says_nothing(tmp_path: Path, found: str) -> None:
    (tmp_path / "written").write_text(found, "latin-1")
    known = pages.WrittenByCommands(tmp_path / "written", 1)
    assert (known._verbs, known._ranges) == ([], [])


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "written")
    assert pages.WrittenByCommands(tmp_path / "written", 1)._ranges == []


def test_in_a_folder_that_others_can_enter_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "written").write_text(RANGES % f"[[0, {PAGE}]]")
    tmp_path.chmod(0o755)
    assert pages.WrittenByCommands(tmp_path / "written", 1)._ranges == []


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    """Made with the modes of a command it would be none in which a pool can begin."""
    known, content = pages.WrittenByCommands(tmp_path / "gone" / "written", 1), bytearray()
    ours, it = socket.socketpair()
    with ours, it:
        known.own(it)
    content.extend(b"a" * (16 << 20))
    known.learn(["recipe", "run"])
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("name", ["a\u2028b", "a\fb", "a\rb", "a\x85b", os.fsdecode(b"a\xffb")])
def test_files_of_any_name_may_be_in_memory(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("w+b") as file:
        file.truncate(PAGE)
        with mmap.mmap(file.fileno(), PAGE):
            assert pages._writable()


def test_a_place_that_cannot_be_written_fails_no_command(tmp_path: Path) -> None:
    (tmp_path / "written").mkdir()
    known, content = pages.WrittenByCommands(tmp_path / "written", 1), bytearray()
    ours, it = socket.socketpair()
    with ours, it:
        known.own(it)
    content.extend(b"a" * (16 << 20))
    known.learn(["recipe", "run"])
    assert (tmp_path / "written").is_dir()


def test_what_a_pool_before_knew_is_gone(place: Path) -> None:
    """A process may have the number of another one that has ended, and other memory."""
    place.mkdir(mode=0o700)
    (place / asking.WRITTEN).write_text(RANGES % "[]")
    asking.start("numpy")
    until(lambda: asking.order("show"), "the pool does not answer")
    assert not (place / asking.WRITTEN).exists()


def test_commands_of_the_pool_say_what_they_write(workspace: Path, place: Path, pool: int) -> None:
    for _ in range(2):
        subprocess.run(command("recipe", "ls"), capture_output=True, check=True, timeout=60)
    known = json.loads((place / asking.WRITTEN).read_bytes())
    assert (known["pool"], known["verbs"]) == (pool, ["recipe ls"])


PAGE = os.sysconf("SC_PAGE_SIZE")


def faults_of(work: Callable[[], object]) -> int:
    """How many pages of memory had to be made for that."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def in_fork(work: Callable[[], int]) -> int:
    """What that returns in a fork of this process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(work()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        return int(answer.read())
