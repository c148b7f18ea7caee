"""A load test's traffic: sent by a process of its own, which a busy notebook does not hold up, and counted here."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from ..errors import Failed

# A process whose thread ran, or waited for a processor, for this share of the time has none left to send more.
MOST_BUSY = 0.85
MOST_LAG_MS = 10.0
# Half of what our server takes, for others ask it too.
CONNECTIONS = 256
_STEP = math.log(1.01)


class Histogram(msgspec.Struct):
    """Times in buckets of 1 %, so that a day of them takes no more memory than a second."""

    buckets: dict[int, int] = {}

    def add(self, ms: float) -> None:
        """Count one."""
        bucket = math.ceil(math.log(max(ms, 1e-3)) / _STEP)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def quantile_ms(self, share: float) -> float | None:
        """What this share of them stayed within, at most 1 % too high; None when there are none."""
        total, seen = sum(self.buckets.values()), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > min(total - 1, int(share * total)):
                return math.exp(bucket * _STEP)
        return None


class LoadPlan(msgspec.Struct):
    """What is to be sent: the bodies in turn, `wanted` requests, `rate` a second, over at most so many connections."""

    url: str
    bodies: Sequence[bytes]
    rate: float
    wanted: int
    connections: int


class LoadCounts(msgspec.Struct):
    """What came of the requests so far. refused: answered with 4xx. errors: 5xx, no score, or no answer at all.

    rate: requests a second that were asked for. sending_s: until all were sent. took_s: until all were answered.
    cpu_s: what the client itself used of a core. waited_s: for how long it was ready to run, and others ran.
    lag: by how much requests were sent late although a connection was free.
    """

    rate: float = 0.0
    sent: int = 0
    ok: int = 0
    refused: int = 0
    errors: int = 0
    rows: int = 0
    sending_s: float = 0.0
    took_s: float = 0.0
    cpu_s: float = 0.0
    waited_s: float = 0.0
    versions: dict[str, int] = msgspec.field(default_factory=Counter)
    latencies: Histogram = msgspec.field(default_factory=Histogram)
    lag: Histogram = msgspec.field(default_factory=Histogram)
    first_problem: str = ""
    interrupted: bool = False
    ended: bool = False

    @property
    def busy_share(self) -> float:
        """The share of the time in which the client worked, or wanted to."""
        return (self.cpu_s + self.waited_s) / self.took_s if self.took_s else 0.0

    @property
    def ceiling_per_s(self) -> float:
        """How many such requests it could send in a second with a core of its own."""
        return self.sent / self.cpu_s if self.cpu_s else 0.0

    @property
    def is_own_limit(self) -> bool:
        """Whether the client itself could not keep up, so that the latencies are its own wait as well."""
        is_behind = self.sent < 0.99 * self.rate * self.sending_s
        return is_behind and (self.busy_share > MOST_BUSY or (self.lag.quantile_ms(0.95) or 0.0) > MOST_LAG_MS)

    def quantile_ms(self, share: float) -> float | None:
        """The latency that this share of the answers stayed within."""
        return self.latencies.quantile_ms(share)


def requests_in(rate: float, for_s: float) -> int:
    """How many requests are sent at `rate` a second for that long: at least one, a part of one is a whole one."""
    # Rounded before: 100 a second for 1.1 s are 110.00000000000001 as a float.
    return max(1, math.ceil(round(rate * for_s, 6)))


def send(
    url: str,
    bodies: Sequence[bytes],
    rate: float,
    for_s: float,
    progress: Callable[[LoadCounts], object],
    connections: int = CONNECTIONS,
    is_enough: Callable[[], bool] = lambda: False,
) -> LoadCounts:
    """Send the bodies in turn, `rate` a second for that long, and wait for the answers.

    is_enough: asked ten times a second; it ends the sending too
    Ctrl-C ends the sending; the counts have `interrupted`. Failed when the process that sends is ended by somebody.
    """
    reports, done, interrupted = [LoadCounts(rate)], threading.Event(), False
    plan = msgspec.msgpack.encode(LoadPlan(url, bodies, rate, requests_in(rate, for_s), connections))
    # Not in our process group: Ctrl-C is for us, and what was sent until then is still to be answered and counted.
    process = subprocess.Popen(
        [sys.executable, "-m", "aiinfra_lab.deploy.load_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    assert process.stdin is not None

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            reports[0] = msgspec.json.decode(line, type=LoadCounts)
        done.set()

    thread = threading.Thread(target=read, name="load-counts", daemon=True)
    thread.start()
    try:
        process.stdin.write(len(plan).to_bytes(8) + plan)
        process.stdin.flush()
        # Not by join(timeout): after Ctrl-C in it, Python 3.11 takes the thread for ended, and answers go uncounted.
        while not (done.wait(0.1) or is_enough()):
            progress(reports[0])
    except BrokenPipeError:
        pass  # it has ended; below is said how
    except KeyboardInterrupt:
        interrupted = True
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # the end of its input ends its sending
        done.wait()
        thread.join()
        process.wait()
        if process.stdout:
            process.stdout.close()
    counts = reports[0]
    counts.interrupted = interrupted
    if not counts.ended and not interrupted:
        raise Failed(
            f"the process that sends the requests ended with exit code {process.returncode}",
            "run it again; if it ends again, there may be too little memory: give a lower --batch",
        )
    return counts
