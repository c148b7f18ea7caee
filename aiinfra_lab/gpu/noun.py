"""What the noun tells of sessions: each lives on a machine, costs its price an hour, and can be stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from .. import jobs
from ..errors import LabError, NotFound, did_you_mean
from ..nouns import Noun, Observation, Span, Thing
from ..resolve import resolve
from ..store import Record, open_store
from . import sessions
from .base import Status
from .record import SessionRecord

_DETAILS = {"starting": "waiting for its machine", "stopping": "was asked to end"}


class GpuNoun(Noun[SessionRecord]):
    """See `Noun`."""

    name = "gpu"
    kind = SessionRecord
    plural = "sessions"

    def first(self, name: str) -> str:
        return f"`%gpu start {name}` starts it"

    def things(self) -> Sequence[Thing]:
        found = open_store().list(SessionRecord)
        seen = self.observe(found)
        return [Thing(record.uri, record.updated_at, one.state) for record, one in zip(found, seen, strict=True)]

    def observe(self, records: Sequence[Record[SessionRecord]]) -> Sequence[Observation]:
        return list(map(_observation, records))

    def watched(self, ended: int = 20) -> Sequence[Observation]:
        store = open_store()
        living = self.observe(store.list(SessionRecord, is_open=True))
        over = self.observe(store.list(SessionRecord, is_open=False, limit=ended, order="written"))
        # One that was found to have ended just now stands in both.
        return list({item.uri: item for item in (*over, *living)}.values())

    def stop(self, uri: str) -> Sequence[str]:
        record = resolve(uri, SessionRecord)
        record, now = sessions.settled(record)
        if now.state == "ended" or not record.body.handle:
            live = [item.name for item in open_store().list(SessionRecord, is_open=True)]
            raise NotFound(f"nothing called {record.uri} lives", did_you_mean(record.name, live))
        sessions.machines(record).terminate(record.body.handle)
        return [record.body.handle]

    def spans(self) -> Sequence[Span]:
        return [span for record in open_store().list(SessionRecord) for span in _spans(record)]


def _observation(record: Record[SessionRecord]) -> Observation:
    try:
        record, now = sessions.settled(record)
    except LabError:
        # Its provider cannot be asked now, and the others still can: it is not known to have ended.
        is_live = record.body.ended_at is None
        return Observation(record.uri, "cannot tell", is_live, record.body.started_at, record.body.ended_at)
    body, is_live = record.body, now.state != "ended"
    return Observation(
        uri=record.uri,
        state=sessions.state_text(now),
        is_live=is_live,
        started_at=body.started_at,
        ended_at=now.at,
        deadline_at=body.deadline_at,
        detail=_DETAILS.get(now.state, "") if is_live else "",
        can_stop=now.state in ("starting", "ready") and body.handle is not None,
        job=body.handle if body.provider == "local" and body.handle else "",
    )


def _spans(record: Record[SessionRecord]) -> Iterator[Span]:
    """This start and the earlier ones."""
    body, local = record.body, record.body.provider == "local"
    try:
        _, now = sessions.settled(record)
    except LabError:
        now = Status("ended", "", body.ended_at)
    is_live = now.state != "ended" and body.ended_at is None
    ended_at = time.time() if is_live else body.ended_at or _last_sign_at(body) or now.at or body.started_at
    yield Span(record.uri, body.started_at, ended_at, is_live, body.usd_per_hour, local)
    for earlier in body.earlier_spans:
        ended = earlier.ended_at or earlier.started_at
        yield Span(record.uri, earlier.started_at, ended, False, earlier.usd_per_hour, local)


def _last_sign_at(body: SessionRecord) -> float | None:
    """The last heartbeat of a session's job: nearer to its end than when somebody noticed that."""
    try:
        silent_s = jobs.poll(body.handle or "").silent_s
    except NotFound:
        return None
    return None if silent_s is None else time.time() - silent_s


NOUN = GpuNoun()
