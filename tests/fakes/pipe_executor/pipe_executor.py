"""An executor from a package of its own: no kernel, no papermill, no file that both sides see.

The notebook goes through a pipe to an interpreter in a folder of its own, and what its cells print comes back line by
line; the archive is made of that here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.recipe.base import Outcome, Value

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
    """See `Executor` for the contract."""

    def __init__(self, where: Settings) -> None:
        self._workspace = where.workspace

    def run(
        self,
        notebook: Path,
        parameters: Mapping[str, Value],
        archive: Path,
        env: Mapping[str, str],
        stop_requested: Callable[[], bool],
    ) -> Outcome:
        made = nbformat.read(notebook, as_version=4)
        cells = [cell for cell in made.cells if cell.cell_type == "code"]
        if made.metadata.kernelspec.language != "python":
            raise Unavailable("this executor runs Python only", "choose a Python kernel for the notebook")
        cells[0].source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
        outcome = Outcome("stopped") if stop_requested() else _run(cells, env, stop_requested)
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_text(nbformat.writes(made), "utf-8")
        return outcome


def _run(cells: list[Any], env: Mapping[str, str], stop_requested: Callable[[], bool]) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        far = subprocess.Popen(
            [sys.executable, "-c", FAR_SIDE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **env},
            cwd=folder,
            text=True,
        )
        with far, _Killing(far, stop_requested):
            assert far.stdin is not None
            far.stdin.write(json.dumps([cell.source for cell in cells]) + "\n")
            far.stdin.flush()
            return _listen(far, cells, stop_requested)


def _listen(far: Any, cells: list[Any], stop_requested: Callable[[], bool]) -> Outcome:
    for line in far.stdout:
        answer = json.loads(line)
        cell = cells[answer.get("begun", answer.get("number")) - 1]
        cell.execution_count = answer.get("begun", cell.execution_count)
        if answer.get("text"):
            cell.outputs.append(nbformat.v4.new_output("stream", text=answer["text"]))
        if error := answer.get("error"):
            cell.outputs.append(nbformat.v4.new_output("error", **error))
            return Outcome("failed", f"{error['ename']}: {error['evalue']}", answer["number"])
    if stop_requested():
        return Outcome("stopped")
    ended = far.wait()
    return Outcome("failed", f"the interpreter ended with {ended}") if ended else Outcome("done")


class _Killing:
    """While it lasts, a stop request ends the far side."""

    def __init__(self, far: Any, stop_requested: Callable[[], bool]) -> None:
        self._far, self._stop_requested, self._over = far, stop_requested, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._far.kill()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            if self._stop_requested():
                self._far.kill()
                return
