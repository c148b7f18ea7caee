"""How a notebook ends, whatever its cells and its kernel do."""

from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab.errors import Failed
from aiinfra_lab.recipe.base import NotebookTask
from aiinfra_lab.recipe.engine import execute, running
from tests.host.test_kernel import ENDS

NO_TEXT = "class A:\n    def _repr_mimebundle_(self, **_):\n        return {'text/plain': 5}\nA()"


@pytest.fixture
def task(tmp_path: Path):
    """`task("1 / 0")`"""

    def of(*sources: str) -> NotebookTask:
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        cells = [new_code_cell(source) for source in sources]
        nbformat.write(new_notebook(cells=cells, metadata=metadata), tmp_path / "a.ipynb")
        return NotebookTask(tmp_path / "a.ipynb", tmp_path / "out.ipynb")

    return of


def test_an_output_that_no_notebook_may_hold_fails_it(task):
    outcome = execute(task(NO_TEXT, "1"), lambda: 0)
    assert (outcome.state, outcome.error[:24], "\n" in outcome.error) == ("failed", "NotebookValidationError:", False)
    made = nbformat.read(task(NO_TEXT, "1").archive, as_version=4)
    nbformat.validate(made)
    assert made.metadata["aiinfra"]["state"] == "failed"
    assert [cell.metadata["aiinfra"]["state"] for cell in made.cells] == ["failed", "not_run"]


@pytest.mark.parametrize("urgency", [0, 1])
def test_a_core_that_is_ended_while_it_begins_is_stopped_if_that_was_asked_for(task, monkeypatch, urgency):
    def ended(*_args, **_options):
        raise Failed("its host core did not start: -15", "try again")

    monkeypatch.setattr(running, "run_into", ended)
    if urgency:
        assert execute(task("1"), lambda: urgency).state == "stopped"
    else:
        with pytest.raises(Failed, match="did not start"):
            execute(task("1"), lambda: urgency)
    state = nbformat.read(task("1").archive, as_version=4).metadata["aiinfra"]["state"]
    assert state == ("stopped" if urgency else "failed")


@pytest.mark.parametrize("pool", ["off", "on"])
def test_what_answers_the_request_to_shut_down_is_through_before_what_publishes_ends(task, tmp_path, monkeypatch, pool):
    """Else it may publish to that for ever, and the run waits until the kernel is killed."""
    monkeypatch.setenv("AIINFRA_POOL", pool)
    file = tmp_path / "seen"
    assert execute(task(ENDS.format(file=str(file))), lambda: 0).state == "done"
    assert file.read_text() == "False"


def test_of_a_kernel_without_memory_the_cell_is_known(task):
    done = execute(
        replace(task("x = b'x' * (600 << 20)\nimport time; time.sleep(60)"), memory_bytes=300 << 20), lambda: 0
    )
    assert (done.state, done.cell) == ("oom", 1)
