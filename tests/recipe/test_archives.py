"""An executed notebook whose run vanished says so, and is left alone otherwise."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.recipe import archives
from aiinfra_lab.recipe.archives import close_lost
from tests.conftest import PATIENCE_S, until


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """One whose second cell runs."""
    states = ("completed", "running", "pending")
    cells = [new_code_cell("1", metadata={"papermill": {"status": state}}) for state in states]
    path = tmp_path / "a.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"papermill": {"exception": None}}), path)
    return path


def states(path: Path) -> list[str]:
    return [cell["metadata"]["papermill"]["status"] for cell in json.loads(path.read_text())["cells"]]


def own_states(path: Path) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    return [cell["metadata"]["aiinfra"]["state"] for cell in cells if cell["cell_type"] == "code"]


def test_the_cell_that_ran_failed_and_the_rest_never_ran(archive):
    close_lost(archive)
    notebook = nbformat.read(archive, as_version=4)
    nbformat.validate(notebook)
    assert states(archive) == ["completed", "failed", "pending"]
    assert notebook.cells[1].outputs[-1].ename == "Lost"
    assert notebook.metadata.papermill["exception"] is True


def test_it_is_said_once(archive):
    close_lost(archive)
    once = archive.read_bytes()
    close_lost(archive)
    assert archive.read_bytes() == once


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"cells": [{}]}', '{"cells": [{"metadata": 3}]}'])
def test_what_is_no_archive_is_left_alone(tmp_path, content):
    path = tmp_path / "a.ipynb"
    path.write_text(content)
    close_lost(path)
    close_lost(tmp_path / "none.ipynb")
    assert path.read_text() == content


def test_what_a_run_that_is_killed_has_put_out_is_in_its_archive(notebook, recipe_file, workspace):
    slow = "import time\nfor n in range(600):\n    print('line', n, flush=True); time.sleep(0.1)"
    notebook("slow", "x: int = 1", "print('before')", slow, "print('never')")
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one"]
    going = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    path = workspace / ".aiinfra" / "recipe" / "one@1" / "slow.ipynb"
    until(lambda: path.exists() and "line 20" in path.read_text())
    os.killpg(going.pid, signal.SIGKILL)
    going.wait(PATIENCE_S)
    assert nbformat.read(path, as_version=4).cells[2].outputs[0].text.count("line") > 20
    until(lambda: verbs.show("one@1").state == "lost")
    assert states(path) == ["completed", "completed", "failed", "pending"]


@pytest.fixture
def recipe_file(recipe):
    """A recipe of one step."""
    return recipe("one", '[steps.slow]\nnotebook = "slow.ipynb"\n')


def test_one_whose_secrets_cannot_be_taken_out_is_removed(archive, monkeypatch):
    def full(*_args, **_options):
        raise Unavailable("the disk is full", "make room")

    monkeypatch.setenv("MY_API_KEY", "swordfish-123")
    monkeypatch.setattr(archives, "write", full)
    archives.clean(archive)
    assert archive.exists()
    archive.write_text(archive.read_text().replace("1", "swordfish-123"))
    archives.clean(archive)
    assert not archive.exists()


def test_one_that_ran_no_cell_just_then_says_how_it_ended(archive):
    notebook = nbformat.read(archive, as_version=4)
    notebook.metadata["aiinfra"] = {"state": "running"}
    for cell in notebook.cells:
        cell.metadata.papermill["status"] = "completed"
    nbformat.write(notebook, archive)
    close_lost(archive)
    assert nbformat.read(archive, as_version=4).metadata["aiinfra"] == {"state": "killed"}
    assert states(archive) == ["completed"] * 3


def test_what_a_cell_has_put_out_is_there_while_the_next_one_is_silent(notebook, recipe, workspace):
    notebook("a", "", "print('epoch 1')", "import time; time.sleep(300)")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\n')
    verbs.run("r", wait=False)
    until(lambda: verbs.log("r/a").text == "[1]\nepoch 1\n")
    path = Path(verbs.show("r@1").steps["a"]["archive"])
    # The first of them declares parameters.
    until(lambda: own_states(path) == ["done", "done", "running"])
    verbs.stop("r")
