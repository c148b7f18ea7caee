"""What a fault of one model costs the other: a champion under load while its canary hangs, spins, crashes or leaks."""

import contextlib
import functools
import http.client
import itertools
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from aiinfra_lab.deploy.server.predictor import key_position
from tests.fakes.faulty_fork_server import CRASH, HANG, LEAK, RAISE, SPIN

from ._endpoint import SHARE
from ._serving import Server, _tree, columns, row, serving
from .rows import Figure, at_most, exactly, ratio_at_most

CLIENTS, SECONDS, AFTER_S = 16, 6.0, 1.5
PROBE_S, ASK_S = 0.01, 5.0
RATE, ROLLED_BACK_S = 50, 30.0
FAULTS = {"hangs": HANG, "spins": SPIN, "crashes": CRASH, "leaks": LEAK}


def fault_figures() -> Iterator[Figure]:
    """deploy.5, beside the same load without a fault."""
    from .any import _save

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _save(folder, columns())
        ours, theirs = (_key(is_canary=is_canary) for is_canary in (False, True))
        load = folder / "load"
        load.write_text(json.dumps({"rows": [row(1)], "key": ours}) + "\n")
        with serving({"ours": "faulty"}, folder) as servers:
            server = servers["ours"]
            calm = _during(server, load, theirs, lambda: None)
            for name, fault in FAULTS.items():
                times = 40 if fault == LEAK else 1
                ask = functools.partial(_ask, server, fault, theirs, times)
                seen = _during(server, load, theirs, ask)
                yield from _beside(f"the canary {name}", seen, calm)
            killed = _during(server, load, ours, lambda: _kill_champion(server))
            yield Figure("SIGKILL of the champion's process: serving again", killed.gap_s, "s", at_most(0.2))
            yield Figure("the same: requests of its clients that failed", killed.failed, "", exactly(0))
            yield from _poison(server, ours)
        with serving({"ours": "judged"}, folder) as servers:
            yield _rollback_of_a_hanging_canary(servers["ours"])


@dataclass
class Seen:
    """What clients of the champion, whoever asks for its health, and probes saw in one run."""

    failed: int = 0
    p99_ms: float = 0.0
    health_ms: list[float] = field(default_factory=list)
    good_at: list[float] = field(default_factory=list)

    @property
    def gap_s(self) -> float:
        """The longest time in which no probe was answered."""
        return max(later - earlier for earlier, later in zip(self.good_at, self.good_at[1:], strict=False))

    @property
    def health_p99_ms(self) -> float:
        return statistics.quantiles(self.health_ms, n=100)[98]


def _beside(what: str, seen: Seen, calm: Seen) -> Iterator[Figure]:
    yield Figure(f"{what}: the champion's requests that failed", seen.failed, "", exactly(0))
    yield Figure(f"{what}: the champion's p99", seen.p99_ms, "ms", ratio_at_most(2), calm.p99_ms, "without a fault")
    health, gap = f"{calm.health_p99_ms:.0f} ms without a fault", f"longest gap without a fault {calm.gap_s:.2f} s"
    yield Figure(f"{what}: p99 of health", seen.health_p99_ms, "ms", at_most(50), note=health)
    yield Figure(f"{what}: serving again", seen.gap_s, "s", at_most(1), note=gap)


def _during(server: Server, load: Path, probed: str, fault) -> Seen:
    """One run of the load, with the fault after AFTER_S, health and probes all along."""
    seen, ended = Seen(), threading.Event()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(_look_at_health, server.port, seen, ended)
        pool.submit(_probe, server.port, probed, seen, ended)
        pool.submit(lambda: (time.sleep(AFTER_S), fault()))
        found = server.ask(CLIENTS, SECONDS, load)
        ended.set()
    seen.failed, seen.p99_ms = found["failed"], found["p99_ms"]
    return seen


def _look_at_health(port: int, seen: Seen, ended: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_S)
    while not ended.wait(0.005):
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        seen.health_ms.append((time.perf_counter() - began) * 1000)


def _probe(port: int, key: str, seen: Seen, ended: threading.Event) -> None:
    """Ask with a good row again and again, each on its own, so that one that must wait delays no other."""
    body = json.dumps({"rows": [row(2)], "key": key})

    def one() -> None:
        if _status(port, body) == 200:
            seen.good_at.append(time.perf_counter())

    with ThreadPoolExecutor(32) as pool:
        while not ended.wait(PROBE_S):
            pool.submit(one)
    seen.good_at.sort()


def _status(port: int, body: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_S)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("POST", "/predict", body)
        return connection.getresponse().status
    return 0


def _ask(server: Server, fault: float, key: str, times: int) -> None:
    for _ in range(times):
        _status(server.port, json.dumps({"rows": [{**row(3), "x1": fault}], "key": key}))


def _rollback_of_a_hanging_canary(server: Server) -> Figure:
    """As many keys as requests; whichever come to the canary hang, for as long as there is one."""
    began = time.perf_counter()
    with ThreadPoolExecutor(64) as pool:
        for number in itertools.count():
            took = time.perf_counter() - began
            if took > 2 * ROLLED_BACK_S or (number % 10 == 0 and _readiness(server.port)["canary"] is None):
                break
            hangs = key_position("s", str(number)) < SHARE
            asked = {**row(3), "x1": HANG} if hangs else row(3)
            pool.submit(_status, server.port, json.dumps({"rows": [asked], "key": str(number)}))
            time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
    note = f"{RATE} requests a second, {100 * SHARE:g} % of the keys"
    return Figure("a canary that always hangs: rolled back after", took, "s", at_most(ROLLED_BACK_S), note=note)


def _readiness(port: int) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_S)
    with contextlib.closing(connection):
        connection.request("GET", "/readyz")
        return json.loads(connection.getresponse().read())


def _kill_champion(server: Server) -> None:
    # Forked first, since its version was opened first: endpoint, fork server, then in the order of their numbers.
    os.kill(sorted(_tree(server.process.pid))[2], signal.SIGKILL)


def _poison(server: Server, key: str) -> Iterator[Figure]:
    """Forty requests at once, one of which has the model raise; then one that hangs it."""
    for name, fault in (("raises", RAISE), ("hangs", HANG)):
        rows = [{**row(at), "x1": fault} if at == 17 else row(at) for at in range(40)]
        bodies = [json.dumps({"rows": [one], "key": key}) for one in rows]
        with ThreadPoolExecutor(40) as pool:
            statuses = list(pool.map(lambda body: _status(server.port, body), bodies))
        lost = [at for at, status in enumerate(statuses) if status != 200]
        yield Figure(f"1 of 40 rows {name}: rows without an answer", len(lost), "", exactly(1), note=f"places {lost}")


def _key(*, is_canary: bool) -> str:
    return next(str(at) for at in range(10_000) if (key_position("s", str(at)) < SHARE) == is_canary)
