"""What the noun tells of verdicts. They neither live nor cost anything, and nothing refers to them."""

from __future__ import annotations

from collections.abc import Sequence

from ..nouns import Noun, Observation
from ..store import Record
from .record import DriftRecord


class DriftNoun(Noun[DriftRecord]):
    """See `Noun`."""

    name = "drift"
    kind = DriftRecord
    has_versions = True
    plural = "verdicts"

    def first(self, name: str) -> str:
        return f"`%drift check {name} --against data:NAME@N` makes one"

    # A verdict never changes: what was written is what it says now.
    def observe(self, records: Sequence[Record[DriftRecord]]) -> Sequence[Observation]:
        return [Observation(record.uri, record.body.state, ended_at=record.body.checked_at) for record in records]


NOUN = DriftNoun()
