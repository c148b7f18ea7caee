"""What happened by itself and others should hear of, such as a rollback: for whoever polls, a panel or a rule.

There is one record for each thing, with the last that happened to it: the audit log keeps all.
"""

from __future__ import annotations

import time
from typing import ClassVar

from .errors import Conflict
from .files import retry
from .store import Body, Record, Store


class Signal(Body, frozen=True, kw_only=True):
    """The last thing that happened to a thing by itself. subject: its URI. at: epoch seconds."""

    kind: ClassVar[str] = "signal"

    subject: str = ""
    what: str = ""
    fix: str = ""
    at: float = 0.0

    @property
    def about(self) -> str:
        return self.subject


def send(store: Store, subject: str, what: str, fix: str = "") -> Record[Signal]:
    """Write that this happened to the thing now. StoreUnavailable, Denied or Conflict when it cannot be written."""

    def step() -> Record[Signal]:
        return store.commit([record(store, subject, what, fix)])[0]

    return retry(step, Conflict(f"the signal of {subject} changes too fast", "repeat in a moment"))


def record(store: Store, subject: str, what: str, fix: str = "") -> Record[Signal]:
    """The same, to be written by the caller together with what else it writes."""
    name = subject.replace(":", "-")
    before = store.get(Signal, name)
    body = Signal(subject=subject, what=what, fix=fix, at=time.time())
    return Record(Signal.kind, name, body, before.rev if before else 0)


def since(store: Store, rev: int) -> list[Record[Signal]]:
    """Those written after that revision of the store, the oldest first."""
    found = [each for each in store.list(Signal, skip_unreadable=True) if each.rev > rev]
    return sorted(found, key=lambda each: each.rev)
