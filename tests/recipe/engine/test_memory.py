"""What a process takes, and what the system tells of processes that it killed."""

import os
import signal
import subprocess
import sys

from aiinfra_lab.recipe.engine import memory


def test_a_process_takes_what_it_has_written_to():
    code = "x = b'x' * (100 << 20); print('there', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        assert 100 << 20 <= memory.process_bytes(process.pid) < 200 << 20
        process.communicate(b"\n")
    assert memory.process_bytes(process.pid) == 0


def test_pages_that_are_shared_are_counted_once():
    before = memory.process_bytes(os.getpid())
    shared = b"x" * (200 << 20)
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    both = memory.process_bytes(os.getpid()) + memory.process_bytes(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert both < before * 2 + len(shared) * 1.5


def test_a_kernel_that_the_system_killed_for_memory_is_told_apart(monkeypatch):
    kills = iter([3, 4])
    monkeypatch.setattr(memory, "oom_kills", lambda: next(kills))
    assert memory.MemoryWatch(None, None).why_killed() == "the system killed it for want of memory"
    kills = iter([4, 4])
    assert memory.MemoryWatch(None, None).why_killed() == ""


def test_the_system_counts_them():
    assert memory.oom_kills() >= 0
