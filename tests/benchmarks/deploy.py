"""deploy.*: endpoints."""

from collections.abc import Iterator

from . import _attack, _faults, _serving
from .rows import Figure, row


@row(
    "deploy.1",
    "what a request costs: 64 clients with one row, 1,000 rows, one client",
    "CPU >= 20x naive, >= 40x mlflow, <= 0.85 of before; 1,000 rows >= 4x, columns >= 12x; p99 <= 1/10, p50 <= 1/2",
    ("fastapi", "mlflow", "onnxruntime", "uvicorn", "uvloop"),
)
def cost(full: bool) -> Iterator[Figure]:
    """Ours with validation, log and metrics on; interleaved rounds, the median of each."""
    yield from _serving.cost_figures(5 if full else 3, 3.0 if full else 2.0)


@row(
    "deploy.5",
    "a model that hangs, spins, crashes, leaks or raises, beside a champion under load",
    "0 failed there, p99 <= 2x, health p99 <= 50 ms; serving again <= 1 s, after SIGKILL <= 0.2 s; 1 of 40 rows",
    ("onnxruntime", "uvloop"),
)
def faults(full: bool) -> Iterator[Figure]:
    """16 clients of the champion, health asked 200 times a second, probes 100 times."""
    yield from _faults.fault_figures()


@row(
    "deploy.10",
    "an endpoint that is attacked",
    "0 crashes, 0 answers of 5xx to bad input, all counted, health answers; >= 0.9x of its requests a second",
    ("httptools", "uvloop"),
)
def attacked(full: bool) -> Iterator[Figure]:
    """Malformed requests, 300 heads that never end, 512 idle sockets and a body of 50 MB, all beside good traffic."""
    yield from _attack.figures(100_000 if full else 5000)
