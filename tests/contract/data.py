"""What keeps the content of data: what every such store promises.

A provider's test inherits this and gives the fixture `content`, empty and in the fixture `workspace`. What is stored
is looked at in the files, never through the store itself.
"""

from pathlib import Path

import pytest

from aiinfra_lab.data.base import VersionStore
from aiinfra_lab.errors import NotFound


def folder(at: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)
    return at


def content_of(at: Path) -> dict[str, str]:
    return {path.relative_to(at).as_posix(): path.read_text() for path in at.rglob("*") if path.is_file()}


ONE = {"a.txt": "a", "deep/er/b.txt": "b", "same.txt": "a", "leer zeichen.txt": "ü"}
TWO = {"a.txt": "a", "deep/er/b.txt": "changed"}


class DataContract:
    def test_what_is_taken_in_comes_out(self, content: VersionStore, tmp_path: Path):
        content.place(content.ingest(folder(tmp_path / "in", ONE)), tmp_path / "out")
        assert content_of(tmp_path / "out") == ONE

    def test_the_content_decides_the_key(self, content: VersionStore, tmp_path: Path):
        keys = [content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, dict(ONE), TWO))]
        assert keys[0] == keys[1] != keys[2]

    def test_a_name_is_part_of_the_content(self, content: VersionStore, tmp_path: Path):
        one = content.ingest(folder(tmp_path / "1", {"x": "same"}))
        assert content.ingest(folder(tmp_path / "2", {"y": "same"})) != one

    def test_what_is_placed_cannot_be_written_by_accident(self, content: VersionStore, tmp_path: Path):
        content.place(content.ingest(folder(tmp_path / "in", ONE)), tmp_path / "out")
        assert (tmp_path / "out" / "a.txt").stat().st_mode & 0o222 == 0

    def test_what_is_not_here_cannot_be_placed(self, content: VersionStore, tmp_path: Path):
        with pytest.raises(NotFound):
            content.place("0" * 32 + ".dir", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_publishing_goes_forth_and_back(self, content: VersionStore, workspace: Path, tmp_path: Path):
        one, two = (content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, TWO)))
        for key, files in ((one, ONE), (two, TWO), (two, TWO), (one, ONE)):
            content.publish("x", key)
            assert content_of(workspace / "data" / "x") == files

    def test_writing_to_what_is_published_changes_no_version(self, content, workspace: Path, tmp_path: Path):
        key = content.ingest(folder(tmp_path / "in", ONE))
        content.publish("x", key)
        (workspace / "data" / "x" / "a.txt").write_text("mine")
        content.place(key, tmp_path / "out")
        assert content_of(tmp_path / "out") == ONE

    def test_a_change_is_unsaved_until_it_is_taken_in(self, content, workspace: Path, tmp_path: Path):
        assert not content.unsaved("x")
        content.publish("x", content.ingest(folder(tmp_path / "in", ONE)))
        assert not content.unsaved("x")
        (workspace / "data" / "x" / "new.txt").write_text("mine")
        assert content.unsaved("x")
        content.ingest(folder(tmp_path / "again", {**ONE, "new.txt": "mine"}))
        assert not content.unsaved("x")

    def test_withdrawing_is_silent_when_there_is_nothing(self, content, workspace: Path, tmp_path: Path):
        content.publish("x", content.ingest(folder(tmp_path / "in", ONE)))
        content.withdraw("x")
        content.withdraw("x")
        assert list((workspace / "data").iterdir()) == []

    def test_what_is_forgotten_is_gone_but_for_what_others_share(self, content, tmp_path: Path):
        one, two = (content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, TWO)))
        content.forget(one, [two])
        content.forget(one, [two])
        with pytest.raises(NotFound):
            content.place(one, tmp_path / "one")
        content.place(two, tmp_path / "two")
        assert content_of(tmp_path / "two") == TWO
