"""No name leads out of the folder that it is for, by whatever door it comes in."""

from pathlib import Path

import pytest

from aiinfra_lab import lab, nouns
from tests.benchmarks import _doors as doors


@pytest.fixture
def prepared(workspace: Path) -> Path:
    doors.prepare(workspace)
    lab.start()
    return workspace


@pytest.mark.parametrize("door", doors.ENTRIES)
def test_a_name_that_would_lead_elsewhere_is_refused_and_changes_nothing(prepared, door):
    assert [what for name in doors.names() if (what := doors.left(prepared, door, name))] == []


def test_every_noun_that_makes_things_has_a_door():
    assert {door.split()[0] for door in doors.ENTRIES} >= set(nouns.TABLE) - {"cost"}


def test_a_name_that_is_taken_or_changes_a_file_is_found(prepared, monkeypatch):
    written = {"writes": lambda name: Path(name).write_text(""), "takes": print}
    monkeypatch.setattr(doors, "ENTRIES", written)
    assert "changed" in doors.left(prepared, "writes", "../victim.ipynb")
    assert "was taken" in doors.left(prepared, "takes", "../x")
