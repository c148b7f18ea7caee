"""`data/NAME`: it follows the newest version, and what the user changed there is never lost."""

from pathlib import Path

import pytest

from aiinfra_lab import data, providers
from aiinfra_lab.config import settings
from aiinfra_lab.data import working_copy
from aiinfra_lab.data.base import WorkingCopies
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.errors import Conflict, UsageProblem
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import Record
from aiinfra_lab.testing.data import content_of, folder


@pytest.fixture
def copy(workspace: Path, tmp_path: Path) -> Path:
    """The working copy of two versions: the file says which."""
    for number in (1, 2):
        data.add("x", folder(tmp_path / "x", {"n": str(number)}))
    return workspace / "data" / "x"


def version(number: int) -> Record[DataVersion]:
    return resolve(f"x@{number}", DataVersion)


def test_dvc_has_working_copies(workspace):
    assert isinstance(providers.make("data.versions"), WorkingCopies)


def test_it_is_the_version_that_it_follows(copy):
    assert content_of(copy) == {"n": "2"}
    working_copy.follow(settings(), "x", version(1))
    assert content_of(copy) == {"n": "1"}


def test_a_changed_one_is_refused_and_left(copy):
    (copy / "n").write_text("mine")
    with pytest.raises(Conflict) as caught:
        working_copy.refuse_modified(settings(), "x")
    assert "`%data add x`" in caught.value.fix
    working_copy.follow(settings(), "x", version(1))
    assert content_of(copy) == {"n": "mine"}


def test_a_change_back_to_a_known_content_is_none(copy):
    (copy / "n").write_text("1")
    working_copy.refuse_modified(settings(), "x")
    working_copy.follow(settings(), "x", version(2))
    assert content_of(copy) == {"n": "2"}


def test_it_is_overwritten_when_that_is_wanted(copy):
    (copy / "n").write_text("mine")
    working_copy.follow(settings(), "x", version(1), overwrite=True)
    assert content_of(copy) == {"n": "1"}


def test_it_goes_with_the_last_version_unless_it_was_changed(copy):
    (copy / "n").write_text("mine")
    working_copy.follow(settings(), "x", None)
    assert content_of(copy) == {"n": "mine"}
    (copy / "n").write_text("2")
    working_copy.follow(settings(), "x", None)
    assert not copy.exists()


def test_a_copy_that_was_deleted_comes_back_with_the_next_version(copy, tmp_path):
    (copy / "n").unlink()
    copy.rmdir()
    assert data.add("x", folder(tmp_path / "x", {"n": "3"})).uri == "data:x@3"
    assert content_of(copy) == {"n": "3"}


def test_the_change_of_one_name_does_not_stop_another(copy, tmp_path):
    (copy / "n").write_text("mine")
    assert data.add("y", folder(tmp_path / "y", {"n": "1"})).uri == "data:y@1"
    assert content_of(copy) == {"n": "mine"}


def test_a_link_in_its_place_is_replaced_and_never_written_through(workspace, copy, tmp_path):
    copy.rename(tmp_path / "elsewhere")
    copy.symlink_to(tmp_path / "elsewhere")
    data.add("x", folder(tmp_path / "x", {"n": "3"}))
    assert (copy.is_symlink(), content_of(copy)) == (False, {"n": "3"})
    assert content_of(tmp_path / "elsewhere") == {"n": "2"}


def test_a_link_to_what_is_recorded_stays(workspace, copy, tmp_path):
    copy.rename(tmp_path / "elsewhere")
    copy.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "n").write_text("4")
    assert data.add("x").uri == "data:x@3"
    assert copy.is_symlink()


def test_no_data_is_called_like_the_pointer_of_other_data(copy, tmp_path):
    with pytest.raises(UsageProblem) as problem:
        data.add("x.dvc", tmp_path / "x")
    assert problem.value.fix == "leave the ending away: x"
