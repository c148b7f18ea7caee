"""`python -m aiinfra_lab.deploy.load_client`: the process that sends a load test's requests.

Open loop: requests are sent at a steady rate, whether the endpoint keeps up or not, each on a connection of its own
until it is answered. Latency counts from when a request was due if it had to wait for a connection, so that a slow
endpoint cannot hide by slowing its clients. What the client itself was late is measured apart.

It reads a `LoadPlan` from its standard input, writes `LoadCounts` as lines of JSON, and stops when its input ends.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from .load_generator import LoadCounts, LoadPlan

ANSWER_S = 30.0
SHOW_S = 0.1
_SCHEDULE = Path("/proc/self/schedstat")


class _Prediction(msgspec.Struct):
    error: Any = None


class _Answer(msgspec.Struct):
    model: str = ""
    predictions: list[_Prediction] = []
    error: Any = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


class LoadClient:
    """Sends what the plan says over as many connections as it takes."""

    def __init__(self, plan: LoadPlan, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.counts = LoadCounts(plan.rate)
        self.ended = loop.create_future()
        address = urlsplit(plan.url)
        head = f"POST {address.path.rstrip('/')}/predict HTTP/1.1\r\nhost: {address.netloc}\r\n".encode()
        self._requests = [b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body) for body in plan.bodies]
        self._is_tls = address.scheme == "https"
        self._host, self._port = address.hostname or "", address.port or (443 if self._is_tls else 80)
        self._rate, self._wanted, self._most = plan.rate, plan.wanted, plan.connections
        self._free: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._next = self._waiting = 0
        self._started = 0.0

    async def run(self) -> LoadCounts:
        """Send everything, and wait for the answers."""
        cpu, waited = time.process_time(), _waited_s()
        self._started = time.perf_counter()
        self._tick()
        self._look()
        await self.ended
        counts = self.counts
        counts.took_s = time.perf_counter() - self._started
        counts.sending_s = counts.sending_s or counts.took_s
        counts.cpu_s, counts.waited_s = time.process_time() - cpu, _waited_s() - waited
        for connection in list(self._all):
            connection.abort()
        counts.ended = True
        return counts

    def stop(self) -> None:
        """Send nothing more."""
        self._wanted = self._next
        self._end_if_done()

    def ready(self, connection: _Connection) -> None:
        """A connection has been opened, or its request answered: it takes the next one that waits for a connection."""
        now = time.perf_counter()
        if self._next < self._due(now):
            # While others were free, it was the client that was late, and no connection that lacked.
            self._send(connection, now, must_wait=not self._free)
        else:
            self._free.append(connection)

    def answered(self, connection: _Connection, status: int, body: bytes) -> None:
        """Count an answer; status 0 when there was none."""
        self._waiting -= 1
        _count(self.counts, status, body, (time.perf_counter() - connection.since) * 1000)
        self._end_if_done()

    def lost(self, connection: _Connection) -> None:
        """A connection is closed."""
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if self._next < self._wanted:
            self._open()

    def _due(self, now: float) -> int:
        """How many requests are due by now."""
        return min(self._wanted, int((now - self._started) * self._rate) + 1)

    def _tick(self) -> None:
        """Send what is due on what is free, and come again for the next."""
        now = time.perf_counter()
        due = self._due(now)
        while self._next < due and self._free:
            self._send(self._free.pop(), now, must_wait=False)
        self._open()
        if self._next < self._wanted:
            # What waits for a connection is sent when there is one: then only the next that comes due matters.
            pause = self._started + max(self._next, due) / self._rate - time.perf_counter()
            self.loop.call_later(max(0.001, pause), self._tick)

    def _open(self) -> None:
        """A connection for each request that waits for one, as far as there may be so many."""
        lacking = self._due(time.perf_counter()) - self._next - len(self._opening)
        for _ in range(min(lacking, self._most - len(self._all) - len(self._opening))):
            task = self.loop.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                _, connection = await self.loop.create_connection(
                    lambda: _Connection(self), self._host, self._port, ssl=self._is_tls or None
                )
        except (OSError, TimeoutError):
            if self._next < self._wanted:
                connection = _Connection(self)
                self._take(connection, time.perf_counter(), must_wait=True)
                self.answered(connection, 0, b"")
            return
        self._all.add(connection)
        self.ready(connection)

    def _send(self, connection: _Connection, now: float, *, must_wait: bool) -> None:
        connection.send(self._requests[self._take(connection, now, must_wait=must_wait) % len(self._requests)])

    def _take(self, connection: _Connection, now: float, *, must_wait: bool) -> int:
        """The number of the next request, which is that connection's now."""
        number, due = self._next, self._started + self._next / self._rate
        connection.since = due if must_wait else now
        if not must_wait:
            self.counts.lag.add((now - due) * 1000)
        self._next += 1
        self._waiting += 1
        self.counts.sent += 1
        if self._next >= self._wanted:
            self.counts.sending_s = now - self._started
        return number

    def _end_if_done(self) -> None:
        if self._next >= self._wanted and not self._waiting and not self.ended.done():
            self.ended.set_result(None)

    def _look(self) -> None:
        """Write the counts, and give up answers that do not come."""
        if self.ended.done():
            return
        late = time.perf_counter() - ANSWER_S
        for connection in list(self._all):
            # An answer that is late may still come, and would be taken for the next request's.
            if connection.is_busy and connection.sent_at < late:
                connection.abort()
        _write(self.counts)
        self.loop.call_later(SHOW_S, self._look)


class _Connection(asyncio.Protocol):
    """One connection with one request at a time. since: from when its latency counts."""

    def __init__(self, client: LoadClient) -> None:
        self.since = self.sent_at = 0.0
        self.is_busy = False
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""

    def send(self, request: bytes) -> None:
        self.is_busy, self._body, self.sent_at = True, b"", time.perf_counter()
        assert self._transport is not None
        self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's transport always: uvloop's has no common base class with asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, problem: Exception | None) -> None:
        self._transport = None
        if self.is_busy:
            self.is_busy = False
            self._client.answered(self, 0, b"")
        self._client.lost(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self.is_busy or status < 200:
            return
        self.is_busy = False
        self._client.answered(self, status, self._body)
        if self._parser.should_keep_alive():
            self._client.ready(self)
        else:
            self.abort()


def _count(counts: LoadCounts, status: int, body: bytes, latency_ms: float) -> None:
    try:
        answer = _decode(body) if body else _Answer()
        problem = answer.error.get("what") if isinstance(answer.error, dict) else answer.error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer, problem = _Answer(), "the answer is no JSON object as endpoints give it"
    failed = (item.error for item in answer.predictions if item.error is not None)
    problem = next(failed, problem)
    counts.latencies.add(latency_ms)
    if status == 200 and problem is None:
        counts.ok += 1
        counts.rows += len(answer.predictions)
    elif 400 <= status < 500:
        counts.refused += 1
    else:
        counts.errors += 1
    if answer.predictions:
        counts.versions[answer.model] = counts.versions.get(answer.model, 0) + 1
    if problem is not None or status != 200:
        counts.first_problem = counts.first_problem or str(problem or "the connection was lost")[:1000]


def _waited_s() -> float:
    """For how long this thread was ready to run while others ran; 0 where the system does not count it."""
    try:
        return int(_SCHEDULE.read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _write(counts: LoadCounts) -> None:
    sys.stdout.buffer.write(_encode(counts) + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    source = sys.stdin.buffer
    plan = msgspec.msgpack.decode(source.read(int.from_bytes(source.read(8))), type=LoadPlan)
    loop = asyncio.get_running_loop()
    client = LoadClient(plan, loop)

    def end() -> None:
        loop.remove_reader(source.fileno())
        client.stop()

    # Nothing follows the plan: what can be read is the end.
    loop.add_reader(source.fileno(), end)
    gc.collect()
    gc.freeze()
    _write(await client.run())


if __name__ == "__main__":
    uvloop.run(_main())
