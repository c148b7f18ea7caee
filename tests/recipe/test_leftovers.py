"""However a step ends, nothing is left of what its notebook has started, whatever that did to hide."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import PATIENCE_S, until

# A child in a session of its own, of a parent that is gone, which has thrown its environment away.
HIDING = """
import json, os, pathlib, subprocess, time
subprocess.run(["setsid", "sh", "-c", "env -i sleep 300 >/dev/null 2>&1 & echo $! > child"], check=True)
child = int(pathlib.Path("child").read_text())
pathlib.Path("part").write_text(json.dumps([os.getpid(), child]))
pathlib.Path("part").rename("begun")
time.sleep(300)
"""


@pytest.fixture
def running(notebook, recipe) -> Iterator[subprocess.Popen[bytes]]:
    """A pipeline in a shell, whose step has begun."""
    folder = notebook("slow", "x: int = 1", HIDING).parent
    recipe("one", '[steps.slow]\nnotebook = "slow.ipynb"\n')
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one"]
    going = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until((folder / "begun").exists)
    yield going
    going.kill()
    going.wait(PATIENCE_S)


def step() -> tuple[psutil.Process, psutil.Process]:
    """Its kernel, and what that has started."""
    kernel, child = map(psutil.Process, json.loads((Path("notebooks") / "begun").read_text()))
    return kernel, child


def end(which: str, runner: subprocess.Popen[bytes]) -> None:
    kernel, _ = step()
    core = kernel.parent()
    assert core is not None
    pids = {"runner": runner.pid, "kernel": kernel.pid, "core": core.pid, "guard": core.ppid()}
    os.kill(pids[which.split()[0]], signal.SIGTERM if which.endswith("asked") else signal.SIGKILL)


@pytest.mark.parametrize("which", ["runner asked", "runner killed", "kernel killed", "core killed", "guard killed"])
def test_nothing_of_a_step_is_left(running, which):
    all_of_it = step()
    end(which, running)
    until_at = time.monotonic() + PATIENCE_S
    while living := [each.pid for each in all_of_it if _lives(each)]:
        assert time.monotonic() < until_at, living
        time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
