"""gpu.12: what looking at many sessions costs, and what they cost while nobody uses them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiinfra_lab import gpu
from aiinfra_lab.gpu.record import SessionRecord
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.store import Record, open_store
from tests.kernels.test_keeper import keeper_pids

from . import measure
from ._workspaces import workspace
from .rows import Figure, at_most, row

LIVE, SHORT, ENDED = 50, 10, 1000
REST_S = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")
LOADED = "from aiinfra_lab import gpu; from aiinfra_lab.gpu import noun; from aiinfra_lab.store import open_store"
LS = "assert len(gpu.ls().items) == {count}"
PANEL = "feed.look()"
FEED = f"{LOADED}; from aiinfra_lab.jupyter.items import ItemFeed; feed = ItemFeed(open_store())"


@row("gpu.12", "50 live sessions, 1,000 ended", "gpu ls and the panel <= 300 ms CPU; all keepers idle <= 1 % of a core")
def many(full: bool) -> Iterator[Figure]:
    """Real kernels, idle; short: 10 of them."""
    live = LIVE if full else SHORT
    with workspace():
        _write_ended()
        command = [sys.executable, "-m", "aiinfra_lab.cli", "gpu", "start"]
        with ThreadPoolExecutor(3) as pool:
            list(
                pool.map(lambda at: subprocess.run([*command, f"s{at}"], check=True, capture_output=True), range(live))
            )
        count = live + ENDED
        note = f"{live} live, {ENDED:,} ended"
        for what, before, code in (
            ("gpu ls", LOADED, LS.format(count=count)),
            ("the panel, first look", FEED, PANEL),
            ("the panel, each later look", f"{FEED}; {PANEL}", PANEL),
        ):
            cost = measure.statement(code, before=before)
            yield Figure(what, cost.cpu_s * 1000, "ms CPU", at_most(300), note=f"{note}; {cost.note}")
        names = [f"s{at}" for at in range(live)]
        time.sleep(5)
        yield _idle(names)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(gpu.stop, names))


def _write_ended() -> None:
    made: list[Record[SessionRecord] | Record[JobRecord]] = []
    for number in range(ENDED):
        at, job = float(number + 1), f"job-{number:06}-gpu"
        over = {"started_at": at, "ended_at": at + 60, "exit_code": 0}
        made.append(Record.new(job, JobRecord(subject=f"gpu:ended-{number}", state="done", supervised=True, **over)))
        session = SessionRecord(provider="local", gpu="cpu", usd_per_hour=1.0, ended_by="stopped", handle=job, **over)
        made.append(Record.new(f"ended-{number}", session))
    store = open_store()
    for start in range(0, len(made), 500):
        store.commit(made[start : start + 500])


def _idle(names: list[str]) -> Figure:
    """Processor time that all keepers take while nothing happens."""
    pids = [pid for name in names for pid in keeper_pids(name)]
    before, began = sum(map(_cpu_s, pids)), time.monotonic()
    time.sleep(REST_S)
    share = 100 * (sum(map(_cpu_s, pids)) - before) / (time.monotonic() - began)
    note = f"{len(names)} keepers were measured, at {share / len(names):.3f} % each"
    share *= LIVE / len(names)
    return Figure(f"{LIVE} keepers while nothing happens", share, "% of a core", at_most(1), note=note)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
