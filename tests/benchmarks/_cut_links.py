"""gpu.1: what is lost of a session's output over cut links, a killed server and a reloaded page."""

from __future__ import annotations

import asyncio
import re
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from aiinfra_lab import gpu, kernels
from aiinfra_lab.kernels import KeptKernel
from tests.jupyter_server import UNLIMITED, Server, serving
from tests.kernels.test_keeper import keeper_pids
from tests.sshd import SshHost

from ._workspaces import far_host, workspace
from .rows import Figure, at_most, exactly, row

CUTS_S = (1, 2, 3, 5, 8, 13, 21, 30, 40, 60, 5, 5, 6, 6, 7, 7, 8, 8, 2, 3)
BETWEEN_S = 2.0
CONNECT_S = 120.0
LONGEST_S = 60.0
RELOAD_AFTER, KILL_AFTER = 6, 12
NAME = "bench"
# As many as wanted, and on until the last cut is over: each shall fall into something that is said.
LINES = """
import os, sys, time
n = 0
while n < {count} or not os.path.exists({over!r}):
    print(f'line {{n}} at {{time.time()}} ' + 'x' * 1000 * (n % 10 == 0)); sys.stdout.flush()
    n += 1
    if n % 50 == 0 and not os.path.exists({over!r}): time.sleep(0.13)
print('in all', n)
"""
MEGABYTES = """
import os, sys
for n in range({count}):
    print(os.urandom(500_000).hex()); sys.stdout.flush()
"""


@dataclass
class Page(threading.Thread):
    """A page that is open until `stop`, and reads whatever comes. printed_at: when the last of it was put out."""

    server: Server
    kernel: str
    code: str = ""
    printed_at: float = 0.0
    stopped: bool = False
    is_open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.start()
        assert self.is_open.wait(CONNECT_S), "the page did not open"

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        asyncio.run(self._read())

    async def _read(self) -> None:
        async with self.server.page(self.kernel) as page:
            self.is_open.set()
            if self.code:
                await page.execute(self.code)
            while not self.stopped:
                try:
                    found = await page.next(within_s=0.5)
                except TimeoutError:
                    continue
                except ConnectionError:
                    return
                if times := re.findall(r" at ([\d.]+) ", found["content"].get("text", "")):
                    self.printed_at = float(times[-1])

    def stop(self) -> None:
        self.stopped = True
        self.join()


class Waited(NamedTuple):
    """Seconds from the link's return until the page has something that was put out during the cut, and all of it."""

    first_s: float
    all_s: float


def _numbers(text: str) -> Iterator[int]:
    return map(int, re.findall(r"line (\d+)", text))


@row("gpu.1", "output over cut links", "0 lost, 0 doubled, in order, same kernel; reconnected <= 3 s; <= 100 MB")
def cut_links(full: bool) -> Iterator[Figure]:
    """20 cuts of 240 s in all, half with a new client address; short: of a sixth of that, and of the messages."""
    part = 1.0 if full else 1 / 6
    cuts, count = [max(0.5, each * part) for each in CUTS_S], int(100_000 * part)
    with workspace() as home, far_host(home) as host:
        gpu.start(NAME, on="ssh")
        kept = KeptKernel.of(f"gpu:{NAME}")
        pid = kept.state().kernel_pid
        after = _disturbed(home, host, kept, cuts, LINES.format(count=count, over=str(home / "over")))
        outputs: list[kernels.Output] = []
        kernels.follow(kept, outputs.append)  # what `gpu get` shows
        text = "".join(each["content"].get("text", "") for each in outputs)
        lines, count = list(_numbers(text)), int(text.rpartition("in all ")[2])
        note = f"{count:,} messages in {len(outputs):,} outputs, {sum(cuts):.0f} s of cuts, a reload, a killed server"
        yield Figure("lost", count - len(set(lines)), "messages", exactly(0), note=note)
        yield Figure("doubled", len(lines) - len(set(lines)), "messages", exactly(0))
        yield Figure("out of order", sum(a > b for a, b in pairwise(lines)), "", exactly(0))
        yield Figure("kernels that took its place", int(kept.state().kernel_pid != pid), "", exactly(0))
        first_s, all_s = zip(*after, strict=True)
        spread = f"median {statistics.median(first_s):.1f} s of {len(first_s)}"
        spread = f"{spread}; all that it kept: median {statistics.median(all_s):.1f}, longest {max(all_s):.1f} s"
        yield Figure("what a cut kept, on the page after the link was back", max(first_s), "s", at_most(3), note=spread)
        yield from _memory(host, kept, 1000 if full else 100)


def _disturbed(home: Path, host: SshHost, kept: KeptKernel, cuts: Sequence[float], code: str) -> list[Waited]:
    """For each cut."""
    found: list[Waited] = []
    with serving(home, *UNLIMITED) as server:
        page = Page(server, server.open("a.ipynb", kept.state().kernel), code)
        for at, cut_s in enumerate(cuts[:KILL_AFTER]):
            if at == RELOAD_AFTER:
                page.stop()
                page = Page(server, page.kernel)
            found.append(_cut(host, page, cut_s, moves=at % 2 == 1))
        server.process.kill()
        page.stop()
    with serving(home, *UNLIMITED) as server:
        page = Page(server, server.open("a.ipynb", kept.state().kernel))
        for at, cut_s in enumerate(cuts[KILL_AFTER:], KILL_AFTER):
            found.append(_cut(host, page, cut_s, moves=at % 2 == 1))
        (home / "over").touch()
        page.stop()
    return found


def _cut(host: SshHost, page: Page, cut_s: float, *, moves: bool) -> Waited:
    time.sleep(BETWEEN_S)
    host.set_link("down")
    cut_at = time.time()
    time.sleep(cut_s)
    if moves:
        host.move()
    began = time.time()
    host.set_link("up")
    # What was put out before the cut may still be on its way to the page.
    return Waited(*(_until(page, at) - began for at in (cut_at, began)))


def _until(page: Page, printed_at: float) -> float:
    """When the page has what was put out then."""
    end_at = time.time() + LONGEST_S
    while page.printed_at < printed_at and time.time() < end_at:
        time.sleep(0.02)
    return time.time()


def _memory(host: SshHost, kept: KeptKernel, megabytes: int) -> Iterator[Figure]:
    lines = 0

    def count(output: kernels.Output) -> None:
        nonlocal lines
        lines += output["content"].get("text", "").count("\n")

    kernels.execute(kept, MEGABYTES.format(count=megabytes), count)
    there = (
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline | grep -q ' keep $' && grep VmHWM $p/status; done; true"
    )
    core = max(int(each) / 1024 for each in re.findall(r"VmHWM:\s+(\d+) kB", host.run("sh", "-c", there)))
    keeper = max(_peak(pid) for pid in keeper_pids(NAME))
    note = f"after {megabytes:,} MB of output"
    yield Figure("lost of a flood", megabytes - lines, "MB", exactly(0), note=note)
    yield Figure("memory of the host core, at most", core, "MiB", at_most(100), note=note)
    yield Figure("memory of the keeper, at most", keeper, "MiB", at_most(100), note=note)


def _peak(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
