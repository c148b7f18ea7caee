"""Runs whose process is killed at a random moment while a cell puts out megabytes: what is left of them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import nbformat
import psutil

PIECES = 200
# 8 MB within two seconds, each piece with the moment at which it was put out.
NOISY = f"""
import time
for piece in range({PIECES}):
    print(f"<{{time.time():.3f}}>" + "x" * 40_000, flush=True)
    time.sleep(0.01)
"""
ARCHIVES = "*@*/s.ipynb"
LASTS_S = 4.0
GONE_WITHIN_S = 2.0
_MOMENT = re.compile(r"<(\d+\.\d+)>")


@dataclass
class SuddenEnds:
    """What was seen. lost_s: of each kill, how long before it the last output was put out that is kept."""

    kills: int = 0
    unreadable: int = 0
    left_alive: int = 0
    lost_s: list[float] = field(default_factory=list)


def kill_runs(folder: Path, argv: list[str], env: dict[str, str], times: int, seed: int) -> SuddenEnds:
    """Begin the run so often, and kill its process each time. folder: of the executed notebooks, `NAME@N/s.ipynb`"""
    found, moments = SuddenEnds(), random.Random(seed)
    for at in range(times):
        before = set(folder.glob(ARCHIVES))
        mark = f"sudden-{os.getpid()}-{at}"
        run = subprocess.Popen(argv, env={**env, "AIINFRA_BENCH_MARK": mark}, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.0, LASTS_S))
        if run.poll() is not None:
            continue
        killed_at = time.time()
        run.send_signal(signal.SIGKILL)
        run.wait()
        found.kills += 1
        time.sleep(GONE_WITHIN_S)
        found.left_alive += len(_marked(mark))
        for archive in set(folder.glob(ARCHIVES)) - before:
            _read(archive, killed_at, found)
    return found


def _read(archive: Path, killed_at: float, found: SuddenEnds) -> None:
    try:
        notebook = nbformat.read(archive, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
    except (OSError, ValueError, nbformat.ValidationError):
        found.unreadable += 1
        return
    moments = [float(each) for each in _MOMENT.findall(json.dumps(notebook.cells))]
    began = notebook.cells[-1].metadata["papermill"]["start_time"]
    # Where nothing of it is kept all since its begin is lost.
    since = moments[-1] if moments else datetime.fromisoformat(began).timestamp() if began else killed_at
    found.lost_s.append(0.0 if len(moments) == PIECES else max(0.0, killed_at - since))


def _marked(mark: str) -> list[int]:
    """The processes of that run which live still."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AIINFRA_BENCH_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
