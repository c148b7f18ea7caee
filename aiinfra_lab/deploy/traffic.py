"""Sends real rows to an endpoint at a steady rate, whether it keeps up or not: latency counts from when a request was
due, so that a slow endpoint cannot hide by slowing its visitors. Bounded in time, number and connections.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

CONNECTIONS = 32
ANSWER_S = 30.0


@dataclass
class Tally:
    """What came of the requests so far. refused: answered with 4xx. errors: 5xx, no score, or no answer at all."""

    sent: int = 0
    ok: int = 0
    refused: int = 0
    errors: int = 0
    rows: int = 0
    took_s: float = 0.0
    versions: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    first_problem: str = ""
    interrupted: bool = False

    def quantile_ms(self, share: float) -> float | None:
        """The latency that this share of the answers stayed within."""
        found = sorted(self.latencies_ms)
        return found[min(len(found) - 1, int(share * len(found)))] if found else None


def send(
    url: str,
    bodies: Sequence[bytes],
    rate: float,
    for_s: float,
    progress: Callable[[Tally], None],
    most: int | None = None,
) -> Tally:
    """Send the bodies in turn, `rate` a second for that long, and wait for the answers.

    It works on a thread of its own, since a notebook has an event loop already. Ctrl-C ends the sending; the tally
    says so.
    """
    tally, stop, done = Tally(), threading.Event(), threading.Event()
    wanted = min(int(rate * for_s), most or 1 << 62)

    def work() -> None:
        try:
            asyncio.run(_send(urlsplit(url), bodies, rate, wanted, tally, stop))
        finally:
            done.set()

    thread = threading.Thread(target=work, name="traffic", daemon=True)
    thread.start()
    try:
        # Not by join(timeout): after Ctrl-C in it, Python 3.11 takes the thread for ended, and answers go uncounted.
        while not done.wait(0.1):
            progress(tally)
    except KeyboardInterrupt:
        tally.interrupted = True
    finally:
        stop.set()
        done.wait()
        thread.join()
    return tally


async def _send(
    where: Any, bodies: Sequence[bytes], rate: float, wanted: int, tally: Tally, stop: threading.Event
) -> None:
    numbers, started = itertools.count(), time.perf_counter()

    async def visitor() -> None:
        connection = _Visitor(where.hostname, where.port)
        while (number := next(numbers)) < wanted and not stop.is_set():
            due = started + number / rate
            while (pause := due - time.perf_counter()) > 0 and not stop.is_set():
                await asyncio.sleep(min(pause, 0.2))
            if stop.is_set():
                break
            tally.sent += 1
            status, body = await connection.post(bodies[number % len(bodies)])
            _count(tally, status, body, (time.perf_counter() - due) * 1000)
        connection.close()

    await asyncio.gather(*(visitor() for _ in range(min(CONNECTIONS, max(1, wanted)))))
    tally.took_s = time.perf_counter() - started


def _count(tally: Tally, status: int, body: bytes, latency_ms: float) -> None:
    import orjson

    answer = orjson.loads(body) if body else {}
    predictions = answer.get("predictions", [])
    problem = next((item["error"] for item in predictions if "error" in item), answer.get("error", {}).get("what"))
    tally.latencies_ms.append(latency_ms)
    if status == 200 and problem is None:
        tally.ok += 1
        tally.rows += len(predictions)
    elif 400 <= status < 500:
        tally.refused += 1
    else:
        tally.errors += 1
    if predictions:
        tally.versions[answer["model"]] += 1
    if problem is not None or status != 200:
        tally.first_problem = tally.first_problem or str(problem or "the connection was lost")


class _Visitor:
    """One connection that is kept, and made again when it was lost."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; status 0 when there was none."""
        try:
            return await asyncio.wait_for(self._post(body), ANSWER_S)
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()
            return 0, b""

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        import httptools

        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(b"POST /predict HTTP/1.1\r\nhost: endpoint\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            data = await reader.read(65_536)
            if not data:
                raise EOFError
            parser.feed_data(data)
        if not parser.should_keep_alive():
            self.close()
        return parser.get_status_code(), answer.body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _Answer:
    """What the parser fills."""

    def __init__(self) -> None:
        self.body = b""
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True
