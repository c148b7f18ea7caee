"""The guards that watch every other test notice what they are there to notice."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", b"localhost", "", None])
def test_this_machine_is_local(host: object) -> None:
    assert conftest.is_local(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.1", "2001:db8::1", "telemetry.example", "localhost.example"])
def test_anything_else_is_outside(host: object) -> None:
    assert not conftest.is_local(host)


def test_a_connection_to_the_outside_is_noticed() -> None:
    before = len(conftest.outside)
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.settimeout(0.01)
        probe.connect(("192.0.2.1", 9))
    heard = conftest.outside[before:]
    del conftest.outside[before:]
    assert heard == ["socket.connect ('192.0.2.1', 9)"]


def test_a_process_that_outlives_its_test_is_found(tmp_path: Path) -> None:
    env = {**os.environ, "AIINFRA_WORKSPACE": str(tmp_path)}
    left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env)
    try:
        # Its environment can be read only a moment after `Popen` has returned.
        assert conftest.until(lambda: [pid for pid, _ in conftest.processes_of(tmp_path)]) == [left.pid]
        assert conftest.processes_of(tmp_path / "other") == []
    finally:
        left.communicate()
    assert conftest.processes_of(tmp_path) == []
