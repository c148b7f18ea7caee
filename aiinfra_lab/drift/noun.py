"""What the noun tells of verdicts. They neither live nor cost anything, and nothing refers to them."""

from __future__ import annotations

from collections.abc import Sequence

from ..nouns import Noun, Observation, find
from ..store import Record
from ..uris import Uri
from .record import DriftRecord


class DriftNoun(Noun[DriftRecord]):
    """See `Noun`."""

    name = "drift"
    kind = DriftRecord
    has_versions = True
    plural = "verdicts"

    def first(self, name: str) -> str:
        data = find("data")
        newest = next((label for label in data.names() if not Uri.is_bare(label)), "")
        return f"`%drift check {name} --against data:{newest}` makes one" if newest else data.first("flights")

    # A verdict never changes: what was written is what it says now.
    def observe(self, records: Sequence[Record[DriftRecord]]) -> Sequence[Observation]:
        return [Observation(record.uri, record.body.state, ended_at=record.body.checked_at) for record in records]


NOUN = DriftNoun()
