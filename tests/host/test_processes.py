"""What is below a process is found, in whatever state its parents are."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from aiinfra_lab.host import processes
from tests.conftest import until

# Its first thread ends, another one goes on: as of a process that is killed while it has threads.
HALF_ENDED = """
import ctypes, subprocess, threading, time
print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, flush=True)
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_child_of_a_process_that_has_half_ended_is_found():
    with subprocess.Popen([sys.executable, "-c", HALF_ENDED], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            until(lambda: b") Z " in Path(f"/proc/{parent.pid}/stat").read_bytes())
            assert child in processes.descendants()
            assert parent.pid not in processes.descendants()
        finally:
            os.kill(child, signal.SIGKILL)
            parent.kill()


# An orphan that it adopts, and that ends; then nobody has collected it, and then somebody has.
ADOPTS = """
import os, signal, subprocess, sys, time
from aiinfra_lab.host import processes
processes.adopt_orphans()
print(processes.has_children())
orphan = int(subprocess.run(["sh", "-c", "sleep 600 >&2 & echo $!"], stdout=subprocess.PIPE).stdout)
print(processes.has_children(), [*processes.descendants()] == [orphan])
processes.end_descendants()
print(processes.has_children(), processes.is_alive(orphan))
processes.reap()
print(processes.has_children())
os.listdir = os.scandir = None  # all processes are not looked at
processes.end_descendants()
"""


def test_where_no_process_has_a_child_none_is_looked_for():
    done = subprocess.run([sys.executable, "-c", ADOPTS], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "True", "False", "False"]


# Two children, of which one is a pool with a child of its own.
POOL = """
import os, subprocess, time
from aiinfra_lab.host import processes
named = os.fork()
if named == 0:
    processes.take_name(processes.POOL)
    subprocess.run(["sleep", "600"], stdout=subprocess.DEVNULL)
    os._exit(0)
other = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
while processes.POOL not in open(f"/proc/{named}/comm").read():
    time.sleep(0.01)
print([*processes.descendants()] == [other.pid])
processes.end_descendants()
print(other.wait(), processes.is_alive(named), flush=True)
os.killpg(0, 9)
"""


def test_a_pool_is_none_of_those_below_who_began_it():
    done = subprocess.run(
        [sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True, check=False, start_new_session=True
    )
    assert done.stdout.split() == ["True", "-9", "True"]
