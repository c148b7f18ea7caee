"""Providers of another package: an object store that is nowhere in the workspace, and a source that computes."""

from pathlib import Path

import pandas as pd
import pytest

from aiinfra_lab import data, providers
from aiinfra_lab.config import settings
from aiinfra_lab.data.base import Source, VersionStore, WorkingCopies
from aiinfra_lab.errors import Conflict, NotFound
from aiinfra_lab.testing.data import SourceContract, VersionStoreContract, WorkingCopiesContract, content_of, folder


class TestObjects(VersionStoreContract):
    @pytest.fixture
    def content(self, objects: Path) -> VersionStore:
        return providers.make("data.versions")


class TestCopying(VersionStoreContract, WorkingCopiesContract):
    @pytest.fixture
    def content(self, objects: Path) -> VersionStore:
        return providers.make("data.versions", "copying")


class TestNumbers(SourceContract):
    @pytest.fixture
    def source(self, remote_data: None) -> Source:
        return providers.make("data.source", "numbers")

    @pytest.fixture
    def location(self) -> str:
        return " 003"

    @pytest.fixture
    def nowhere(self) -> str:
        return "many"


@pytest.fixture
def cats(objects: Path, tmp_path: Path) -> Path:
    """Two versions of a CSV."""
    for rows in ("Tom,3\n", "Tom,3\nBo,4\n"):
        data.add("cats", folder(tmp_path / "cats", {"cats.csv": "name,age\n" + rows}))
    return objects


def test_versions_are_added_listed_and_read(cats):
    assert [item.uri for item in data.ls()] == ["data:cats@2", "data:cats@1"]
    assert [data.get(f"cats@{number}").table().height for number in (1, 2)] == [1, 2]
    assert data.show("cats@1").key.startswith("list-")
    assert data.open_rows(pd.DataFrame({"x": [1]})).uri == "data:rows@1"


def test_it_leaves_the_workspace_without_dvc_and_without_working_copies(cats):
    assert not isinstance(providers.make("data.versions"), WorkingCopies)
    assert [path.name for path in cats.iterdir() if path.name in (".dvc", "data")] == []


def test_a_folder_of_the_users_own_is_recorded_and_left_alone(objects):
    mine = folder(objects / "data" / "cats", {"cats.csv": "name\nTom\n"})
    assert data.add("cats").table()["name"].to_list() == ["Tom"]
    (mine / "cats.csv").write_text("name\nBo\n")
    assert data.add("cats").uri == "data:cats@2"
    assert data.rm("cats@2").newest == "data:cats@1"
    assert content_of(mine) == {"cats.csv": "name\nBo\n"}


def test_content_that_is_lost_here_comes_out_of_the_store_read_only(cats):
    path = data.get("cats@1").path
    for file in path.iterdir():
        file.unlink()
    assert data.get("cats@1").table().height == 1
    assert [file.stat().st_mode & 0o222 for file in path.iterdir()] == [0]


def test_versions_are_compared_checked_and_their_log_is_read(cats):
    assert data.diff("cats").tables[0].rows_added == 1
    assert data.check("cats", key="name").state == "good"
    assert [item.verb for item in data.log("cats")] == ["data add", "data add"]


def test_a_removed_version_is_gone_from_the_store_too(cats):
    store = providers.make("data.versions")
    key = data.show("cats@1").key
    assert data.rm("cats@1").newest == "data:cats@2"
    with pytest.raises(NotFound):
        store.checkout(key, cats / "out")
    assert data.get("cats").table().height == 2


def test_a_copy_elsewhere_can_be_written(cats, tmp_path):
    data.get("cats@2", into=str(tmp_path / "copy"))
    (tmp_path / "copy" / "cats.csv").write_text("mine")
    with pytest.raises(Conflict):
        data.get("cats@1", into=tmp_path / "copy")


def test_its_source_is_a_scheme_like_any_other(objects):
    added = data.add("n", from_="numbers:03")
    assert (added.source, added.df()["n"].tolist()) == ("numbers:3", [0, 1, 2])
    assert settings().get("data.versions", "") == "objects"
