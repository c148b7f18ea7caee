"""gpu.7: how a session behind a real sshd feels on a page, beside a plain kernel of the same Jupyter server."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiinfra_lab import gpu
from aiinfra_lab.kernels import KeptKernel
from tests.jupyter_server import UNLIMITED, Page, Server, serving

from ._workspaces import far_host, workspace
from .rows import Figure, at_most, row

NAME = "bench"
ROUNDS, PINGS = 5, 200
MEGABYTES = "import sys\nfor n in range(20): sys.stdout.write('x' * 1_000_000); sys.stdout.flush()"
WAITS = "import time\nprint('waits', flush=True)\nwhile True: time.sleep(0.05)"


@row(
    "gpu.7", "a session over ssh, on a page", "first output <= 3 s; round trip + 5 ms; 20 MB <= 2 s; interrupt <= 0.3 s"
)
def feels_local(full: bool) -> Iterator[Figure]:
    """The host is ready: no machine is waited for."""
    with workspace() as home, far_host(home):
        began = time.monotonic()
        gpu.start(NAME, on="ssh")
        start_s = time.monotonic() - began
        yield from asyncio.run(_measured(home, KeptKernel.of(f"gpu:{NAME}").state().kernel, start_s))


async def _measured(home: Path, name: str, start_s: float) -> list[Figure]:
    with serving(home, *UNLIMITED) as server:
        firsts = [await _first(server, name, f"{at}.ipynb") for at in range(ROUNDS)]
        plains = [await _first(server, "python3", f"p{at}.ipynb") for at in range(ROUNDS)]
        note = f"{ROUNDS} times, the worst {max(firsts):.2f} s; `gpu start` itself before: {start_s:.1f} s"
        peer = {"peer": statistics.median(plains), "peer_name": "a plain kernel, which starts"}
        figures = [Figure("request to first output", statistics.median(firsts), "s", at_most(3), note=note, **peer)]
        ours, plain = server.open("ours.ipynb", name), server.open("plain.ipynb", "python3")
        async with server.page(ours) as far, server.page(plain) as near:
            figures += await _round_trips(far, near)
            figures += [await _volume(far, near), await _interrupted(server, ours, far)]
        return figures


async def _first(server: Server, kernel: str, path: str) -> float:
    began = time.perf_counter()
    id_ = await asyncio.to_thread(server.open, path, kernel)
    async with server.page(id_) as page:
        await page.execute("print('first')")
        await _until(page, "text")
        took_s = time.perf_counter() - began
    await asyncio.to_thread(server.call, "DELETE", f"/api/kernels/{id_}")
    return took_s


async def _round_trips(far: Page, near: Page) -> list[Figure]:
    """In turn, so that other work on this machine slows both down."""
    ours, plain = [], []
    for _ in range(PINGS):
        for page, found in ((near, plain), (far, ours)):
            found.append(await _round_trip(page))
    figures = []
    for name, share, limit in (("p50", 0.5, 5), ("p95", 0.95, 15)):
        there, here = (sorted(each)[int(share * PINGS)] * 1000 for each in (ours, plain))
        note = f"{there:.1f} ms, a plain kernel {here:.1f} ms"
        figures.append(Figure(f"added to a round trip, {name}", there - here, "ms", at_most(limit), note=note))
    return figures


async def _round_trip(page: Page) -> float:
    began = time.perf_counter()
    await _replied(page, await page.execute("1"))
    return time.perf_counter() - began


async def _volume(far: Page, near: Page) -> Figure:
    took_s = []
    for page in (near, far):
        began = time.perf_counter()
        await _replied(page, await page.execute(MEGABYTES))
        took_s.append(time.perf_counter() - began)
    return Figure("20 MB of output", took_s[1], "s", at_most(2), peer=took_s[0], peer_name="a plain kernel")


async def _interrupted(server: Server, kernel: str, page: Page) -> Figure:
    took_s = []
    for _ in range(ROUNDS):
        asked = await page.execute(WAITS)
        await _until(page, "text")
        began = time.perf_counter()
        await asyncio.to_thread(server.call, "POST", f"/api/kernels/{kernel}/interrupt", {})
        await _replied(page, asked)
        took_s.append(time.perf_counter() - began)
    note = f"the worst of {ROUNDS}: {max(took_s):.2f} s"
    return Figure("interrupt", statistics.median(took_s), "s", at_most(0.3), note=note)


async def _until(page: Page, key: str) -> Any:
    while not (found := (await page.next())["content"].get(key)):
        pass
    return found


async def _replied(page: Page, asked: str) -> None:
    """Until both signs of the end of a request have come."""
    missing = {"execute_reply", "idle"}
    while missing:
        found = await page.next()
        if found["parent_header"].get("msg_id") == asked:
            missing -= {found["msg_type"], found["content"].get("execution_state")}
