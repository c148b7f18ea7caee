"""`%%gpu run` as a notebook has it: variables by name, completion, a papermill run, and Ctrl-C."""

import time
from collections.abc import Iterator
from typing import Any

import nbformat
import papermill
import pytest
from jupyter_client import KernelManager
from jupyter_client.blocking.client import BlockingKernelClient
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import gpu
from aiinfra_lab.errors import NotFound, UsageProblem
from tests.conftest import PATIENCE_S
from tests.jupyter.test_magics import complete, run, shell

__all__ = ["shell"]


@pytest.fixture
def session(workspace) -> str:
    return gpu.start("trainer").uri


def test_a_cell_takes_variables_along_and_brings_some_back(session, shell):
    shell.user_ns.update(rows=[1, 2], label="x")
    done = run(shell, "%%gpu run trainer -i rows -i label -o model -o size\nmodel, size = label * 2, len(rows)")
    assert (shell.user_ns["model"], shell.user_ns["size"]) == ("xx", 2)
    assert [*done.result.taken] == ["rows", "label"]
    assert done.result.values == {}  # the list of results keeps no copy
    run(shell, "%%gpu run trainer -i rows,label -o a,b\na, b = rows, label")
    assert (shell.user_ns["a"], shell.user_ns["b"]) == ([1, 2], "x")


def test_a_dollar_in_front_of_a_variable_is_no_mistake(session, shell):
    shell.user_ns["rows"] = [1, 2]
    run(shell, "%%gpu run trainer -i $rows -o n\nn = len(rows)")
    assert shell.user_ns["n"] == 2


def test_a_function_of_the_notebook_goes_along(session, shell):
    run(shell, "def twice(x): return 2 * x")
    run(shell, "%%gpu run trainer -i twice -o four\nfour = twice(2)")
    assert shell.user_ns["four"] == 4


@pytest.mark.parametrize(
    ("words", "problem", "what", "fix"),
    [
        ("-i rowz", NotFound, "there is no variable rowz", "did you mean rows?"),
        ("-i rows,lable", NotFound, "there is no variable lable", "did you mean label?"),
        ("-i 3", UsageProblem, "-i 3 is no variable's name", "name variables, as in -i rows"),
        ("-o a-b", UsageProblem, "-o a-b is no variable's name", "name variables, as in -o rows"),
        ("-i", UsageProblem, "-i needs a value", ""),
    ],
)
def test_a_name_that_is_wrong_is_an_error_before_anything_runs(session, shell, words, problem, what, fix):
    shell.user_ns.update(rows=[1, 2], label="x")
    found = run(shell, f"%%gpu run trainer {words}\nran = 1").error_in_exec
    assert isinstance(found, problem)
    assert what in found.what
    assert fix in found.fix
    assert gpu.run("trainer", "there = 'ran' in globals()", outputs="there")["there"] is False


def test_variables_and_living_sessions_are_completed(session, shell):
    gpu.start("old")
    gpu.stop("old")
    shell.user_ns.update(rows=[1, 2], rules=3)
    assert complete(shell, "%%gpu run ") == ["trainer"]
    assert complete(shell, "%%gpu run trainer -i r") == ["rows", "rules"]
    assert complete(shell, "%%gpu run trainer -i rows,r") == ["rows,rules"]
    assert {"-i", "-o"} <= {*complete(shell, "%%gpu run trainer -i rows -")}


def test_the_help_says_what_both_flags_are(shell):
    text = run(shell, "%gpu run --help").result.content
    assert "%%gpu run NAME [-i NAME …] [-o NAME …]" in text
    assert "the variable for the result" not in text


def test_a_notebook_with_such_a_cell_runs_by_papermill(session, tmp_path):
    cells = [
        new_code_cell("%load_ext aiinfra_lab\nrows = [1, 2, 3]"),
        new_code_cell(
            "%%gpu run trainer -i rows -o total\nfrom IPython.display import HTML\nprint('there')\n"
            "display(HTML('<b>rich</b>'))\ntotal = sum(rows)"
        ),
        new_code_cell("print(total)"),
    ]
    language = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=language), tmp_path / "in.ipynb")
    done = papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)
    cell, last = done.cells[-2:]
    assert last.outputs[0].text == "6\n"
    # What takes long is shown meanwhile, in an output that is empty then; and a stream may come in pieces.
    shown = [each for each in cell.outputs if each.get("text") or any(each.get("data", {}).values())]
    *texts, rich, result = shown
    assert "".join(text.text for text in texts) == "there\n"
    assert rich.data["text/html"] == "<b>rich</b>"
    assert "total (1 B) came back" in result.data["text/plain"]


def test_an_error_over_there_ends_a_papermill_run_with_its_traceback(session, tmp_path):
    cells = [
        new_code_cell("%load_ext aiinfra_lab"),
        new_code_cell("%%gpu run trainer\ndef ratio():\n    1 / 0\nratio()"),
    ]
    language = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=language), tmp_path / "in.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match="ZeroDivisionError: division by zero"):
        papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)
    cell = next(cell for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells if "ratio" in cell.source)
    assert "ratio" in "\n".join(cell.outputs[-1].traceback)
    assert [output.output_type for output in cell.outputs] == ["error"]


@pytest.fixture
def notebook(session) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A kernel of a notebook's own, with the magics."""
    manager = KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=PATIENCE_S)
    client.execute_interactive("%load_ext aiinfra_lab", timeout=PATIENCE_S)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_notebooks_interrupt_reaches_the_cell_there(notebook):
    manager, client = notebook
    messages: list[dict[str, Any]] = []

    def hook(message: dict[str, Any]) -> None:
        messages.append(message)
        if message["msg_type"] == "stream":
            time.sleep(0.5)
            manager.interrupt_kernel()

    code = f"%%gpu run trainer\nimport time\nprint('begun')\ntime.sleep({4 * PATIENCE_S})\nover = 1"
    reply = client.execute_interactive(code, timeout=2 * PATIENCE_S, output_hook=hook)
    assert reply["content"]["ename"] == "CellInterrupted"
    assert any("KeyboardInterrupt" in line for line in messages[-2]["content"].get("traceback", []))
    assert gpu.run("trainer", "state = 'over' in globals()", outputs="state")["state"] is False
