"""The truth table of idleness, with real processes; the accelerators' driver is a script that answers as it does."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab.host import idle
from aiinfra_lab.host.idle import CpuTime, IdleWatch, others
from tests.conftest import PATIENCE_S, until

# Of a process of its own: what is below it are the kernel's processes, for it.
LOOKING = """
import sys, time
sys.path.insert(0, sys.argv[1])
from aiinfra_lab.host import idle
idle._GPU_S = 0.1
watch = idle.IdleWatch(1000.0, whole=sys.argv[2] == "whole", clock=time.monotonic)
from aiinfra_lab.host import processes
processes.adopt_orphans()
import subprocess
children = [subprocess.Popen([sys.executable, "-c", code]) for code in sys.argv[3:]]
print("begun", flush=True)
for line in sys.stdin:
    processes.reap()
    watch.look(line.strip())
    print(watch.use, flush=True)
for child in children:
    child.kill()
"""
ROOT = str(Path(__file__).parents[2])


class Looking:
    """A watch in a process of its own. `use` is what it sees after a few looks."""

    def __init__(self, *children: str, whole: bool = False, **env: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOOKING, ROOT, "whole" if whole else "", *children],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )
        assert self._read() == "begun"

    def use(self, busy: str = "") -> str:
        found = ""
        for _ in range(4):
            assert self._process.stdin is not None
            self._process.stdin.write(f"{busy}\n")
            self._process.stdin.flush()
            found = self._read()
            time.sleep(0.3)
        return found

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait(PATIENCE_S)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


@pytest.fixture
def looking(request) -> Iterator[Looking]:
    made: list[Looking] = []

    def make(*children: str, **options) -> Looking:
        made.append(Looking(*children, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def driver(tmp_path) -> dict[str, str]:
    """An environment in which the driver says how busy two accelerators are, as the file `busy` has it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "busy").write_text("0\n0\n")
    (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\ncat {tmp_path / 'busy'}\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


@pytest.fixture
def copying(tmp_path) -> Iterator[None]:
    """Somebody copies files to this machine."""
    (tmp_path / "here").mkdir()
    program = tmp_path / "here" / "sftp-server"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    process = subprocess.Popen([program, "300"])
    until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes())  # it has none while it begins
    yield
    process.kill()
    process.wait()


def test_a_kernel_that_runs_code_is_used_whatever_else_there_is(looking):
    assert looking().use("its kernel runs code") == "its kernel runs code"


def test_a_kernel_that_waits_is_not_used(looking, driver):
    assert looking("import time; time.sleep(300)", **driver).use() == ""


def test_a_thread_in_the_background_is_use(looking):
    assert looking("while True: pass").use().startswith("its processes compute, at ")


SHORT = "import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-ISc', 'sum(range(10**6))'])"
ORPHANS = """
import subprocess, sys, time
while True:
    subprocess.run(["sh", "-c", 'setsid "$0" -ISc "sum(range(10**6))" &', sys.executable])
    time.sleep(0.05)
"""


@pytest.mark.parametrize("commands", [SHORT, ORPHANS], ids=["waited_for", "orphans"])
def test_commands_that_each_end_soon_are_use(looking, commands):
    assert looking(commands).use().startswith("its processes compute, at ")


def test_what_a_command_took_counts_once_for_it_and_whoever_collects_it():
    loop, command, next_one = (1, b"0"), (2, b"7"), (3, b"9")
    before = {loop: CpuTime(1.0, 50.0), command: CpuTime(0.4, 0.0)}
    now = {loop: CpuTime(1.1, 50.7), next_one: CpuTime(0.2, 0.0)}
    assert idle.used_s(before, now) == pytest.approx(0.1 + 0.3 + 0.2)
    nobody_collected = {loop: CpuTime(1.1, 50.0)}
    assert idle.used_s(before, nobody_collected) == pytest.approx(0.1)
    assert idle.used_s(now, now) == 0.0


def test_what_the_driver_takes_to_answer_is_no_use(looking, driver, tmp_path):
    (tmp_path / "bin" / "nvidia-smi").write_text(
        "#!/bin/sh\ni=0; while [ $i -lt 90000 ]; do i=$((i+1)); done\necho 0\n"
    )
    assert looking(**driver).use() == ""
    assert looking(**driver).use() == ""


def test_a_busy_accelerator_is_use(looking, driver, tmp_path):
    watch = looking(**driver)
    assert watch.use() == ""
    (tmp_path / "busy").write_text("0\n40\n")
    assert watch.use() == "its accelerator computes"
    (tmp_path / "busy").write_text("[N/A]\n3\n")
    assert watch.use() == ""


def test_a_driver_that_hangs_holds_nobody_up(looking, driver, tmp_path):
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 300\n")
    began = time.monotonic()
    assert looking(**driver).use() == ""
    assert time.monotonic() - began < PATIENCE_S / 2


def test_whoever_copies_files_uses_a_machine_that_is_the_kernels_alone(copying):
    assert others() == "files are copied there"


def test_nobody_else_uses_a_machine_that_is_not(looking, copying):
    assert looking().use() == ""


@pytest.mark.parametrize(
    "command",
    [
        b"/usr/lib/openssh/sftp-server\0", b"sshd: root@internal-sftp\0", b"rsync\0--server\0-e.LsfxC\0.\0x\0",
        b"scp\0-r\0-t\0/tmp\0", b"/usr/bin/scp\0-f\0x\0",
    ],
)  # fmt: skip
def test_a_copy_is_known_by_its_command(command):
    assert idle._COPIES.search(command)


@pytest.mark.parametrize(
    "command", [b"python\0-m\0ipykernel\0", b"scp\0a\0host:b\0", b"sshd: root@pts/0\0", b"vi\0sftp\0"]
)
def test_other_commands_are_none(command):
    assert not idle._COPIES.search(command)


def test_it_is_idle_after_its_time_and_use_begins_it_anew():
    now = [100.0]
    watch = IdleWatch(60.0, whole=False, clock=lambda: now[0])
    watch.look("")
    assert not watch.is_idle()
    now[0] = 155.0
    watch.look("its kernel runs code")
    now[0] = 170.0
    watch.look("")
    assert (watch.use, watch.is_idle(), watch.idle_for_s()) == ("", False, 15.0)
    now[0] = 215.0
    assert watch.is_idle()
    watch.idle_s = None
    assert not watch.is_idle()
    assert watch.due_in() is None


def test_a_busy_accelerator_is_use_until_its_driver_was_asked_and_no_longer(driver, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", driver["PATH"])
    (tmp_path / "busy").write_text("40\n")
    now = [100.0]
    watch = IdleWatch(60.0, whole=False, clock=lambda: now[0])
    watch.look("")
    assert watch._gpu._asked is not None
    watch._gpu._asked.wait()
    now[0] = 109.0
    watch.look("")
    assert (watch.use, watch.idle_for_s()) == ("its accelerator computes", 9.0)


def test_a_short_time_without_use_has_the_driver_asked_within_it(driver, monkeypatch):
    monkeypatch.setenv("PATH", driver["PATH"])
    now = [100.0]
    watch = IdleWatch(12.0, whole=False, clock=lambda: now[0])
    watch.look("")
    first = watch._gpu._asked
    assert first is not None
    first.wait()
    now[0] = 103.0
    watch.look("")
    assert watch._gpu._asked not in (None, first)
