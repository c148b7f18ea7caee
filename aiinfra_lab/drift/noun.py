"""What the noun tells of verdicts. They neither live nor cost anything, and nothing refers to them."""

from __future__ import annotations

from collections.abc import Sequence

from ..nouns import Details, Fact, Noun, Observation, find
from ..resolve import resolve
from ..store import Record
from ..uris import Uri
from .record import DriftRecord, reasons

_MOST_COLUMNS = 8


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

    def details(self, uri: str) -> Details:
        body = resolve(uri, DriftRecord).body
        facts = [
            Fact("verdict", "", body.state),
            Fact("endpoint", body.endpoint),
            Fact("against", body.against),
            Fact("rows", f"{body.rows_now:,} against {body.rows_before:,}"),
        ]
        return Details(tuple(facts), problem=_finding(body))

    # A verdict never changes: what was written is what it says now.
    def observe(self, records: Sequence[Record[DriftRecord]]) -> Sequence[Observation]:
        return [Observation(record.uri, record.body.state, ended_at=record.body.checked_at) for record in records]


def _finding(body: DriftRecord) -> str:
    """What was found, unless nothing was."""
    drifted = [column.column for column in body.columns if column.drifted]
    if drifted:
        more = f" and {len(drifted) - _MOST_COLUMNS} more" if len(drifted) > _MOST_COLUMNS else ""
        return f"{', '.join(drifted[:_MOST_COLUMNS])}{more} drifted"
    why = reasons(body.columns)
    return f"cannot be judged: {why}" if body.state == "cannot tell" and why else ""


NOUN = DriftNoun()
