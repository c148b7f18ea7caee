"""What a step leaves on the disk while it goes on."""

import json
from pathlib import Path

import pytest

from aiinfra_lab.host.journal import Journal
from aiinfra_lab.leftovers import IN_MEMORY
from aiinfra_lab.recipe import archives
from aiinfra_lab.recipe.engine import step_journal
from aiinfra_lab.recipe.engine.step_journal import MARK, StepJournal, check_of


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.ipynb"
    path.write_text("{}")
    return path


@pytest.fixture
def journal(archive):
    made = StepJournal(archive)
    yield made
    made.remove()
    made.close()


def test_it_is_left_once_its_process_lets_go_of_it(archive, journal):
    assert not archives.is_left(journal.folder)
    journal.close()
    assert archives.is_left(journal.folder)
    journal.remove()
    assert not archives.is_left(journal.folder)


def test_all_that_is_written_down_is_flushed_and_then_how_far_it_is(journal, monkeypatch):
    flushed: list[str] = []

    def flush(handle: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink().name)

    monkeypatch.setattr(step_journal.os, "fdatasync", flush)
    received = Journal(journal.kept / "received")
    received.append(b"one")
    journal.flush("first", [("MY_TOKEN", "tok-1")])
    assert {"begun.ipynb", "facts.json", "0000000000000001.log", "received", "a.journal"} <= set(flushed)
    mark = json.loads((journal.folder / MARK).read_text())
    assert mark == {"after": "first", "secrets": [["MY_TOKEN", check_of("tok-1", journal._token)]]}
    flushed.clear()
    journal.flush("first", [("MY_TOKEN", "tok-1")])
    assert flushed == []
    received.append(b"two")
    journal.flush("second", [])
    assert flushed == ["0000000000000001.log"]
    received.close()


def test_no_value_of_a_secret_is_on_the_disk(journal):
    journal.flush("first", [("MY_TOKEN", "swordfish-123")])
    assert all(b"swordfish" not in path.read_bytes() for path in journal.folder.rglob("*") if path.is_file())
    assert len(check_of("swordfish-123", "salt")) == 4


def test_a_disk_that_is_full_ends_nothing(journal, monkeypatch):
    def full(_handle: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(step_journal.os, "fdatasync", full)
    monkeypatch.setattr(step_journal, "_FLUSH_S", 0.01)
    Journal(journal.kept / "received").append(b"one")
    with journal.flushing(lambda: "", list):
        pass


def test_without_a_place_in_memory_it_does_without(archive, monkeypatch):
    monkeypatch.setattr(step_journal, "IN_MEMORY", archive.parent / "none")
    journal = StepJournal(archive)
    assert journal.secrets is None
    journal.remove()
    journal.close()
    assert [each.name for each in archive.parent.iterdir()] == ["a.ipynb"]


def test_an_attempt_begins_without_the_journal_of_the_one_before(archive):
    before = StepJournal(archive)
    (before.folder / "of-before").touch()
    before.close()
    after = StepJournal(archive)
    assert not (after.folder / "of-before").exists()
    for each in (before, after):
        each.remove()
        each.close()
    assert not list(IN_MEMORY.glob(f"{before.secrets.parent.name}"))
