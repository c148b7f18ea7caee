"""gpu.11: what is left of a session, or of a step of a pipeline, 5 s after each way in which it can end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import gpu, kernels
from aiinfra_lab.host.spec import read_state
from aiinfra_lab.kernels import KeptKernel
from tests.conftest import end_supervisor, until
from tests.kernels.test_keeper import core_pid, keeper_pids
from tests.recipe.test_leftovers import HIDING

from ._workspaces import workspace
from .rows import Figure, exactly, row

WITHIN_S = 5.0
NAME = "bench"
# Three children: one that hides from its parent, one that ignores every signal, and one in the background.
CHILDREN = HIDING.replace("time.sleep(300)\n", "") + (
    "deaf = 'import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(300)'\n"
    "import sys\n[subprocess.Popen(each) for each in ([sys.executable, '-c', deaf], ['sleep', '300'])]\n"
)


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


def _session_ends(home: Path) -> dict[str, Callable[[KeptKernel], object]]:
    """By name what ends a session; where its keeper is killed it is started again, and the session is stopped then."""

    def without_keeper(kept: KeptKernel) -> None:
        end_supervisor(home)
        for pid in keeper_pids(NAME):
            _kill(pid)
        gpu.stop(NAME)

    def without_supervisor(kept: KeptKernel) -> None:
        end_supervisor(home)
        gpu.stop(NAME)

    def deadline(kept: KeptKernel) -> None:
        gpu.start(NAME, for_="2s")
        time.sleep(2)

    return {
        "stop": lambda kept: gpu.stop(NAME),
        "deadline": deadline,
        "kernel killed, then stop": lambda kept: (_kill(kept.state().kernel_pid), gpu.stop(NAME)),
        "kernel killed again and again": _crashes,
        "core killed": lambda kept: _kill(core_pid(kept)),
        "guard killed": lambda kept: _kill(_guard(kept)),
        "second guard killed": lambda kept: _kill(psutil.Process(core_pid(kept)).ppid()),
        "guard and core killed": lambda kept: (_kill(core_pid(kept)), _kill(_guard(kept))),
        "keeper and supervisor killed, then stop": without_keeper,
        "supervisor killed, then stop": without_supervisor,
    }


def _guard(kept: KeptKernel) -> int:
    found = read_state(kept.host)
    assert found is not None
    return found.pid


def _crashes(kept: KeptKernel) -> None:
    """Until its host gives up."""
    while kept.state().phase != "ended":
        if kept.state().phase == "ready" and psutil.pid_exists(pid := kept.state().kernel_pid):
            _kill(pid)
        time.sleep(0.1)


def _step_ends() -> dict[str, Callable[[subprocess.Popen[bytes], psutil.Process], object]]:
    """By name what ends a step, given who runs the pipeline and the step's kernel."""

    def ancestor(kernel: psutil.Process, above: int) -> int:
        for _ in range(above):
            kernel = kernel.parent() or kernel
        return kernel.pid

    return {
        "runner asked": lambda runner, kernel: _kill(runner.pid, signal.SIGTERM),
        "runner interrupted": lambda runner, kernel: _kill(runner.pid, signal.SIGINT),
        "runner killed": lambda runner, kernel: _kill(runner.pid),
        "kernel killed": lambda runner, kernel: _kill(kernel.pid),
        "core killed": lambda runner, kernel: _kill(ancestor(kernel, 1)),
        "guard killed": lambda runner, kernel: _kill(ancestor(kernel, 3)),
        "second guard killed": lambda runner, kernel: _kill(ancestor(kernel, 2)),
        "guard and core killed": lambda runner, kernel: [_kill(each) for each in (ancestor(kernel, 3), kernel.ppid())],
    }


@row("gpu.11", "processes alive 5 s after each way to end", "0")
def ends(full: bool) -> Iterator[Figure]:
    """Of a session and of a step, with children that hide, ignore signals, or just stay."""
    left = {}
    with workspace() as home:
        for name, end in _session_ends(home).items():
            left[f"session: {name}"] = _after_session(home, end)
    for name, finish in _step_ends().items():
        with workspace() as home:
            left[f"step: {name}"] = _after_step(home, finish)
    bad = "; ".join(f"{name}: {count}" for name, count in left.items() if count)
    note = bad or f"{len(left)} ways: {', '.join(left)}"
    yield Figure("left after each way to end", sum(left.values()), "processes", exactly(0), note=note)


def _after_session(home: Path, end: Callable[[KeptKernel], object]) -> int:
    (home / "begun").unlink(missing_ok=True)
    gpu.start(NAME)
    kept = KeptKernel.of(f"gpu:{NAME}")
    kernels.execute(kept, CHILDREN, lambda output: None)
    tree = _tree(_guard(kept), home)
    end(kept)
    left = _left(tree)
    if gpu.show(NAME).state in ("running", "starting", "stopping"):
        gpu.stop(NAME)
    return left


def _after_step(home: Path, end: Callable[[subprocess.Popen[bytes], psutil.Process], object]) -> int:
    for folder in ("notebooks", "recipes"):
        (home / folder).mkdir()
    cells = [new_code_cell(CHILDREN), new_code_cell("time.sleep(300)")]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), home / "notebooks" / "slow.ipynb")
    (home / "recipes" / "one.toml").write_text('[steps.slow]\nnotebook = "slow.ipynb"\n')
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one"]
    runner = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until((home / "notebooks" / "begun").exists)
    kernel = psutil.Process(json.loads((home / "notebooks" / "begun").read_text())[0])
    core = kernel.parent()
    assert core is not None
    tree = _tree(psutil.Process(core.ppid()).ppid(), home / "notebooks")
    end(runner, kernel)
    left = _left(tree)
    runner.kill()
    runner.wait()
    return left


def _tree(guard: int, folder: Path) -> list[psutil.Process]:
    """The host core with all below it, the child that hides included."""
    top = psutil.Process(guard)
    hidden = psutil.Process(json.loads((folder / "begun").read_text())[1])
    return [top, *top.children(recursive=True), hidden]


def _left(tree: list[psutil.Process]) -> int:
    """How many of them live after the time that they have; all are ended."""
    until_at = time.monotonic() + WITHIN_S
    while (living := [each for each in tree if _lives(each)]) and time.monotonic() < until_at:
        time.sleep(0.05)
    for each in living:
        each.kill()
    return len(living)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
