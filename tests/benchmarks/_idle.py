"""gpu.4: whether the host itself tells a session in use from one that is not, in every combination of four things."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from aiinfra_lab.kernels.reach import CommandReach
from tests.hosts import Host
from tests.kernels.far import Far

from ._workspaces import needs_namespaces
from .rows import Figure, at_most, exactly, row

KERNEL, PAGE, GPU, OTHERS = ("busy", "idle", "thread"), ("open", "closed"), ("busy", "idle"), ("somebody", "none")
IDLE_S, LATE_S = 16.0, 5.0
AT_ONCE = 4
BUSY = "import time\nwhile True: time.sleep(0.2)"
THREAD = """
import threading
goes = [True]
def work():
    while goes[0]: pass
threading.Thread(target=work).start()
"""
# The driver's answer is a file's content; a terminal's client is known by its name alone, and ends with its parent.
DRIVER = "#!/bin/sh\ncat {0}\n"
TERMINAL = (
    "import ctypes, time; libc = ctypes.CDLL(None); libc.prctl(1, 9, 0, 0, 0);"
    "libc.prctl(15, b'tmux: client', 0, 0, 0); time.sleep(900)"
)
REASONS = {
    "busy": "its kernel runs code",
    "thread": "its processes compute",
    "gpu": "its accelerator computes",
    "others": "somebody is at a terminal there",
}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    kernel: str
    page: str
    gpu: str
    others: str

    def __str__(self) -> str:
        return f"kernel {self.kernel}, page {self.page}, GPU {self.gpu}, {self.others} there"

    @property
    def reason(self) -> str:
        """How its use begins in words; empty where nothing uses it."""
        if self.kernel != "idle":
            return REASONS[self.kernel]
        return REASONS["gpu"] if self.gpu == "busy" else REASONS["others"] if self.others == "somebody" else ""


@dataclass
class Seen:
    """What became of it. late_s: after its time without use; problem: empty when it was decided as it has to be."""

    case: Case
    late_s: float = 0.0
    problem: str = ""


@row("gpu.4", "idle or not, decided on the host", "24 of 24 with the reason, <= 5 s late")
def idle_table(full: bool) -> Iterator[Figure]:
    """Each is used for longer than its time without use, and must live; then its use ends, and so must it, in time."""
    needs_namespaces()
    cases = [Case(*each) for each in itertools.product(KERNEL, PAGE, GPU, OTHERS)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(_decided, cases, range(len(cases)), itertools.repeat(Path(folder))))
    wrong = [f"{each.case}: {each.problem}" for each in seen if each.problem]
    right = len(seen) - len(wrong)
    yield Figure("decided as they are, with the reason", right, "cases", exactly(24), note="; ".join(wrong)[:600])
    late = [each.late_s for each in seen if not each.problem]
    note = f"after {IDLE_S:.0f} s without use; the median {sorted(late)[len(late) // 2]:.1f} s" if late else ""
    yield Figure("decided late by, at most", max(late, default=0.0), "s", at_most(LATE_S), note=note)


def _decided(case: Case, number: int, folder: Path) -> Seen:
    host = Host(number, folder / f"host-{number}")
    try:
        return _lived(case, host)
    finally:
        host.remove()


def _lived(case: Case, host: Host) -> Seen:
    programs = host.folder / "bin"
    programs.mkdir()
    answer = host.folder / "gpu"
    answer.write_text("60\n" if case.gpu == "busy" else "0\n")
    driver = programs / "nvidia-smi"
    driver.write_text(DRIVER.format(answer))
    driver.chmod(0o755)
    somebody = _terminal(host) if case.others == "somebody" else None
    enter = [*host.enter, "env", f"PATH={programs}:/usr/bin:/bin", f"XDG_CACHE_HOME={host.folder}/cache"]
    far = Far(
        CommandReach(enter, str(host.folder / "core"), shell=False, python=sys.executable), host.folder / "core",
        host.folder / "here", idle_s=IDLE_S, whole=True,
    )  # fmt: skip
    far.until(lambda: far.state.phase == "ready")
    began = time.monotonic()
    if case.kernel != "idle":
        far.execute(BUSY if case.kernel == "busy" else THREAD)
    seen = Seen(case)
    if case.reason:
        if _served(far, case, IDLE_S + LATE_S + 3):
            seen.problem = f"ended: {far.state.why}"
        elif not far.state.use.startswith(case.reason):
            seen.problem = f"its use is {far.state.use!r}"
        _end_use(far, case, answer, somebody)
        began = time.monotonic()
    if not seen.problem:
        if not _served(far, case, IDLE_S + 4 * LATE_S):
            seen.problem = f"still there: {far.state.use!r}"
        elif far.state.why != "idle":
            seen.problem = f"ended: {far.state.why}"
        seen.late_s = time.monotonic() - began - IDLE_S
    if far.state.phase != "ended":
        far.end()
    if somebody is not None:
        somebody.kill()
        somebody.wait()
    return seen


def _served(far: Far, case: Case, for_s: float) -> bool:
    """Whether it ended within so long. A page that is open asks something now and then, as extensions do."""
    until, ask_at = time.monotonic() + for_s, 0.0
    while time.monotonic() < until and far.state.phase != "ended":
        if case.page == "open" and time.monotonic() > ask_at:
            ask_at = time.monotonic() + 1.3
            far.ask("kernel_info_request")
        far.serve(0.05)
    return far.state.phase == "ended"


def _end_use(far: Far, case: Case, answer: Path, somebody: subprocess.Popen[bytes] | None) -> None:
    answer.write_text("0\n")
    if somebody is not None:
        somebody.kill()
        somebody.wait()
    if case.kernel == "busy":
        far.command(b"signal", b"2")
    elif case.kernel == "thread":
        far.execute("goes[0] = False")
    far.serve(0.2)


def _terminal(host: Host) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*host.enter, sys.executable, "-c", TERMINAL])
