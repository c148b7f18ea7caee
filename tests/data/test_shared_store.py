"""Versions of data in a store that several folders share."""

import shutil

from aiinfra_lab import data
from aiinfra_lab.errors import NotFound
from aiinfra_lab.testing.data import content_of, folder
from tests.following import follow, provoked
from tests.postgres import needs_postgres, postgres, server

__all__ = ["postgres", "server"]
pytestmark = needs_postgres


def test_a_version_that_lies_in_another_folder_is_not_called_damaged_and_can_be_brought_here(
    server, workspace, tmp_path, monkeypatch
):
    (workspace / "aiinfra.toml").write_text(f'[store]\nurl = "{server}"\nschema = "shared"\n')
    data.add("x", folder(tmp_path / "in", {"a.txt": "a"}))
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(workspace / "aiinfra.toml", other / "aiinfra.toml")
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(other))
    monkeypatch.chdir(other)
    problem = provoked("data get x@1", NotFound)
    assert "added in another one that shares the store" in problem.what
    follow(problem)
    assert content_of(data.get("x@1").path) == {"a.txt": "a"}
