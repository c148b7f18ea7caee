"""What a sync does with a change here, there, or on both sides."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from aiinfra_lab.errors import Conflict, Failed, NotFound, Unavailable, UsageProblem
from aiinfra_lab.host.sync import handles
from aiinfra_lab.host.sync.tree import Tree
from aiinfra_lab.kernels.reach import command_here
from aiinfra_lab.kernels.sync import LeftOut, sync

from .two_sides import NOTHING_DONE, TwoSides, done, tree, write


@pytest.fixture(name="both")
def _both(tmp_path: Path) -> TwoSides:
    return TwoSides(tmp_path)


@pytest.fixture(params=["renameat2", "plain"])
def synced(request: pytest.FixtureRequest, both: TwoSides, monkeypatch: pytest.MonkeyPatch) -> TwoSides:
    """Two sides that have the same; also where the system cannot exchange two files in one step."""
    if request.param == "plain":
        monkeypatch.setattr(handles, "_renameat2", None)
    for name in ("a", "b", "folder/c", "folder/d"):
        write(both.near / name, f"first {name}")
    both.sync()
    return both


def test_what_is_here_goes_over_and_what_is_there_comes(both: TwoSides) -> None:
    write(both.near / "src/train.py", "here")
    write(both.far / "out/model.bin", "there!")
    report = both.sync()
    assert done(report) == (1, 4, 1, 6, 0, ())
    assert tree(both.near) == tree(both.far)
    assert set(tree(both.near)) == {"src", "src/train.py", "out", "out/model.bin"}


def test_the_second_sync_sends_nothing_and_reads_no_file(synced: TwoSides, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in (synced.near, synced.far):
        for path in side.rglob("*"):
            os.utime(path, (1e9, 1e9), follow_symlinks=False)
    synced.sync()
    monkeypatch.setattr(Tree, "_hash", lambda *_: pytest.fail("a file was read"))
    assert done(synced.sync()) == NOTHING_DONE
    assert synced.passed < 5000


def test_a_change_goes_either_way(synced: TwoSides) -> None:
    (synced.near / "a").write_text("second")
    (synced.far / "b").write_text("second there")
    assert done(synced.sync()) == (1, 6, 1, 12, 0, ())
    assert (synced.far / "a").read_text() == "second"
    assert (synced.near / "b").read_text() == "second there"


def test_what_one_side_deleted_goes_on_the_other(synced: TwoSides) -> None:
    (synced.near / "a").unlink()
    (synced.far / "folder/c").unlink()
    (synced.far / "folder/d").unlink()
    (synced.far / "folder").rmdir()
    assert done(synced.sync()) == (0, 0, 0, 0, 3, ())
    assert set(tree(synced.near)) == set(tree(synced.far)) == {"b"}


def test_a_change_wins_over_a_deletion(synced: TwoSides) -> None:
    (synced.near / "a").unlink()
    (synced.far / "a").write_text("needed")
    (synced.near / "folder/c").write_text("needed too")
    (synced.far / "folder/c").unlink()
    synced.sync()
    assert tree(synced.near) == tree(synced.far)
    assert (synced.near / "a").read_text() == "needed"
    assert (synced.far / "folder/c").read_text() == "needed too"


def test_what_both_changed_is_kept_twice_on_both_sides(synced: TwoSides) -> None:
    (synced.near / "a").write_text("mine")
    (synced.far / "a").write_text("theirs")
    [conflict] = synced.sync().conflicts
    assert re.fullmatch(r"a\.conflict-box-\d{8}T\d{6}Z", conflict.kept_as)
    for side in (synced.near, synced.far):
        assert (side / "a").read_text() == "mine"
        assert (side / conflict.kept_as).read_text() == "theirs"
    assert done(synced.sync()) == NOTHING_DONE


def test_the_same_change_on_both_is_none(synced: TwoSides) -> None:
    (synced.near / "a").write_text("same")
    (synced.far / "a").write_text("same")
    assert done(synced.sync()) == NOTHING_DONE


def test_a_file_here_and_a_folder_there_are_both_kept(synced: TwoSides) -> None:
    write(synced.near / "x", "a file")
    write(synced.far / "x/inner", "a folder's")
    [conflict] = synced.sync().conflicts
    for side in (synced.near, synced.far):
        assert (side / "x").read_text() == "a file"
        assert (side / conflict.kept_as / "inner").read_text() == "a folder's"


def test_a_folder_that_became_a_file_there_while_it_was_changed_here(synced: TwoSides) -> None:
    for path in (synced.far / "folder").iterdir():
        path.unlink()
    (synced.far / "folder").rmdir()
    (synced.far / "folder").write_text("now a file")
    (synced.near / "folder/c").write_text("changed")
    [conflict] = synced.sync().conflicts
    assert tree(synced.near) == tree(synced.far)
    assert (synced.far / "folder/c").read_text() == "changed"
    assert (synced.near / conflict.kept_as).read_text() == "now a file"


@pytest.mark.parametrize("first", ["file", "folder"])
def test_a_file_and_a_folder_change_places(both: TwoSides, first: str) -> None:
    paths = ["x", "x/deep/inner"] if first == "file" else ["x/deep/inner", "x"]
    write(both.near / paths[0], "before")
    both.sync()
    subprocess.run(["rm", "-r", both.near / "x"], check=True)
    write(both.near / paths[1], "after")
    assert both.sync().conflicts == ()
    assert tree(both.far) == tree(both.near)


def test_what_only_moved_sends_no_byte(synced: TwoSides) -> None:
    (synced.near / "folder").rename(synced.near / "elsewhere")
    assert done(synced.sync()) == (2, 0, 0, 0, 2, ())
    assert tree(synced.far) == tree(synced.near)


def test_equal_files_go_over_once_and_are_two(both: TwoSides) -> None:
    write(both.near / "one", "the same")
    write(both.near / "two", "the same")
    assert both.sync().sent_bytes == 8
    (both.far / "one").write_text("another")
    assert (both.far / "two").read_text() == "the same"


def test_who_may_execute_goes_over_and_is_merged(synced: TwoSides) -> None:
    (synced.near / "a").chmod(0o755)
    (synced.far / "b").write_text("changed there")
    (synced.near / "b").chmod(0o755)
    synced.sync()
    assert tree(synced.far) == tree(synced.near)
    assert (synced.far / "a").stat().st_mode & 0o777 == 0o755
    assert tree(synced.near)["b"] == ("f", b"changed there", True)
    (synced.far / "a").chmod(0o644)
    synced.sync()
    assert (synced.near / "a").stat().st_mode & 0o777 == 0o644


def test_a_private_file_stays_private_and_keeps_its_time(both: TwoSides) -> None:
    path = write(both.near / "key", "secret")
    path.chmod(0o600)
    os.utime(path, ns=(10**18, 10**18 + 5))
    both.sync()
    assert (both.far / "key").stat().st_mode & 0o777 == 0o600
    assert (both.far / "key").stat().st_mtime_ns == 10**18 + 5


@pytest.mark.parametrize("name", ["naïve 雪.txt", "two\nlines", "-rf", "a\\b", "tab\t", os.fsdecode(b"\xff\xfe"), "é"])
def test_any_name_goes_over(both: TwoSides, name: str) -> None:
    write(both.near / f"{name} folder" / name, "text")
    write(both.far / f"there {name}", "text")
    both.sync()
    assert tree(both.near) == tree(both.far)
    assert len(tree(both.near)) == 3


def test_names_that_differ_in_case_are_two(both: TwoSides) -> None:
    write(both.near / "README", "a")
    write(both.far / "readme", "b")
    both.sync()
    assert set(tree(both.near)) == set(tree(both.far)) == {"README", "readme"}


def test_empty_folders_and_links_go_over(both: TwoSides) -> None:
    (both.near / "empty").mkdir()
    write(both.near / "data/x", "x")
    (both.near / "latest").symlink_to("data/x")
    (both.near / "data/up").symlink_to("../latest")
    both.sync()
    assert tree(both.far) == tree(both.near)
    (both.far / "latest").unlink()
    (both.far / "latest").symlink_to("data")
    both.sync()
    assert (both.near / "latest").readlink() == Path("data")


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "a/../../b", "data/../x", "."])
def test_a_link_that_leads_out_stays_where_it_is(both: TwoSides, target: str) -> None:
    (both.near / "link").symlink_to(target)
    report = both.sync()
    assert report.left_out == (LeftOut("link", "here", "it is a link that leads out of the folder"),)
    assert tree(both.far) == {}


def test_a_report_names_what_is_no_utf_8_so_that_it_can_be_written_down(both: TwoSides) -> None:
    odd = os.fsdecode(b"caf\xe9")
    for side, text in ((both.near, "a"), (both.far, "b")):
        write(side / odd, text)
    (both.near / f"link {odd}").symlink_to("/etc/passwd")
    report = both.sync()
    assert [each.path for each in report.conflicts] == ["caf\\udce9"]
    assert [each.path for each in report.left_out] == ["link caf\\udce9"]
    assert "caf" in msgspec.json.encode(report).decode()
    assert tree(both.near).keys() - tree(both.far).keys() <= {f"link {odd}"}


def test_what_stands_where_a_link_leads_out_is_left_alone(both: TwoSides, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (both.near / "data").symlink_to(tmp_path / "outside")
    write(both.far / "data/x", "from there")
    assert both.sync().received_files == 0
    assert list((tmp_path / "outside").iterdir()) == []


def test_pipes_and_large_files_are_named(both: TwoSides) -> None:
    os.mkfifo(both.near / "pipe")
    write(both.far / "large", "x" * 2048)
    report = both.sync(largest_bytes=1024)
    assert {(each.path, each.where) for each in report.left_out} == {("pipe", "here"), ("large", "box")}
    assert [path.name for path in both.near.iterdir()] == ["pipe"]


def test_a_file_that_grew_too_large_is_not_taken_for_deleted(synced: TwoSides) -> None:
    (synced.far / "a").write_text("x" * 2048)
    synced.sync(largest_bytes=1024)
    assert (synced.near / "a").read_text() == "first a"
    (synced.far / "a").unlink()
    synced.sync(largest_bytes=1024)
    assert not (synced.near / "a").exists()


def test_a_host_that_lost_its_folder_deletes_nothing(synced: TwoSides) -> None:
    subprocess.run(["rm", "-r", synced.far], check=True)
    assert synced.sync().deleted == 0
    assert len(tree(synced.far)) == len(tree(synced.near)) == 5


def test_a_host_that_was_put_back_overwrites_nothing(synced: TwoSides, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", synced.far, tmp_path / "snapshot"], check=True)
    (synced.near / "a").write_text("second")
    synced.sync()
    subprocess.run(["rm", "-r", synced.far], check=True)
    (tmp_path / "snapshot").rename(synced.far)
    synced.sync()
    assert (synced.near / "a").read_text() == "second"
    assert tree(synced.near) == tree(synced.far)


def test_a_folder_here_that_was_made_anew_deletes_nothing_there(synced: TwoSides) -> None:
    synced.near.rename(synced.near.with_name("kept"))  # its inode stays taken
    synced.near.mkdir()
    assert done(synced.sync())[4] == 0
    assert len(tree(synced.near)) == len(tree(synced.far)) == 5


def test_a_damaged_state_only_forgets(synced: TwoSides) -> None:
    (synced.state / "state.json").write_text('{"version": 1, "base": 5}')
    (synced.far / "a").unlink()
    synced.sync()
    assert (synced.far / "a").read_text() == "first a"


def test_a_deleted_folder_that_holds_what_is_ignored_stays_where_it_is_and_does_not_come_back(synced: TwoSides) -> None:
    write(synced.far / "folder/__pycache__/c.pyc", "x")
    subprocess.run(["rm", "-r", synced.near / "folder"], check=True)
    for _ in range(2):
        synced.sync()
        assert not (synced.near / "folder").exists()
        assert set(tree(synced.far)) == {"a", "b", "folder", "folder/__pycache__", "folder/__pycache__/c.pyc"}


def test_what_is_written_here_during_the_sync_is_not_overwritten(
    synced: TwoSides, monkeypatch: pytest.MonkeyPatch
) -> None:
    (synced.far / "a").write_text("theirs")
    (synced.far / "new").write_text("theirs")
    commit = Tree.commit

    def late(self: Tree, steps: list[list[object]]) -> list[list[str]]:
        if self.inode == synced.near.stat().st_ino:
            (synced.near / "a").write_text("mine, just now")
            (synced.near / "new").write_text("mine, just now")
        return commit(self, steps)

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "commit", late)
        report = synced.sync()
    assert {each.path for each in report.left_out} == {"a", "new"}
    assert (synced.near / "a").read_text() == (synced.near / "new").read_text() == "mine, just now"
    assert {each.path for each in synced.sync().conflicts} == {"a", "new"}
    assert tree(synced.near) == tree(synced.far)
    assert sum(each[:2] == ("f", b"theirs") for each in tree(synced.near).values()) == 2


def test_what_an_open_file_is_given_while_it_is_replaced_is_kept(
    synced: TwoSides, monkeypatch: pytest.MonkeyPatch
) -> None:
    (synced.far / "a").write_text("theirs")
    drop = Tree._drop_replaced
    with (synced.near / "a").open("r+") as writer, monkeypatch.context() as patch:

        def late(self: Tree) -> list[list[str]]:
            if self.inode == synced.near.stat().st_ino:
                writer.write("written late, and long")
                writer.flush()
            return drop(self)

        patch.setattr(Tree, "_drop_replaced", late)
        synced.sync()
    synced.sync()
    assert tree(synced.near) == tree(synced.far)
    assert {"theirs", "written late, and long"} <= {
        each[1].decode() for each in tree(synced.near).values() if each[0] == "f"
    }


def test_no_space_there_is_an_error_and_the_next_sync_goes_on(both: TwoSides, monkeypatch: pytest.MonkeyPatch) -> None:
    write(both.near / "a", "x")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(handles, "write", full)
        with pytest.raises(Unavailable, match="no space is left on box"):
            both.sync()
    assert both.sync().sent_files == 1


def test_two_syncs_of_one_state_do_not_meet(both: TwoSides) -> None:
    from aiinfra_lab import files

    both.state.mkdir()
    with files.take_lock(both.state / "lock"), pytest.raises(Conflict, match="another sync"):  # type: ignore[union-attr]
        both.sync()


def test_a_state_among_what_is_synced_is_refused(both: TwoSides) -> None:
    both.state = both.near / "state"
    with pytest.raises(UsageProblem, match="among what is synced"):
        both.sync()
    both.state = both.near / ".aiinfra/gpu/box"
    write(both.near / "a", "x")
    both.sync()
    assert set(tree(both.far)) == {"a"}


def test_a_host_whose_folder_cannot_be_made_says_so(both: TwoSides) -> None:
    write(both.far.parent / "file", "x")
    both.far = both.far.parent / "file/far"
    with pytest.raises(Failed, match="cannot be served: Not a directory"):
        both.sync()


@pytest.mark.parametrize("damage", ["[]", "{", '{"a": 5}', '{"a": [1, 2]}', '{"a": null}', "[" * 100_000])
def test_a_damaged_cache_only_costs_reading(synced: TwoSides, damage: str) -> None:
    (synced.state / "cache.json").write_text(damage)
    (synced.far / ".aiinfra/sync/cache.json").write_text(damage)
    assert done(synced.sync()) == NOTHING_DONE


def test_a_name_for_the_host_may_be_any(synced: TwoSides) -> None:
    (synced.near / "a").write_text("mine")
    (synced.far / "a").write_text("theirs")
    [conflict] = synced.sync(host="gpu:../my box").conflicts
    assert conflict.kept_as.startswith("a.conflict-gpu-..-my-box-")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        sync(tmp_path / "no", None, None, state=tmp_path / "state")


def test_nothing_of_the_sync_stays_in_the_folder_here(synced: TwoSides) -> None:
    (synced.far / "a").write_text("b")
    synced.sync()
    assert not (synced.near / ".aiinfra").exists()


PYTHONS = [Path(sys.executable), *sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.name)
def test_a_bare_machine_serves(both: TwoSides, python: Path) -> None:
    write(both.near / "a", "x")
    command = [str(python), "-I", "-S", *command_here("sync", str(both.far))[1:]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as served:
        assert sync(both.near, served.stdout, served.stdin, state=both.state).sent_files == 1
        served.communicate()
    assert served.returncode == 0
    assert (both.far / "a").read_text() == "x"
