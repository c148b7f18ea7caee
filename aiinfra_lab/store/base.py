"""What the workspace's memory holds, and the contract that every store keeps."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from ..errors import Damaged

Body = dict[str, Any]
GENESIS = "0" * 64
RESTORE = "`%lab start --restore` puts back the newest sound copy"


@dataclass(frozen=True, slots=True)
class Record:
    """One thing the workspace knows: `kind` and `name` identify it, `rev` is the revision that last wrote it."""

    kind: str
    name: str
    body: Body
    rev: int = 0
    updated_at: float = 0.0

    @classmethod
    def new(cls, kind: str, name: str, body: Body) -> Record:
        """A record that must not exist yet when it is committed."""
        return cls(kind, name, body)

    def with_(self, **changes: Any) -> Record:
        """The same record at the same revision with these keys of its body changed."""
        return Record(self.kind, self.name, {**self.body, **changes}, self.rev, self.updated_at)


@dataclass(frozen=True, slots=True)
class Event:
    """What a verb did, for the audit log: which things (URIs) went in and which came out."""

    verb: str
    subject: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the chain. `hash` covers everything here and the hash before it."""

    seq: int
    at: float
    actor: str
    event: Event
    prev: str
    hash: str


class Store(Protocol):
    """The workspace's memory. Any number of processes and threads may use it at once.

    Every method raises Damaged when what is stored cannot be trusted, Denied when it may not be read or written,
    and Unavailable when the place is gone, full or locked for longer than 30 s.
    """

    def get(self, kind: str, name: str) -> Record | None:
        """The record as last committed, or None."""

    def list(self, kind: str | None = None, since_rev: int = 0) -> Sequence[Record]:
        """Records written after that revision, newest first; of one kind or of all."""

    def put(self, record: Record, expected_rev: int | None = None) -> Record:
        """Write one record without an event. Conflict unless the stored revision is `expected_rev` (None: whatever)."""

    def commit(self, records: Sequence[Record], event: Event | None) -> Sequence[Record]:
        """Write all records and one event, or nothing, and return when it is on disk.

        Conflict unless each record's `rev` is the stored one (0: must not exist).
        """

    def events(self, since: int = 0) -> Iterable[LoggedEvent]:
        """The audit log after that sequence number, oldest first."""

    def close(self) -> None:
        """Let go of the connection; may be called twice, and the store used again afterwards."""


def canonical(value: object) -> str:
    """JSON with one spelling for one value, so that a digest of it means something."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def chain_hash(seq: int, at: float, actor: str, event: Event, prev: str) -> str:
    """The SHA-256 that ties an event to everything before it."""
    body = canonical({"seq": seq, "at": at, "actor": actor, "event": asdict(event), "prev": prev})
    return hashlib.sha256(body.encode()).hexdigest()


def event_of(body: str) -> Event:
    """The event that its canonical JSON holds. Damaged when it is none."""
    try:
        fields = json.loads(body)
        return Event(**{**fields, "inputs": tuple(fields["inputs"]), "outputs": tuple(fields["outputs"])})
    except (ValueError, TypeError, KeyError) as problem:
        raise Damaged("an event of the audit log cannot be read", RESTORE) from problem


def body_of(text: str) -> Body:
    """The body that its canonical JSON holds. Damaged when it is none."""
    try:
        body: Body = json.loads(text)
    except ValueError as problem:
        raise Damaged("a record of the store cannot be read", RESTORE) from problem
    return body


def actor() -> str:
    """Who acts: the user, and what the process was started for when it was started for something."""
    context = os.environ.get("AIINFRA_CONTEXT")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user} ({context})" if context else user


def first_break(events: Iterable[LoggedEvent]) -> int | None:
    """The sequence number at which the chain from the very first event breaks, or None when it is whole."""
    prev, expected = GENESIS, 1
    for logged in events:
        sound = chain_hash(logged.seq, logged.at, logged.actor, logged.event, prev) == logged.hash
        if not sound or logged.seq != expected or logged.prev != prev:
            return expected
        prev, expected = logged.hash, expected + 1
    return None
