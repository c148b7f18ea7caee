"""What the store keeps of alerts: for each subject the troubles that people know of, and what is still to be sent."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from ..errors import Conflict, LabError, Unavailable
from ..files import retry
from ..store import Body, Record, Store, update
from .base import Alert, AlertKind, PartlySent
from .destinations import Destination

LEASE_S = 150.0
"""Longer than a sink may take: who holds it so long is dead."""
KEPT_S = 3 * 86400.0
MOST_REFUSALS = 5
# What "recovered" ends: a run that succeeds has not got its money back.
_ENDED_BY_RECOVERY = ("failed", "late", "drift")
_MOST_TROUBLES = 50


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What people were sent of a subject, and when last."""

    kind: AlertKind
    what: str
    at: float


class Unsent(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that a destination has not got yet. lease: of whom sends it now, until leased_until.

    refusals: how often it was refused; why: the last problem.
    """

    alert: Alert
    sink: str
    address: str
    lease: str = ""
    leased_until: float = 0.0
    refusals: int = 0
    why: str = ""

    @property
    def destination(self) -> Destination:
        return Destination(self.sink, self.address)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.alert.id, self.sink, self.address


class AlertRecord(Body, frozen=True, kw_only=True):
    """The alerts of one subject."""

    kind: ClassVar[str] = "alert"

    subject: str = ""
    troubles: tuple[Trouble, ...] = ()
    unsent: tuple[Unsent, ...] = ()

    @property
    def about(self) -> str:
        return self.subject

    @property
    def is_open(self) -> bool:
        return bool(self.unsent)

    def with_alert(self, alert: Alert, to: Sequence[Destination], repeat_s: float) -> AlertRecord | None:
        """With the alert to be sent; None when people know: it was sent less than repeat_s ago, or nothing was bad."""
        if alert.kind == "recovered":
            troubles = tuple(each for each in self.troubles if each.kind not in _ENDED_BY_RECOVERY)
            is_known = len(troubles) == len(self.troubles)
        else:
            same = [each for each in self.troubles if (each.kind, each.what) == (alert.kind, alert.what)]
            # A clock may have been set back: then an alert of before is later than this one.
            is_known = any(abs(alert.at - each.at) < repeat_s for each in same)
            new = Trouble(kind=alert.kind, what=alert.what, at=alert.at)
            troubles = (*(each for each in self.troubles if each not in same), new)[-_MOST_TROUBLES:]
        if is_known:
            return None
        added = (Unsent(alert=alert, sink=each.sink, address=each.address) for each in to)
        return msgspec.structs.replace(self, troubles=troubles, unsent=(*self.unsent, *added))


def name_of(subject: str) -> str:
    """The name of a subject's record."""
    return subject.replace(":", "-")


def add(store: Store, alert: Alert, to: Sequence[Destination], repeat_s: float) -> bool:
    """Write down that it is to be sent there; whether that is new."""

    def step() -> bool:
        name = name_of(alert.subject)
        found = store.get(AlertRecord, name) or Record.new(name, AlertRecord(subject=alert.subject))
        body = found.body.with_alert(alert, to, repeat_s)
        if body is not None:
            store.commit([found.of(body)])
        return body is not None

    return retry(step, Conflict(f"the alerts of {alert.subject} change too fast", "repeat in a moment"))


def unsent(store: Store) -> list[Unsent]:
    """Everything that is to be sent, the oldest first."""
    records = store.list(AlertRecord, is_open=True, skip_unreadable=True)
    return sorted((each for record in records for each in record.body.unsent), key=lambda each: each.alert.at)


def lease(store: Store, wanted: Unsent) -> str:
    """Take it, so that nobody else sends it meanwhile: the lease; "" when somebody has, or it is not to be sent."""
    mine = os.urandom(8).hex()

    def take(body: AlertRecord) -> AlertRecord | None:
        found = _find(body, wanted)
        if found is None or (found.lease and found.leased_until > time.time()):
            return None
        leased = msgspec.structs.replace(found, lease=mine, leased_until=time.time() + LEASE_S)
        return _with(body, found, leased)

    body = update(store, AlertRecord, name_of(wanted.alert.subject), take).body
    taken = _find(body, wanted)
    return mine if taken is not None and taken.lease == mine else ""


def settle(store: Store, sent: Unsent, lease: str, problem: LabError | None) -> bool:
    """Write down how it went; whether that was the last try."""
    is_over = False

    def change(body: AlertRecord) -> AlertRecord | None:
        nonlocal is_over
        is_over = False
        found = _find(body, sent)
        # Who took too long has lost it to another, who writes down what became of it.
        if found is None or (problem is not None and found.lease != lease):
            return None
        left = None if problem is None else _after(found, problem)
        is_over = problem is not None and left is None
        return _with(body, found, left)

    update(store, AlertRecord, name_of(sent.alert.subject), change)
    return is_over


def _after(found: Unsent, problem: LabError) -> Unsent | None:
    """What is left to be sent after a problem; None when there is to be no other try."""
    refusals = found.refusals + (not isinstance(problem, Unavailable))
    if refusals >= MOST_REFUSALS or time.time() - found.alert.at > KEPT_S:
        return None
    address = problem.remaining if isinstance(problem, PartlySent) else found.address
    return msgspec.structs.replace(
        found, address=address, lease="", leased_until=0.0, refusals=refusals, why=problem.what
    )


def _find(body: AlertRecord, wanted: Unsent) -> Unsent | None:
    return next((each for each in body.unsent if each.key == wanted.key), None)


def _with(body: AlertRecord, old: Unsent, new: Unsent | None) -> AlertRecord:
    kept = (new if each.key == old.key else each for each in body.unsent)
    return msgspec.structs.replace(body, unsent=tuple(each for each in kept if each is not None))
