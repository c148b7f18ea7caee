"""deploy.*: what a request to an endpoint costs, what a fault costs others, and which canaries its rule takes off."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from . import _attack, _faults, _serving
from . import _canary as canary
from ._canary import ERRORS, LOOK_S, AllAlong, Ours, Traffic
from .rows import Figure, at_most, row

_PEERS = ("one minute", "five failed checks", "before")
_FAULTS = {
    "errors 0.5 to 1.5 %": (Traffic(errors=(ERRORS, ERRORS + 0.01)), 16, 25),
    "errors 0.5 to 5 %": (Traffic(errors=(ERRORS, ERRORS + 0.045)), 2, 3),
    "latency x1.2": (Traffic(slower=(0.0, math.log(1.2))), 4, 6),
    "latency x1.5": (Traffic(slower=(0.0, math.log(1.5))), 3, 4),
}
_PEER_NAMES = "a fixed one-minute rule"


@row(
    "deploy.1",
    "what a request costs: 64 clients with one row, 1,000 rows, one client",
    "CPU >= 20x naive, >= 40x mlflow, <= 0.85 of before; 1,000 rows >= 4x, columns, Arrow 12x; p99 <= 1/10, p50 <= 1/2",
    ("fastapi", "mlflow", "onnxruntime", "uvicorn", "uvloop"),
)
def cost(full: bool) -> Iterator[Figure]:
    """Ours with validation, log and metrics on; interleaved rounds, the median of each."""
    yield from _serving.cost_figures(5 if full else 3, 3.0 if full else 2.0)


@row("deploy.3", "a steady rate of requests on one core, open loop", "p99 <= 10 ms, 0 failed", ("uvloop",))
def open_loop(full: bool) -> Iterator[Figure]:
    """Whether the endpoint keeps up or not: a request's latency counts from when it was due."""
    yield from _serving.open_loop_figures(60.0 if full else 10.0)


@row("deploy.4", "another version twice a second under load", "0 failed, >= 0.85x, p99 <= 2x", ("uvloop",))
def swaps(full: bool) -> Iterator[Figure]:
    """16 clients, beside the same load without a swap."""
    yield from _serving.swap_figures(5 if full else 3, 6.0 if full else 3.0)


@row(
    "deploy.5",
    "a model that hangs, spins, crashes, leaks or raises, beside a champion under load",
    "0 failed there, p99 <= 2x, health p99 <= 50 ms; serving again <= 1 s, after SIGKILL <= 0.2 s; 1 of 40 rows",
    ("onnxruntime", "uvloop"),
)
def faults(full: bool) -> Iterator[Figure]:
    """16 clients of the champion, health asked 200 times a second, probes 100 times."""
    yield from _faults.fault_figures()


@row("deploy.6", "hours of a canary with which nothing is wrong", "at most 0.5 % of them end in a rollback", ("numpy",))
def healthy(full: bool) -> Iterator[Figure]:
    """50 requests a second, 5 % of them the canary's: a fresh canary each hour, and the same hour for every rule."""
    hours = 1000 if full else 60
    for place, (name, story) in enumerate(canary.HEALTHY.items()):
        rng = np.random.default_rng([6, place])
        found = [canary.rolled_back_within(1, rng, story) for _ in range(hours)]
        lost = {rule: 100 * sum(each[rule] for each in found) / hours for rule in found[0]}
        others = ", ".join(f"{rule} {lost[rule]:g} %" for rule in _PEERS[1:])
        note = f"{hours} hours; {others}"
        yield Figure(f"{name}: rolled back", lost["ours"], "%", at_most(0.5), lost[_PEERS[0]], _PEER_NAMES, note)


@row(
    "deploy.7",
    "a canary that fails or is slow, from the start and after six hours of health",
    "errors +1 % <= 16 min, +4.5 % <= 2, x1.2 <= 4, x1.5 <= 3; 9 of 10 <= 25, 3, 6, 4; 50 % of 3 a minute <= 45",
    ("numpy",),
)
def faulty(full: bool) -> Iterator[Figure]:
    """Minutes until it is rolled back, by the median and for nine of ten."""
    times = 300 if full else 60
    for (place, (name, (fault, median, most))), healthy_h in itertools.product(enumerate(_FAULTS.items()), (0, 6)):
        # Hours of health cost as much to draw as many faults.
        count = times if not healthy_h else max(40, times // 3)
        ours = _minutes([7, place, healthy_h], fault, healthy_h, count)
        before = _before([7, place, healthy_h], fault, healthy_h, 10)
        when = "from the start" if not healthy_h else f"after {healthy_h} h"
        note = f"{count} canaries; the rule before by the median of 10: {before}"
        yield Figure(f"{name}, {when}: median", statistics.median(ours), "min", at_most(median), note=note)
        yield Figure(f"{name}, {when}: 9 of 10", float(np.quantile(ours, 0.9)), "min", at_most(most))
    few = _minutes([7, 9], Traffic(per_s=0.05, errors=(ERRORS, 0.5)), 6, max(50, times // 2))
    yield Figure("50 % errors at 3 requests a minute: median", statistics.median(few), "min", at_most(45))
    yield Figure("a look", _look_us(), "µs CPU", at_most(50), note=f"a loop of 1,000 additions: {_loop_us():.0f} µs")


@row(
    "deploy.10",
    "an endpoint that is attacked",
    "0 crashes, 0 answers of 5xx to bad input, all counted, health answers; >= 0.9x of its requests a second",
    ("httptools", "uvloop"),
)
def attacked(full: bool) -> Iterator[Figure]:
    """Malformed requests, 300 heads that never end, 512 idle sockets and a body of 50 MB, all beside good traffic."""
    yield from _attack.figures(100_000 if full else 5000)


def _minutes(seed: list[int], fault: Traffic, healthy_h: float, count: int) -> list[float]:
    rng = np.random.default_rng(seed)
    most_s = 12 * 3600.0 if fault.per_s < 1 else 4 * 3600.0
    found = [canary.seconds_to_find(rng, fault, healthy_h, most_s=most_s) for _ in range(count)]
    return [math.inf if one is None else one / 60 for one in found]


def _before(seed: list[int], fault: Traffic, healthy_h: float, count: int) -> str:
    """What the rule before takes, against bounds of 1 % and 80 ms."""
    rng = np.random.default_rng(seed)
    found = [canary.seconds_to_find(rng, fault, healthy_h, AllAlong(), most_s=3600.0) for _ in range(count)]
    median = statistics.median(math.inf if one is None else one / 60 for one in found)
    return f"{median:.3g} min" if math.isfinite(median) else "not within an hour"


def _look_us() -> float:
    """The CPU time of a look at 500 requests that were counted, by the best of five: others make it longer only."""
    rng, rule = np.random.default_rng(8), Ours()
    seen = [canary.look(rng, Traffic()) for _ in range(200)]

    def looks() -> None:
        for at in range(2000):
            rule.looks(seen[at % 200].stratum, rule.comparison.at + LOOK_S)

    return min(_cpu_s(looks) for _ in range(5)) / 2000 * 1e6


def _loop_us() -> float:
    def adds() -> None:
        for _ in range(1000):
            total = 0
            for number in range(1000):
                total += number

    return min(_cpu_s(adds) for _ in range(5)) / 1000 * 1e6


def _cpu_s(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
