"""Outputs that nobody was connected for, shown again and written back into a notebook."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from aiinfra_lab import gpu, kernels
from aiinfra_lab.errors import Failed, NotFound, UsageProblem
from aiinfra_lab.kernels.recovery import executions
from tests.conftest import until
from tests.kernels.test_keeper import kill_keeper

SLOW = "import time\nfor n in range(10):\n    print(f'line {n}', flush=True)\n    time.sleep(0.2)"
LINES = "".join(f"line {n}\n" for n in range(10))


@pytest.fixture
def notebook(workspace: Path) -> Path:
    """A notebook whose cells have no outputs."""
    cells = [new_markdown_cell("# words"), *map(new_code_cell, ["a = 1", SLOW, "a", "a", "never run"])]
    nbformat.write(new_notebook(cells=cells), workspace / "work.ipynb")
    return workspace / "work.ipynb"


def outputs(path: Path) -> list[list[dict]]:
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_the_cells_of_a_notebook_get_what_they_lack(kept, run, notebook):
    for code in ("a = 1", SLOW, "a", "a"):
        run(code)
    done = gpu.get("trainer", into=notebook)
    assert (done.cells, done.running, done.notebook) == (4, False, str(notebook))
    found = outputs(notebook)
    assert found[0] == []
    assert found[1] == [new_output("stream", name="stdout", text=LINES)]
    assert [each[0].data["text/plain"] for each in found[2:4]] == ["1", "1"]
    assert found[4] == []
    counts = [cell.get("execution_count") for cell in nbformat.read(notebook, as_version=4).cells]
    assert counts == [None, 1, 2, 3, 4, None]
    before = notebook.read_bytes()
    assert gpu.get("trainer", into=notebook).cells == 0
    assert notebook.read_bytes() == before


def test_what_was_run_elsewhere_since_is_left(kept, run, notebook):
    run("a = 7")
    run("a")
    text = nbformat.read(notebook, as_version=4)
    cell = next(cell for cell in text.cells if cell.source == "a")
    cell.outputs, cell.execution_count = [new_output("stream", text="of another kernel")], 9
    nbformat.write(text, notebook)
    done = gpu.get("trainer", into=notebook)
    assert "1 cell left as they are" in done.notes[0]
    assert outputs(notebook)[2][0].text == "of another kernel"


def test_updates_and_clearing_end_as_they_would_on_the_page(kept, run, workspace):
    code = (
        "from IPython.display import clear_output, display\nprint('gone'); clear_output(wait=True)\n"
        "handle = display({'text/plain': 'old'}, raw=True, display_id=True)\n"
        "handle.update({'text/plain': 'new'}, raw=True)"
    )
    nbformat.write(new_notebook(cells=[new_code_cell(code)]), workspace / "one.ipynb")
    run(code)
    gpu.get("trainer", into="one.ipynb")
    assert [each.data["text/plain"] for each in outputs(workspace / "one.ipynb")[0]] == ["new"]


def test_an_error_is_written_as_the_page_shows_it(kept, run, workspace):
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), workspace / "one.ipynb")
    run("1 / 0")
    gpu.get("trainer", into="one.ipynb")
    assert outputs(workspace / "one.ipynb")[0][0].ename == "ZeroDivisionError"


def test_what_runs_is_shown_from_its_beginning_and_to_its_end(kept, capsys):
    with kernels.client._client(kept) as other:
        other.execute(SLOW)  # and its page is closed
        until(lambda: any(each.code == SLOW for each in executions(kept)))
    found = gpu.get("trainer")
    assert capsys.readouterr().out == LINES
    assert (found.code, found.state) == ("import time", "running")


def test_nothing_is_lost_while_no_keeper_lives_either(kept, notebook):
    with kernels.client._client(kept) as other:
        other.execute(SLOW)
        until(lambda: any(each.code == SLOW for each in executions(kept)))
    kill_keeper()
    until(lambda: any(each.code == SLOW and each.is_over for each in executions(kept)))
    gpu.get("trainer", into=notebook)
    assert outputs(notebook)[1] == [new_output("stream", name="stdout", text=LINES)]


def test_a_session_that_has_ended_still_tells(kept, run, notebook, capsys):
    run(SLOW)
    gpu.stop("trainer")
    assert gpu.get("trainer").code == "import time"
    assert capsys.readouterr().out == LINES
    assert gpu.get("trainer", into=notebook).cells == 1


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 11)", "time.sleep(0.5); os.kill(os.getpid(), 11)"])
def test_after_a_crash_it_is_the_cell_that_crashed_and_nothing_is_waited_for(kept, run, death):
    run("a = 1")
    with pytest.raises(Failed, match="SIGSEGV"):
        run(f"import os, time; {death}")
    found = gpu.get("trainer")
    assert found.code == f"import os, time; {death}"
    assert "SIGSEGV" in found.notes[0]
    run("a = 2")
    assert (gpu.get("trainer").code, gpu.get("trainer").notes) == ("a = 2", ())


def test_a_new_session_of_that_name_knows_nothing_of_the_one_before(kept, run):
    run("print('secret')")
    gpu.stop("trainer")
    gpu.start("trainer")
    found = gpu.get("trainer")
    assert (found.code, found.notes) == ("", ("no code has run in it yet",))


@pytest.mark.parametrize(
    ("name", "text", "error"), [("none.ipynb", None, NotFound), ("a.ipynb", "words", UsageProblem)]
)
def test_a_file_that_is_no_notebook_is_refused(kept, run, workspace, name, text, error):
    if text is not None:
        (workspace / name).write_text(text)
    run("1")
    with pytest.raises(error, match="notebook"):
        gpu.get("trainer", into=name)
