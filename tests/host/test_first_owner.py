"""A core waits for its first owner as long as that lives: who begins one may be killed before it connects."""

import os
import subprocess
import sys
import time

import pytest

from aiinfra_lab.host.spec import HostSpec, read_state
from aiinfra_lab.kernels.kept import end_host, is_hosted
from aiinfra_lab.kernels.reach import LocalReach
from tests.conftest import until

KERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.mark.parametrize("lives", [False, True])
def test_a_core_waits_for_its_first_owner_as_long_as_that_lives(tmp_path, lives):
    other = subprocess.Popen([sys.executable, "-c", ""])
    other.wait()
    folder, owner = tmp_path / "host", os.getpid() if lives else other.pid
    env = dict(os.environ)
    LocalReach(folder).begin(HostSpec(str(folder), KERNEL, str(tmp_path), env, "key", alone_s=0.2, owner_pid=owner))
    try:
        if lives:
            time.sleep(1.5)
            assert is_hosted(folder)
        else:
            until(lambda: not is_hosted(folder))
            assert read_state(folder).why == "its owner is gone"
    finally:
        end_host(folder)
        until(lambda: not is_hosted(folder))
