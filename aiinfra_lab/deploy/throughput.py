"""What the load tests of endpoints have seen, read back from the events that they left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..nouns import Throughput
from ..store import LoggedEvent, Record
from . import lifecycle
from .record import EndpointRecord

LOAD_TEST = "deploy run"
# Of one endpoint so many events are looked at: its load tests are few among them, and old ones say little.
_LOOKED_AT = 200


def all_of(records: Sequence[Record[EndpointRecord]]) -> list[Throughput]:
    """Of all these endpoints, the newest first."""
    return sorted((each for record in records for each in _of(record)), key=lambda each: each.at, reverse=True)


def _of(record: Record[EndpointRecord]) -> Iterator[Throughput]:
    events, _ = lifecycle.newest_events(record, _LOOKED_AT)
    for logged in events:
        # One that was stopped early counts as well: it says for how long it was.
        if logged.event.verb == LOAD_TEST and logged.event.detail.get("for_s"):
            yield _throughput(record, logged)


def _throughput(record: Record[EndpointRecord], logged: LoggedEvent) -> Throughput:
    detail = logged.event.detail
    models = tuple(detail["versions"])
    return Throughput(
        record.uri,
        logged.at,
        detail["for_s"],
        detail["sent"],
        detail["ok"],
        detail["p95_ms"],
        detail.get("batch", 1),
        models,
        bool(set(models) & set(record.body.desired.models)),
    )
