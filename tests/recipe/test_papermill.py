"""`papermill --engine lab`: papermill as it is, with our kernel and our archive."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from aiinfra_lab.errors import UsageProblem
from tests.structure.source import modules_loaded_by


@pytest.fixture
def papermill(notebook, workspace):
    """`papermill(*CELLS)` runs a notebook of these cells by papermill's command; its end and the executed notebook."""

    def run(
        *cells: str, options: tuple[str, ...] = (), parameters: str = "n: int = 1"
    ) -> tuple[subprocess.CompletedProcess[str], Path]:
        source, out = notebook("a", parameters, *cells), workspace / "out.ipynb"
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


def test_a_text_that_reads_like_a_number_stays_one(papermill):
    done, out = papermill("print([zip])", options=("-p", "zip", "01234"), parameters="zip: str = '02139'")
    assert (done.returncode, texts(out)) == (0, "['01234']\n")
    assert nbformat.read(out, as_version=4).metadata["papermill"]["parameters"] == {"zip": "01234"}


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


RICH = (
    "from datetime import date\nfrom typing import Literal\nday: date = date(2026, 1, 1)\n"
    "size: Literal['small', 'base'] = 'small'\nepochs: int = 3\nxs: list[int] = [1]"
)


@pytest.fixture
def typed(notebook, workspace):
    """`typed(**VALUES)` runs a notebook with typed parameters by papermill in this process; the executed one."""

    def run(cell: str = RICH, **values: object) -> Path:
        import papermill

        source = notebook("a", cell, "print(globals().get('day'), globals().get('xs'))")
        papermill.execute_notebook(source, workspace / "out.ipynb", values, engine_name="lab", progress_bar=False)
        return workspace / "out.ipynb"

    return run


def test_parameters_are_given_as_the_notebook_declares_them(typed):
    given = {"day": "2013-07-01", "epochs": "7", "xs": (3, 4), "PAPERMILL_INPUT_PATH": "a"}
    out = typed(**given)
    assert texts(out) == "2013-07-01 [3, 4]\n"
    content = json.loads(out.read_text())
    injected = "".join(content["cells"][1]["source"]).splitlines()
    assert injected[1:] == ["day = date(2013, 7, 1)", "epochs = 7", "xs = [3, 4]", "PAPERMILL_INPUT_PATH = 'a'"]
    assert content["metadata"]["papermill"]["parameters"] == {**given, "xs": [3, 4]}


def test_objects_of_python_are_taken_too(typed):
    out = typed(day=dt.date(2013, 7, 1), xs={2, 1})
    assert texts(out) == "2013-07-01 [1, 2]\n"
    assert json.loads(out.read_text())["metadata"]["papermill"]["parameters"]["day"] == "2013-07-01"


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("epochs", "abc", "parameter epochs must be of type int, and 'abc' was given (a.ipynb cell 1 line 5)"),
        ("epochs", 2.5, "parameter epochs must be of type int"),
        ("epoch", 2, "did you mean epochs?"),
        ("size", "bass", "did you mean base?"),
        ("x = 1; import os; y", 2, "'x = 1; import os; y' cannot be the name of a parameter"),
    ],
)
def test_parameters_that_it_cannot_take_are_refused_before_there_is_an_output(typed, workspace, name, value, what):
    with pytest.raises(UsageProblem) as problem:
        typed(**{name: value})
    assert what in str(problem.value)
    assert not (workspace / "out.ipynb").exists()


@pytest.mark.parametrize("cell", ["x = [1][0]", "%matplotlib inline\nx = 1", "x: 'a b' = 1", "anything = xs = 1"])
def test_a_cell_that_only_papermill_can_read_is_run_as_papermill_runs_it(typed, cell):
    assert texts(typed(cell, anything="a'b", xs=5)) == "None 5\n"


def test_its_command_names_what_is_wrong(papermill):
    done, out = papermill("print('never')", options=("-p", "n", "abc"))
    assert "parameter n must be of type int, and 'abc' was given" in done.stderr
    assert (done.returncode, out.exists()) == (1, False)


def test_the_limit_of_nbclient_holds_too(notebook, workspace):
    from papermill import execute_notebook

    source = notebook("a", "n: int = 1", "import time; time.sleep(60)")
    with pytest.raises(Exception, match="timed out"):
        execute_notebook(source, workspace / "out.ipynb", engine_name="lab", timeout=1, progress_bar=False)
