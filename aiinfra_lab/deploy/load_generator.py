"""An open-loop load generator: requests are sent at a steady rate, whether the endpoint keeps up or not.

Latency counts from when a request was due, so that a slow endpoint cannot hide by slowing its clients. Bounded in time,
number and connections.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import selectors
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

CONNECTIONS = 32
ANSWER_S = 30.0
# A generator whose thread waits less than this share of the time has no time left to send more.
LEAST_IDLE = 0.25


@dataclass
class LoadCounts:
    """What came of the requests so far. refused: answered with 4xx. errors: 5xx, no score, or no answer at all.

    rate: requests a second that were asked for. idle_s: for how long the generator had nothing to do but to wait.
    """

    rate: float = 0.0
    sent: int = 0
    ok: int = 0
    refused: int = 0
    errors: int = 0
    rows: int = 0
    took_s: float = 0.0
    idle_s: float = 0.0
    versions: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    first_problem: str = ""
    interrupted: bool = False

    @property
    def is_own_limit(self) -> bool:
        """Whether the generator itself could not keep up, so that the latencies are its own wait as well."""
        is_behind = self.sent < 0.99 * self.rate * self.took_s
        return is_behind and self.idle_s < LEAST_IDLE * self.took_s

    def quantile_ms(self, share: float) -> float | None:
        """The latency that this share of the answers stayed within."""
        found = sorted(self.latencies_ms)
        return found[min(len(found) - 1, int(share * len(found)))] if found else None


def requests_in(rate: float, for_s: float) -> int:
    """How many requests are sent at `rate` a second for that long: at least one, a part of one is a whole one."""
    # Rounded before: 100 a second for 1.1 s are 110.00000000000001 as a float.
    return max(1, math.ceil(round(rate * for_s, 6)))


def send(
    url: str,
    bodies: Sequence[bytes],
    rate: float,
    for_s: float,
    progress: Callable[[LoadCounts], None],
) -> LoadCounts:
    """Send the bodies in turn, `rate` a second for that long, and wait for the answers.

    It works on a thread of its own, since a notebook has an event loop already. Ctrl-C ends the sending; the counts
    have `interrupted`.
    """
    counts, stop, done = LoadCounts(rate), threading.Event(), threading.Event()
    problems: list[BaseException] = []
    wanted, selector = requests_in(rate, for_s), _Selector()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
                runner.run(_send(urlsplit(url), bodies, rate, wanted, counts, stop))
            counts.idle_s = selector.idle_s
        except BaseException as problem:  # noqa: BLE001  # handed to the thread that waits
            problems.append(problem)
        finally:
            done.set()

    thread = threading.Thread(target=work, name="load-generator", daemon=True)
    thread.start()
    try:
        # Not by join(timeout): after Ctrl-C in it, Python 3.11 takes the thread for ended, and answers go uncounted.
        while not done.wait(0.1):
            progress(counts)
    except KeyboardInterrupt:
        counts.interrupted = True
    finally:
        stop.set()
        done.wait()
        thread.join()
    if problems:
        raise problems[0]
    return counts


class _Selector(selectors.DefaultSelector):
    """Measures how long its loop waits."""

    idle_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        started = time.perf_counter()
        try:
            return super().select(timeout)
        finally:
            self.idle_s += time.perf_counter() - started


async def _send(
    address: SplitResult, bodies: Sequence[bytes], rate: float, wanted: int, counts: LoadCounts, stop: threading.Event
) -> None:
    # One count for all: whichever client is free sends the next, so that a slow answer holds up few others.
    numbers, started = itertools.count(), time.perf_counter()

    async def client() -> None:
        connection = _Client(address)
        while (number := next(numbers)) < wanted and not stop.is_set():
            due = started + number / rate
            while (pause := due - time.perf_counter()) > 0 and not stop.is_set():
                # In short steps: at a low rate, a stop would else be noticed late.
                await asyncio.sleep(min(pause, 0.2))
            if stop.is_set():
                break
            counts.sent += 1
            status, body = await connection.post(bodies[number % len(bodies)])
            _count(counts, status, body, (time.perf_counter() - due) * 1000)
        connection.close()

    await asyncio.gather(*(client() for _ in range(min(CONNECTIONS, max(1, wanted)))))
    counts.took_s = time.perf_counter() - started


def _count(counts: LoadCounts, status: int, body: bytes, latency_ms: float) -> None:
    answer = _decoded(body)
    predictions = answer.get("predictions", [])
    problem = next((item["error"] for item in predictions if "error" in item), answer.get("error", {}).get("what"))
    counts.latencies_ms.append(latency_ms)
    if status == 200 and problem is None:
        counts.ok += 1
        counts.rows += len(predictions)
    elif 400 <= status < 500:
        counts.refused += 1
    else:
        counts.errors += 1
    if predictions:
        counts.versions[answer["model"]] += 1
    if problem is not None or status != 200:
        counts.first_problem = counts.first_problem or str(problem or "the connection was lost")


def _decoded(body: bytes) -> dict[str, Any]:
    """The JSON object that was answered; whatever else came is an error of the endpoint."""
    import orjson

    try:
        answer = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        answer = None
    return answer if isinstance(answer, dict) else {"error": {"what": "the answer is no JSON object"}}


class _Client:
    """One connection that is kept, and made again when it was lost."""

    def __init__(self, address: SplitResult) -> None:
        self._address = address
        self._head = f"POST {address.path.rstrip('/')}/predict HTTP/1.1\r\nhost: {address.netloc}\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; status 0 when there was none."""
        try:
            return await asyncio.wait_for(self._post(body), ANSWER_S)
        # An answer that is late may still come, and on this connection it would be taken for the next request's.
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()
            return 0, b""

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        import httptools

        if self._streams is None:
            address, is_tls = self._address, self._address.scheme == "https"
            port = address.port or (443 if is_tls else 80)
            self._streams = await asyncio.open_connection(address.hostname, port, ssl=is_tls or None)
        reader, writer = self._streams
        writer.write(b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body))
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
