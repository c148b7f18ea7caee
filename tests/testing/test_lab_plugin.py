"""pytest --lab, as a user runs it."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, writes

from tests.conftest import PATIENCE_S

VARYING = "import os, warnings; warnings.warn('old'); print(os.getpid() * 0, object(), set('abcdef'))"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def write(project: Path, *cells: str) -> None:
    (project / "a.ipynb").write_text(writes(new_notebook(cells=list(map(new_code_cell, cells)))))


# Loaded by itself where the package was installed since it has the plugin, and twice is an error.
IS_INSTALLED = any(each.name == "aiinfra_lab" for each in entry_points(group="pytest11"))


def run(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    plugin = [] if IS_INSTALLED else ["-p", "aiinfra_lab.testing.lab_plugin"]
    command = [sys.executable, "-m", "pytest", "-p", "no:nbval", *plugin, "-rA", *options]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_first_run_makes_the_reference_and_the_next_mean_the_same(project):
    write(project, VARYING, "1 + 1")
    first = run(project, "--lab")
    assert ("1 passed" in first.stdout, "its reference was made" in first.stdout) == (True, True), first.stdout
    again = run(project, "--lab")
    assert ("1 passed" in again.stdout, "was made" in again.stdout) == (True, False), again.stdout
    assert (project / "build" / "lab" / "a.ipynb").is_file()


def test_what_means_something_else_fails_with_the_cell_until_it_is_taken(project):
    write(project, VARYING, "1 + 1")
    run(project, "--lab")
    write(project, VARYING, "1 + 2")
    changed = run(project, "--lab")
    assert changed.returncode == 1
    assert "cell 2 (code):" in changed.stdout
    assert "+1 + 2" in changed.stdout
    assert "Traceback" not in changed.stdout
    assert "1 passed" in run(project, "--lab", "--lab-update").stdout
    assert "1 passed" in run(project, "--lab").stdout


def test_outputs_that_mean_something_else_fail(project):
    write(project, "import pathlib; print(pathlib.Path('value').read_text())")
    (project / "value").write_text("1")
    run(project, "--lab")
    (project / "value").write_text("2")
    assert "-1" in (changed := run(project, "--lab").stdout)
    assert "cell 1 (outputs):" in changed


def test_a_cell_that_raises_fails_with_its_error(project):
    write(project, "1 / 0")
    failed = run(project, "--lab")
    assert (failed.returncode, "a.ipynb failed in cell 1: ZeroDivisionError" in failed.stdout) == (1, True)
    assert not (project / "build" / "reference" / "a.ipynb").exists()


def test_without_the_option_notebooks_are_none_of_its_business(project):
    write(project, "1 / 0")
    assert "no tests ran" in run(project).stdout


def test_it_is_light():
    code = (
        "import sys, pytest; before = set(sys.modules); import aiinfra_lab.testing.lab_plugin; "
        "print(len(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 15
