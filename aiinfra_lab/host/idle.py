"""Whether anybody uses a kernel's machine, decided there: by what the kernel does, and not by who has its page open.

Busy is not idle: a cell that runs for hours is use. An open tab is not busy: it asks for nothing. What counts besides
is processor time of the kernel's processes (a thread in the background, a loop of short commands), the accelerators,
and on a machine that was rented for the kernel alone also whoever is there: somebody at a terminal multiplexer or work
in it, a copy of files.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from . import processes

LOOK_S = 3.0  # between two looks; shorter than that nothing is decided late
CPU_SHARE = 0.05  # of one core: an idle kernel takes less than a tenth of it
GPU_PERCENT = 5
_DRIVER = "nvidia-smi"
# A shell says last what it and its command took, as 0m0.12s: whoever collects them first, we or the core, sees none.
_GPU = ["sh", "-c", f"{_DRIVER} --query-gpu=utilization.gpu --format=csv,noheader,nounits; times"]
_TOOK = re.compile(rb"(\d+)m([\d.]+)s")
_GPU_S = 10.0  # asking takes the driver up to a second
_TICKS = os.sysconf("SC_CLK_TCK")
_COPIES = re.compile(rb"(^|/)sftp-server\b|@internal-sftp|(^|/)rsync\0.*--server|(^|/)scp\0(.*\0)?-[tf]\0")


class IdleWatch:
    """idle_s: after so many seconds without use it is idle; None for never. whole: whether the machine is the kernel's
    alone. clock: seconds that nobody can set, and that count the machine's sleep. `use` says what it is used for now,
    and `used_at` until when it was."""

    def __init__(self, idle_s: float | None, *, whole: bool, clock: Callable[[], float]) -> None:
        self.idle_s, self._whole, self._clock = idle_s, whole, clock
        self.used_at, self.use = clock(), "it has just begun"
        self._looked_at = 0.0
        self._cpu: tuple[float, Mapping[Key, CpuTime]] | None = None
        self._gpu = _GpuProbe()

    def due_in(self) -> float | None:
        """Seconds until the next look; None when nobody asked for one."""
        return None if self.idle_s is None else max(0.0, self._looked_at + LOOK_S - self._clock())

    def look(self, busy: str) -> None:
        """See whether it is used now. busy: why the kernel itself counts as working, empty when it does not."""
        now = self._looked_at = self._clock()
        self._gpu.read()
        cpu = self._cpu_share(now)
        if busy:
            self._in_use(busy, now)
        elif cpu >= CPU_SHARE:
            self._in_use(f"its processes compute, at {cpu:.0%} of a core", now)
        elif self._gpu.is_busy(now, min(_GPU_S, (self.idle_s or _GPU_S) / 4)):
            self._in_use("its accelerator computes", self._gpu.seen_at)
        elif self._whole and (what := others()):
            self._in_use(what, now)
        else:
            self.use = ""

    def is_idle(self) -> bool:
        """Whether nobody has used it for the time that was given."""
        return self.idle_s is not None and self._clock() - self.used_at >= self.idle_s

    def idle_for_s(self) -> float:
        """Seconds since it was used last."""
        return self._clock() - self.used_at

    def _in_use(self, why: str, at: float) -> None:
        self.used_at, self.use = max(self.used_at, at), why

    def _cpu_share(self, now: float) -> float:
        """Cores that were busy since the last look: of the kernel's processes, or of all of this user."""
        before, self._cpu = self._cpu, (now, _cpu_times(self._whole, self._gpu))
        if before is None or now <= before[0]:
            return 0.0
        return used_s(before[1], self._cpu[1]) / (now - before[0])


class _GpuProbe:
    """Asks the driver how busy its accelerators are, beside what goes on: it may take a second to answer.

    seen_at: when it was asked what it answered last. took_s: processor time of the answers, which is no use: where
    the driver is loaded anew for each, that is a good part of a core."""

    def __init__(self) -> None:
        self._has_driver = shutil.which(_DRIVER) is not None
        self._asked: subprocess.Popen[bytes] | None = None
        self._asked_at, self._is_busy, self.seen_at, self.took_s = -_GPU_S, False, 0.0, 0.0

    @property
    def group(self) -> int:
        """The process group of what asks now; -1 for none, since threads of the system are in group 0."""
        return self._asked.pid if self._asked else -1

    def read(self) -> None:
        """Its answer, if that has come."""
        if self._asked is not None and self._asked.poll() is not None:
            answer = self._asked.communicate()[0]
            self._is_busy = any(int(each) >= GPU_PERCENT for each in answer.split() if each.isdigit())
            self.took_s += sum(int(minutes) * 60 + float(s) for minutes, s in _TOOK.findall(answer))
            self._asked, self.seen_at = None, self._asked_at

    def is_busy(self, now: float, every_s: float = _GPU_S) -> bool:
        """By its last answer; it is asked again after so long."""
        self.read()
        if self._asked is None and self._has_driver and now - self._asked_at >= every_s:
            self._asked_at = now
            with contextlib.suppress(OSError):
                self._asked = subprocess.Popen(
                    _GPU, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
                )
        return self._is_busy


def others() -> str:
    """What somebody does on this machine besides the kernel; empty for nothing."""
    own = os.getuid()
    with os.scandir("/proc") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and entry.stat().st_uid == own and (what := _purpose(Path(entry.path))):
                    return what
    return ""


def _purpose(process: Path) -> str:
    if (process / "comm").read_bytes().startswith((b"tmux: client", b"screen")):
        return "somebody is at a terminal there"
    if _COPIES.search((process / "cmdline").read_bytes()):
        return "files are copied there"
    return ""


Key = tuple[int, bytes]  # of a process: its number, which another may have later, and when it began


class CpuTime(NamedTuple):
    """Seconds of processor time that a process has taken itself, and those of its children that it has collected."""

    own: float
    children: float


def used_s(before: Mapping[Key, CpuTime], now: Mapping[Key, CpuTime]) -> float:
    """Seconds of processor time between two looks, also of what began and ended between them.

    What ended took its time to whoever collected it, with what it had taken before; or nowhere, when nobody did.
    """
    own, collected = 0.0, 0.0
    for key, time in now.items():
        last = before.get(key, CpuTime(0.0, 0.0))
        own += time.own - last.own
        collected += time.children - last.children
    return own + max(0.0, collected - sum(sum(time) for key, time in before.items() if key not in now))


def _cpu_times(whole: bool, probe: _GpuProbe) -> dict[Key, CpuTime]:
    """Of each process; of this one only what it collected, since the core adopts what its kernel leaves behind."""
    if not whole:
        pids = list(processes.descendants())
    else:
        own, mine = os.getuid(), (os.getpid(), os.getppid())
        found = [entry for entry in os.scandir("/proc") if entry.name.isdigit() and int(entry.name) not in mine]
        pids = [int(entry.name) for entry in found if _is_of(entry, own)]
    times = {}
    for pid in (os.getpid(), *pids):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            user, system, of_children, system_of_children = (int(ticks) / _TICKS for ticks in fields[11:15])
            time = CpuTime(user + system, of_children + system_of_children)  # as in proc(5)
            if pid == os.getpid():
                time = CpuTime(0.0, time.children - probe.took_s)
            if int(fields[2]) != probe.group:
                times[pid, fields[19]] = time
    return times


def _is_of(entry: os.DirEntry[str], user: int) -> bool:
    with contextlib.suppress(OSError):
        return entry.stat().st_uid == user
    return False
