"""The memory of the pool in huge pages."""

import os
import signal
from pathlib import Path

import pytest

from aiinfra_lab.pool import pages


def test_what_a_fork_writes_into_huge_pages_is_its_own() -> None:
    content = bytearray(b"a" * (8 << 20))
    if not pages.collapse():
        pytest.skip("this system has no huge pages on demand")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        content[4 << 20] = ord("b")
        os.write(write, content[(4 << 20) - 1 : (4 << 20) + 2])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"aba"
    assert content == b"a" * (8 << 20)
    assert "AnonHugePages:         0 kB" not in Path("/proc/self/smaps_rollup").read_text()
