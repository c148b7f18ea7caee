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
