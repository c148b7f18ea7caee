import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aiinfra_lab import files
from aiinfra_lab.errors import Conflict, Denied, Unavailable
from tests.conftest import until

WRITE_ON = """
import sys
from pathlib import Path
from aiinfra_lab import files
path, letters = Path(sys.argv[1]), sys.argv[2]
for number in range(10**9):
    files.write(path, letters[number % len(letters)] * 200_000, flush=False)
    print(number, flush=True)
"""
STOP_INSIDE = """
import sys, time
from pathlib import Path
from aiinfra_lab import files
with getattr(files, sys.argv[2])(Path(sys.argv[1])) as aside:
    (aside / "part" if aside.is_dir() else aside).write_text("half")
    print("inside", flush=True)
    time.sleep(60)
"""


DIE_WHILE_REPLACING = """
import os, sys
from pathlib import Path
from aiinfra_lab import files
folder, exchanges, step = Path(sys.argv[1]), sys.argv[2] == "True", sys.argv[3]
if not exchanges:
    files._exchange = lambda one, other: False
owner = Path if step == "rename" else files
real = getattr(owner, step)
setattr(owner, step, lambda *arguments: (real(*arguments), os.kill(os.getpid(), 9)))
with files.building(folder / "a") as new:
    (new / "file").write_text("new")
    files.publish(new, folder / "a", replace=True)
"""


def child(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed_inside(path, what):
    writer = child(STOP_INSIDE, path, what)
    assert writer.stdout.readline() == "inside\n"
    writer.kill()
    writer.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["é\n", b"\x00\xff"])
def test_a_file_is_written_with_its_folder_and_replaced(tmp_path, content):
    path = tmp_path / "a" / "b.txt"
    files.write(path, "before")
    files.write(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert names(path.parent) == ["b.txt"]


@pytest.mark.parametrize("flush", [True, False])
def test_the_mode_is_as_asked_for(tmp_path, flush):
    before = os.umask(0o022)
    files.write(tmp_path / "open", "", flush=flush)
    files.write(tmp_path / "own", "", mode=0o600, flush=flush)
    os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("open", "own")] == [0o644, 0o600]


def test_json_is_readable_and_has_no_nan(tmp_path):
    files.write_json(tmp_path / "a.json", {"ö": [1]})
    assert (tmp_path / "a.json").read_text() == '{\n "ö": [\n  1\n ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == ["a.json"]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    files.write(tmp_path / "a", "old")
    with pytest.raises(TypeError), files.writing(tmp_path / "a") as aside:
        aside.write_bytes("new")
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")


def test_a_library_may_put_another_file_at_the_path_aside(tmp_path):
    with files.writing(tmp_path / "a") as aside:
        (tmp_path / "b").write_text("whole")
        (tmp_path / "b").replace(aside)
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "whole")


def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path):
    for number in range(8):
        writer = child(WRITE_ON, tmp_path / "a", "abc")
        for _ in range(1 + 3 * number):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        text = (tmp_path / "a").read_text()
        assert (len(text), len(set(text))) == (200_000, 1)
    files.write(tmp_path / "a", "")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("what", ["writing", "building"])
def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path, what):
    killed_inside(tmp_path / "a", what)
    assert len(names(tmp_path)) == 1
    with getattr(files, what)(tmp_path / "a") as aside:
        assert names(tmp_path) == [aside.name]


def test_two_that_write_one_file_at_once_do_not_mix(tmp_path):
    writers = [child(WRITE_ON, tmp_path / "a", letter) for letter in "ab"]
    seen = set()
    for writer in writers * 20:
        writer.stdout.readline()
        text = (tmp_path / "a").read_text()
        assert (len(text), len(set(text))) == (200_000, 1)
        seen.add(text[0])
    for writer in writers:
        writer.kill()
        writer.communicate()
    assert seen == {"a", "b"}


def test_threads_that_write_one_file_at_once_all_succeed(tmp_path):
    with files.writing(tmp_path / "a", flush=False):
        threads = [threading.Thread(target=files.write, args=(tmp_path / "a", str(number))) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert int((tmp_path / "a").read_text()) in range(20)
    assert names(tmp_path) == ["a"]


def test_a_folder_taken_for_a_dead_ones_before_it_was_opened_is_made_again(tmp_path, monkeypatch):
    make, swept = Path.mkdir, []

    def sweep_once(path, *args, **kwargs):
        make(path, *args, **kwargs)
        if path.suffix == ".part" and not swept:
            swept.append(path)
            files.clear_left_of(tmp_path / "a")

    monkeypatch.setattr(Path, "mkdir", sweep_once)
    with files.building(tmp_path / "a") as folder:
        assert folder.is_dir()
        assert [folder] != swept
        assert not swept[0].exists()
    assert names(tmp_path) == []


def test_a_place_that_may_not_be_written_is_denied_with_the_given_fix(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below", tmp_path):
        with pytest.raises(Denied) as refused:
            files.write(path, "", fix="choose another --into")
        assert refused.value.fix == "choose another --into"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_refusals_at_the_place_are_denied_and_others_are_not(tmp_path, number):
    with pytest.raises(Denied), files.lab_errors(tmp_path / "a"):
        raise OSError(number, "no", str(tmp_path / "a"))
    with pytest.raises(OSError, match="elsewhere"), files.lab_errors(tmp_path / "a"):
        raise OSError(number, "no", "/elsewhere/b")


def test_an_error_number_in_words_is_understood(tmp_path):
    with pytest.raises(Unavailable), files.lab_errors(tmp_path):
        raise OSError("No space left on device (os error 28)")


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path):
    files.write(tmp_path / "a", "old")
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most[1]))
    try:
        with pytest.raises(Unavailable) as full:
            files.write(tmp_path / "a", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert full.value.fix == "free some space and repeat"
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")


def finished(beside, text="new"):
    folder = beside.with_name("finished")
    folder.mkdir()
    (folder / "file").write_text(text)
    return folder


def test_a_folder_appears_when_it_is_finished(tmp_path):
    with files.building(tmp_path / "a") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "a").exists()
        files.publish(folder, tmp_path / "a")
    assert (names(tmp_path), names(tmp_path / "a")) == (["a"], ["file"])


@pytest.mark.parametrize("taken_by", ["folder", "file"])
def test_a_taken_name_is_a_conflict_unless_it_is_to_be_replaced(tmp_path, taken_by):
    target = tmp_path / "a"
    finished(target, "old").rename(target) if taken_by == "folder" else target.touch()
    new = finished(target)
    with pytest.raises(Conflict):
        files.publish(new, target)
    files.publish(new, target, replace=True)
    assert (names(tmp_path), (target / "file").read_text()) == (["a"], "new")


def test_a_folder_that_is_not_there_replaces_nothing(tmp_path):
    finished(tmp_path / "a").rename(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        files.publish(tmp_path / "nothing", tmp_path / "a", replace=True, flush=False)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("exchanges", "step", "left"),
    [
        (True, "_flush", "old"),
        (True, "_exchange", "new"),
        (True, "_remove", "new"),
        (False, "rename", "old"),
        (False, "_remove", "new"),
    ],
)
def test_whoever_is_killed_while_replacing_a_folder_leaves_the_old_or_the_new(tmp_path, exchanges, step, left):
    finished(tmp_path / "a", "old").rename(tmp_path / "a")
    killed = child(DIE_WHILE_REPLACING, tmp_path, exchanges, step)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    with files.building(tmp_path / "a") as third, pytest.raises(Conflict):
        files.publish(third, tmp_path / "a")
    assert (names(tmp_path), (tmp_path / "a" / "file").read_text()) == (["a"], left)


def test_a_file_of_somebody_else_is_not_cleared_away(tmp_path):
    theirs = [".a.notes.part", ".a.0123456789.part", ".a.0123456.part"]
    for name in theirs:
        (tmp_path / name).touch()
    files.write(tmp_path / "a", "")
    assert names(tmp_path) == sorted([*theirs, "a"])


@pytest.mark.parametrize("is_there", [True, False])
def test_what_somebody_calls_the_old_one_is_neither_removed_nor_put_back(tmp_path, is_there):
    if is_there:
        finished(tmp_path / "a", "old").rename(tmp_path / "a")
    (tmp_path / ".a.old").mkdir()
    (tmp_path / ".a.old" / "mine").touch()
    files.publish(finished(tmp_path / "a"), tmp_path / "a", replace=is_there)
    assert names(tmp_path) == [".a.old", "a"]
    assert names(tmp_path / ".a.old") == ["mine"]


def test_many_files_are_flushed_too(tmp_path):
    for number in range(300):
        (tmp_path / str(number)).touch()
    (tmp_path / "link").symlink_to("nowhere")
    files.flush_tree(tmp_path)


def test_a_lock_is_held_by_one_and_seen_by_all(tmp_path):
    path = tmp_path / "lock"
    assert not files.is_locked(path)
    with files.take_lock(path):
        assert files.is_locked(path)
        assert files.take_lock(path, patience_s=0) is None
    assert not files.is_locked(path)
    with files.shared_lock(path), files.shared_lock(path):
        assert files.take_lock(path, patience_s=0) is None


def test_a_lock_is_waited_for_and_goes_with_its_process(tmp_path):
    code = "import sys, time, pathlib; from aiinfra_lab import files\n"
    code += "with files.lock(pathlib.Path(sys.argv[1])): print(1, flush=True); time.sleep(60)"
    holder = child(code, tmp_path / "new" / "lock")
    holder.stdout.readline()
    threading.Timer(0.2, holder.kill).start()
    with files.lock(tmp_path / "new" / "lock"):
        assert until(holder.poll) == -signal.SIGKILL
    holder.communicate()


def test_retry_ends_with_the_first_success():
    answers = iter([Conflict("a", "b"), Conflict("a", "b"), 7])

    def step():
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    assert files.retry(step, Unavailable("no", "later")) == 7


def test_retry_has_an_end_and_passes_other_errors_on():
    calls = []

    def step():
        calls.append(1)
        raise Conflict("a", "b")

    with pytest.raises(Unavailable):
        files.retry(step, Unavailable("no", "later"), attempts=3)
    assert len(calls) == 3
    with pytest.raises(Conflict, match="a"):
        files.retry(step, Unavailable("no", "later"), on=Denied)
    assert len(calls) == 4


@pytest.mark.parametrize("problem", [Unavailable("no", "later"), lambda: Unavailable("no", "later")])
def test_until_gives_what_it_waited_for_or_the_problem(problem):
    answers = iter([0, None, "", "there"])
    assert files.until(lambda: next(answers), problem, within_s=30, every_s=0) == "there"
    with pytest.raises(Unavailable):
        files.until(lambda: None, problem, within_s=0)


def test_a_line_is_written_over_the_one_before_and_a_torn_one_is_noticed(tmp_path):
    path = tmp_path / "head"
    for number in range(3):
        files.overwrite(path, f"{number:020d} abc", mode=0o600)
    assert files.checked(path.read_text()) == f"{2:020d} abc"
    assert path.stat().st_mode & 0o077 == 0
    path.write_text(path.read_text().replace("2 abc", "3 abc"))
    with pytest.raises(ValueError, match="torn"):
        files.checked(path.read_text())
