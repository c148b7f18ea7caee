"""An executor from a package of its own: no kernel, no papermill, no file that both sides see.

The notebook goes through a pipe to an interpreter in a folder of its own, and what its cells print is read when that
has ended; the archive is made of that here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.recipe.base import NotebookTask, Outcome
from aiinfra_lab.recipe.engine.injected import inject

FAR_SIDE = """
import contextlib, io, json, sys
answers, names = sys.stdout, {"__name__": "__main__"}
for number, source in enumerate(json.loads(sys.stdin.readline()), 1):
    print(json.dumps({"begun": number}), file=answers, flush=True)
    out, error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(out):
            exec(source, names)
    except BaseException as problem:
        what = getattr(problem, "_render_traceback_", lambda: [str(problem)])()
        error = {"ename": type(problem).__name__, "evalue": str(problem), "traceback": what}
    print(json.dumps({"number": number, "text": out.getvalue(), "error": error}), file=answers, flush=True)
    if error:
        break
"""


class PipeExecutor:
    """See `Executor` for the contract. It has no thread, and room for two."""

    def __init__(self, where: Settings) -> None:
        self._going: list[Far] = []

    def has_room(self, task: NotebookTask) -> bool:
        self._going = [each for each in self._going if not each.poll()]
        return len(self._going) < 2

    def submit(self, task: NotebookTask) -> Far:
        made = nbformat.read(task.notebook, as_version=4)
        if made.metadata.kernelspec.language != "python":
            raise Unavailable("this executor runs Python only", "choose a Python kernel for the notebook")
        self._going.append(Far(task, made))
        return self._going[-1]


class Far:
    """See `TaskHandle`: an interpreter that answers into a file."""

    def __init__(self, task: NotebookTask, made: Any) -> None:
        self._archive, self._made, self._is_cancelled = task.archive, made, False
        inject(made, task.parameters, task.notebook)
        self._cells = [cell for cell in made.cells if cell.cell_type == "code"]
        self._folder = tempfile.TemporaryDirectory()
        self._answers = Path(self._folder.name, "answers")
        with self._answers.open("wb") as answers:
            self._process = subprocess.Popen(
                [sys.executable, "-c", FAR_SIDE],
                stdin=subprocess.PIPE,
                stdout=answers,
                env={**os.environ, **task.env},
                cwd=self._folder.name,
            )
        assert self._process.stdin is not None
        with self._process.stdin as far:
            far.write(json.dumps([cell.source for cell in self._cells]).encode() + b"\n")

    def poll(self) -> bool:
        return self._process.poll() is not None

    def cancel(self, *, at_once: bool = False) -> None:
        # It knows no interrupt: what is cancelled ends, however urgently.
        self._is_cancelled = self._is_cancelled or not self.poll()
        self._process.kill()

    def collect(self) -> Outcome:
        ended = self._process.wait()
        outcome = self._take() or (Outcome("failed", f"the interpreter ended with {ended}") if ended else None)
        self._archive.parent.mkdir(parents=True, exist_ok=True)
        self._archive.write_text(nbformat.writes(self._made), "utf-8")
        self._folder.cleanup()
        return Outcome("stopped") if self._is_cancelled else outcome or Outcome("done")

    def _take(self) -> Outcome | None:
        """Put what came back into the notebook; how it failed, if it did."""
        for line in self._answers.read_text("utf-8").splitlines():
            answer = json.loads(line)
            cell = self._cells[answer.get("begun", answer.get("number")) - 1]
            cell.execution_count = answer.get("begun", cell.execution_count)
            if answer.get("text"):
                cell.outputs.append(nbformat.v4.new_output("stream", text=answer["text"]))
            if error := answer.get("error"):
                cell.outputs.append(nbformat.v4.new_output("error", **error))
                return Outcome("failed", f"{error['ename']}: {error['evalue']}", answer["number"])
        return None
