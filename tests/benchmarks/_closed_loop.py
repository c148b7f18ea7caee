"""`python -m tests.benchmarks._closed_loop PORT CLIENTS SECONDS BODIES`: clients that ask again once answered.

BODIES is a file of bodies, one on each line: each request takes the next one. One that begins as a stream of Arrow's is
one body.
"""

import asyncio
import gc
import itertools
import json
import sys
import time
from pathlib import Path

import uvloop

ARROW = b"\xff\xff\xff\xff"


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: "Run") -> None:
        self.run = run

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.parts, self.got, self.wanted = [], 0, 0
        self.at = time.perf_counter()
        self.transport.write(next(self.run.requests))

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        if not self.wanted:
            self.parts.append(data)
            whole = b"".join(self.parts)
            head = whole.find(b"\r\n\r\n")
            if head < 0:
                return
            length = whole[:head].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self.wanted, self.good = head + 4 + int(length), whole[9:12] == b"200"
        if self.got >= self.wanted:
            now = time.perf_counter()
            self.run.taken.append(now - self.at)
            self.run.failed += not self.good
            if now < self.run.ends:
                self.ask()

    def connection_lost(self, problem) -> None:
        if time.perf_counter() < self.run.ends:
            self.run.failed += 1


class Run:
    """What all clients share."""

    def __init__(self, bodies: list[bytes], seconds: float) -> None:
        kind = b"application/vnd.apache.arrow.stream" if bodies[0].startswith(ARROW) else b"application/json"
        head = b"POST /%b HTTP/1.1\r\nhost: localhost\r\ncontent-type: " + kind + b"\r\ncontent-length: %d\r\n\r\n%b"
        path = b"invocations" if bodies[0].startswith(b'{"inputs"') else b"predict"
        self.requests = itertools.cycle([head % (path, len(body), body) for body in bodies])
        self.taken: list[float] = []
        self.failed = 0
        self.ends = time.perf_counter() + seconds


async def main(port: int, clients: int, seconds: float, bodies: list[bytes]) -> Run:
    run = Run(bodies, seconds)
    loop = asyncio.get_running_loop()
    for _ in range(clients):
        await loop.create_connection(lambda: Client(run), "127.0.0.1", port)
    await asyncio.sleep(run.ends - time.perf_counter() + 0.2)
    return run


if __name__ == "__main__":
    gc.disable()
    file = Path(sys.argv[4]).read_bytes()
    bodies = [file] if file.startswith(ARROW) else file.splitlines()
    found = uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), bodies))
    taken = sorted(found.taken)
    print(
        json.dumps(
            {
                "requests": len(taken),
                "failed": found.failed,
                "p50_ms": taken[len(taken) // 2] * 1000,
                "p99_ms": taken[int(len(taken) * 0.99)] * 1000,
                "max_ms": taken[-1] * 1000,
            }
        )
    )
