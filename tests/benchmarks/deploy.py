"""deploy.*: endpoints."""

from collections.abc import Iterator

from . import _attack
from .rows import Figure, row


@row(
    "deploy.10",
    "an endpoint that is attacked",
    "0 crashes, 0 answers of 5xx to bad input, all counted, health answers; >= 0.9x of its requests a second",
    ("httptools", "uvloop"),
)
def attacked(full: bool) -> Iterator[Figure]:
    """Malformed requests, 300 heads that never end, 512 idle sockets and a body of 50 MB, all beside good traffic."""
    yield from _attack.figures(100_000 if full else 5000)
