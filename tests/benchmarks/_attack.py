"""What row deploy.10 does to an endpoint: bad requests, slow and idle clients, and good traffic beside them.

The attackers are threads of this process; the good traffic comes from another one, which they cannot slow down.
"""

import contextlib
import gzip
import json
import random
import re
import socket
import statistics
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil
import pytest

from aiinfra_lab import deploy, jobs
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.files import digests
from aiinfra_lab.store import open_store
from tests import records
from tests.browser.lab import end_all
from tests.deploy.conftest import ROW, artifact, ended, server_pid

from ._serving import Server
from .rows import Figure, exactly, ratio_at_least

SLOW_HEADS, IDLE, LONG_BODY = 300, 512, 50 << 20
ROUNDS, ROUND_S = 9, 1.5
HEALTH_S = 5.0
CONNECTIONS = 64
CLOSED = 0

_GOOD = json.dumps({"rows": [ROW], "key": "k"}).encode()
_PIECES = (
    b"\x00", b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b"NaN", b"Infinity", b"1e999", b"[" * 5000, b'{"a":' * 3000, b'"',
    b"\\", b"}", b"]", b'"temp":1,', b'"rows":[],', b"9" * 500, b"null", b"true", b"\r\n", b"\xef\xbb\xbf", b":", b",",
)  # fmt: skip
_HEADS = (
    b"", b"expect: 100-continue\r\n", b"expect: wonders\r\n", b"content-encoding: gzip\r\n",
    b"content-encoding: zstd\r\n",
    b"content-encoding: br\r\n", b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"content-length: -1\r\n",
    b"content-length: 99999999999999999999\r\n", b"host: evil.example\r\n", b"origin: http://evil.example\r\n",
    b"x: " + b"y" * 20_000 + b"\r\n", b"\x00\x01: x\r\n", b"no colon\r\n", b" folded: x\r\n", b"upgrade: h2c\r\n",
)  # fmt: skip
_LINES = (
    b"POST /predict HTTP/1.1", b"POST /predict HTTP/1.0", b"GET /predict HTTP/1.1", b"HEAD /predict HTTP/1.1",
    b"OPTIONS /predict HTTP/1.1", b"POST /nowhere HTTP/1.1", b"POST http://localhost/predict HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"POST /predict HTTP/9.9", b"BREW /predict HTTP/1.1", b"POST /pre\x00dict HTTP/1.1", b"\x16\x03\x01\x02\x00\x01",
    b"POST /v2/models/delay/infer HTTP/1.1", b"POST  /predict  HTTP/1.1", b"POST /" + b"a" * 30_000 + b" HTTP/1.1",
)  # fmt: skip
_LONG = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % LONG_BODY + bytes(LONG_BODY)


def figures(many: int) -> Iterator[Figure]:
    """Measure an endpoint with and without the attack, and what came of `many` bad requests."""
    with _endpoint() as url:
        server = psutil.Process(server_pid(_job()))
        _sent(url, server)  # everything is warm from here on
        with _Health(url) as health:
            pairs = []
            for _ in range(ROUNDS):
                calm = _sent(url, server)
                with _Siege(url):
                    pairs.append((_sent(url, server), calm))
            before = _answered(url)
            answers = _fuzz(url, many, random.Random(10))
            counted = _answered(url) - before
            with _Siege(url):
                # What the siege itself is answered comes in between: this part is not compared with the counts.
                besieged = _fuzz(url, many // 10, random.Random(11))
        crashes = (not server.is_running()) + jobs.poll(_job()).restarts
    ratios = [attacked / calm for attacked, calm in pairs]
    attacked, calm = pairs[ratios.index(statistics.median_low(ratios))]
    wrong = {status: count for status, count in (answers + besieged).items() if status >= 500}
    lost = sum(abs(counted[status] - count) for status, count in answers.items() if status not in (200, CLOSED))
    shown = ", ".join(f"{count:,} x {status or 'closed'}" for status, count in sorted(answers.items()))
    rounds = f"of the endpoint's own CPU time; rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)}"
    yield Figure("crashes", crashes, "", exactly(0))
    yield Figure("answers of 5xx to bad input", sum(wrong.values()), "", exactly(0), note=f"{many:,} requests: {shown}")
    yield Figure("refusals that /metrics does not count", lost, "", exactly(0))
    yield Figure("questions after health without an answer", health.failed, "", exactly(0), note=health.note)
    yield Figure("requests a second", attacked, "1/s", ratio_at_least(0.9), peer=calm, peer_name="calm", note=rounds)


@contextlib.contextmanager
def _endpoint() -> Iterator[str]:
    """The URL of an endpoint with a small table's model."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", folder)
        Path(folder, "aiinfra.toml").touch()
        files = digests(artifact(Path(folder, ".aiinfra", "models", "delay@1")))
        records.model(
            "delay@1", rows="features:delay@1", files=files, checked=ended("good", files), created_at=time.time()
        )
        try:
            yield deploy.start("delay", model="models:delay@1").url
        finally:
            end_all()


def _job() -> str:
    record = open_store().get(EndpointRecord, "delay")
    assert record
    return record.body.job


def _sent(url: str, server: psutil.Process) -> float:
    """Good requests for each second of the endpoint's CPU time, of clients that ask again once they are answered."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder, "body")
        body.write_bytes(_GOOD + b"\n")
        found = Server("attacked", _address(url)[1], server).ask(CONNECTIONS, ROUND_S, body)
    assert not found["failed"], found
    return 1e6 / found["cpu_us"]


def _answered(url: str) -> Counter[int]:
    """How many answers of each status the endpoint has counted."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=HEALTH_S) as answer:
        text = answer.read().decode()
    return Counter({int(code): int(n) for code, n in re.findall(r'answers_total\{.*status="(\d+)"\} (\d+)', text)})


class _Thread:
    """Work that goes on while a block runs."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._thread.join()

    def work(self) -> None:
        """Until `over` is set."""


class _Health(_Thread):
    """Asks whether the endpoint is well, on a connection of its own each time."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._took_ms: list[float] = []
        self.failed = 0

    def work(self) -> None:
        while not self.over.wait(0.02):
            began = time.perf_counter()
            try:
                with urllib.request.urlopen(f"{self._url}/healthz", timeout=HEALTH_S) as answer:
                    self.failed += answer.status != 200
            except OSError:
                self.failed += 1
            self._took_ms.append((time.perf_counter() - began) * 1000)

    @property
    def note(self) -> str:
        """How long it took."""
        took = sorted(self._took_ms)
        return f"asked {len(took):,} times, p50 {took[len(took) // 2]:.1f} ms, longest {took[-1]:.0f} ms"


class _Siege(_Thread):
    """Holds idle sockets and heads that never end, opens again what is closed, and sends bodies of 50 MB.

    The block begins when all are connected.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._address = _address(url)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        super().__enter__()
        assert self._ready.wait(30)
        return self

    def work(self) -> None:
        idle: list[socket.socket | None] = [None] * IDLE
        slow: list[socket.socket | None] = [None] * SLOW_HEADS
        turn = 0
        while not self.over.is_set():
            idle = [self._kept(each, b"") for each in idle]
            slow = [self._kept(each, b"POST /predict HTTP/1.1\r\nhost: localhost\r\nx: ") for each in slow]
            for each in slow:
                with contextlib.suppress(OSError):
                    each.send(b"y")
            self._ready.set()
            if turn % 2 == 0:
                _statuses(self._address, _LONG)
            turn += 1
            self.over.wait(1.0)
        for each in (*idle, *slow):
            each.close()

    def _kept(self, each: socket.socket | None, head: bytes) -> socket.socket:
        """It, or another in its place when the endpoint has closed it."""
        if each is not None:
            with contextlib.suppress(BlockingIOError):
                with contextlib.suppress(ConnectionError):
                    each.recv(1)
                each.close()
                return self._kept(None, head)
            return each
        made = socket.create_connection(self._address, timeout=HEALTH_S)
        made.sendall(head)
        made.setblocking(False)
        return made


def _fuzz(url: str, many: int, rng: random.Random) -> Counter[int]:
    """How many answers of each status so many bad requests got; CLOSED where there was none."""
    found: Counter[int] = Counter()
    for number in range(many):
        found.update(_statuses(_address(url), _LONG if number % 1000 == 999 else _spoiled(rng)))
    return found


def _spoiled(rng: random.Random) -> bytes:
    body = _GOOD
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(body))
        body = body[:at] + rng.choice(_PIECES) + body[at + rng.choice([0, 0, 1, 2, 8]) :]
    line, heads = _LINES[0], b""
    if rng.random() < 0.4:
        line, heads = rng.choice(_LINES), b"".join(rng.sample(_HEADS, rng.randint(0, 2)))
        body = rng.choice([body, gzip.compress(body), gzip.compress(bytes(4 << 20)), b""])
    data = line + b"\r\nhost: localhost\r\n" + heads + b"content-length: %d\r\n\r\n" % len(body) + body
    return data[: rng.randrange(len(data))] if rng.random() < 0.1 else data


def _statuses(address: tuple[str, int], data: bytes) -> list[int]:
    """The statuses of what is answered to these bytes until the connection is closed."""
    answer = b""
    with socket.create_connection(address, timeout=HEALTH_S) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65_536):
                answer += piece
    found = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) if status != b"100"]
    return found or [CLOSED]


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0
