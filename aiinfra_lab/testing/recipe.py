"""What every executor of a recipe's notebooks keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from ..errors import LabError
from ..recipe.base import (
    FAILURES,
    Executor,
    MayBeAwaited,
    MayWait,
    NotebookTask,
    Outcome,
    TaskHandle,
    Value,
)

__all__ = ["ExecutorContract"]

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
SLOW = "import time; time.sleep(120)"


def write_notebook(path: Path, *cells: str, parameters: str = "", kernel: Mapping[str, str] = KERNEL) -> Path:
    """A notebook file whose first cell holds the parameters' defaults."""
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})  # type: ignore[no-untyped-call]
    made = [first, *map(new_code_cell, cells)]
    metadata = {"kernelspec": dict(kernel)}
    nbformat.write(new_notebook(cells=made, metadata=metadata), path)  # type: ignore[no-untyped-call]
    return path


def never(_handle: TaskHandle) -> None:
    """Nobody asks for the end."""


def after(seconds: float, *, again_s: float | None = None) -> Callable[[TaskHandle], None]:
    """Somebody asks for the end so long after now, and so long after that once more, for it at once."""
    at = time.monotonic() + seconds

    def ask(handle: TaskHandle) -> None:
        late_s = time.monotonic() - at
        if late_s >= 0:
            handle.cancel(at_once=again_s is not None and late_s >= again_s)

    return ask


def run(
    executor: Executor,
    notebook: Path,
    archive: Path,
    ask: Callable[[TaskHandle], None] = never,
    parameters: Mapping[str, Value] | None = None,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Execute it with nothing special unless given. ask: called again and again while it goes on."""
    handle = executor.submit(NotebookTask(notebook, archive, parameters or {}, env or {}))
    while not handle.poll():
        ask(handle)
        time.sleep(0.02)
    return handle.collect()


def code_cells(archive: Path) -> list[Any]:
    """The code cells of an archive, which is a valid notebook."""
    notebook = nbformat.read(archive, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(archive: Path) -> str:
    """Everything that the archive's cells printed."""
    outputs = [output for cell in code_cells(archive) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def has_run(cell: Any) -> bool:
    """Whether the archive says that the cell ran."""
    return bool(cell.execution_count or cell.outputs)


class ExecutorContract:
    """A provider's test inherits this and gives the fixture `executor`.

    The cells of its notebooks are Python and use the standard library only; they see no file of the test's.
    """

    def test_a_notebook_that_comes_to_its_end_is_done(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "x = 20 + 1", "print('x is', 2 * x)")
        assert run(executor, notebook, tmp_path / "out.ipynb") == Outcome("done")
        assert printed(tmp_path / "out.ipynb") == "x is 42\n"

    def test_the_file_itself_stays_as_it_is(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "print(1)")
        before = notebook.read_bytes()
        run(executor, notebook, tmp_path / "out.ipynb")
        assert notebook.read_bytes() == before

    def test_parameters_arrive_as_they_were_given(self, executor: Executor, tmp_path: Path) -> None:
        given: dict[str, Value] = {
            "n": 7,
            "x": -0.5,
            "yes": True,
            "text": 'it\'s "é" \\ \n $x',
            "some": [1, {"k": "a"}],
        }
        source = f"import json; print(json.dumps([{', '.join(given)}]))"
        notebook = write_notebook(tmp_path / "a.ipynb", source, parameters="n = x = yes = text = some = None")
        assert run(executor, notebook, tmp_path / "out.ipynb", parameters=given).state == "done"
        assert json.loads(printed(tmp_path / "out.ipynb")) == list(given.values())

    def test_parameters_have_the_types_that_the_notebook_declares(self, executor: Executor, tmp_path: Path) -> None:
        imports = "import datetime as dt\nfrom pathlib import Path\n"
        declared = f"{imports}day: dt.date = dt.date(2026, 1, 1)\nwhere: Path = Path('a')"
        notebook = write_notebook(tmp_path / "a.ipynb", "print(day.year, where.name)", parameters=declared)
        given: dict[str, Value] = {"day": "2021-02-03", "where": "b/c.csv"}
        assert run(executor, notebook, tmp_path / "out.ipynb", parameters=given).state == "done"
        assert printed(tmp_path / "out.ipynb") == "2021 c.csv\n"

    def test_without_parameters_the_defaults_hold(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "print(x)", parameters="x: int = 3")
        run(executor, notebook, tmp_path / "out.ipynb")
        assert printed(tmp_path / "out.ipynb") == "3\n"

    def test_the_environment_reaches_the_cells(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "import os; print(os.environ['AIINFRA_CONTEXT'])")
        run(executor, notebook, tmp_path / "out.ipynb", env={"AIINFRA_CONTEXT": "recipe:r@1/a"})
        assert printed(tmp_path / "out.ipynb") == "recipe:r@1/a\n"

    def test_a_cell_that_raises_fails_the_notebook_and_ends_it(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "print('before')", "1 / 0", "print('never')")
        outcome = run(executor, notebook, tmp_path / "out.ipynb")
        *_, failed, last = code_cells(tmp_path / "out.ipynb")
        assert (outcome.state, outcome.error) == ("failed", "ZeroDivisionError: division by zero")
        assert failed.outputs[-1].ename == "ZeroDivisionError"
        assert (printed(tmp_path / "out.ipynb"), has_run(last)) == ("before\n", False)

    def test_a_process_that_dies_fails_the_notebook(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "print('before')", "import os; os._exit(3)", "print('never')")
        outcome = run(executor, notebook, tmp_path / "out.ipynb")
        assert (outcome.state in FAILURES, bool(outcome.error)) == (True, True)
        assert (printed(tmp_path / "out.ipynb"), has_run(code_cells(tmp_path / "out.ipynb")[-1])) == ("before\n", False)

    def test_stop_reaches_the_cell_that_runs(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", SLOW, "print('never')")
        # A kernel takes a second or two to start: before that, no cell would be running.
        outcome = run(executor, notebook, tmp_path / "out.ipynb", after(3.0))
        assert outcome.state == "stopped"
        assert not has_run(code_cells(tmp_path / "out.ipynb")[-1])

    def test_what_was_to_stop_before_it_began_runs_no_cell(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "print('never')")
        assert run(executor, notebook, tmp_path / "out.ipynb", after(0.0)).state == "stopped"
        assert printed(tmp_path / "out.ipynb") == ""

    def test_what_does_not_heed_is_killed_at_once(self, executor: Executor, tmp_path: Path) -> None:
        deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
        notebook = write_notebook(tmp_path / "a.ipynb", deaf, SLOW, "print('never')")
        began = time.monotonic()
        outcome = run(executor, notebook, tmp_path / "out.ipynb", after(3.0, again_s=0.5))
        assert outcome.state == "stopped"
        assert time.monotonic() - began < 60, "the cell takes two minutes"
        assert not has_run(code_cells(tmp_path / "out.ipynb")[-1])

    def test_several_go_on_at_once_and_each_has_its_own_archive(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "print(x)", parameters="x = 0")
        tasks = [NotebookTask(notebook, tmp_path / f"{x}.ipynb", {"x": x}) for x in range(3)]
        begun: list[TaskHandle] = []
        for task in tasks:
            while not executor.has_room(task):
                time.sleep(0.02)
            begun.append(executor.submit(task))
        assert [handle.collect() for handle in begun] == [Outcome("done")] * 3
        assert [printed(task.archive) for task in tasks] == ["0\n", "1\n", "2\n"]

    def test_its_end_can_be_awaited_and_it_has_begun_then(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "import time; time.sleep(0.5)")
        handle = executor.submit(NotebookTask(notebook, tmp_path / "out.ipynb"))
        if isinstance(handle, MayBeAwaited):
            handle.wait_for_end(0.0)
            handle.wait_for_end(300.0)
            assert handle.poll()
        assert handle.collect() == Outcome("done")
        assert not isinstance(handle, MayWait) or handle.has_begun

    def test_what_has_ended_makes_room(self, executor: Executor, tmp_path: Path) -> None:
        task = NotebookTask(write_notebook(tmp_path / "a.ipynb", "print(1)"), tmp_path / "out.ipynb")
        begun: list[TaskHandle] = []
        while executor.has_room(task) and len(begun) < 4:
            begun.append(executor.submit(NotebookTask(task.notebook, tmp_path / f"{len(begun)}.ipynb")))
        assert begun, "there is room while nothing goes on"
        assert {handle.collect().state for handle in begun} == {"done"}
        assert executor.has_room(task)

    def test_it_may_run_again_with_another_archive(self, executor: Executor, tmp_path: Path) -> None:
        notebook = write_notebook(tmp_path / "a.ipynb", "print(x)", parameters="x = 1")
        run(executor, notebook, tmp_path / "one.ipynb")
        run(executor, notebook, tmp_path / "two.ipynb", parameters={"x": 2})
        assert (printed(tmp_path / "one.ipynb"), printed(tmp_path / "two.ipynb")) == ("1\n", "2\n")

    def test_what_cannot_be_started_is_a_failure(self, executor: Executor, tmp_path: Path) -> None:
        kernel = {"name": "no-such-kernel", "display_name": "none", "language": "klingon"}
        notebook = write_notebook(tmp_path / "a.ipynb", "print('never')", kernel=kernel)
        try:
            outcome = run(executor, notebook, tmp_path / "out.ipynb")
        except LabError as problem:  # of submit or of collect
            outcome = Outcome("failed", problem.fix)
        assert (outcome.state, bool(outcome.error)) == ("failed", True)
