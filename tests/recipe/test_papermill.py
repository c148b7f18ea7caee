"""`papermill --engine lab`: papermill as it is, with our kernel and our archive."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.structure.source import modules_loaded_by


@pytest.fixture
def papermill(notebook, workspace):
    """`papermill(*CELLS)` runs a notebook of these cells by papermill's command; its end and the executed notebook."""

    def run(*cells: str, options: tuple[str, ...] = ()) -> tuple[subprocess.CompletedProcess[str], Path]:
        source, out = notebook("a", "n: int = 1", *cells), workspace / "out.ipynb"
        command = [sys.executable, "-m", "papermill", str(source), str(out), "--engine", "lab", *options]
        return subprocess.run(command, check=False, capture_output=True, text=True), out

    return run


def states(out: Path) -> list[str]:
    cells = json.loads(out.read_text())["cells"]
    return [cell["metadata"]["papermill"]["status"] for cell in cells if "papermill" in cell["metadata"]]


def texts(out: Path) -> str:
    cells = nbformat.read(out, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_it_runs_with_parameters_and_shows_its_progress(papermill):
    done, out = papermill("print('n is', n)", options=("-p", "n", "7"))
    assert (done.returncode, texts(out)) == (0, "n is 7\n")
    assert "Executing: 100%" in done.stderr
    assert states(out) == ["completed"] * 3


def test_an_error_is_told_as_papermill_does_it(papermill):
    done, out = papermill("1 / 0", "print('never')")
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert states(out) == ["completed", "failed", "pending"]


def test_a_kernel_that_dies_is_told_as_it_was(papermill):
    done, out = papermill("print('before')", "import os; os.kill(os.getpid(), 9)", "print('never')")
    assert done.returncode != 0
    assert (states(out), texts(out)) == (["completed", "completed", "failed", "pending"], "before\n")


def test_a_cell_that_takes_too_long_failed(papermill):
    done, out = papermill("import time; time.sleep(60)", options=("--execution-timeout", "1"))
    assert done.returncode != 0
    assert states(out) == ["completed", "failed"]


def test_output_goes_where_papermill_was_told_to_send_it(papermill, workspace):
    done, _ = papermill("print('out')", options=("--log-output", "--stdout-file", str(workspace / "said.txt")))
    assert ((workspace / "said.txt").read_text(), "out" in done.stderr) == ("out\n", True)


def test_nothing_of_what_it_started_is_left(papermill, workspace):
    code = "import subprocess; p = subprocess.Popen(['sleep', '600'], start_new_session=True); print(p.pid)"
    _, out = papermill(code, "1 / 0")
    assert not Path(f"/proc/{int(texts(out))}").exists()


def test_a_notebook_that_names_no_kernel_means_python3(papermill, workspace):
    _done, out = papermill("print(1)")
    without = json.loads(out.read_text())
    del without["metadata"]["kernelspec"]
    (workspace / "bare.ipynb").write_text(json.dumps(without))
    command = [sys.executable, "-m", "papermill", "bare.ipynb", "again.ipynb", "--engine", "lab"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert texts(workspace / "again.ipynb") == "1\n"


def test_papermill_loads_nothing_more_for_it_before_it_runs():
    loaded = modules_loaded_by("import papermill")
    assert "papermill.engines" in loaded
    assert not any(name.startswith(("aiinfra_lab.kernels", "aiinfra_lab.recipe.engine")) for name in loaded)
