"""What the noun tells of verdicts. They neither live nor cost anything, and nothing refers to them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from ..nouns import Details, Fact, Notice, Noun, Observation, find
from ..resolve import resolve
from ..store import Record, open_store
from ..uris import Uri
from .record import DriftRecord, reasons

_MOST_COLUMNS = 8
_BEST_FIRST = ("no drift", "cannot tell", "drift")


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

    def notices(self) -> Sequence[Notice]:
        """Verdicts by a declared column that stand, for the newer check found less only since it declared none."""
        checks: dict[str, list[Record[DriftRecord]]] = {}
        for record in open_store().list(DriftRecord, skip_unreadable=True):
            checks.setdefault(record.base, []).append(record)
        return [notice for found in checks.values() for notice in _standing(found)]


def _standing(checks: Sequence[Record[DriftRecord]]) -> Iterator[Notice]:
    """Of the checks of one endpoint."""
    newest = max(checks, key=lambda check: check.body.checked_at)
    declared = [check for check in checks if check.body.by and check.body.model == newest.body.model]
    standing = max(declared, key=lambda check: check.body.checked_at, default=newest)
    if newest.body.by or _BEST_FIRST.index(standing.body.state) <= _BEST_FIRST.index(newest.body.state):
        return
    again = f"`%drift check {newest.base} --against {standing.body.against} --by {shlex.quote(standing.body.by)}`"
    detail = f"{_finding(standing.body)}; the newer check {newest.uri} did not declare that"
    yield Notice(standing.uri, detail, f"{again} checks again", standing.body.state)


def _finding(body: DriftRecord) -> str:
    """What was found, unless nothing was; and by which column."""
    found = _found(body)
    return f"{found}, by {body.by}" if found and body.by else found


def _found(body: DriftRecord) -> str:
    drifted = [column.column for column in body.columns if column.drifted]
    if drifted:
        more = f" and {len(drifted) - _MOST_COLUMNS} more" if len(drifted) > _MOST_COLUMNS else ""
        return f"{', '.join(drifted[:_MOST_COLUMNS])}{more} drifted"
    why = reasons(body.columns)
    return f"cannot be judged: {why}" if body.state == "cannot tell" and why else ""


NOUN = DriftNoun()
