"""Which files a path, a folder or a glob of the project means."""

import pytest

from aiinfra_lab.recipe import taken


@pytest.mark.parametrize("name", ["run[12]", "run[x]", "*", "what?", "a b", "ü"])
def test_a_folder_that_is_there_means_its_own_files_however_it_is_called(workspace, name):
    for folder in (name, "run1", "a"):
        (workspace / folder).mkdir()
        (workspace / folder / "x.csv").touch()
    assert taken.files_of(name) == [workspace / name / "x.csv"]
