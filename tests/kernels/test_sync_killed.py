"""Either side's process is killed at any moment: the next sync goes on, and nothing is lost."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .two_sides import NOTHING_DONE, TwoSides, done, tree, write

# The near side, whose host is a process of its own.
NEAR = """
import subprocess, sys
from pathlib import Path
from aiinfra_lab.kernels import sync
from aiinfra_lab.kernels.reach import command_here
sync.BATCH_FILES = 20
near, far, state = map(Path, sys.argv[1:])
command = command_here("sync", str(far))
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as served:
    print(served.pid, flush=True)
    sync.sync(near, served.stdout, served.stdin, state=state, host="box")
    served.communicate()
"""


def start(both: TwoSides) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", NEAR, *map(str, (both.near, both.far, both.state))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("who", ["near", "host"])
def test_a_killed_process_costs_nothing_but_time(tmp_path: Path, who: str) -> None:
    both, chance = TwoSides(tmp_path), random.Random(who)
    for number in range(200):
        write(both.near / f"d{number % 5}/here{number}", f"here {number} " * 50)
        write(both.far / f"d{number % 5}/there{number}", f"there {number} " * 50)
    for _ in range(8):
        with start(both) as near:
            host = int(near.stdout.readline())  # type: ignore[union-attr]
            time.sleep(chance.uniform(0, 0.4))
            with contextlib.suppress(ProcessLookupError):  # it may be done
                os.kill(near.pid if who == "near" else host, signal.SIGKILL)
    both.sync()
    assert done(both.sync()) == NOTHING_DONE
    assert tree(both.near) == tree(both.far)
    assert sum(each[0] == "f" for each in tree(both.near).values()) == 400
    assert [path.name for path in (both.far / ".aiinfra/sync/incoming").iterdir()] == []
