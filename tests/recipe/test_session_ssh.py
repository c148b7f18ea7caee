"""Steps in a session on another machine, by a real sshd: what they take goes there, and what they make comes back."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab import gpu
from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe import run as run_recipe
from tests.sshd import SshHost, needs_sshd

pytestmark = needs_sshd

RECIPE = """
[steps.make]
notebook = "make.ipynb"
on = "gpu:trainer"
in = { raw = "raw/a.txt" }
out = { file = "build/a.txt" }
[steps.use]
notebook = "use.ipynb"
in = { file = "make.file" }
"""
MAKE = """
import os
from aiinfra_lab import recipe
print(os.environ["AIINFRA_PROJECT"], os.path.basename(os.getcwd()))
recipe.outputs.file.write_text(recipe.inputs.raw.read_text().upper())
"""


@pytest.fixture
def far(workspace: Path, tmp_path: Path, notebook, recipe) -> Iterator[SshHost]:
    """A machine that the settings name, with a home of its own; and a recipe with a step that is to run there."""
    host = SshHost(1, tmp_path / "far", tmp_path / "home")
    (tmp_path / "home").mkdir()
    lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{host.config}"', f'ssh_python = "{sys.executable}"']
    (workspace / "aiinfra.toml").write_text("\n".join(lines))
    (workspace / "raw").mkdir()
    (workspace / "raw" / "a.txt").write_text("abc")
    notebook("make", "x: int = 1", MAKE)
    notebook("use", "x: int = 1", "from aiinfra_lab import recipe\nprint(recipe.inputs.file.read_text())")
    recipe("r", RECIPE)
    yield host
    for each in gpu.ls():
        gpu.stop(each.uri)
    host.remove()


def test_the_projects_files_go_there_and_what_it_makes_comes_back(far, workspace, tmp_path, recipe):
    gpu.start("trainer", on="ssh", sync=True, for_="1h")
    assert run_recipe("r").state == "done"
    assert verbs.log("r@1/make").text.split()[1].startswith(str(tmp_path / "home"))
    assert (workspace / "build" / "a.txt").read_text() == "ABC"
    assert "ABC" in verbs.log("r@1/use").text
    assert {step["state"] for step in run_recipe("r").steps.values()} == {"skipped"}
    (workspace / "raw" / "a.txt").write_text("abcd")
    assert [step["state"] for step in run_recipe("r").steps.values()] == ["done", "done"]
    recipe("r", RECIPE.replace('file = "build/a.txt"', 'file = "build/a.txt", rows = "data:rows"'))
    with pytest.raises(UsageProblem, match="make: data:rows would stay on gpu:trainer"):
        run_recipe("r")


def test_without_the_projects_files_it_is_refused_before_it_begins(far):
    gpu.start("trainer", on="ssh", for_="1h")
    with pytest.raises(UsageProblem, match="make: gpu:trainer has none of the project's files") as problem:
        run_recipe("r")
    assert "`%gpu start trainer --sync" in problem.value.fix
    assert len(verbs.log("r")) == 0
