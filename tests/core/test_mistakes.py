"""Mistakes that people make: each is told as what it is, and what its error advises works when it is followed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab.errors import nearest
from tests import prepared
from tests.mistakes import MISTAKES, Mistake, follow
from tests.train.conftest import empty_mlflow

__all__ = ["empty_mlflow"]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[InteractiveShell]:
    """A notebook in a prepared project, for all mistakes: a fix that works does no harm to the others."""
    with prepared.project(tmp_path_factory.mktemp("prepared"), empty_mlflow), prepared.notebook() as shell:
        shell.user_ns["rows"] = "data:flights@1"
        yield shell


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.text)
def test_a_mistake_is_told_and_its_fix_works(shell: InteractiveShell, mistake: Mistake) -> None:
    problem, right, after = follow(shell, mistake)
    assert type(problem) is mistake.kind
    assert after is None, f"{mistake.line}\n{problem}\n{right}\n{after}"


def test_there_are_mistakes_of_every_sort() -> None:
    assert len({mistake.text for mistake in MISTAKES}) == len(MISTAKES) >= 40
    assert {mistake.face for mistake in MISTAKES} == {"cell", "shell", "settings"}


def test_an_unknown_magic_under_papermill_says_what_was_meant(workspace: Path) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [new_code_cell("%load_ext aiinfra_lab"), new_code_cell("%gup ls")]
    nbformat.write(new_notebook(cells=cells, metadata=kernel), workspace / "a.ipynb")
    command = [sys.executable, "-m", "papermill", "a.ipynb", "b.ipynb", "--no-progress-bar"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "UsageProblem: there is no noun 'gup'\n  fix: did you mean `%gpu ls`?" in done.stderr


def test_a_magic_that_the_cell_itself_brings_is_run(shell: InteractiveShell) -> None:
    cell = "get_ipython().register_magic_function(lambda line: line.upper(), 'line', 'gpus')\nx = %gpus ls t"
    assert shell.run_cell(cell, store_history=False).error_in_exec is None
    shell.magics_manager.magics["line"].pop("gpus")
    assert shell.user_ns.pop("x") == "LS T"


def test_a_magic_that_is_like_none_of_ours_stays_ipythons(shell: InteractiveShell) -> None:
    done = shell.run_cell("%xyzzy 1", store_history=False)
    assert type(done.error_in_exec).__name__ == "UsageError"
    assert "run_line_magic('xyzzy', '1')" in shell.transform_cell("%xyzzy 1\n")
    assert "unknown_noun" not in shell.transform_cell('text = """\n%gup ls\n"""\n')


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("strat", ["start", "stop"], "start"),
        ("champ", ["champion"], "champion"),
        ("DATA", ["data", "lab"], "data"),
        ("data:flihgts@1", ["data:flights@1"], "data:flights@1"),
        ("age", ["triage"], ""),
        ("deploy:none", ["deploy:y", "deploy:stay"], ""),
        ("example:titanic", ["example:flights"], ""),
        ("x", ["y"], ""),
        (">>", ["<", ">", ">="], ">"),
        ("delay@9", ["delay@1"], ""),
    ],
)
def test_only_what_is_near_is_suggested(word: str, known: list[str], meant: str) -> None:
    assert nearest(word, known) == meant


def test_a_word_of_a_megabyte_is_nobodys_misspelling():
    began = time.process_time()
    assert nearest("start" * 200_000, ["start", "start" * 199_999]) == ""
    assert time.process_time() - began < 0.01
