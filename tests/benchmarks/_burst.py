"""`python -m tests.benchmarks._burst warm|stock COUNT`: as many kernels at once, to the end of imports that take long.

Prints the seconds that took, and how much memory is theirs alone, with what keeps them.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.manager import AsyncKernelManager

from aiinfra_lab.host.spec import read_state
from aiinfra_lab.kernels.hosted import HostedKernelManager

CODE = "import pandas, torch, mlflow"


async def ready(manager: Any) -> Any:
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(120)
    reply = await client.execute(CODE, reply=True, timeout=300)
    assert reply["content"]["status"] == "ok", reply
    return client


def private_bytes(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean", "Private_Dirty")):
                total += int(line.split()[1]) << 10
    return total


def warm(place: Path, at: int) -> HostedKernelManager:
    sockets = place / str(at)
    sockets.mkdir()
    manager = HostedKernelManager(transport="ipc", connection_file=f"{sockets}/kernel.json")
    manager.folder = sockets / "kept"
    return manager


def processes(manager: Any) -> list[int]:
    if isinstance(manager, HostedKernelManager):
        state = read_state(manager.folder / "host")
        assert state is not None
        guard = psutil.Process(state.pid)
        return [guard.pid, *(each.pid for each in guard.children(recursive=True))]
    return [manager.provisioner.pid]


async def main(kind: str, count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as name:
        managers = [warm(Path(name), at) if kind == "warm" else AsyncKernelManager() for at in range(count)]
        began = time.perf_counter()
        clients = await asyncio.gather(*map(ready, managers))
        took_s = time.perf_counter() - began
        private = private_bytes([pid for each in managers for pid in processes(each)])
        for client in clients:
            client.stop_channels()
        await asyncio.gather(*(each.shutdown_kernel(now=True) for each in managers))
    sys.stdout.write(json.dumps({"took_s": took_s, "private_gb": private / 1e9}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
