"""The ways in which a notebook of a recipe ends, each brought about for real, and what is then said of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nbformat.v4 import new_code_cell, new_notebook, writes

PATIENCE_S = 60.0
WAIT = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(60)"
CELLS = {
    "done": "print('two')",
    "error": "1 / 0",
    "time is over": WAIT,
    "kernel is killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM to the runner": WAIT,
    "SIGINT to the runner": WAIT,
    "memory limit": f"x = b'x' * (900 << 20); {WAIT}",
}
KEYS = {"time is over": 'timeout = "6s"', "memory limit": 'memory = "500MB"'}
SIGNALS = {"SIGTERM to the runner": signal.SIGTERM, "SIGINT to the runner": signal.SIGINT}


@dataclass(frozen=True)
class Ending:
    """What is said: of the run and its step in the record, of the notebook and its cells in the archive, and which
    error a cell shows."""

    run: str
    step: str
    notebook: str
    cells: tuple[str, ...]
    papermill: tuple[str, ...]
    error: str


def _right(word: str, error: str) -> Ending:
    ran = ("done", "done", word, "not_run")
    return Ending(word, word, word, ran, ("completed", "completed", "failed", "pending"), error)


RIGHT: Mapping[str, Ending] = {
    "done": Ending("done", "done", "done", ("done",) * 4, ("completed",) * 4, ""),
    "error": _right("failed", "ZeroDivisionError"),
    "time is over": _right("timeout", "KeyboardInterrupt"),
    "kernel is killed": _right("killed", "DeadKernelError"),
    "SIGTERM to the runner": _right("interrupted", "KeyboardInterrupt"),
    "SIGINT to the runner": _right("interrupted", "KeyboardInterrupt"),
    "memory limit": _right("oom", "DeadKernelError"),
}


def bring_about(ending: str, folder: Path, env: Mapping[str, str]) -> Ending:
    """Run it in a fresh project of that folder; `env` names it."""
    for name in ("notebooks", "recipes"):
        (folder / name).mkdir(exist_ok=True)
    cells = [new_code_cell("x: int = 1", metadata={"tags": ["parameters"]})]  # type: ignore[no-untyped-call]
    cells += map(new_code_cell, ["print('one')", CELLS[ending], "print('never')"])
    (folder / "notebooks" / "a.ipynb").write_text(writes(new_notebook(cells=cells)))  # type: ignore[no-untyped-call]
    (folder / "recipes" / "one.toml").write_text(f'[steps.a]\nnotebook = "a.ipynb"\n{KEYS.get(ending, "")}\n')
    begun = folder / "notebooks" / "begun"
    begun.unlink(missing_ok=True)
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one", "--force"]
    going = subprocess.Popen(
        command, cwd=folder, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    )
    if number := SIGNALS.get(ending):
        _until(begun)
        os.kill(going.pid, number)
    going.wait(PATIENCE_S)
    show = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "log", "one", "--json"]
    found = subprocess.run(show, cwd=folder, env=dict(env), capture_output=True, text=True, check=True)
    run = json.loads(found.stdout)["items"][0]
    step = run["steps"]["a"]
    return _said(run["state"], step["state"], json.loads(Path(step["archive"]).read_text()))


def _said(run: str, step: str, notebook: dict) -> Ending:  # type: ignore[type-arg]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    errors = [output["ename"] for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    return Ending(
        run,
        step,
        notebook["metadata"]["aiinfra"]["state"],
        tuple(cell["metadata"]["aiinfra"]["state"] for cell in code),
        tuple(cell["metadata"]["papermill"]["status"] for cell in code),
        " ".join(errors),
    )


def _until(path: Path) -> None:
    end_at = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < end_at, f"{path.name} did not come"
        time.sleep(0.02)
