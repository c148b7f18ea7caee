import signal
import subprocess
import sys

from aiinfra_lab.jobs import process

# A child in a session of its own whose parent is gone, and something that looks like a supervisor with a job.
END_ALL = """
import subprocess
from aiinfra_lab.jobs import process
from aiinfra_lab.host import processes; processes.adopt_orphans()
hidden = int(subprocess.check_output(["setsid", "sh", "-c", "env -i sleep 60 >/dev/null & echo $!"]))
spared = subprocess.Popen(["sh", "-c", "sleep 61 & echo $!; wait", "aiinfra_lab.jobs.supervisor"], stdout=-1, text=True)
below = int(spared.stdout.readline())
process.end_descendants()
print(*(bool(process.birth(pid)) for pid in (hidden, spared.pid, below)))
spared.kill()
process._kill(below)
"""


def born(pid: int) -> tuple[int, float]:
    return pid, process.birth(pid)


def test_waiting_ends_when_all_have_ended_or_the_time_is_over():
    short, long = (subprocess.Popen(["sleep", seconds]) for seconds in ("0.1", "60"))
    assert process.wait_ended([born(short.pid)], 30)
    assert not process.wait_ended([born(short.pid), born(long.pid)], 0.05)
    long.kill()
    assert process.wait_ended([(long.pid, process.birth(long.pid)), (0, 0.0)], 30)
    short.wait()
    long.wait()


def test_all_descendants_are_ended_but_the_supervisor_and_its_jobs():
    done = subprocess.run([sys.executable, "-c", END_ALL], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "False True True\n"


def test_a_group_that_is_gone_is_no_error():
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait()
    process.signal_group(gone.pid, signal.SIGTERM)
