"""What everything promises that keeps the content of data, or brings data from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ..config import settings
from ..data.base import Repairing, Source, VersionStore, WorkingCopies
from ..data.files import read_manifest
from ..errors import NotFound, UsageProblem

ONE = {"a.txt": "a", "deep/er/b.txt": "b", "same.txt": "a", "white space.txt": "ü", "empty": ""}
TWO = {"a.txt": "a", "deep/er/b.txt": "changed"}


def folder(at: Path, files: dict[str, str]) -> Path:
    """The folder `at`, with these texts as files in it."""
    for name, text in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)
    return at


def content_of(at: Path) -> dict[str, str]:
    """The texts of all files below a folder."""
    return {path.relative_to(at).as_posix(): path.read_text() for path in at.rglob("*") if path.is_file()}


class VersionStoreContract:
    """A provider's test inherits this and gives the fixture `content`, empty.

    It looks at what comes out alone, never at where the store keeps it.
    """

    def test_what_is_taken_in_comes_out(self, content: VersionStore, tmp_path: Path) -> None:
        content.checkout(content.ingest(folder(tmp_path / "in", ONE)), tmp_path / "out")
        assert content_of(tmp_path / "out") == ONE

    def test_bytes_that_are_no_text_come_out(self, content: VersionStore, tmp_path: Path) -> None:
        given = bytes(range(256)) * 5_000
        (folder(tmp_path / "in", {}) / "in").mkdir(parents=True)
        (tmp_path / "in" / "in" / "x").write_bytes(given)
        content.checkout(content.ingest(tmp_path / "in"), tmp_path / "out")
        assert (tmp_path / "out" / "in" / "x").read_bytes() == given

    def test_the_content_decides_the_key(self, content: VersionStore, tmp_path: Path) -> None:
        keys = [content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, dict(ONE), TWO))]
        assert keys[0] == keys[1] != keys[2]

    def test_a_name_is_part_of_the_content(self, content: VersionStore, tmp_path: Path) -> None:
        one = content.ingest(folder(tmp_path / "1", {"x": "same"}))
        assert content.ingest(folder(tmp_path / "2", {"y": "same"})) != one

    def test_what_was_taken_in_may_be_deleted(self, content: VersionStore, tmp_path: Path) -> None:
        key = content.ingest(folder(tmp_path / "in", ONE))
        shutil.rmtree(tmp_path / "in")
        content.checkout(key, tmp_path / "out")
        assert content_of(tmp_path / "out") == ONE

    def test_content_can_be_checked_out_again_and_deleted_there(self, content: VersionStore, tmp_path: Path) -> None:
        key = content.ingest(folder(tmp_path / "in", ONE))
        for name in ("one", "two"):
            content.checkout(key, tmp_path / name)
        shutil.rmtree(tmp_path / "one")
        content.checkout(key, tmp_path / "three")
        assert content_of(tmp_path / "two") == content_of(tmp_path / "three") == ONE

    def test_what_is_not_stored_cannot_be_checked_out(self, content: VersionStore, tmp_path: Path) -> None:
        key = content.ingest(folder(tmp_path / "in", ONE))
        content.forget(key, [])
        with pytest.raises(NotFound):
            content.checkout(key, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_what_is_forgotten_is_gone_but_for_what_others_share(self, content: VersionStore, tmp_path: Path) -> None:
        one, two = (content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, TWO)))
        for _ in range(2):
            content.forget(one, [two])
        with pytest.raises(NotFound):
            content.checkout(one, tmp_path / "one")
        content.checkout(two, tmp_path / "two")
        assert content_of(tmp_path / "two") == TWO

    def test_what_was_forgotten_can_be_taken_in_again(self, content: VersionStore, tmp_path: Path) -> None:
        key = content.ingest(folder(tmp_path / "in", ONE))
        content.forget(key, [])
        assert content.ingest(folder(tmp_path / "again", ONE)) == key
        content.checkout(key, tmp_path / "out")
        assert content_of(tmp_path / "out") == ONE

    def test_a_kept_key_that_is_not_stored_keeps_nothing(self, content: VersionStore, tmp_path: Path) -> None:
        one, two = (content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, TWO)))
        content.forget(two, [])
        content.forget(one, [two])
        with pytest.raises(NotFound):
            content.checkout(one, tmp_path / "out")


class RepairingContract:
    """For a store that can put content in the place of what is damaged: a provider's test inherits this too, with the
    fixtures `content`, empty, and `damage`, a function that alters what is stored of a text.
    """

    def test_content_is_put_in_the_place_of_what_is_damaged(
        self, content: VersionStore, damage: Callable[[str], None], tmp_path: Path
    ) -> None:
        assert isinstance(content, Repairing)
        key, other = (content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, TWO)))
        damage("a")
        assert content.repair(folder(tmp_path / "again", ONE)) == key
        for each, files in ((key, ONE), (other, TWO)):  # what the two share is whole in both
            content.checkout(each, tmp_path / f"out-{each}")
            assert content_of(tmp_path / f"out-{each}") == files

    def test_where_nothing_is_damaged_or_stored_it_takes_in(self, content: VersionStore, tmp_path: Path) -> None:
        assert isinstance(content, Repairing)
        keys = {content.repair(folder(tmp_path / str(n), ONE)) for n in range(2)}
        assert keys == {content.ingest(folder(tmp_path / "in", ONE))}


class WorkingCopiesContract:
    """For a store with working copies: a provider's test inherits this too, with the fixture `content`, empty, in a
    workspace of its own.
    """

    @pytest.fixture
    def copies(self, content: VersionStore) -> WorkingCopies:
        """The same store, as what shows working copies."""
        assert isinstance(content, WorkingCopies)
        return content

    @pytest.fixture
    def shown(self, content: VersionStore) -> Path:
        """Where the copy of the name `x` is."""
        return settings().workspace / "data" / "x"

    @pytest.fixture
    def keys(self, content: VersionStore, tmp_path: Path) -> tuple[str, str]:
        """The keys of two contents."""
        one, two = (content.ingest(folder(tmp_path / str(n), files)) for n, files in enumerate((ONE, TWO)))
        return one, two

    def test_what_is_published_is_there_over_whatever_was(
        self, copies: WorkingCopies, shown: Path, keys: tuple[str, str]
    ) -> None:
        for key, files in ((keys[0], ONE), (keys[1], TWO), (keys[1], TWO), (keys[0], ONE)):
            copies.publish("x", key)
            assert content_of(shown) == files

    def test_a_copy_may_be_written_to_and_what_is_stored_stays(
        self, content: VersionStore, copies: WorkingCopies, shown: Path, keys: tuple[str, str], tmp_path: Path
    ) -> None:
        copies.publish("x", keys[0])
        with (shown / "a.txt").open("a") as file:
            file.write("more")
        content.checkout(keys[0], tmp_path / "out")
        assert content_of(tmp_path / "out") == ONE

    def test_only_what_nothing_stored_is_equal_to_is_a_change(
        self, copies: WorkingCopies, shown: Path, keys: tuple[str, str]
    ) -> None:
        assert not copies.is_modified("x")
        copies.publish("x", keys[0])
        assert not copies.is_modified("x")
        (shown / "new.txt").write_text("new")
        assert copies.is_modified("x")
        copies.publish("x", keys[1])
        assert not copies.is_modified("x")

    def test_it_is_taken_away_and_may_be_again(self, copies: WorkingCopies, shown: Path, keys: tuple[str, str]) -> None:
        copies.publish("x", keys[0])
        for _ in range(2):
            copies.withdraw("x")
        assert not shown.exists()
        assert not copies.is_modified("x")

    def test_names_do_not_mix(self, copies: WorkingCopies, shown: Path, keys: tuple[str, str]) -> None:
        for name, key in zip("xy", keys, strict=True):
            copies.publish(name, key)
        copies.withdraw("y")
        assert content_of(shown) == ONE

    def test_what_is_not_stored_cannot_be_published(
        self, content: VersionStore, copies: WorkingCopies, keys: tuple[str, str]
    ) -> None:
        content.forget(keys[0], [])
        with pytest.raises(NotFound):
            copies.publish("x", keys[0])


class SourceContract:
    """A provider's test inherits this and gives the fixtures `source`, `location` (one that it has) and `nowhere`
    (one that it has not).
    """

    def test_a_location_becomes_files(self, source: Source, location: str, tmp_path: Path) -> None:
        (into := tmp_path / "into").mkdir()
        source.read(location, into)
        assert read_manifest(into).size > 0

    def test_the_location_as_it_is_best_written_gives_the_same(
        self, source: Source, location: str, tmp_path: Path
    ) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        best = source.read(location, tmp_path / "one")
        assert source.read(best, tmp_path / "two") == best
        assert read_manifest(tmp_path / "one") == read_manifest(tmp_path / "two")

    def test_a_location_that_names_nothing_leaves_nothing(self, source: Source, nowhere: str, tmp_path: Path) -> None:
        (into := tmp_path / "into").mkdir()
        with pytest.raises(UsageProblem):
            source.read(nowhere, into)
        assert list(into.iterdir()) == []
