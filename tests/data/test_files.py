"""Taking files in: what is listed, digested, copied and protected, and what is refused on the way."""

import json
import os
import threading
from pathlib import Path

import pytest

from aiinfra_lab.data import files
from aiinfra_lab.errors import Conflict, Damaged, Denied, Failed, NotFound
from aiinfra_lab.testing.data import content_of, folder

TREE = {"b.txt": "b", "a/z.txt": "z", "a.txt": "a", ".hidden": "h"}


def test_files_are_listed_by_their_path(tmp_path):
    found = files.walk(folder(tmp_path / "x", TREE))
    assert [path.relative_to(tmp_path / "x").as_posix() for path in found] == [".hidden", "a.txt", "a/z.txt", "b.txt"]


def test_a_link_to_a_file_is_a_file(tmp_path):
    folder(tmp_path / "x", {"a": "a"})
    (tmp_path / "x" / "b").symlink_to(tmp_path / "x" / "a")
    files.copy_in(tmp_path / "x", tmp_path / "out")
    assert content_of(tmp_path / "out") == {"a": "a", "b": "a"}
    assert not (tmp_path / "out" / "b").is_symlink()


def test_a_special_file_is_refused_and_named(tmp_path):
    folder(tmp_path / "x", {"a": "a"})
    os.mkfifo(tmp_path / "x" / "pipe")
    with pytest.raises(Failed, match="pipe") as caught:
        files.walk(tmp_path / "x")
    assert caught.value.fix == "take it out of the folder"


@pytest.mark.parametrize("change", [{"a.txt": "A"}, {"new": ""}, {"a.txt": "aa"}])
def test_the_digest_covers_every_name_and_byte(tmp_path, change):
    one = files.read_manifest(folder(tmp_path / "1", TREE))
    two = files.read_manifest(folder(tmp_path / "2", {**TREE, **change}))
    assert files.read_manifest(folder(tmp_path / "3", TREE)) == one
    assert one.digest != two.digest


def test_the_digest_is_what_it_was_in_the_version_before(tmp_path):
    found = files.read_manifest(folder(tmp_path / "x", {"a.txt": "a", "b/ü.txt": "b"}))
    assert found.digest == "21dfe6bf5c77f764d6de25eb144f439a82c6a4bbcf08e6b8e310f1c743201236"
    assert (found.size, json.loads(found.text())[1][0]) == (2, "b/ü.txt")


def test_a_list_of_files_is_read_back(tmp_path):
    found = files.read_manifest(folder(tmp_path / "x", TREE))
    (tmp_path / "list.json").write_text(found.text())
    assert files.read_list(tmp_path / "list.json", found.digest) == found


@pytest.mark.parametrize("text", [None, b"", b"[]", b"\xff"])
def test_a_list_that_is_gone_or_altered_is_damage(tmp_path, text):
    found = files.read_manifest(folder(tmp_path / "x", TREE))
    if text is not None:
        (tmp_path / "list.json").write_bytes(text)
    with pytest.raises(Damaged) as caught:
        files.read_list(tmp_path / "list.json", found.digest)
    assert caught.value.fix == "`%data add` the content again"


def test_a_file_that_is_cut_off_or_gone_is_noticed_by_its_size(tmp_path):
    found = files.read_manifest(folder(tmp_path / "x", TREE))
    assert files.sizes_agree(found, tmp_path / "x")
    (tmp_path / "x" / "a.txt").write_text("")
    assert not files.sizes_agree(found, tmp_path / "x")
    (tmp_path / "x" / "a.txt").unlink()
    assert not files.sizes_agree(found, tmp_path / "x")


def test_protected_files_have_no_mode_that_writes(tmp_path):
    files.protect(folder(tmp_path / "x", TREE))
    assert {path.stat().st_mode & 0o777 for path in files.walk(tmp_path / "x")} == {0o400}


def test_what_is_not_there_cannot_be_copied(tmp_path):
    with pytest.raises(NotFound) as caught:
        files.copy_in(tmp_path / "nothing", tmp_path / "out")
    assert "current folder" in caught.value.fix


@pytest.mark.parametrize("name", ["a.txt", "."])
def test_a_copy_of_what_is_protected_can_be_written(tmp_path, name):
    files.protect(folder(tmp_path / "x", TREE))
    files.copy_out(tmp_path / "x" / name, tmp_path / "deep" / "out")
    copied = [path for path in (tmp_path / "deep").rglob("*") if path.is_file()]
    assert [path for path in copied if not path.stat().st_mode & 0o200] == []
    assert copied != []


def test_a_copy_may_go_into_an_empty_folder_and_into_no_other(tmp_path):
    folder(tmp_path / "x", TREE)
    (tmp_path / "empty").mkdir()
    files.copy_out(tmp_path / "x", tmp_path / "empty")
    assert content_of(tmp_path / "empty") == TREE
    with pytest.raises(Conflict):
        files.copy_out(tmp_path / "x", tmp_path / "empty")


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    folder(tmp_path / "x", {"a": "a"})
    (tmp_path / "x" / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Failed):
        files.copy_out(tmp_path / "x", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_one_takes_in_at_a_time_and_clears_what_a_killed_one_left(tmp_path):
    folder(tmp_path / "data" / "incoming" / "left" / "new", {"half": "h"})
    seen: list[list[str]] = []

    def take() -> None:
        with files.incoming(tmp_path) as here:
            seen.append(sorted(path.name for path in here.parent.parent.iterdir()))

    with files.incoming(tmp_path) as mine:
        other = threading.Thread(target=take)
        other.start()
        other.join(0.2)
        assert (list(mine.iterdir()), seen) == ([], [])
    other.join()
    assert (len(seen[0]), list((tmp_path / "data" / "incoming").iterdir())) == (1, [])


def test_moving_in_takes_the_place_of_what_a_crash_left(tmp_path: Path):
    files.move_in(folder(tmp_path / "new", {"a": "new"}), folder(tmp_path / "v" / "x@1", {"half": "h"}))
    assert content_of(tmp_path / "v" / "x@1") == {"a": "new"}


def test_a_copy_out_takes_the_place_of_no_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "empty")
    for name in ("link", "folder"):
        with pytest.raises(Conflict):
            files.copy_out(folder(tmp_path / "x", TREE), tmp_path / name)


@pytest.mark.parametrize("name", ["a\0b", "x" * 256])
def test_what_can_be_no_path_is_denied(tmp_path, name):
    with pytest.raises(Denied) as problem:
        files.copy_out(folder(tmp_path / "x", TREE), tmp_path / name)
    assert problem.value.fix == "name another path"


def grows(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")


def is_rewritten_in_place(path: Path) -> None:
    path.write_text("z" * path.stat().st_size)


def has_another_put_in_its_place(path: Path) -> None:
    (path.parent.parent / "new").write_text("a")
    os.utime(path.parent.parent / "new", ns=(path.stat().st_mtime_ns,) * 2)
    (path.parent.parent / "new").replace(path)


def gets_a_neighbour(path: Path) -> None:
    path.with_name("neighbour").write_text("n")


@pytest.mark.parametrize(
    "change", [grows, is_rewritten_in_place, has_another_put_in_its_place, gets_a_neighbour, Path.unlink]
)
@pytest.mark.parametrize("moment", ["before it", "after it"])
@pytest.mark.parametrize("age_s", [0, 3600])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch, change, moment, age_s):
    """`a.txt` itself, while it is copied, or when it was and others are."""
    changing = folder(tmp_path / "x", TREE) / "a.txt"
    for path in files.walk(tmp_path / "x"):
        os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    copy = files._copy

    def copy_and_change(source: Path, target: Path) -> None:
        if moment == "after it" or source != changing or change is not Path.unlink:
            copy(source, target)
        if source.name == {"before it": "a.txt", "after it": "b.txt"}[moment]:
            change(changing)

    monkeypatch.setattr(files, "_copy", copy_and_change)
    with pytest.raises(Conflict, match="changed while it was read") as caught:
        files.copy_in(tmp_path / "x", tmp_path / "out")
    assert "repeat" in caught.value.fix


def test_a_single_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
    copy, log = files._copy, folder(tmp_path, {"log.txt": "a"}) / "log.txt"
    monkeypatch.setattr(files, "_copy", lambda source, target: (copy(source, target), grows(log)))
    with pytest.raises(Conflict):
        files.copy_in(log, tmp_path / "out")


def test_what_is_rewritten_within_one_tick_of_the_clock_is_refused(tmp_path, monkeypatch):
    """The file system shows the same time for both writes."""
    copy, path = files._copy, folder(tmp_path / "x", {"a.txt": "a"}) / "a.txt"
    same = path.stat().st_mtime_ns

    def copy_and_change(source: Path, target: Path) -> None:
        copy(source, target)
        path.write_text("b")
        os.utime(path, ns=(same, same))

    monkeypatch.setattr(files, "_copy", copy_and_change)
    with pytest.raises(Conflict):
        files.copy_in(tmp_path / "x", tmp_path / "out")
